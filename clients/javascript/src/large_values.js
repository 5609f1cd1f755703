// Large parts of parameters become blobs by themselves: sent once, whatever number of tasks has them.

import { putBlob } from "./blobs.js";
import { encode } from "./encode.js";
import { newHash } from "./sha256.js";
import { BlobReference, NdArray } from "./value_types.js";

/** Larger bytes and arrays become blobs, unless the client was told otherwise. */
export const INLINE_BYTES_MAX = 2 ** 20;
/** How long a blob is taken to be at the server without asking: much less than it stays there. */
const KNOWN_SECONDS = 60;
const KNOWN_MAX = 1000;
/** Of a value's levels and of what stands around it in a request. */
const DEPTH_MAX = 102;

/** What one client has sent. */
export class LargeValues {
  /** @param {import("./connection.js").Connection} connection @param {number | null} inlineBytesMax null: nothing becomes a blob */
  constructor(connection, inlineBytesMax) {
    this._connection = connection;
    this._inlineBytesMax = inlineBytesMax ?? Infinity;
    /** By hash, until when they count as sent. @type {Map<string, number>} */
    this._known = new Map();
  }

  /**
   * A value in which references stand for what is large; the value itself, if nothing is. It is not changed.
   *
   * @template T @param {T} value @returns {Promise<T>}
   */
  async shelve(value) {
    /** @type {Set<object>} */
    const found = new Set();
    collect(value, this._inlineBytesMax, found, DEPTH_MAX);
    if (!found.size) return value;
    /** @type {Map<unknown, BlobReference>} */
    const references = new Map();
    for (const part of found) references.set(part, await this._send(encode(part)));
    return replaced(value, references, DEPTH_MAX);
  }

  /** @param {Uint8Array} data */
  async _send(data) {
    const hash = await newHash();
    hash.update(data);
    const sha256 = hash.hex();
    const now = Date.now();
    if ((this._known.get(sha256) ?? 0) <= now) {
      await putBlob(this._connection, data);
      this._known.delete(sha256);
      this._known.set(sha256, now + 1000 * KNOWN_SECONDS);
      if (this._known.size > KNOWN_MAX) this._known.delete(this._known.keys().next().value ?? "");
    }
    return new BlobReference(sha256, data.length, true);
  }
}

/** @param {any} value @returns {unknown[] | undefined} What is in it, of lists and maps. */
function items(value) {
  if (value === null || typeof value !== "object") return undefined;
  if (Array.isArray(value)) return value;
  if (value instanceof Map) return [...value.values()];
  const plain = Object.getPrototypeOf(value);
  return plain === Object.prototype || plain === null ? Object.values(value) : undefined;
}

/** @param {any} value @returns {number} Bytes of what may become a blob; 0: it is nothing of that kind. */
function size(value) {
  if (value instanceof NdArray) return value.data.length;
  return value instanceof ArrayBuffer || ArrayBuffer.isView(value) ? value.byteLength : 0;
}

/** @param {any} value @param {number} most @param {Set<object>} found @param {number} room Levels that are left; what is deeper cannot be sent anyway. */
function collect(value, most, found, room) {
  if (value === null || typeof value !== "object" || room <= 0) return;
  if (size(value) > most) found.add(value);
  else for (const item of items(value) ?? []) collect(item, most, found, room - 1);
}

/** @param {any} value @param {Map<unknown, BlobReference>} references @param {number} room @returns {any} */
function replaced(value, references, room) {
  const reference = references.get(value);
  if (reference !== undefined) return reference;
  const old = room > 0 ? items(value) : undefined;
  if (old === undefined) return value;
  const made = old.map((item) => replaced(item, references, room - 1));
  if (made.every((item, i) => item === old[i])) return value;
  if (Array.isArray(value)) return made;
  if (value instanceof Map) return new Map([...value.keys()].map((key, i) => [key, made[i]]));
  return Object.fromEntries(Object.keys(value).map((key, i) => [key, made[i]]));
}
