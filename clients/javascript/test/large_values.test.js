// Large parts of parameters: which become blobs, and how often they are sent.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { Connection } from "../src/connection.js";
import { decode } from "../src/decode.js";
import { LargeValues } from "../src/large_values.js";
import { BlobReference, NdArray } from "../src/value_types.js";

/** A server that has no blob and takes each. */
function server() {
  const blobs = [];
  const transport = {
    async request({ method, target, body }) {
      if (method === "PUT") {
        const pieces = [];
        for await (const piece of body) pieces.push(piece);
        blobs.push([target.split("/")[2], Buffer.concat(pieces)]);
      }
      const header = (name) => (name === "X-Dart-Uploaded" ? "0" : "application/json");
      return { status: method === "HEAD" ? 404 : 200, header, body: (async function* body() { yield Buffer.from("{}"); })(), cancel() {} };
    },
    close() {},
  };
  return { blobs, connection: new Connection({ url: "http://localhost", key: "k" }, { transport }) };
}

test("what is large becomes a reference wherever it stands, and is sent once", async () => {
  const { blobs, connection } = server();
  const large = new LargeValues(connection, 100);
  const bytes = new Uint8Array(101).fill(7);
  const array = new NdArray("<f8", [20], new Uint8Array(160));
  const value = { a: [bytes, 1], b: new Map([["x", bytes], [5, array]]), c: new Uint8Array(100), __proto__: null };
  const shelved = await large.shelve(value);
  const [first, second] = [shelved.a[0], shelved.b.get(5)];
  assert.ok(first instanceof BlobReference && second instanceof BlobReference);
  assert.equal(shelved.b.get("x"), first);
  assert.deepEqual([shelved.a[1], shelved.c.length, value.a[0], value.b.get(5)], [1, 100, bytes, array]);
  assert.equal((await large.shelve([bytes.slice()]))[0].sha256, first.sha256);
  assert.equal(blobs.length, 2);
  for (const [sha256, data] of blobs) assert.equal(sha256, createHash("sha256").update(data).digest("hex"));
  assert.deepEqual([first.size, first.encoded, second.size], [blobs[0][1].length, true, blobs[1][1].length]);
  assert.deepEqual(decode(new Uint8Array(blobs[0][1])), bytes);
  assert.deepEqual(decode(new Uint8Array(blobs[1][1])), array);
});

test("what is small, or a part of itself, stays as it is; null turns it off", async () => {
  const { blobs, connection } = server();
  const loop = [new Uint8Array(5)];
  loop.push(loop);
  for (const value of [null, 1, "x".repeat(1000), [1, { a: new Uint8Array(100) }], loop, undefined]) {
    assert.equal(await new LargeValues(connection, 100).shelve(value), value);
  }
  const value = [new Uint8Array(1000)];
  assert.equal(await new LargeValues(connection, null).shelve(value), value);
  assert.deepEqual(blobs, []);
});
