// The frame: who is logged in, which page is shown, and that it is kept fresh.

import { forget, get, logIn, logOut, mayBeIn, pause, Refused, serverNow } from "./api.js";
import { auditPage } from "./audit.js";
import { h, say, set } from "./dom.js";
import { jobPage } from "./job.js";
import { keysPage } from "./keys.js";
import { jobsPage, workersPage } from "./lists.js";
import { overviewPage } from "./overview.js";
import { taskPage } from "./task.js";
import { clock } from "./text.js";
import { workerPage } from "./worker.js";

/** @typedef {{element: HTMLElement, tick: () => Promise<any>, close: () => void, title: string, field?: HTMLElement}} Page */

const TICK_MILLISECONDS = 500;
const TROUBLE_MILLISECONDS = 2000;
const PAGES = /** @type {[string, string, string][]} */ ([
  ["#/", "Overview", "read"],
  ["#/workers", "Workers", "read"],
  ["#/jobs", "Jobs", "read"],
  ["#/keys", "Keys", "admin"],
  ["#/audit", "Audit", "admin"],
]);

/** @param {string} id @returns {any} */
const by = (id) => document.getElementById(id);
const main = by("main");
const notice = h("section", { class: "trouble", role: "alert", hidden: true });
let session = /** @type {any} */ (null);
let page = /** @type {Page | null} */ (null);

/** @param {string} hash @returns {Page} */
function pageOf(hash) {
  const [, kind = "", name, , id] = hash.split("/").map(decode);
  if (kind === "jobs") {
    return id ? taskPage(name, id, session) : name ? jobPage(name, session) : jobsPage();
  }
  if (kind === "workers") {
    return name ? workerPage(name, session) : workersPage();
  }
  if (kind === "keys" && session.scope === "admin") {
    return keysPage();
  }
  if (kind === "audit" && session.scope === "admin") {
    return auditPage();
  }
  return overviewPage();
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function show() {
  page?.close();
  page = pageOf(location.hash);
  notice.hidden = true;
  main.replaceChildren(notice, page.element);
  document.title = `${page.title} – DART`;
  const kind = location.hash.split("/")[1] ?? "";
  for (const link of by("pages").querySelectorAll("a")) {
    set(link, "aria-current", link.getAttribute("href") === `#/${kind}` ? "page" : null);
  }
  main.querySelector("h1")?.focus({ preventScroll: true });
  scrollTo(0, 0);
  keepFresh(page);
}

/** Ask again and again, as long as this page is shown to somebody. @param {Page} shown */
async function keepFresh(shown) {
  let again = TICK_MILLISECONDS;
  let asOf = 0;
  while (page === shown) {
    const began = performance.now();
    try {
      await shown.tick();
      asOf = serverNow();
      shown.element.hidden = false;
      live("● live", "good", "");
      again = TICK_MILLISECONDS;
    } catch (error) {
      if (page !== shown) {
        return;
      }
      if (error instanceof Refused && error.status === 401) {
        leave(error.message);
        return;
      }
      const isThere = error instanceof Refused && error.status < 500;
      shown.element.hidden = isThere && !asOf;  // what is not there has no empty tables
      const old = asOf ? ` What is shown is of ${clock(asOf)} UTC.` : "";
      live("○ not live", "bad", isThere ? error.message : `The server does not answer; trying again.${old}`);
      again = TROUBLE_MILLISECONDS;
    }
    await pause(Math.max(100, again - (performance.now() - began)));
    if (document.hidden) {
      await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
    }
  }
}

/** Whether what is shown is of now, and why it is not. @param {string} text @param {string} tone @param {string} why */
function live(text, tone, why) {
  say(by("live"), text);
  set(by("live"), "class", tone);
  say(notice, why);
  notice.hidden = !why;
}

/** @param {any} who */
function enter(who) {
  session = who;
  by("leave").hidden = false;
  by("pages").replaceChildren(
    ...PAGES.filter(([, , scope]) => scope === "read" || scope === who.scope).map(([href, text]) => h("li", {}, h("a", { href }, text))),
  );
  const bound = who.jobs || who.job_regex || who.workers || who.worker_regex ? ", bound" : "";
  say(by("who"), `${who.name} (${who.scope}${bound})`);
  set(by("who"), "title", by("who").textContent);
  show();
}

/** Show the way in. @param {string} why @param {boolean} isOver whether the session is; otherwise nobody knows */
function leave(why, isOver = true) {
  if (isOver) {
    forget();
  }
  page?.close();
  page = null;
  session = null;
  by("leave").hidden = true;
  by("pages").replaceChildren();
  say(by("live"), "");
  say(by("who"), "");
  document.title = "DART";
  const trouble = h("p", { class: "bad", role: "alert" }, why);
  const field = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = h(
    "form",
    { on: { submit: begin } },
    h("h1", { tabindex: "-1" }, "Log in"),
    h("label", { for: "key" }, "API key"),
    field,
    h("div", { class: "buttons" }, h("button", {}, "Log in")),
    trouble,
    h("p", { class: "quiet" }, "The first key is in the file ", h("code", {}, "admin.key"), " of the server's state directory; ", h("code", {}, "dart key add"), " makes further ones. It is sent once and not kept: this browser gets a session, for 12 hours at most."),
  );
  main.replaceChildren(h("section", { class: "gate" }, form));
  field.focus();

  /** @param {Event} event */
  async function begin(event) {
    event.preventDefault();
    trouble.textContent = "";
    const key = field.value.trim();
    field.value = "";
    try {
      enter(await logIn(key));
    } catch (error) {
      trouble.textContent = error instanceof Refused ? error.message : "The server does not answer.";
      field.focus();
    }
  }
}

by("leave").addEventListener("click", async () => {
  await logOut().catch(() => {});
  leave("");
});
addEventListener("hashchange", () => {
  if (session && location.hash.startsWith("#/")) {
    show();
  }
});
addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey && page?.field) {
    event.preventDefault();
    page.field.focus();
  }
});

async function begin() {
  if (!mayBeIn()) {
    leave("");
    return;
  }
  try {
    enter((await get("/session/")).session);
  } catch (error) {
    const isOver = error instanceof Refused && error.status === 401;
    leave(isOver ? "" : "The server does not answer; load this page again.", isOver);
  }
}

begin();
