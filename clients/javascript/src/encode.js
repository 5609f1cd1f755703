// Portable values as MessagePack (docs/protocol.md, "Values").

import { BlobReference, Float, NdArray, Timestamp, notPortable } from "./value_types.js";

const DEPTH_MAX = 100;
const BIG_BYTES_MAX = 1536;
const INT_MIN = -(2n ** 63n);
const INT_MAX = 2n ** 64n - 1n;
const utf8 = new TextEncoder();
const ENCODED = 1n << 63n;

class Writer {
  constructor() {
    this.bytes = new Uint8Array(256);
    this.view = new DataView(this.bytes.buffer);
    this.at = 0;
  }

  /** @param {number} count Makes room, and gives where it is. */
  take(count) {
    const at = this.at;
    this.at += count;
    if (this.at > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.at, 2 * this.bytes.length));
      grown.set(this.bytes.subarray(0, at));
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    return at;
  }

  /** @param {Uint8Array} data */
  put(data) {
    const at = this.take(data.length);
    this.bytes.set(data, at);
  }

  /** @param {number} byte */
  byte(byte) {
    const at = this.take(1);
    this.bytes[at] = byte;
  }

  /** @param {number} head @param {number} size 1, 2, 4 @param {number} value */
  sized(head, size, value) {
    this.byte(head);
    const at = this.take(size);
    if (size === 1) this.view.setUint8(at, value);
    else if (size === 2) this.view.setUint16(at, value);
    else this.view.setUint32(at, value);
  }

  /** @param {number} count @param {(number | undefined)[]} heads for counts of 8, 16 and 32 bits */
  counted(count, heads) {
    if (count < 256 && heads[0] !== undefined) this.sized(heads[0], 1, count);
    else if (count < 65536) this.sized(/** @type {number} */ (heads[1]), 2, count);
    else this.sized(/** @type {number} */ (heads[2]), 4, count);
  }

  /** @param {number} type @param {Uint8Array} data */
  extension(type, data) {
    const fixed = [1, 2, 4, 8, 16].indexOf(data.length);
    if (fixed >= 0) this.byte(0xd4 + fixed);
    else this.counted(data.length, [0xc7, 0xc8, 0xc9]);
    this.byte(type & 0xff);
    this.put(data);
  }
}

/**
 * A value as MessagePack. Whole numbers up to 2^53 and BigInt are integers, other numbers floats; `undefined` members
 * of objects are left out; typed arrays but Uint8Array, which is bytes, are arrays of one dimension.
 *
 * @param {unknown} value
 * @param {string} [where] What it is, for complaints.
 * @returns {Uint8Array}
 */
export function encode(value, where = "value") {
  const writer = new Writer();
  write(writer, value, where, 0);
  return writer.bytes.slice(0, writer.at);
}

/** @param {Writer} out @param {any} value @param {string} where @param {number} depth */
function write(out, value, where, depth) {
  if (depth > DEPTH_MAX) throw notPortable(`${where.slice(0, 60)}: more than ${DEPTH_MAX} levels`, value);
  if (value === null || value === undefined) return out.byte(0xc0);
  if (value === false) return out.byte(0xc2);
  if (value === true) return out.byte(0xc3);
  if (typeof value === "string") return writeText(out, value, where);
  if (typeof value === "bigint") return writeInteger(out, value, where);
  if (typeof value === "number") {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) return writeSmall(out, value);
    return writeFloat(out, value);
  }
  if (typeof value !== "object") throw notPortable(where, value);
  if (value instanceof Uint8Array || value instanceof ArrayBuffer) {
    const data = value instanceof ArrayBuffer ? new Uint8Array(value) : value;
    out.counted(data.length, [0xc4, 0xc5, 0xc6]);
    return out.put(data);
  }
  if (Array.isArray(value)) {
    if (value.length < 16) out.byte(0x90 | value.length);
    else out.counted(value.length, [undefined, 0xdc, 0xdd]);
    for (let i = 0; i < value.length; i += 1) write(out, value[i], `${where}[${i}]`, depth + 1);
    return undefined;
  }
  return writeObject(out, value, where, depth);
}

/** @param {Writer} out @param {any} value @param {string} where @param {number} depth */
function writeObject(out, value, where, depth) {
  if (value instanceof Float) return writeFloat(out, value.value);
  if (value instanceof Date) {
    const ms = value.getTime();
    if (Number.isNaN(ms)) throw notPortable(`${where}: no date`, value);
    return writeTimestamp(out, new Timestamp(Math.floor(ms / 1000), (((ms % 1000) + 1000) % 1000) * 1e6));
  }
  if (value instanceof Timestamp) return writeTimestamp(out, value);
  if (value instanceof BlobReference) {
    const data = new Uint8Array(40);
    for (let i = 0; i < 32; i += 1) data[i] = Number.parseInt(value.sha256.slice(2 * i, 2 * i + 2), 16);
    new DataView(data.buffer).setBigUint64(32, BigInt(value.size) | (value.encoded ? ENCODED : 0n));
    return out.extension(3, data);
  }
  if (value instanceof NdArray) return writeArray(out, value);
  if (ArrayBuffer.isView(value)) return writeArray(out, NdArray.from(value));
  const plain = Object.getPrototypeOf(value);
  if (!(value instanceof Map) && plain !== Object.prototype && plain !== null) throw notPortable(where, value);
  const entries = value instanceof Map ? [...value] : Object.entries(value).filter((entry) => entry[1] !== undefined);
  if (entries.length < 16) out.byte(0x80 | entries.length);
  else out.counted(entries.length, [undefined, 0xde, 0xdf]);
  for (const [key, item] of entries) {
    if (key !== null && typeof key === "object" && !(key instanceof Uint8Array) && !(key instanceof Float)) {
      throw notPortable(`${where}, a key`, key);
    }
    write(out, key, `${where}, a key`, depth);
    write(out, item, typeof key === "string" ? `${where}.${key}` : `${where}[..]`, depth + 1);
  }
  return undefined;
}

/** @param {Writer} out @param {string} text @param {string} where */
function writeText(out, text, where) {
  if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)) {
    throw notPortable(`${where}: half a surrogate pair in a`, text);
  }
  const data = utf8.encode(text);
  if (data.length < 32) out.byte(0xa0 | data.length);
  else out.counted(data.length, [0xd9, 0xda, 0xdb]);
  out.put(data);
}

/** @param {Writer} out @param {number} value A safe integer. */
function writeSmall(out, value) {
  if (value >= 0) {
    if (value < 128) out.byte(value);
    else if (value < 2 ** 32) out.counted(value, [0xcc, 0xcd, 0xce]);
    else {
      out.byte(0xcf);
      const at = out.take(8);
      out.view.setBigUint64(at, BigInt(value));
    }
  } else if (value >= -32) out.byte(value & 0xff);
  else if (value >= -128) out.sized(0xd0, 1, value);
  else if (value >= -32768) out.sized(0xd1, 2, value);
  else if (value >= -(2 ** 31)) out.sized(0xd2, 4, value);
  else {
    out.byte(0xd3);
    const at = out.take(8);
    out.view.setBigInt64(at, BigInt(value));
  }
}

/** @param {Writer} out @param {bigint} value @param {string} where */
function writeInteger(out, value, where) {
  if (value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)) {
    return writeSmall(out, Number(value));
  }
  if (value >= INT_MIN && value <= INT_MAX) {
    out.byte(value < 0n ? 0xd3 : 0xcf);
    const at = out.take(8);
    return value < 0n ? out.view.setBigInt64(at, value) : out.view.setBigUint64(at, value);
  }
  let size = 9;
  while (BigInt.asIntN(8 * size, value) !== value) size += 1;
  if (size > BIG_BYTES_MAX) throw notPortable(`${where}: more than ${BIG_BYTES_MAX} bytes of a`, value);
  const digits = BigInt.asUintN(8 * size, value).toString(16).padStart(2 * size, "0");
  return out.extension(1, Uint8Array.from({ length: size }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16)));
}

/** @param {Writer} out @param {number} value */
function writeFloat(out, value) {
  out.byte(0xcb);
  const at = out.take(8);
  out.view.setFloat64(at, value);
}

/** @param {Writer} out @param {Timestamp} value */
function writeTimestamp(out, { seconds, nanoseconds }) {
  const view = new DataView(new ArrayBuffer(12));
  if (seconds >= 0n && seconds < 2n ** 34n) {
    if (nanoseconds === 0 && seconds < 2n ** 32n) {
      view.setUint32(0, Number(seconds));
      return out.extension(-1, new Uint8Array(view.buffer, 0, 4));
    }
    view.setBigUint64(0, (BigInt(nanoseconds) << 34n) | seconds);
    return out.extension(-1, new Uint8Array(view.buffer, 0, 8));
  }
  view.setUint32(0, nanoseconds);
  view.setBigInt64(4, seconds);
  return out.extension(-1, new Uint8Array(view.buffer));
}

/** @param {Writer} out @param {NdArray} value */
function writeArray(out, { dtype, shape, data }) {
  const head = new Uint8Array(2 + dtype.length + 4 * shape.length);
  head[0] = dtype.length;
  head.set(utf8.encode(dtype), 1);
  head[1 + dtype.length] = shape.length;
  const view = new DataView(head.buffer);
  shape.forEach((length, i) => view.setUint32(2 + dtype.length + 4 * i, length));
  const whole = new Uint8Array(head.length + data.length);
  whole.set(head);
  whole.set(data, head.length);
  out.extension(2, whole);
}
