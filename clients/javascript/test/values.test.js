// Portable values against the vectors that every implementation of the protocol is held to.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decode } from "../src/decode.js";
import { encode } from "../src/encode.js";
import { BlobReference, Float, NdArray, Timestamp } from "../src/value_types.js";

const VECTORS = new URL("../../../tests/vectors/", import.meta.url);
const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");
const load = (name) => JSON.parse(readFileSync(new URL(name, VECTORS), "utf8"));

const TAGS = {
  $int: (text) => BigInt(text),
  $float: (text) => new Float(Buffer.from(text, "hex").readDoubleBE()),
  $bytes: bytes,
  $map: (entries) => new Map(entries.map(([key, value]) => [untagged(key), untagged(value)])),
  $timestamp: ([seconds, nanoseconds]) => new Timestamp(BigInt(seconds), nanoseconds),
  $array: ({ dtype, shape, data }) => new NdArray(dtype, shape, bytes(data)),
  $blob: ({ sha256, size, encoded }) => new BlobReference(sha256, Number(size), encoded),
};

function untagged(part) {
  if (part === null || typeof part !== "object") return part;
  if (Array.isArray(part)) return part.map(untagged);
  const [[tag, content]] = Object.entries(part);
  return TAGS[tag](content);
}

const holds = (part, tag) => JSON.stringify(part).includes(`"${tag}"`);

for (const { name, hex: wanted, value, written = true } of load("values.json")) {
  if (holds(value, "$pickle")) continue; // Python alone reads them
  test(`vector: ${name}`, () => {
    const read = decode(bytes(wanted));
    if (!written) return;
    assert.equal(hex(encode(untagged(value))), wanted);
    // Whole floats are numbers like others here, and are sent as integers again.
    if (!holds(value, "$float")) assert.equal(hex(encode(read)), wanted);
  });
}

for (const { why, hex: refused } of load("refused.json").values) {
  test(`refused: ${why} (${refused.slice(0, 16)})`, () => {
    assert.throws(() => decode(bytes(refused)), { name: "DartError", category: "malformed" });
  });
}

test("any length survives, where the buffer grows in any place", () => {
  for (let length = 0; length < 600; length += 1) {
    const value = { text: "ä".repeat(length), list: Array(length).fill(-1), big: 2n ** 60n, float: 0.1 };
    assert.deepEqual(decode(encode(value)), value);
  }
});

test("a member called __proto__ is one like any other", () => {
  const read = decode(encode(new Map([["__proto__", { admin: true }]])));
  assert.equal(Object.getPrototypeOf(read), Object.prototype);
  assert.equal(read.admin, undefined);
  assert.deepEqual(Object.keys(read), ["__proto__"]);
});

test("numbers: whole ones are integers, BigInt beyond 2^53, Float where a float is wanted", () => {
  assert.equal(hex(encode(1)), "01");
  assert.equal(hex(encode(new Float(1))), "cb3ff0000000000000");
  assert.equal(decode(encode(2n ** 53n + 1n)), 2n ** 53n + 1n);
  assert.ok(Object.is(decode(encode(-0)), -0));
  assert.ok(Number.isNaN(decode(encode(NaN))));
  assert.equal(decode(encode(-Infinity)), -Infinity);
});

test("typed arrays are arrays of one dimension, and come back", () => {
  for (const array of [Float64Array.of(1.5, NaN), Int16Array.of(-1, 2), Uint32Array.of(7), BigInt64Array.of(-5n)]) {
    const read = decode(encode(array));
    assert.deepEqual(read.shape, [array.length]);
    assert.deepEqual(read.toTyped(), array);
  }
  assert.deepEqual(new NdArray(">i2", [2], Uint8Array.of(1, 0, 0, 2)).toTyped(), Int16Array.of(256, 2));
});

test("what cannot be sent is refused with the path to it", () => {
  const cases = [[() => 1, "value: function"], [{ a: [1, Symbol("x")] }, "value.a[1]: symbol"], ["\ud800", "surrogate"]];
  for (const [value, told] of [...cases, [new (class Foo {})(), "value: Foo"]]) {
    assert.throws(() => encode(value), (error) => error.code === 18 && error.message.includes(told));
  }
  let deep = [];
  for (let i = 0; i < 101; i += 1) deep = [deep];
  assert.throws(() => encode(deep), { code: 18 });
});
