// What JavaScript has no type of its own for, in parameters and results.

import { DartError } from "./errors.js";

/** A number that is sent as a float although it is whole: `new Float(1)` is Python's 1.0. */
export class Float {
  /** @param {number} value */
  constructor(value) { this.value = value; }
}

/** An instant, as exact as it was sent. */
export class Timestamp {
  /** @param {bigint | number} seconds since 1970 @param {number} nanoseconds 0..999,999,999 */
  constructor(seconds, nanoseconds = 0) {
    this.seconds = BigInt(seconds);
    this.nanoseconds = nanoseconds;
  }

  /** To the millisecond. */
  toDate() { return new Date(Number(this.seconds) * 1000 + Math.floor(this.nanoseconds / 1e6)); }
}

/** A large value at the server; with `encoded` the blob is one portable value that stands in its place, else it is bytes. */
export class BlobReference {
  /** @param {string} sha256 in hex @param {number} size in bytes @param {boolean} encoded */
  constructor(sha256, size, encoded = false) {
    this.sha256 = sha256;
    this.size = size;
    this.encoded = encoded;
  }
}

/** An n-dimensional array: dtype as numpy writes it, elements in C order. */
export class NdArray {
  /** @param {string} dtype @param {number[]} shape @param {Uint8Array} data */
  constructor(dtype, shape, data) {
    this.dtype = dtype;
    this.shape = shape;
    this.data = data;
  }

  /** @param {ArrayBufferView} view A typed array. @param {number[]} [shape] */
  static from(view, shape) {
    const name = view.constructor.name.replace(/^Big|Clamped/g, "");
    const kind = { Int: "i", Uint: "u", Float: "f" }[name.replace(/\d+Array$/, "")];
    const size = Number(/(\d+)Array$/.exec(name)?.[1]) / 8;
    if (kind === undefined) throw notPortable("array", view);
    const data = new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
    const order = size === 1 ? "|" : LITTLE ? "<" : ">";
    return new NdArray(`${order}${kind}${size}`, shape ?? [view.byteLength / size], data);
  }

  /** Its elements, one after the other; arrays of texts, dates and complex numbers have none in JavaScript. */
  toTyped() {
    const kinds = /** @type {Record<string, any>} */ ({
      b1: Uint8Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
      i8: BigInt64Array, u8: BigUint64Array, f4: Float32Array, f8: Float64Array,
    });
    const kind = kinds[this.dtype.slice(1)];
    if (kind === undefined) throw new DartError(`There is no typed array for the dtype ${this.dtype}; read \`data\`.`);
    const data = this.data.slice();
    const size = kind.BYTES_PER_ELEMENT;
    if (size > 1 && (this.dtype[0] === "<") !== LITTLE) {
      for (let at = 0; at < data.length; at += size) data.subarray(at, at + size).reverse();
    }
    return new kind(data.buffer);
  }
}

const LITTLE = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** @param {string} where @param {unknown} value @returns {DartError} What cannot be sent, with the path to it. */
export function notPortable(where, value) {
  const kind = value === null ? "null" : typeof value === "object" ? value.constructor?.name ?? "object" : typeof value;
  return new DartError(`${where}: ${kind} cannot be sent; send what docs/protocol.md, "Values", has.`, {
    code: 18, category: "invalid request",
  });
}
