// HTTP in browsers, and wherever else there is `fetch`. Who the server is, the browser decides.

/**
 * @param {import("./connection.js").Server} server
 * @returns {import("./connection.js").Transport}
 */
export function fetchTransport(server) {
  return {
    async request({ method, target, headers, body, idleMilliseconds, signal }) {
      const control = new AbortController();
      const abort = () => control.abort();
      if (signal?.aborted) abort();
      signal?.addEventListener("abort", abort, { once: true });
      /** @type {any} */
      let timer;
      const heard = () => {
        clearTimeout(timer);
        timer = setTimeout(abort, idleMilliseconds);
      };
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      heard();
      try {
        // Browsers send no streams over HTTP/1: pieces are put together first. What is large comes as a Blob.
        const whole = body === undefined || body instanceof Uint8Array || isBlob(body) ? body : await gathered(body);
        const answer = await fetch(server.url + target, {
          method, headers, body: /** @type {any} */ (whole), signal: control.signal, credentials: "omit", cache: "no-store", redirect: "error",
        });
        heard();
        return {
          status: answer.status,
          header: (/** @type {string} */ name) => answer.headers.get(name),
          body: pieces(answer, heard, end),
          cancel: () => {
            end();
            abort();
          },
        };
      } catch (error) {
        end();
        throw error;
      }
    },
    close() {},
  };
}

/** @param {unknown} body @returns {boolean} */
function isBlob(body) {
  return typeof Blob !== "undefined" && body instanceof Blob;
}

/** @param {Response} answer @param {() => void} heard @param {() => void} end */
async function* pieces(answer, heard, end) {
  const reader = answer.body?.getReader();
  try {
    while (reader) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      yield value;
    }
  } finally {
    end();
    await reader?.cancel().catch(() => {});
  }
}

/** @param {any} body */
async function gathered(body) {
  const parts = [];
  for await (const part of body) parts.push(part);
  return new Blob(parts);
}
