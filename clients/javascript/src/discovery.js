// Where the server is, how to know that it is the one, and with which key; in Node also from environment and files.

import { DartError } from "./errors.js";

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** @param {string} message @param {unknown} [cause] */
function wrong(message, cause) {
  return new DartError(message, { category: "configuration", code: 80, cause });
}

/** @param {string} text However it was written. @returns {string} 64 hexadecimal digits, or nothing. */
export function cleanFingerprint(text) {
  const digits = text.trim().toLowerCase().replace(/sha-?256=|[:\s]/g, "");
  if (digits && !/^[0-9a-f]{64}$/.test(digits)) {
    throw wrong(`The fingerprint ${JSON.stringify(text)} is not 64 hexadecimal digits (SHA-256); \`dart server info\` on the server's machine prints the right one.`);
  }
  return digits;
}

/**
 * Checked, and refused where nothing tells the server from another.
 *
 * @param {{url: string, key: string, fingerprint?: string, ca?: string}} server
 * @returns {import("./connection.js").Server}
 */
export function checked({ url, key, fingerprint = "", ca = "" }) {
  const server = { url: url.replace(/\/+$/, ""), key, fingerprint: cleanFingerprint(fingerprint), ca };
  if (!key) throw wrong(`No key for ${url}; pass \`key\` or set DART_KEY. The server's first key is in the file admin.key of its state directory.`);
  if (/^unix:\/./.test(server.url)) return server;
  let parts;
  try {
    parts = new URL(server.url);
  } catch (error) {
    throw wrong(`The server's URL ${JSON.stringify(url)} is not of the form https://HOST:PORT.`, error);
  }
  if (!["http:", "https:"].includes(parts.protocol)) throw wrong(`The server's URL ${JSON.stringify(url)} is not of the form https://HOST:PORT.`);
  const isNode = Boolean(globalThis.process?.versions?.node);
  if (parts.protocol === "http:" && !LOOPBACK.has(parts.hostname)) {
    throw wrong(`${url} is not encrypted and not on this machine; use https:// and the fingerprint.`);
  }
  if (parts.protocol === "https:" && isNode && !server.fingerprint && !ca) {
    throw wrong(`Nothing says that ${url} is the right server; pass \`fingerprint\` (DART_FINGERPRINT, printed by \`dart server info\` on the server's machine) or \`ca\`, a file of certificates to trust.`);
  }
  return server;
}

/**
 * What was said, then DART_URL, DART_KEY, DART_FINGERPRINT, DART_CA, then the server of this machine, by its state
 * directory (DART_STATE_DIR). In Node only.
 *
 * @param {{url?: string, key?: string, fingerprint?: string, ca?: string, stateDir?: string}} told
 * @returns {Promise<import("./connection.js").Server>}
 */
export async function find({ url, key, fingerprint, ca, stateDir }) {
  const [{ readFile }, os, nodePath] = await Promise.all([import("node:fs/promises"), import("node:os"), import("node:path")]);
  const environment = process.env;
  const base = environment.XDG_STATE_HOME || nodePath.join(os.homedir(), ".local", "state");
  const directory = stateDir ?? environment.DART_STATE_DIR ?? nodePath.join(base, "dart", "server");
  const read = async (/** @type {string} */ name) => readFile(nodePath.join(directory, name), "utf8").catch(() => "");
  const wanted = (url ?? (stateDir ? "" : environment.DART_URL) ?? "").replace(/\/+$/, "");
  const text = await read("server.json");
  let local;
  try {
    local = text ? JSON.parse(text) : undefined;
  } catch (error) {
    throw wrong(`${directory}/server.json is not a server's; stop the server and start it again.`, error);
  }
  if (!wanted && !local?.url) {
    throw new DartError(`No server runs with the state directory ${directory}; start one with \`dart server start\`, or name one with \`url\` (DART_URL).`, { category: "unreachable" });
  }
  const found = wanted || String(local.url).replace(/\/+$/, "");
  const isLocal = local !== undefined && String(local.url).replace(/\/+$/, "") === found;
  const isOther = Boolean(stateDir) && !url;
  const pinned = fingerprint ?? (isOther ? "" : environment.DART_FINGERPRINT) ?? "";
  const trusted = ca ?? (isOther ? "" : environment.DART_CA) ?? "";
  const localKey = isLocal ? (await read("admin.key")).trim() : "";
  return checked({
    url: found,
    key: key || (stateDir ? localKey : "") || environment.DART_KEY || localKey,
    fingerprint: pinned || trusted ? pinned : isLocal ? String(local.fingerprint ?? "") : "",
    ca: trusted,
  });
}
