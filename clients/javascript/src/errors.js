// Errors: one class, told apart by `code` (the server's stable number) and `category`.

/**
 * Whatever goes wrong. `message` says what is wrong and what to do about it.
 *
 * `code` is the server's number (`/openapi.json` lists them), 0 where the server said nothing. `category` is the
 * server's, or one of the client's own: `unreachable`, `untrusted` (another certificate than the pinned one), `closed`,
 * `configuration`, `aborted`; of a task that ended without a value: `task` (it raised; the message is the worker's
 * traceback), `lost`, `expired`, `cancelled`.
 */
export class DartError extends Error {
  /**
   * @param {string} message
   * @param {{code?: number, category?: string, status?: number, details?: Record<string, unknown>, cause?: unknown}} [more]
   */
  constructor(message, { code = 0, category = "internal", status = 0, details = {}, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "DartError";
    this.code = code;
    this.category = category;
    /** The HTTP status; 0 where no answer was involved. */
    this.status = status;
    /** Further members of the error, such as `field`, `job`, `offset`. */
    this.details = details;
  }

  /** Seconds after which the server wants the request again, or undefined. */
  get retryAfter() {
    const wanted = this.details.retry_after;
    return typeof wanted === "number" ? wanted : undefined;
  }
}

const LOST = 110;
const EXPIRED = 111;

/**
 * The error of an answer that is none of 200, 206 and 304.
 *
 * @param {number} status
 * @param {any} members The decoded body, of any shape: a proxy in between may have written it.
 * @param {string | null} retryAfter The header of that name.
 */
export function errorFromAnswer(status, members, retryAfter = null) {
  const error = members !== null && typeof members === "object" ? members.error : undefined;
  const seconds = retryAfter !== null && /^\d{1,6}$/.test(retryAfter) ? { retry_after: Number(retryAfter) } : {};
  if (error === null || typeof error !== "object") {
    return new DartError(`The server answered with HTTP status ${status} and no explanation.`, {
      status, category: status === 429 ? "over a limit" : status >= 502 ? "unavailable" : "internal", details: seconds,
    });
  }
  const { code, message, category, ...details } = error;
  return new DartError(typeof message === "string" ? message : `HTTP status ${status}`, {
    status,
    code: typeof code === "number" ? code : 0,
    category: typeof category === "string" ? category : "internal",
    details: { ...seconds, ...details },
  });
}

/**
 * The error of a result that has `error`, or bytes that are no value.
 *
 * @param {{error?: unknown, error_code?: number, encoding?: string, success?: any, worker?: string}} result
 */
export function outcomeError(result) {
  if (result.encoding === "damaged" && "success" in result) {
    return new DartError(`Worker ${JSON.stringify(result.worker)} answered with bytes that are no value (${result.success?.reason}). Is its agent of another version, or not an agent of DART? The result has the bytes.`, {
      code: 10, category: "malformed", details: { result },
    });
  }
  const code = result.error_code ?? 0;
  const category = code === LOST ? "lost" : code === EXPIRED ? "expired" : "task";
  return new DartError(String(result.error), { code, category, details: { result } });
}

/** @param {unknown} error @returns {boolean} Whether the same request may have more luck later. */
export function isPassing(error) {
  if (!(error instanceof DartError)) return false;
  return error.category === "unreachable" || [429, 502, 503, 504].includes(error.status) && error.code !== 70 && error.code !== 71;
}
