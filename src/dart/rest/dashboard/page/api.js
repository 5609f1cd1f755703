// The server's calls, in a session: a cookie that no script sees, and the proof that is kept here and goes in a header.

const PROOF = "dart.session";

/** An answer that is no success. */
export class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Whether there may be a session. */
export const mayBeIn = () => localStorage.getItem(PROOF) !== null;

let skew = 0;

/** Unix ms by the server's clock. */
export const serverNow = () => Date.now() + skew;

/** @param {string} path @param {RequestInit} options */
async function send(path, options) {
  const headers = { "X-Dart-Session": localStorage.getItem(PROOF) ?? "", ...options.headers };
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin", redirect: "error" });
  const ahead = Date.parse(answer.headers.get("Date") ?? "") - Date.now();
  // The header has whole seconds: what is less is no difference of the clocks.
  skew = Math.abs(ahead) > 2000 ? ahead : 0;
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, said.error?.message ?? `The server answered ${answer.status}.`);
  }
  return answer;
}

/** Ask for something. @param {string} path @param {Record<string, any>} [query] @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, query = {}, signal) {
  const asked = new URLSearchParams(query).toString();
  return (await send(asked ? `${path}?${asked}` : path, { signal })).json();
}

/** Do something. @param {string} method @param {string} path @returns {Promise<any>} */
export async function act(method, path) {
  return (await send(path, { method })).json();
}

/** A path with names in it, whatever they are. @param {TemplateStringsArray} texts @param {...string} names */
export function path(texts, ...names) {
  return texts.reduce((made, text, at) => made + encodeURIComponent(names[at - 1]) + text);
}

/** Begin a session; the key is in this request and nowhere else. @param {string} key */
export async function logIn(key) {
  const answer = await send("/session/", { method: "POST", headers: { Authorization: `Bearer ${key}` } });
  const { session, proof } = await answer.json();
  localStorage.setItem(PROOF, proof);
  return session;
}

/** Forget the session, here and there. */
export async function logOut() {
  try {
    await act("DELETE", "/session/");
  } finally {
    forget();
  }
}

export const forget = () => localStorage.removeItem(PROOF);

const REST_MILLISECONDS = 2000;
const BREATH_MILLISECONDS = 50;

/**
 * What happens, as it happens, until the signal says stop; goes on where it was after a cut. Reads no faster than the
 * page can show: the server drops what nobody takes, and says so by an event `missed`.
 * @param {string} at @param {Record<string, any>} query @param {AbortSignal} signal @param {(events: {kind: string, data: any}[]) => void} take
 */
export async function follow(at, query, signal, take) {
  let last = "";
  while (!signal.aborted) {
    try {
      const asked = new URLSearchParams(query);
      const headers = /** @type {Record<string, string>} */ (last ? { "Last-Event-ID": last } : {});
      const answer = await send(`${at}?${asked}`, { headers, signal });
      const reader = /** @type {any} */ (answer.body).pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        const blocks = (rest + piece.value).split("\n\n");
        rest = /** @type {string} */ (blocks.pop());
        const events = [];
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
          last = fields.id ?? last;
          if (fields.event) {
            events.push({ kind: fields.event, data: JSON.parse(fields.data) });
          }
        }
        if (events.length) {
          take(events);
          await pause(BREATH_MILLISECONDS);
        }
      }
    } catch (error) {
      if (error instanceof Refused && error.status < 500 && error.status !== 429) {
        return;
      }
    }
    if (!signal.aborted) {
      await pause(REST_MILLISECONDS);
    }
  }
}

/** @param {number} milliseconds */
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
