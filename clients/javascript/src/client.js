// The client: calls of the REST interface as methods, and jobs with promises on top.

import { getBlob, putBlob } from "./blobs.js";
import { Connection, path } from "./connection.js";
import { checked, find } from "./discovery.js";
import { DartError } from "./errors.js";
import { openEvents } from "./events.js";
import { Job, taskMembers } from "./job.js";
import { INLINE_BYTES_MAX, LargeValues } from "./large_values.js";

const PAGE = 1000;

/**
 * @typedef {import("../build/openapi.js").components["schemas"]} Schemas
 * @typedef {Schemas["Job"]} JobInfo
 * @typedef {Schemas["Result"]} Result
 * @typedef {Schemas["Server"]} ServerInfo
 * @typedef {Schemas["Task"]} TaskInfo
 * @typedef {Schemas["Worker"]} WorkerInfo
 * @typedef {Schemas["WholeWorker"]} WholeWorker
 *
 * @typedef {object} ClientOptions
 * @property {number} [timeoutSeconds] for one call, repeated attempts included; long polls take their waiting on top (60)
 * @property {number} [concurrency] requests in flight; further ones wait for a place (16)
 * @property {number | null} [inlineBytesMax] larger bytes and arrays in parameters are sent as blobs (1 MiB); null: none are
 * @property {import("./connection.js").Transport} [transport] in the place of Node's own or `fetch`
 *
 * @typedef {import("./job.js").TaskOptions & {modulePath?: string, method?: string, standing?: boolean, parameter?: unknown,
 *   workerRegex?: string, retention?: {seconds?: number, results?: number, bytes?: number}}} JobOptions
 */

/** A connection to one DART server. */
export class Client {
  /**
   * In browsers who the server is, the browser decides; in Node a certificate's `fingerprint` or a `ca` is needed.
   *
   * @param {{url: string, key: string, fingerprint?: string, ca?: string} & ClientOptions} options
   */
  constructor({ url, key, fingerprint, ca, inlineBytesMax = INLINE_BYTES_MAX, ...options }) {
    const server = checked({ url, key, fingerprint, ca });
    this.url = server.url;
    this.connection = new Connection(server, options);
    this.large = new LargeValues(this.connection, inlineBytesMax);
  }

  /**
   * In Node: the server that was named, or that DART_URL, DART_KEY and DART_FINGERPRINT name, or that of this machine.
   *
   * @param {{url?: string, key?: string, fingerprint?: string, ca?: string, stateDir?: string} & ClientOptions} [told]
   * @returns {Promise<Client>}
   */
  static async connect({ url, key, fingerprint, ca, stateDir, ...options } = {}) {
    return new Client({ ...await find({ url, key, fingerprint, ca, stateDir }), ...options });
  }

  /** End all connections; what waits fails, tasks go on at the server. */
  close() { this.connection.close(); }

  /**
   * Any call of the REST interface.
   *
   * @param {string} method @param {string[]} parts segments of the path @param {import("./connection.js").CallOptions} [options]
   * @returns {Promise<any>}
   */
  call(method, parts, options) { return this.connection.call(method, path(...parts), options); }

  /**
   * Define a job, or attach to the one of this name. Without `modulePath` it must exist.
   *
   * @param {string} name @param {JobOptions} [options] @returns {Promise<Job>}
   */
  async job(name, { modulePath, method, standing, parameter, workerRegex, retention, ...defaults } = {}) {
    if (modulePath !== undefined && method !== undefined) {
      try {
        await this.call("POST", ["job"], { body: {
          name, module_path: modulePath, method, standing, parameter, worker_regex: workerRegex, retention, ...taskMembers(defaults),
        } });
        return new Job(this, name, "0");
      } catch (error) {
        if (!(error instanceof DartError) || error.code !== 41) throw error;
        const { config } = (await this.call("GET", ["job", name])).job;
        if (config.module_path !== modulePath || config.method !== method) throw error;
      }
    }
    // It may have a long history; none of it is of tasks that are still to be submitted here.
    const { cursor } = await this.call("GET", ["job", name, "results"], { query: { amount: 0, after: "now" } });
    return new Job(this, name, cursor);
  }

  /** @returns {AsyncGenerator<JobInfo, void, void>} All jobs, with counts of their tasks by state. */
  async* jobs() { yield* this._pages(["job"], "jobs", ""); }

  /** @param {string} job @returns {AsyncGenerator<TaskInfo, void, void>} */
  async* tasks(job) { yield* this._pages(["job", job, "tasks"], "tasks", "0"); }

  /** @param {string} job @param {string} id @returns {Promise<TaskInfo>} */
  async task(job, id) { return (await this.call("GET", ["job", job, "tasks", id])).task; }

  /** @returns {Promise<ServerInfo>} */
  async server() { return (await this.call("GET", ["server"])).servers[0]; }

  /** @returns {Promise<WorkerInfo[]>} The connected ones, one entry a name. */
  async workers() { return (await this.call("GET", ["worker"])).workers; }

  /** @param {string} name @returns {Promise<WholeWorker>} */
  async worker(name) { return (await this.call("GET", ["worker", name])).worker; }

  /**
   * What happens, as it happens. A broken connection is made anew and goes on where it was; what could not be had any
   * more is told by an event of the kind `missed`. Resolves when the server has told where the stream stands: nothing is
   * lost from then on.
   *
   * @param {import("./events.js").EventOptions} [options]
   */
  events(options = {}) { return openEvents(this.connection, options); }

  /**
   * Send a large value to the server, under its hash: what it has already is not sent again, and a cut connection goes
   * on where it broke. The reference stands for the bytes in parameters.
   *
   * @param {import("./blobs.js").Source} source @param {{onProgress?: import("./blobs.js").Progress, signal?: AbortSignal}} [options]
   */
  putBlob(source, options) { return putBlob(this.connection, source, options); }

  /**
   * The bytes of a blob, piece by piece. They may be used when the end came without an error: only then the hash is right.
   *
   * @param {import("./value_types.js").BlobReference} reference
   * @param {{onProgress?: import("./blobs.js").Progress, signal?: AbortSignal}} [options]
   */
  getBlob(reference, options) { return getBlob(this.connection, reference, options); }

  /** @param {string[]} parts @param {string} member @param {string} from @returns {AsyncGenerator<any, void, void>} */
  async* _pages(parts, member, from) {
    for (let after = from; ;) {
      const page = await this.call("GET", parts, { query: { after, amount: PAGE } });
      yield* page[member];
      after = page.next ?? "";
      if (!after || after === "0") return;
    }
  }
}
