// MessagePack as portable values (docs/protocol.md, "Values"): any bytes, nothing believed.

import { DartError } from "./errors.js";
import { BlobReference, NdArray, Timestamp } from "./value_types.js";

const DEPTH_MAX = 100;
const ELEMENTS_MAX = 2 ** 24;
const BIG_BYTES_MAX = 1536;
const ARRAY_BYTES_MAX = 2 ** 31 - 1;
const INT_MIN = -(2n ** 63n);
const INT_MAX = 2n ** 64n - 1n;
const DTYPE = /^(?:\|[biu]1|[<>][iu][248]|[<>]f[248]|[<>]c(?:8|16)|\|S[1-9]\d{0,8}|[<>]U[1-9]\d{0,8}|[<>][Mm]8(?:\[(?:[1-9]\d{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)$/;
const fromUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {string} why */
function unreadable(why) {
  return new DartError(`These bytes are no value: ${why}.`, { code: 10, category: "malformed" });
}

class Reader {
  /** @param {Uint8Array} data */
  constructor(data) {
    this.data = data;
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.at = 0;
  }

  /** @param {number} count Moves on, and gives where it was. */
  take(count) {
    const at = this.at;
    if (count > this.data.length - at) throw unreadable("they end too early");
    this.at += count;
    return at;
  }

  /** @param {number} count */
  bytes(count) {
    const at = this.take(count);
    return this.data.subarray(at, at + count);
  }

  /** @param {number} size 1, 2, 4 */
  count(size) {
    const at = this.take(size);
    return size === 1 ? this.view.getUint8(at) : size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }
}

/**
 * A value of these bytes. Integers beyond 2^53 come as BigInt, maps with other keys than text as Map.
 *
 * @param {Uint8Array} data
 * @param {number} [depthMax]
 * @returns {any}
 */
export function decode(data, depthMax = DEPTH_MAX) {
  const reader = new Reader(data);
  const value = read(reader, depthMax);
  if (reader.at !== data.length) throw unreadable("something follows after it");
  return value;
}

/** @param {Reader} from @param {number} depth @returns {any} */
function read(from, depth) {
  const head = from.count(1);
  if (head < 0x80) return head;
  if (head < 0x90) return readMap(from, head & 0x0f, depth);
  if (head < 0xa0) return readList(from, head & 0x0f, depth);
  if (head < 0xc0) return readText(from, head & 0x1f);
  if (head >= 0xe0) return head - 0x100;
  switch (head) {
    case 0xc0: return null;
    case 0xc2: return false;
    case 0xc3: return true;
    case 0xc4: case 0xc5: case 0xc6: return from.bytes(from.count(1 << (head - 0xc4))).slice();
    case 0xc7: case 0xc8: case 0xc9: return readExtension(from, from.count(1 << (head - 0xc7)));
    case 0xca: return from.view.getFloat32(from.take(4));
    case 0xcb: return from.view.getFloat64(from.take(8));
    case 0xcc: case 0xcd: case 0xce: return from.count(1 << (head - 0xcc));
    case 0xcf: return small(from.view.getBigUint64(from.take(8)));
    case 0xd0: return from.view.getInt8(from.take(1));
    case 0xd1: return from.view.getInt16(from.take(2));
    case 0xd2: return from.view.getInt32(from.take(4));
    case 0xd3: return small(from.view.getBigInt64(from.take(8)));
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return readExtension(from, 1 << (head - 0xd4));
    case 0xd9: case 0xda: case 0xdb: return readText(from, from.count(1 << (head - 0xd9)));
    case 0xdc: case 0xdd: return readList(from, from.count(head === 0xdc ? 2 : 4), depth);
    case 0xde: case 0xdf: return readMap(from, from.count(head === 0xde ? 2 : 4), depth);
    default: throw unreadable("a byte without meaning");
  }
}

/** @param {bigint} value */
function small(value) {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** @param {Reader} from @param {number} length */
function readText(from, length) {
  try {
    return fromUtf8.decode(from.bytes(length));
  } catch (error) {
    if (error instanceof DartError) throw error;
    throw unreadable("a text that is not UTF-8");
  }
}

/** @param {Reader} from @param {number} count @param {number} depth */
function readList(from, count, depth) {
  if (depth < 1) throw unreadable("nested too deeply");
  if (count > from.data.length - from.at || count > ELEMENTS_MAX) throw unreadable("more elements than bytes");
  const found = new Array(count);
  for (let i = 0; i < count; i += 1) found[i] = read(from, depth - 1);
  return found;
}

/** @param {Reader} from @param {number} count @param {number} depth */
function readMap(from, count, depth) {
  if (depth < 1) throw unreadable("nested too deeply");
  if (2 * count > from.data.length - from.at || count > ELEMENTS_MAX) throw unreadable("more entries than bytes");
  /** @type {[any, any][]} */
  const entries = [];
  const seen = new Set();
  let named = true;
  for (let i = 0; i < count; i += 1) {
    const before = from.at;
    const key = read(from, 0);
    if (key !== null && typeof key === "object" && !(key instanceof Uint8Array)) throw unreadable("a key that is none");
    if (typeof key === "bigint" && from.data[before] === 0xc7) throw unreadable("a key that is none");
    const same = typeof key === "boolean" ? Number(key) : key instanceof Uint8Array ? `b${key}` : typeof key === "string" ? `t${key}` : key;
    if (seen.has(same) && !Number.isNaN(same)) throw unreadable("a key that stands twice");
    seen.add(same);
    named &&= typeof key === "string";
    entries.push([key, read(from, depth - 1)]);
  }
  // Not by assignment: a member called __proto__ is one like any other. `fromEntries` defines.
  return named ? Object.fromEntries(entries) : new Map(entries);
}

/** @param {Reader} from @param {number} length */
function readExtension(from, length) {
  const type = from.view.getInt8(from.take(1));
  const data = from.bytes(length).slice();
  const view = new DataView(data.buffer);
  if (type === -1) return readTimestamp(view);
  if (type === 1) return readBig(data);
  if (type === 2) return readArray(data, view);
  if (type === 3) {
    if (length !== 40) throw unreadable("a reference to a blob that is none");
    const sha256 = Array.from(data.subarray(0, 32), (it) => it.toString(16).padStart(2, "0")).join("");
    return new BlobReference(sha256, Number(BigInt.asUintN(63, view.getBigUint64(32))), data[32] > 0x7f);
  }
  throw unreadable(type === 4 ? "a pickle, which Python alone reads" : `extension type ${type}`);
}

/** @param {DataView} view */
function readTimestamp(view) {
  let found;
  if (view.byteLength === 4) found = new Timestamp(view.getUint32(0));
  else if (view.byteLength === 8) {
    const both = view.getBigUint64(0);
    found = new Timestamp(both & (2n ** 34n - 1n), Number(both >> 34n));
  } else if (view.byteLength === 12) found = new Timestamp(view.getBigInt64(4), view.getUint32(0));
  if (found === undefined || found.nanoseconds > 999_999_999) throw unreadable("a timestamp that is none");
  return found;
}

/** @param {Uint8Array} data */
function readBig(data) {
  const value = data.length > 0 && data.length <= BIG_BYTES_MAX
    ? BigInt.asIntN(8 * data.length, BigInt(`0x${Array.from(data, (it) => it.toString(16).padStart(2, "0")).join("")}`)) : 0n;
  const spare = data.length > 1 && BigInt.asIntN(8 * (data.length - 1), value) === value;
  if ((value >= INT_MIN && value <= INT_MAX) || spare) throw unreadable("a big integer that is none");
  return value;
}

/** @param {Uint8Array} data @param {DataView} view */
function readArray(data, view) {
  const from = new Reader(data);
  const dtype = new TextDecoder("latin1").decode(from.bytes(from.count(1)));
  const dimensions = from.count(1);
  if (!DTYPE.test(dtype) || dimensions > 32) throw unreadable("an array that is none");
  const shape = Array.from({ length: dimensions }, () => from.count(4));
  const size = Number(/\d+/.exec(dtype.slice(1))?.[0] ?? 1) * (dtype[1] === "U" ? 4 : 1);
  const count = shape.reduce((product, length) => product * length, size);
  const reserved = shape.reduce((product, length) => product * (length || 1), size);
  if (count !== data.length - from.at || reserved > ARRAY_BYTES_MAX) throw unreadable("an array of another size");
  return new NdArray(dtype, shape, data.slice(from.at, view.byteLength));
}
