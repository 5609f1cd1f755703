// SHA-256 piece by piece; browsers offer it for whole messages only.

const K = new Uint32Array(64);
const START = new Uint32Array(8);
{
  const fraction = (/** @type {number} */ x) => ((x - Math.floor(x)) * 2 ** 32) >>> 0;
  let found = 0;
  for (let candidate = 2; found < 64; candidate += 1) {
    let prime = true;
    for (let factor = 2; factor * factor <= candidate; factor += 1) if (candidate % factor === 0) prime = false;
    if (!prime) continue;
    if (found < 8) START[found] = fraction(Math.sqrt(candidate));
    K[found] = fraction(Math.cbrt(candidate));
    found += 1;
  }
}

/** A hash that is still growing. */
export class Sha256 {
  constructor() {
    this._state = START.slice();
    this._block = new Uint8Array(64);
    this._words = new Uint32Array(64);
    this._filled = 0;
    this._bytes = 0;
  }

  /** @param {Uint8Array} data */
  update(data) {
    this._bytes += data.length;
    let at = 0;
    while (at < data.length) {
      const count = Math.min(64 - this._filled, data.length - at);
      this._block.set(data.subarray(at, at + count), this._filled);
      this._filled += count;
      at += count;
      if (this._filled === 64) {
        this._mix();
        this._filled = 0;
      }
    }
    return this;
  }

  /** @returns {string} 64 hexadecimal digits; nothing can be added afterwards. */
  hex() {
    const bytes = this._bytes;
    this.update(Uint8Array.of(0x80));
    while (this._filled !== 56) this.update(Uint8Array.of(0));
    const length = new DataView(new ArrayBuffer(8));
    length.setBigUint64(0, BigInt(bytes) * 8n);
    this.update(new Uint8Array(length.buffer));
    return Array.from(this._state, (word) => word.toString(16).padStart(8, "0")).join("");
  }

  _mix() {
    const w = this._words;
    const view = new DataView(this._block.buffer);
    for (let i = 0; i < 16; i += 1) w[i] = view.getUint32(4 * i);
    const turn = (/** @type {number} */ x, /** @type {number} */ n) => (x >>> n) | (x << (32 - n));
    for (let i = 16; i < 64; i += 1) {
      const low = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const high = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w[i] = w[i - 16] + low + w[i - 7] + high;
    }
    let [a, b, c, d, e, f, g, h] = this._state;
    for (let i = 0; i < 64; i += 1) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => { this._state[i] += word; });
  }
}

/**
 * The quickest there is: Node's own, else the one above.
 *
 * @returns {Promise<{update(data: Uint8Array): unknown, hex(): string}>}
 */
export async function newHash() {
  if (globalThis.process?.versions?.node) {
    const { createHash } = await import("node:crypto");
    const hash = createHash("sha256");
    return { update: (data) => hash.update(data), hex: () => hash.digest("hex") };
  }
  return new Sha256();
}
