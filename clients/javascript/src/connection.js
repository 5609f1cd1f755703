// One server over HTTP: MessagePack both ways, retries that change nothing twice, a bound on what is in flight.

import { decode } from "./decode.js";
import { encode } from "./encode.js";
import { DartError, errorFromAnswer, isPassing } from "./errors.js";

const MESSAGEPACK = "application/msgpack";
const BACK_OFF_SECONDS = [0.05, 2];
/** Nesting of an answer: a value's 100 and what stands around it. */
const ENVELOPE_DEPTH = 108;
/** Of an answer that is held in memory: as much as one value may have, and what stands around it. */
const ANSWER_BYTES_MAX = 300 * 2 ** 20;

/**
 * @typedef {object} Server
 * @property {string} url `https://HOST:PORT`, `http://` on this machine, or `unix:/PATH`
 * @property {string} key
 * @property {string} [fingerprint] SHA-256 of the certificate, 64 hexadecimal digits
 * @property {string} [ca] file of certificates that may have signed the server's
 *
 * @typedef {object} Asked
 * @property {string} method
 * @property {string} target
 * @property {Record<string, string>} headers
 * @property {Uint8Array | Blob | AsyncIterable<Uint8Array>} [body]
 * @property {number} idleMilliseconds
 * @property {AbortSignal} [signal]
 *
 * @typedef {object} Answered
 * @property {number} status
 * @property {(name: string) => string | null} header
 * @property {AsyncIterable<Uint8Array>} body
 * @property {() => void} cancel Whoever does not read to the end says so.
 *
 * @typedef {object} Transport
 * @property {(asked: Asked) => Promise<Answered>} request
 * @property {() => void} close
 *
 * @typedef {object} CallOptions
 * @property {unknown} [body] members of the request
 * @property {Record<string, unknown>} [query] arguments; undefined ones are left out
 * @property {number} [waitSeconds] how long the server was asked to wait before it answers
 * @property {boolean} [retry] false: try once
 * @property {string} [idempotencyKey] else a new one
 * @property {AbortSignal} [signal]
 */

/** @param {...string} parts @returns {string} A path; each part is one segment, whatever characters it has. */
export function path(...parts) {
  return `/${parts.map((part) => `${encodeURIComponent(part)}/`).join("")}`;
}

/** @param {Record<string, unknown>} [query] */
function withQuery(/** @type {string} */ target, query) {
  const told = Object.entries(query ?? {}).filter((entry) => entry[1] !== undefined && entry[1] !== "");
  return told.length ? `${target}?${new URLSearchParams(told.map(([name, value]) => [name, String(value)]))}` : target;
}

/** @returns {string} Unique, also where the page was not served securely. */
export function uniqueText() {
  const bytes = globalThis.crypto?.getRandomValues(new Uint8Array(16)) ?? Uint8Array.from({ length: 16 }, () => Math.random() * 256);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Calls to one server. */
export class Connection {
  /**
   * @param {Server} server
   * @param {{timeoutSeconds?: number, concurrency?: number, transport?: Transport}} [options]
   */
  constructor(server, { timeoutSeconds = 60, concurrency = 16, transport } = {}) {
    this.server = server;
    this.timeoutSeconds = timeoutSeconds;
    this._transport = transport;
    this._ending = new AbortController();
    this._free = concurrency;
    /** @type {(() => void)[]} */
    this._waiting = [];
  }

  /** Aborted when the client is closed. */
  get closed() { return this._ending.signal; }

  /**
   * Call and give the members of the answer.
   *
   * What changes something carries an `Idempotency-Key`, so it may be sent again after a broken connection, a 429 or a
   * 503 and is still done once.
   *
   * @param {string} method
   * @param {string} target made by `path`
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  async call(method, target, { body, query, waitSeconds = 0, retry = true, idempotencyKey, signal } = {}) {
    /** @type {Record<string, string>} */
    const headers = { Accept: MESSAGEPACK };
    const sent = body === undefined ? undefined : encode(body, "request");
    if (sent !== undefined) headers["Content-Type"] = MESSAGEPACK;
    if (method !== "GET") headers["Idempotency-Key"] = idempotencyKey ?? uniqueText();
    const deadline = Date.now() + 1000 * (this.timeoutSeconds + waitSeconds);
    return this._again(retry, deadline, signal, async () => {
      const release = waitSeconds > 0 ? () => {} : await this._place();
      try {
        const answer = await this.request(method, withQuery(target, query), {
          headers, body: sent, signal, idleMilliseconds: Math.max(1, deadline - Date.now()),
        });
        return decoded(answer.status, answer.header("Content-Type"), await this.readAll(answer));
      } finally {
        release();
      }
    });
  }

  /**
   * One request, tried once; whatever is neither 200, 206 nor 304 is thrown, but for HEAD.
   *
   * @param {string} method
   * @param {string} target
   * @param {{headers?: Record<string, string>, body?: Asked["body"], query?: Record<string, unknown>, signal?: AbortSignal, idleMilliseconds?: number}} options
   * @returns {Promise<Answered>}
   */
  async request(method, target, { headers = {}, body, query, signal, idleMilliseconds = 1000 * this.timeoutSeconds }) {
    this._refuseIfClosed();
    const both = joined(this.closed, signal);
    try {
      const transport = this._transport ??= await transportFor(this.server);
      const answer = await transport.request({
        method,
        target: withQuery(target, query),
        headers: { Authorization: `Bearer ${this.server.key}`, ...headers },
        body, idleMilliseconds, signal: both.signal,
      });
      const isGood = [200, 206, 304].includes(answer.status);
      if (method === "HEAD" || answer.status === 304) both.end();
      if (isGood || method === "HEAD") return { ...answer, body: endedBy(answer.body, both.end) };
      let members;
      try {
        members = decoded(0, answer.header("Content-Type"), await this.readAll(answer));
      } catch (error) {
        // The refusal counts, whoever wrote it.
      }
      throw errorFromAnswer(answer.status, members, answer.header("Retry-After"));
    } catch (error) {
      both.end();
      throw this.unreachable(error, signal);
    }
  }

  /** @param {Answered} answer @returns {Promise<Uint8Array>} Its body. */
  async readAll(answer) {
    const parts = [];
    let bytes = 0;
    try {
      for await (const part of answer.body) {
        parts.push(part);
        bytes += part.length;
        if (bytes > ANSWER_BYTES_MAX) {
          answer.cancel();
          throw new DartError(`The answer has more than ${ANSWER_BYTES_MAX} bytes; ask for less at a time.`, { category: "too large" });
        }
      }
    } catch (error) {
      throw this.unreachable(error);
    }
    const whole = new Uint8Array(bytes);
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  /** @param {unknown} error @param {AbortSignal} [signal] @returns {DartError} What went wrong on the way. */
  unreachable(error, signal) {
    if (error instanceof DartError) return error;
    if (this.closed.aborted) return new DartError("The client was closed while it waited for the server.", { category: "closed" });
    if (signal?.aborted) return new DartError("The request was aborted by its signal.", { category: "aborted", cause: error });
    const told = /** @type {any} */ (error);
    const reason = told?.cause?.code ?? told?.code ?? told?.message ?? String(error);
    return new DartError(`No answer from ${this.server.url} (${reason}). Is the server running, and may this machine reach it?`, {
      category: "unreachable", cause: error,
    });
  }

  /** @param {number} seconds @param {AbortSignal} [signal] Sleep so long, or until the client is closed. */
  async sleep(seconds, signal) {
    const both = joined(this.closed, signal);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000 * seconds);
      const wake = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
      if (both.signal.aborted) wake();
      both.signal.addEventListener("abort", wake, { once: true });
    });
    both.end();
    this._refuseIfClosed();
    if (signal?.aborted) throw this.unreachable(new Error("aborted"), signal);
  }

  /** @param {number} attempt counted from 0 @returns {number} Seconds to wait before the next. */
  pause(attempt) {
    return Math.min(BACK_OFF_SECONDS[0] * 2 ** attempt, BACK_OFF_SECONDS[1]) * (0.5 + Math.random() / 2);
  }

  /** Break what waits, and end all connections. */
  close() {
    this._ending.abort();
    this._transport?.close();
  }

  /** @template T @param {boolean} retry @param {number} deadline @param {AbortSignal | undefined} signal @param {() => Promise<T>} attempt @returns {Promise<T>} */
  async _again(retry, deadline, signal, attempt) {
    for (let count = 0; ; count += 1) {
      try {
        return await attempt();
      } catch (error) {
        if (!retry || !isPassing(error)) throw error;
        const seconds = /** @type {DartError} */ (error).retryAfter ?? this.pause(count);
        if (Date.now() + 1000 * seconds >= deadline) throw error;
        await this.sleep(seconds, signal);
      }
    }
  }

  /** @returns {Promise<() => void>} One of the places for requests; the function gives it back. */
  async _place() {
    if (this._free > 0) this._free -= 1;
    else await new Promise((resolve) => { this._waiting.push(() => resolve(undefined)); });
    return () => {
      const next = this._waiting.shift();
      if (next) next();
      else this._free += 1;
    };
  }

  _refuseIfClosed() {
    if (this.closed.aborted) throw new DartError("The client is closed; make a new one.", { category: "closed" });
  }
}

/** @param {Server} server @returns {Promise<Transport>} */
async function transportFor(server) {
  if (globalThis.process?.versions?.node) return (await import("./transport_node.js")).nodeTransport(server);
  return (await import("./transport_fetch.js")).fetchTransport(server);
}

/** @param {AbortSignal} one @param {AbortSignal} [other] */
function joined(one, other) {
  const control = new AbortController();
  const abort = () => control.abort();
  for (const signal of [one, other]) {
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
  }
  return {
    signal: control.signal,
    end: () => { for (const signal of [one, other]) signal?.removeEventListener("abort", abort); },
  };
}

/** @param {AsyncIterable<Uint8Array>} body @param {() => void} end */
async function* endedBy(body, end) {
  try {
    yield* body;
  } finally {
    end();
  }
}

/** @param {number} status @param {string | null} type @param {Uint8Array} data */
function decoded(status, type, data) {
  if (type?.startsWith(MESSAGEPACK)) return decode(data, ENVELOPE_DEPTH);
  if (type?.startsWith("application/json")) {
    try {
      return JSON.parse(new TextDecoder().decode(data));
    } catch (error) {
      throw new DartError("The server's answer is no JSON.", { status, category: "malformed", cause: error });
    }
  }
  throw new DartError(`The answer has the type ${type}, which no DART server sends; is the URL right?`, { status, category: "malformed" });
}
