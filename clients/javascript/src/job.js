// A job: what runs where, submitted one by one, by the list, or as a stream.

import { path } from "./connection.js";
import { DartError } from "./errors.js";
import { Poller } from "./poller.js";
import { runRound } from "./rounds.js";

/** Tasks of one request, and of the first of a large submission: small, so that workers begin early. */
const TASKS_MAX = 5000;
const TASKS_FIRST = 1000;
const RESULTS_PAGE = 1000;
const FOLLOW_SECONDS = 2;

/**
 * What a task may say besides its parameter; docs/rest.md, "Tasks", has their meaning.
 *
 * @typedef {object} TaskOptions
 * @property {string} [location] the worker that must run it
 * @property {string[]} [requires]
 * @property {string[]} [after]
 * @property {number} [priority]
 * @property {number} [timeout] seconds one run may take
 * @property {number} [retries]
 * @property {number} [retryDelay]
 * @property {number} [lostRetries]
 * @property {number} [lostRetryDelay]
 * @property {"requeue" | "wait" | "fail"} [onLost]
 * @property {"queue" | "fail"} [ifOffline]
 * @property {number} [expires]
 * @property {string} [tag]
 */

const MEMBERS = /** @type {Record<string, string>} */ ({
  location: "location", requires: "requires", after: "after", priority: "priority", timeout: "timeout", retries: "retries",
  retryDelay: "retry_delay", lostRetries: "lost_retries", lostRetryDelay: "lost_retry_delay", onLost: "on_lost",
  ifOffline: "if_offline", expires: "expires", tag: "tag",
});

/** @param {TaskOptions} options @returns {Record<string, unknown>} As the REST interface has them. */
export function taskMembers(options) {
  return Object.fromEntries(Object.entries(options).map(([name, value]) => {
    if (MEMBERS[name] === undefined) throw new DartError(`A task has no option \`${name}\`; there are ${Object.keys(MEMBERS).join(", ")}.`, { code: 17, category: "invalid request" });
    return [MEMBERS[name], value];
  }));
}

/** One task on its way. Made by `Job`. */
export class Task {
  /** @param {Job} job @param {string} location */
  constructor(job, location) {
    this._job = job;
    this.location = location;
    /** @type {Promise<string>} */
    this.id = new Promise((resolve, reject) => { this._named = { resolve, reject }; });
    /** @type {Promise<any>} */
    this._result = new Promise((resolve, reject) => { this._waiter = { resolve, reject }; });
    // Whoever never asks is not to be told by the end of the process.
    this.id.catch(() => {});
    this._result.catch(() => {});
  }

  /**
   * What the method returned; throws a DartError of the category `task`, `lost`, `expired` or `cancelled` otherwise.
   *
   * @returns {Promise<any>}
   */
  result() { return this._result; }

  /** Cancel it at the server. @returns {Promise<boolean>} False: it had ended already. */
  async cancel() { return this._job._cancel(await this.id); }
}

/** One method of one module on the workers. Made by `Client.job`. */
export class Job {
  /** @param {import("./client.js").Client} client @param {string} name @param {string} cursor */
  constructor(client, name, cursor) {
    this.client = client;
    this.name = name;
    this._connection = client.connection;
    this._poller = new Poller(client.connection, name, cursor);
    /** @type {{task: Task, entry: Record<string, unknown>}[]} */
    this._gathered = [];
  }

  /**
   * Queue one task. Tasks that are submitted in the same turn of the event loop travel in one request; a refusal
   * becomes the task's error. Bytes and arrays in the parameter that are larger than the client's `inlineBytesMax` are
   * sent before it, as blobs, each once.
   *
   * @param {unknown} parameter @param {TaskOptions} [options] @returns {Task}
   */
  submit(parameter, options = {}) {
    const task = new Task(this, options.location ?? "");
    if (!this._gathered.length) setTimeout(() => void this._flush(), 0);
    this._gathered.push({ task, entry: { ...taskMembers(options), parameter } });
    return task;
  }

  /**
   * Queue a task for each parameter; resolves when the server has all of them on disk.
   *
   * @param {Iterable<unknown>} parameters @param {TaskOptions & {locations?: string[]}} [options] `locations`: one a task, instead of one for all
   * @returns {Promise<Task[]>}
   */
  async submitMany(parameters, { locations, ...options } = {}) {
    const members = taskMembers(options);
    const all = locations === undefined ? parameters : [...parameters];
    if (Array.isArray(all) && locations !== undefined && all.length !== locations.length) {
      throw new DartError(`${all.length} parameters and ${locations.length} locations; one a task is needed.`, { code: 17, category: "invalid request" });
    }
    /** @type {Task[]} */
    const tasks = [];
    let piece = [];
    for (const parameter of all) {
      const location = locations?.[tasks.length] ?? options.location;
      const task = new Task(this, location ?? "");
      tasks.push(task);
      piece.push({ task, entry: { ...members, ...(location === undefined ? {} : { location }), parameter } });
      if (piece.length >= (tasks.length <= TASKS_FIRST ? TASKS_FIRST : TASKS_MAX)) {
        await this._post(piece);
        piece = [];
      }
    }
    if (piece.length) await this._post(piece);
    return tasks;
  }

  /**
   * Values in the order of the parameters, which may be a stream without end: at most `lookAhead` tasks are open.
   *
   * @param {Iterable<unknown> | AsyncIterable<unknown>} parameters @param {TaskOptions & {lookAhead?: number}} [options]
   * @returns {AsyncGenerator<any, void, void>}
   */
  async* map(parameters, { lookAhead = 1000, ...options } = {}) {
    /** @type {Task[]} */
    const open = [];
    try {
      for await (const parameter of parameters) {
        open.push(this.submit(parameter, options));
        if (open.length >= lookAhead) {
          yield await open[0].result();
          open.shift();
        }
      }
      while (open.length) {
        yield await open[0].result();
        open.shift();
      }
    } finally {
      // Also when the reader stops early, or one failed.
      await Promise.allSettled(open.map((task) => task.cancel()));
    }
  }

  /**
   * One task for each worker named, each with its own parameter; ends when enough have answered or the time is over.
   *
   * @param {Map<string, unknown> | Record<string, unknown>} parameters by the worker's name
   * @param {import("./rounds.js").RoundOptions & TaskOptions} [options]
   * @returns {Promise<import("./rounds.js").Round>}
   */
  round(parameters, options = {}) { return runRound(this, parameters, options); }

  /**
   * All results of the job, oldest first; those of others' tasks too.
   *
   * @param {{workerRegex?: string, follow?: boolean, signal?: AbortSignal}} [options] `follow`: go on until the job is stopped
   * @returns {AsyncGenerator<import("./client.js").Result, void, void>}
   */
  async* results({ workerRegex, follow = false, signal } = {}) {
    let cursor = "0";
    for (;;) {
      const wait = follow ? FOLLOW_SECONDS : 0;
      const answer = await this._connection.call("GET", path("job", this.name, "results"), {
        query: { amount: RESULTS_PAGE, worker_regex: workerRegex, after: cursor, wait: wait || undefined }, waitSeconds: wait, signal,
      });
      cursor = answer.cursor ?? cursor;
      yield* answer.results;
      if (!answer.results.length && (!follow || answer.job.status !== 1)) return;
    }
  }

  /** @returns {Promise<import("./client.js").JobInfo>} */
  async info() { return (await this._connection.call("GET", path("job", this.name))).job; }

  /** Stop it: queued tasks are cancelled, running ones interrupted; results stay readable. */
  async stop() {
    await this._connection.call("DELETE", path("job", this.name));
    await this._poller.sweep();
  }

  /** Forget definition, tasks and results. */
  async purge() {
    await this._connection.call("DELETE", path("job", this.name), { query: { purge: true } });
    this._poller.failAll(new DartError(`The job ${this.name} was purged.`, { category: "cancelled" }));
  }

  /** @param {string} id */
  async _cancel(id) {
    const { cancelled = true } = await this._connection.call("DELETE", path("job", this.name, "tasks", id));
    if (cancelled) this._poller.forget(id, new DartError("The task was cancelled.", { category: "cancelled" }));
    return Boolean(cancelled);
  }

  async _flush() {
    const gathered = this._gathered;
    this._gathered = [];
    for (let at = 0; at < gathered.length; at += TASKS_MAX) {
      // Its error is that of its tasks.
      await this._post(gathered.slice(at, at + TASKS_MAX)).catch(() => {});
    }
  }

  /** @param {{task: Task, entry: Record<string, unknown>}[]} piece */
  async _post(piece) {
    /** @type {[string, import("./poller.js").Waiter][]} */
    let made = [];
    this._poller.beginPost();
    try {
      const entries = await this.client.large.shelve(piece.map(({ entry }) => entry));
      const answer = await this._connection.call("POST", path("job", this.name, "tasks"), { body: { location_and_parameters: entries } });
      piece.forEach(({ task }, i) => task._named.resolve(answer.tasks[i]));
      made = piece.map(({ task }, i) => [answer.tasks[i], task._waiter]);
    } catch (error) {
      for (const { task } of piece) {
        task._named.reject(error);
        task._waiter.reject(error);
      }
      throw error;
    } finally {
      this._poller.endPost(made);
    }
  }
}

/**
 * The tasks in the order in which they end.
 *
 * @param {Iterable<Task>} tasks @returns {AsyncGenerator<Task, void, void>}
 */
export async function* asCompleted(tasks) {
  /** @type {Task[]} */
  const ended = [];
  let wake = () => {};
  let left = 0;
  for (const task of tasks) {
    left += 1;
    const end = () => {
      ended.push(task);
      wake();
    };
    task.result().then(end, end);
  }
  for (let at = 0; at < left; at += 1) {
    if (at >= ended.length) await new Promise((resolve) => { wake = () => resolve(undefined); });
    yield ended[at];
  }
}
