// The first page: is the work going on, how fast, and who does it?

import { follow, get } from "./api.js";
import { h, say, theirs } from "./dom.js";
import { jobTable } from "./lists.js";
import { plot, canPlot, MISSING } from "./plots.js";
import { brief, clock, duration, number, rate, short } from "./text.js";

const COLUMNS = ["at", "submitted", "finished", "failed", "open", "slots", "busy", "wait_p50", "wait_p95", "run_p50", "run_p95"];
const SAMPLES_MAX = 900;
const FEED_MAX = 100;

/** @param {Record<string, number>} amounts */
const sum = (amounts) => Object.values(amounts).reduce((all, one) => all + one, 0);

export function overviewPage() {
  const tiles = Object.fromEntries(
    ["Workers", "Slots busy", "Tasks waiting", "Finished", "Failed"].map((name) => [name, { value: h("span"), note: h("small") }]),
  );
  const list = h("dl", { class: "tiles" });
  for (const [name, { value, note }] of Object.entries(tiles)) {
    list.append(h("div", {}, h("dt", {}, name), h("dd", {}, value, " ", note)));
  }
  const trouble = h("section", { class: "trouble", role: "alert", hidden: true });
  const seconds = (/** @type {number} */ value) => duration(value);
  const each = (/** @type {number} */ value) => `${number(value)}/s`;
  const eachShort = (/** @type {number} */ value) => `${short(value)}/s`;
  const plots = {
    throughput: plot("Tasks finished", [{ label: "finished", tone: "good" }, { label: "failed", tone: "bad" }], each, eachShort),
    submitted: plot("Tasks submitted", [{ label: "submitted", tone: "busy" }], each, eachShort),
    open: plot("Tasks not finished", [{ label: "open", tone: "busy" }], number, short),
    slots: plot("Slots", [{ label: "all", tone: "quiet" }, { label: "busy", tone: "busy" }], number),
    wait: plot("From submission to a worker", [{ label: "half within", tone: "busy" }, { label: "95 % within", tone: "warn" }], seconds, brief),
    run: plot("How long tasks ran", [{ label: "half within", tone: "busy" }, { label: "95 % within", tone: "warn" }], seconds, brief),
  };
  const feed = h("ul", { class: "feed" }, h("li", { class: "quiet" }, "Nothing lately."));
  const jobs = jobTable({ open: true, isSmall: true });
  const element = h(
    "div",
    {},
    h("h1", { tabindex: "-1" }, "Overview"),
    trouble,
    list,
    h("h2", {}, "Jobs with open tasks"),
    jobs.table.element,
    canPlot() ? null : h("section", { class: "trouble" }, MISSING),
    h("div", { class: "plots" }, ...Object.values(plots).map((one) => one.element)),
    h("section", {}, h("h2", {}, "Workers and jobs that came and went (UTC)"), feed),
  );

  let history = /** @type {Record<string, number[]>} */ (Object.fromEntries(COLUMNS.map((name) => [name, []])));
  const end = new AbortController();
  follow("/events/", { after: "oldest", events: "worker,job" }, end.signal, (events) => {
    const made = events.filter(({ kind }) => kind !== "missed").map(({ kind, data }) => {
      const what = kind === "job" ? "job" : "worker";
      const name = kind === "job" ? data.job : data.worker;
      const where = kind === "job" && data.state !== "forgotten" ? `#/jobs/${encodeURIComponent(name)}` : `#/workers/${encodeURIComponent(name)}`;
      const shown = kind === "job" && data.state === "forgotten" ? theirs(name) : h("a", { href: where, class: "theirs" }, name);
      const reason = data.reason ? theirs(` (${data.reason})`) : null;
      return h("li", {}, h("span", { class: "quiet" }, `${clock(data.at)} ${what} `), shown, ` ${data.state}`, reason);
    });
    if (made.length) {
      feed.prepend(...made.reverse().slice(0, FEED_MAX));
      while (feed.childElementCount > FEED_MAX || feed.lastElementChild?.textContent === "Nothing lately.") {
        feed.lastElementChild?.remove();
      }
    }
  });

  async function tick() {
    const [said] = await Promise.all([get("/overview/", { since: history.at.at(-1) ?? 0 }), jobs.table.refresh()]);
    const { now } = said;
    if (said.history.at.length) {
      history = Object.fromEntries(COLUMNS.map((name) => [name, [...history[name], ...said.history[name]].slice(-SAMPLES_MAX)]));
    }
    trouble.hidden = !now.trouble;
    say(trouble, now.trouble ? `The server takes no work: ${now.trouble}` : "");
    const failed = now.finished.failed + now.finished.lost + now.finished.expired;
    const speed = history.finished.slice(-5).reduce((all, one) => all + one, 0) / 5;
    const texts = {
      Workers: [number(now.workers), now.draining ? `${number(now.draining)} draining` : "connected"],
      "Slots busy": [number(now.busy), `of ${number(now.slots)}`],
      "Tasks waiting": [number(now.tasks.queued + now.tasks.delayed), `${number(now.tasks.leased + now.tasks.running)} at workers`],
      Finished: [number(sum(now.finished)), speed ? rate(speed) : "since the start"],
      Failed: [number(failed), "since the start"],
    };
    for (const [name, [value, note]] of Object.entries(texts)) {
      say(tiles[name].value, value);
      say(tiles[name].note, note);
    }
    if (said.history.at.length) {
      const at = history.at.map((milliseconds) => milliseconds / 1000);
      const latency = (/** @type {string} */ name) => history[name].map((value) => (value < 0 ? null : value));
      plots.throughput.draw(at, [history.finished, history.failed]);
      plots.submitted.draw(at, [history.submitted]);
      plots.open.draw(at, [history.open]);
      plots.slots.draw(at, [history.slots, history.busy]);
      plots.wait.draw(at, [latency("wait_p50"), latency("wait_p95")]);
      plots.run.draw(at, [latency("run_p50"), latency("run_p95")]);
    }
  }

  function close() {
    end.abort();
    Object.values(plots).forEach((one) => one.close());
  }

  return { element, tick, close, title: "Overview" };
}
