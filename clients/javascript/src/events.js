// What happens at the server, as it happens: Server-Sent Events, read and resumed.

import { path } from "./connection.js";
import { DartError, isPassing } from "./errors.js";

/** The server says something every ten seconds; after so long without it the connection is made anew. */
const QUIET_MILLISECONDS = 45_000;
/** Of one line; no server sends one as long. */
const LINE_CHARACTERS_MAX = 64 * 2 ** 20;

/**
 * Something that happened: `id` is where in the stream it stands, `kind` one of `job`, `queued`, `task`, `result`,
 * `progress`, `log`, `worker`, or `missed` (some could not be had any more), `data` its members (docs/events.md).
 *
 * @typedef {{id: string, kind: string, data: Record<string, any>}} Event
 *
 * @typedef {object} EventOptions
 * @property {string} [job] only of this one, else of all, and of the workers
 * @property {string} [after] `now`, `oldest` (all that the server still has), or the `id` of an event
 * @property {string[]} [kinds] only these
 * @property {string} [worker] only of this one, and of tasks for it or at it
 * @property {boolean} [follow] false: end when what there is has been read
 * @property {AbortSignal} [signal] ends it
 */

/** Takes a stream apart, as its bytes come. */
export class EventParser {
  constructor(after = "") {
    /** Of what was read to its end; of an event that was cut in the middle only the id may have come. */
    this.lastId = after;
    this._id = after;
    this._decoder = new TextDecoder();
    this._begun = "";
    this._kind = "";
    /** @type {string[]} */
    this._data = [];
  }

  /** @param {Uint8Array} bytes @returns {Event[]} The events that are complete with these. */
  feed(bytes) {
    const lines = (this._begun + this._decoder.decode(bytes, { stream: true })).split("\n");
    this._begun = lines.pop() ?? "";
    if (this._begun.length > LINE_CHARACTERS_MAX) {
      throw new DartError("The server sends an event without end; is the URL right?", { category: "malformed" });
    }
    return lines.flatMap((line) => this._line(line.replace(/\r$/, "")));
  }

  /** @param {string} line @returns {Event[]} */
  _line(line) {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? ["", "", ""];
    if (line === "") {
      const [kind, text] = [this._kind, this._data.join("\n")];
      this._kind = "";
      this._data = [];
      this.lastId = this._id;
      return text ? [{ id: this.lastId, kind, data: members(text) }] : [];
    }
    if (name === "id") this._id = value;
    else if (name === "event") this._kind = value;
    else if (name === "data") this._data.push(value);
    return [];
  }
}

/** @param {string} text */
function members(text) {
  try {
    const found = JSON.parse(text);
    if (found !== null && typeof found === "object") return found;
  } catch (error) {
    // told below
  }
  throw new DartError("An event of the server cannot be read; is the URL right?", { category: "malformed" });
}

/**
 * Events from a place on; resolves when the server has told where that is, so nothing is lost from then on.
 *
 * @param {import("./connection.js").Connection} connection
 * @param {EventOptions} options
 * @returns {Promise<AsyncGenerator<Event, void, void>>}
 */
export async function openEvents(connection, options) {
  const found = read(connection, options);
  await found.next();
  return /** @type {AsyncGenerator<Event, void, void>} */ (found);
}

/**
 * Nothing when the first connection stands, then events; a broken one is made anew, and goes on where it was.
 *
 * @param {import("./connection.js").Connection} connection
 * @param {EventOptions} options
 * @returns {AsyncGenerator<Event | undefined, void, void>}
 */
async function* read(connection, { job, after = "now", kinds = [], worker, follow = true, signal }) {
  const target = job === undefined ? path("events") : path("job", job, "events");
  const query = { events: kinds.join(",") || undefined, worker, follow: follow ? undefined : false };
  let place = after;
  let heardAt = Date.now();
  let hasBegun = false;
  for (let attempt = 0; ; attempt += 1) {
    const parser = new EventParser(place);
    try {
      /** @type {Record<string, string>} */
      const resumed = /^[0-9a-f]{8}-\d+$/.test(place) ? { "Last-Event-ID": place } : {};
      const answer = await connection.request("GET", target, {
        headers: { Accept: "text/event-stream", ...resumed }, query: { ...query, after: place }, signal, idleMilliseconds: QUIET_MILLISECONDS,
      });
      if (!answer.header("Content-Type")?.startsWith("text/event-stream")) {
        answer.cancel();
        throw new DartError("The answer is no stream of events; is the URL right?", { category: "malformed" });
      }
      try {
        for await (const piece of answer.body) {
          heardAt = Date.now();
          attempt = 0;
          const found = parser.feed(piece);
          place = parser.lastId;
          if (!hasBegun) yield undefined;
          hasBegun = true;
          yield* found;
        }
      } catch (error) {
        throw connection.unreachable(error, signal);
      } finally {
        answer.cancel();
      }
      if (!follow) return;
    } catch (error) {
      if (/** @type {any} */ (error)?.category === "aborted") return;
      const isOver = Date.now() - heardAt > 1000 * connection.timeoutSeconds;
      if (!follow || !isPassing(error) || isOver) throw error;
    }
    await connection.sleep(connection.pause(attempt), signal).catch((error) => {
      if (error.category !== "aborted") throw error;
    });
    if (signal?.aborted) return;
  }
}
