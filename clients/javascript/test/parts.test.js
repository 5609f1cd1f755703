// Parts of the client that need no server: the hash, the stream of events, where the server is, what is retried.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { Connection } from "../src/connection.js";
import { checked, cleanFingerprint } from "../src/discovery.js";
import { DartError, errorFromAnswer, isPassing } from "../src/errors.js";
import { EventParser } from "../src/events.js";
import { taskMembers } from "../src/job.js";
import { Sha256 } from "../src/sha256.js";

test("SHA-256 is Node's, in pieces of any length", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_000]) {
    const data = Uint8Array.from({ length }, (_, i) => (i * 7 + length) % 256);
    const hash = new Sha256();
    for (let at = 0; at < length; at += 37) hash.update(data.subarray(at, at + 37));
    assert.equal(hash.hex(), createHash("sha256").update(data).digest("hex"), String(length));
  }
});

test("events come whole, however their bytes are cut; the place is that of the last whole one", () => {
  const stream = Buffer.from('retry: 2000\nid: a-1\n\n: quiet\n\nid: a-2\nevent: log\ndata: {"lines":["ä"]}\n\nid: a-3\nevent: log\nda');
  for (let size = 1; size < 9; size += 1) {
    const parser = new EventParser();
    const found = [];
    for (let at = 0; at < stream.length; at += size) found.push(...parser.feed(stream.subarray(at, at + size)));
    assert.deepEqual(found, [{ id: "a-2", kind: "log", data: { lines: ["ä"] } }]);
    assert.equal(parser.lastId, "a-2");
  }
  assert.throws(() => new EventParser().feed(Buffer.from("data: nonsense\n\n")), { category: "malformed" });
});

test("nobody is trusted blindly", () => {
  const key = "k";
  const print = "AB:".repeat(32).slice(0, -1);
  assert.equal(checked({ url: "https://h:1/", key, fingerprint: print }).fingerprint, "ab".repeat(32));
  assert.equal(checked({ url: "http://127.0.0.1:1", key }).url, "http://127.0.0.1:1");
  assert.equal(checked({ url: "unix:/run/dart.sock", key }).url, "unix:/run/dart.sock");
  for (const url of ["https://h:1", "http://h:1", "ftp://h", "nonsense"]) {
    assert.throws(() => checked({ url, key }), { category: "configuration" });
  }
  assert.throws(() => checked({ url: "https://h:1", key: "", fingerprint: print }), /DART_KEY/);
  assert.throws(() => cleanFingerprint("12:34"), /64 hexadecimal digits/);
});

test("what passes is tried again, what does not is not", () => {
  assert.ok(isPassing(errorFromAnswer(503, undefined, "7")));
  assert.equal(errorFromAnswer(503, undefined, "7").retryAfter, 7);
  assert.ok(isPassing(errorFromAnswer(429, { error: { code: 52, message: "m", category: "over a limit", retry_after: 0.5 } })));
  assert.ok(!isPassing(errorFromAnswer(502, { error: { code: 70, message: "m", category: "host unreachable" } })));
  assert.ok(!isPassing(errorFromAnswer(409, { error: { code: 41, message: "m", category: "conflict", job: "j" } })));
  assert.ok(!isPassing(new DartError("m", { category: "untrusted" })));
});

test("a task's options are checked by name", () => {
  assert.deepEqual(taskMembers({ lostRetries: 1, location: "w" }), { lost_retries: 1, location: "w" });
  assert.throws(() => taskMembers({ lost_retries: 1 }), { code: 17 });
});

test("no more requests are in flight than allowed, and a closed client breaks what waits", async () => {
  let inFlight = 0;
  let most = 0;
  const body = async function* body() { yield Buffer.from("{}"); };
  const transport = {
    async request({ target, signal }) {
      inFlight += 1;
      most = Math.max(most, inFlight);
      await new Promise((resolve, reject) => {
        if (target === "/slow/") signal.addEventListener("abort", () => reject(new Error("aborted")));
        else setTimeout(resolve, 2);
      });
      inFlight -= 1;
      return { status: 200, header: () => "application/json", body: body(), cancel() {} };
    },
    close() {},
  };
  const connection = new Connection({ url: "http://localhost", key: "k" }, { concurrency: 3, transport });
  await Promise.all(Array.from({ length: 20 }, () => connection.call("GET", "/quick/")));
  assert.equal(most, 3);
  const waits = assert.rejects(connection.call("GET", "/slow/"), { category: "closed" });
  await new Promise((resolve) => { setTimeout(resolve, 5); });
  connection.close();
  await waits;
  await assert.rejects(connection.call("GET", "/quick/"), { category: "closed" });
});
