// Brings the results of one job's open tasks: one long poll at a time, there only while something is open.

import { path } from "./connection.js";
import { DartError, isPassing, outcomeError } from "./errors.js";

/** One long poll; after an empty one the poller looks whether somebody cancelled what it waits for. */
const WAIT_SECONDS = 10;
/** A server away for so long fails the tasks' promises; the tasks go on all the same. */
const PATIENCE_SECONDS = 300;
const AMOUNT = 10_000;
const PAGE = 1000;
const FINISHED = new Set(["succeeded", "failed", "cancelled", "expired", "lost"]);

/** @typedef {{resolve: (value: unknown) => void, reject: (error: unknown) => void}} Waiter */

export class Poller {
  /** @param {import("./connection.js").Connection} connection @param {string} job @param {string} cursor */
  constructor(connection, job, cursor) {
    this._connection = connection;
    this._job = job;
    this._cursor = cursor;
    /** @type {Map<string, Waiter>} */
    this._open = new Map();
    /** Results of tasks whose ids are still on their way here. @type {Map<string, any>} */
    this._early = new Map();
    this._posting = 0;
    this._isRunning = false;
    this._amount = AMOUNT;
    this._ending = new AbortController();
  }

  /** Tasks are about to be sent: from now on unknown results are kept. */
  beginPost() { this._posting += 1; }

  /** @param {[string, Waiter][]} made Ids that the submission was answered with; none: it failed. */
  endPost(made) {
    this._posting -= 1;
    for (const [id, waiter] of made) {
      const early = this._early.get(id);
      if (early === undefined) this._open.set(id, waiter);
      else {
        this._early.delete(id);
        settle(waiter, early);
      }
    }
    if (this._posting === 0) this._early.clear();
    if (this._open.size && !this._isRunning) {
      this._isRunning = true;
      this._ending = new AbortController();
      void this._run();
    }
  }

  /** @param {string} id Nobody waits for this one any more. @param {DartError} error */
  forget(id, error) {
    this._open.get(id)?.reject(error);
    this._open.delete(id);
    if (!this._open.size) this._ending.abort();
  }

  /** @param {DartError} error No further result will come. */
  failAll(error) {
    const left = [...this._open.values()];
    this._open.clear();
    this._ending.abort();
    for (const waiter of left) waiter.reject(error);
  }

  async _run() {
    let awaySince = 0;
    for (let attempt = 0; this._open.size; attempt += 1) {
      try {
        await this._poll();
        awaySince = 0;
        attempt = 0;
      } catch (error) {
        const told = /** @type {DartError} */ (error);
        if (told.category === "aborted") continue;
        awaySince ||= Date.now();
        if (told.code === 31) this.failAll(new DartError(`The job ${this._job} was purged at the server before this task's result came.`, { category: "lost" }));
        else if (!isPassing(error) || Date.now() - awaySince > 1000 * PATIENCE_SECONDS) this.failAll(told);
        else await this._connection.sleep(told.retryAfter ?? this._connection.pause(attempt)).catch((closed) => this.failAll(closed));
      }
    }
    this._isRunning = false;
  }

  async _poll() {
    let answer;
    try {
      answer = await this._fetch(this._amount);
    } catch (error) {
      if (!(error instanceof DartError) || error.category !== "malformed" || error.status >= 400) throw error;
      return this._isolate(error);
    }
    this._cursor = answer.cursor ?? this._cursor;
    if (!answer.results.length) return this.sweep();
    for (const result of answer.results) {
      const waiter = this._open.get(result.id);
      if (waiter) {
        this._open.delete(result.id);
        settle(waiter, result);
      } else if (this._posting) this._early.set(result.id, result);
    }
    return undefined;
  }

  /** @param {number} amount @returns {Promise<any>} */
  _fetch(amount) {
    return this._connection.call("GET", path("job", this._job, "results"), {
      query: { wait: WAIT_SECONDS, after: this._cursor, amount }, waitSeconds: WAIT_SECONDS, retry: false, signal: this._ending.signal,
    });
  }

  /** @param {DartError} error A worker sent a value that cannot be read here: find the one, so that only its own promise fails. */
  async _isolate(error) {
    if (this._amount > 1) {
      this._amount = 1;
      return;
    }
    // JSON shows whose it is, whatever the value.
    const answer = await this._connection.request("GET", path("job", this._job, "results"), {
      headers: { Accept: "application/json" }, query: { after: this._cursor, amount: 1 }, signal: this._ending.signal,
    });
    const found = JSON.parse(new TextDecoder().decode(await this._connection.readAll(answer)));
    this._cursor = found.cursor;
    this._amount = AMOUNT;
    for (const { id } of found.results) this.forget(id, error);
  }

  /** Find open tasks that were cancelled or forgotten: such tasks have no result to wait for. */
  async sweep() {
    const waiting = [...this._open.keys()].map(Number).sort((a, b) => a - b);
    if (!waiting.length) return;
    const counts = (await this._connection.call("GET", path("job", this._job))).job.tasks ?? {};
    const alive = Object.entries(counts).reduce((sum, [state, count]) => sum + (FINISHED.has(state) ? 0 : Number(count)), 0);
    if (!counts.cancelled && alive >= waiting.length) return;
    const states = new Map(waiting.map((id) => [String(id), ""]));
    for (let after = String(waiting[0] - 1); ;) {
      const page = await this._connection.call("GET", path("job", this._job, "tasks"), { query: { after, amount: PAGE } });
      for (const task of page.tasks) if (states.has(task.id)) states.set(task.id, task.state);
      after = page.next ?? "";
      if (!after || after === "0" || Number(after) > waiting[waiting.length - 1]) break;
    }
    for (const [id, state] of states) {
      if (state === "cancelled") this.forget(id, new DartError("The task was cancelled at the server.", { category: "cancelled" }));
      else if (state === "") this.forget(id, new DartError("The task's result was deleted at the server before it was read.", { category: "lost" }));
    }
  }
}

/** @param {Waiter} waiter @param {any} result */
function settle(waiter, result) {
  if ("success" in result && result.encoding !== "damaged") waiter.resolve(result.success);
  else waiter.reject(outcomeError(result));
}
