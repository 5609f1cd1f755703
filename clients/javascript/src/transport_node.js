// HTTP in Node: pinned certificates, unix sockets, streams both ways.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { Readable } from "node:stream";
import tls from "node:tls";

import { DartError } from "./errors.js";

const CONNECT_MILLISECONDS = 5000;
const CONNECTIONS_KEPT = 8;

/**
 * An https.Agent that gives out no connection but to the server that is meant: nothing, and no key, is written to
 * another. A pinned certificate is the server; its names and dates say nothing more.
 */
class PinnedAgent extends https.Agent {
  /** @param {string} fingerprint @param {string} url */
  constructor(fingerprint, url) {
    // A resumed session brings no certificate to look at.
    super({ keepAlive: true, maxFreeSockets: CONNECTIONS_KEPT, maxCachedSessions: 0 });
    this._fingerprint = fingerprint;
    this._url = url;
  }

  /** @param {any} options @param {(error: Error | null, socket?: any) => void} give @returns {any} */
  createConnection(options, give) {
    const socket = tls.connect({ ...options, minVersion: "TLSv1.2", rejectUnauthorized: false });
    const late = setTimeout(() => socket.destroy(new Error("no TLS connection in time")), CONNECT_MILLISECONDS);
    const end = (/** @type {Error | null} */ error) => {
      clearTimeout(late);
      socket.removeListener("error", end);
      if (error) {
        socket.on("error", () => {});
        socket.destroy();
        give(error);
      } else give(null, socket);
    };
    socket.once("error", end);
    socket.once("secureConnect", () => {
      const raw = socket.getPeerCertificate().raw;
      const found = raw ? createHash("sha256").update(raw).digest("hex") : "";
      end(found === this._fingerprint ? null : untrusted(this._url));
    });
  }
}

/** @param {string} url @param {unknown} [cause] */
function untrusted(url, cause) {
  return new DartError(
    `${url} has another certificate than the one expected. Compare the fingerprint with \`dart server info\` on the`
    + " server's machine; somebody may be in between.",
    { category: "untrusted", cause },
  );
}

/**
 * @param {import("./connection.js").Server} server
 * @returns {import("./connection.js").Transport}
 */
export function nodeTransport(server) {
  const isUnix = server.url.startsWith("unix:");
  const url = isUnix ? new URL("http://localhost") : new URL(server.url);
  const isPlain = url.protocol === "http:";
  const agent = isPlain
    ? new http.Agent({ keepAlive: true, maxFreeSockets: CONNECTIONS_KEPT })
    : server.fingerprint
      ? new PinnedAgent(server.fingerprint, server.url)
      : new https.Agent({
        keepAlive: true, maxFreeSockets: CONNECTIONS_KEPT, minVersion: "TLSv1.2",
        ca: server.ca ? readFileSync(server.ca) : undefined,
      });
  const where = isUnix ? { socketPath: server.url.slice("unix:".length) } : { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port || 443 };

  return {
    request({ method, target, headers, body, idleMilliseconds, signal }) {
      return new Promise((resolve, reject) => {
        const request = (isPlain ? http : https).request({ ...where, method, path: target, headers, agent, signal });
        request.setTimeout(idleMilliseconds, () => request.destroy(new Error("timed out")));
        request.on("error", (error) => {
          const told = /** @type {NodeJS.ErrnoException} */ (error);
          const isTrust = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME/.test(told.code ?? "");
          reject(isTrust ? untrusted(server.url, error) : error);
        });
        request.on("response", (response) => {
          resolve({
            status: response.statusCode ?? 0,
            header: (name) => {
              const found = response.headers[name.toLowerCase()];
              return found === undefined ? null : String(found);
            },
            body: response,
            cancel: () => { response.destroy(); },
          });
        });
        if (body === undefined) request.end();
        else if (body instanceof Uint8Array) request.end(body);
        else {
          const source = Readable.from(/** @type {any} */ (body), { objectMode: false });
          source.on("error", (error) => request.destroy(error));
          source.pipe(request);
        }
      });
    },
    close() { agent.destroy(); },
  };
}
