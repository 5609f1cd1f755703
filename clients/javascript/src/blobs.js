// Large values: sent once and named by their hash, read back; in pieces, and resumed when the link was cut.

import { path } from "./connection.js";
import { DartError, isPassing } from "./errors.js";
import { newHash } from "./sha256.js";
import { BlobReference } from "./value_types.js";

const PIECE_BYTES = 2 ** 20;

/**
 * Bytes, a Blob or File, or in Node the path of a file, which must not change meanwhile.
 *
 * @typedef {Uint8Array | Blob | string} Source
 *
 * @typedef {(done: number, all: number) => void} Progress
 */

/** @param {Source} source */
async function opened(source) {
  if (typeof source === "string") {
    const [{ createReadStream }, { stat }] = await Promise.all([import("node:fs"), import("node:fs/promises")]);
    return { size: (await stat(source)).size, from: (/** @type {number} */ start) => createReadStream(source, { start, highWaterMark: PIECE_BYTES }) };
  }
  const size = source instanceof Uint8Array ? source.length : source.size;
  return {
    size,
    /** @param {number} start */
    async* from(start) {
      for (let at = start; at < size; at += PIECE_BYTES) {
        const piece = source.slice(at, Math.min(size, at + PIECE_BYTES));
        yield piece instanceof Uint8Array ? piece : new Uint8Array(await piece.arrayBuffer());
      }
    },
  };
}

/** Goes on as long as something moves, and gives up when nothing did for the connection's timeout. */
class Patience {
  /** @param {import("./connection.js").Connection} connection */
  constructor(connection) {
    this._connection = connection;
    this._movedAt = Date.now();
    this._place = -1;
    this._attempt = 0;
  }

  /** @param {number} place */
  movedTo(place) {
    if (place === this._place) return;
    this._place = place;
    this._movedAt = Date.now();
    this._attempt = 0;
  }

  /** @param {unknown} error @param {AbortSignal} [signal] */
  async waitOrThrow(error, signal) {
    const isOver = Date.now() - this._movedAt > 1000 * this._connection.timeoutSeconds;
    if (isOver || !(isPassing(error) || (error instanceof DartError && error.code === 40))) throw error;
    await this._connection.sleep(/** @type {DartError} */ (error).retryAfter ?? this._connection.pause(this._attempt++), signal);
  }
}

/**
 * @param {import("./connection.js").Connection} connection
 * @param {Source} source
 * @param {{onProgress?: Progress, signal?: AbortSignal}} options
 * @returns {Promise<BlobReference>}
 */
export async function putBlob(connection, source, { onProgress, signal } = {}) {
  const { size, from } = await opened(source);
  const hash = await newHash();
  for await (const piece of from(0)) hash.update(piece);
  const reference = new BlobReference(hash.hex(), size);
  const target = path("blob", reference.sha256);
  const patience = new Patience(connection);
  for (;;) {
    try {
      const here = await uploaded(connection, target, size, signal);
      patience.movedTo(here);
      if (here < 0) break;
      /** @type {Record<string, string>} */
      const range = here > 0 ? { "Content-Range": `bytes ${here}-${size - 1}/${size}` } : {};
      const isBlob = typeof Blob !== "undefined" && source instanceof Blob;
      const answer = await connection.request("PUT", target, {
        headers: { "Content-Type": "application/octet-stream", "Content-Length": String(size - here), Accept: "application/json", ...range },
        // A browser sends a Blob without holding it in memory, a stream not at all.
        body: isBlob && !globalThis.process?.versions?.node ? source.slice(here) : told(from(here), here, size, onProgress),
        signal,
      });
      await connection.readAll(answer);
      break;
    } catch (error) {
      await patience.waitOrThrow(error, signal);
    }
  }
  onProgress?.(size, size);
  return reference;
}

/** @param {AsyncIterable<Uint8Array>} pieces @param {number} done @param {number} all @param {Progress} [onProgress] */
async function* told(pieces, done, all, onProgress) {
  let at = done;
  for await (const piece of pieces) {
    yield piece;
    at += piece.length;
    onProgress?.(at, all);
  }
}

/**
 * @param {import("./connection.js").Connection} connection @param {string} target @param {number} size @param {AbortSignal} [signal]
 * @returns {Promise<number>} How many of its bytes the server has; -1: the whole blob.
 */
async function uploaded(connection, target, size, signal) {
  const answer = await connection.request("HEAD", target, { signal });
  answer.cancel();
  if (answer.status === 200) return -1;
  const found = answer.header("X-Dart-Uploaded");
  // With all bytes but no end something was wrong with them.
  if (answer.status === 404 && found !== null && /^\d+$/.test(found)) return Number(found) < size ? Number(found) : 0;
  // An answer to HEAD has no words; the same question with GET has.
  await connection.call("GET", target, { retry: false, signal });
  throw new DartError(`The server answers ${answer.status} to HEAD ${target}; is it a DART server that knows blobs?`, { status: answer.status });
}

/**
 * @param {import("./connection.js").Connection} connection
 * @param {BlobReference} reference
 * @param {{onProgress?: Progress, signal?: AbortSignal}} options
 * @returns {AsyncGenerator<Uint8Array, void, void>}
 */
export async function* getBlob(connection, { sha256, size }, { onProgress, signal } = {}) {
  const target = path("blob", sha256);
  const hash = await newHash();
  const patience = new Patience(connection);
  let here = 0;
  while (here < size) {
    try {
      const answer = await connection.request("GET", target, { headers: { Range: `bytes=${here}-${size - 1}` }, signal });
      try {
        if (answer.status === 200 && here > 0) {
          throw new DartError("The server sent all of a blob where a part was asked for; a proxy may be in between.", { category: "malformed" });
        }
        for await (const piece of answer.body) {
          here += piece.length;
          if (here > size) throw new DartError("The server sent more of a blob than it has.", { category: "malformed" });
          hash.update(piece);
          yield new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
          onProgress?.(here, size);
        }
      } catch (error) {
        throw connection.unreachable(error, signal);
      } finally {
        answer.cancel();
      }
      patience.movedTo(here);
      if (here < size) throw new DartError("The answer ended too early.", { category: "unreachable" });
    } catch (error) {
      patience.movedTo(here);
      await patience.waitOrThrow(error, signal);
    }
  }
  if (hash.hex() !== sha256) {
    throw new DartError(`What came as blob ${sha256} has another hash; nothing of it can be used. Read it again.`, { category: "malformed", code: 10 });
  }
}
