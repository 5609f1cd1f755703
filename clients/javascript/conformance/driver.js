// The driver of the JavaScript client: what the conformance suite asks for (clients/README.md).

import readline from "node:readline";

import { asCompleted, BlobReference, Client, DartError, Float, NdArray, Timestamp } from "../src/index.js";

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");

const TAGS = {
  $int: (text) => BigInt(text),
  $float: (text) => new Float(Buffer.from(text, "hex").readDoubleBE()),
  $bytes: bytes,
  $map: (entries) => new Map(entries.map(([key, value]) => [untagged(key), untagged(value)])),
  $timestamp: ([seconds, nanoseconds]) => new Timestamp(BigInt(seconds), nanoseconds),
  $array: ({ dtype, shape, data }) => new NdArray(dtype, shape, bytes(data)),
  $blob: ({ sha256, size, encoded }) => new BlobReference(sha256, Number(size), encoded ?? false),
};

function untagged(part) {
  if (part === null || typeof part !== "object") return part;
  if (Array.isArray(part)) return part.map(untagged);
  const [[tag, content]] = Object.entries(part);
  return TAGS[tag](content);
}

function tagged(value) {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "bigint") return { $int: String(value) };
  if (typeof value === "number") {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) return { $int: String(value) };
    const data = Buffer.alloc(8);
    data.writeDoubleBE(value);
    return { $float: hex(data) };
  }
  if (value instanceof Uint8Array) return { $bytes: hex(value) };
  if (Array.isArray(value)) return value.map(tagged);
  if (value instanceof Timestamp) return { $timestamp: [String(value.seconds), value.nanoseconds] };
  if (value instanceof BlobReference) {
    const { sha256, size, encoded } = value;
    return { $blob: { sha256, size: String(size), ...(encoded ? { encoded } : {}) } };
  }
  if (value instanceof NdArray) return { $array: { dtype: value.dtype, shape: value.shape, data: hex(value.data) } };
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return { $map: entries.map(([key, item]) => [tagged(key), tagged(item)]) };
}

const told = (error) => error instanceof DartError
  ? { code: error.code, category: error.category, message: error.message }
  : { code: 0, category: error.name, message: String(error.stack) };

let client;
const jobs = new Map();
const tasks = new Map();
const streams = new Map();

async function within(seconds, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("too late")), 1000 * seconds); });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const COMMANDS = {
  async connect({ url, key, fingerprint, timeout }) {
    COMMANDS.close();
    client = new Client({ url, key, fingerprint, timeoutSeconds: timeout });
    return {};
  },
  async job({ name, module_path: modulePath, method }) {
    jobs.set(name, await client.job(name, { modulePath, method }));
    return {};
  },
  async submit({ job, parameters }) {
    if (!jobs.has(job)) jobs.set(job, await client.job(job));
    const made = await jobs.get(job).submitMany(parameters.map(untagged));
    const ids = await Promise.all(made.map((task) => task.id));
    ids.forEach((id, i) => tasks.set(id, made[i]));
    return { tasks: ids };
  },
  async results({ tasks: ids, seconds }) {
    const wait = (id) => tasks.get(id).result().then((value) => ({ value: tagged(value) }), (error) => ({ error: told(error) }));
    return { outcomes: await within(seconds, Promise.all(ids.map(wait))) };
  },
  async as_completed({ tasks: ids, seconds }) {
    const found = [];
    await within(seconds, (async () => {
      for await (const task of asCompleted(ids.map((id) => tasks.get(id)))) found.push(await task.id);
    })());
    return { tasks: found };
  },
  async round({ job, parameters, quorum, seconds }) {
    const asked = new Map(parameters.map(([name, value]) => [name, untagged(value)]));
    const { values, errors, stragglers, reached } = await jobs.get(job).round(asked, { quorum, deadlineSeconds: seconds });
    return { values: [...values].map(([name, value]) => [name, tagged(value)]), errors: [...errors.keys()], stragglers, reached };
  },
  async cancel({ task }) { return { cancelled: await tasks.get(task).cancel() }; },
  async workers() { return { names: (await client.workers()).map(({ name }) => name) }; },
  async job_info({ job }) {
    const { job: { name, status } } = await client.call("GET", ["job", job]);
    return { name, status };
  },
  async put_blob({ data }) {
    const { sha256, size } = await client.putBlob(new Uint8Array(Buffer.from(data, "base64")));
    return { sha256, size };
  },
  async get_blob({ sha256, size }) {
    const pieces = [];
    for await (const piece of client.getBlob(new BlobReference(sha256, size))) pieces.push(piece);
    return { data: Buffer.concat(pieces).toString("base64") };
  },
  async open_events({ job, kinds }) {
    streams.set(job, await client.events({ job, kinds }));
    return {};
  },
  async read_events({ job, amount, seconds }) {
    const found = [];
    while (found.length < amount) found.push((await within(seconds, streams.get(job).next())).value);
    return { events: found };
  },
  close() {
    client?.close();
    for (const each of [jobs, tasks, streams]) each.clear();
    return {};
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, do: command, ...asked } = JSON.parse(line);
  let answer;
  try {
    answer = { id, ok: await COMMANDS[command](asked) };
  } catch (error) {
    answer = { id, error: told(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
COMMANDS.close();
