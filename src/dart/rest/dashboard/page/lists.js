// Tables of all workers and of all jobs.

import { get } from "./api.js";
import { h, say, set, sparkline } from "./dom.js";
import { choices, grouped, left, progress, search, Speeds } from "./parts.js";
import { counted, Table } from "./table.js";
import { ago, number, rate } from "./text.js";

/** @param {string} name */
export const jobLink = (name) => `#/jobs/${encodeURIComponent(name)}`;
/** @param {string} name */
export const workerLink = (name) => `#/workers/${encodeURIComponent(name)}`;

/** A table of jobs. @param {{open?: boolean, isSmall?: boolean}} wanted */
export function jobTable({ open = false, isSmall = false }) {
  const speeds = new Speeds();
  const query = { match: "", order: "newest", open };
  const bars = () => {
    const made = progress();
    return { element: made.element, draw: (/** @type {any} */ row) => made.draw(row.groups) };
  };
  const table = new Table(
    open ? "Jobs with open tasks" : "Jobs",
    isSmall ? "jobs small" : "jobs",
    [
      { title: "Job", text: (row) => row.name, link: (row) => jobLink(row.name), hint: (row) => row.name },
      { title: "Runs", kind: "quiet minor", text: (row) => `${row.module_path}.${row.method}`, hint: (row) => `${row.module_path}.${row.method}` },
      { title: "Progress", part: bars },
      { title: "Done", kind: "number", text: ({ groups }) => (groups.total ? `${Math.floor((100 * groups.done) / groups.total)} %` : "–"), hint: ({ groups }) => `${number(groups.done)} of ${number(groups.total)}` },
      { title: "Rate", kind: "number", text: (row) => rate(row.speed) },
      { title: "Failed", kind: "number minor bad", text: ({ groups }) => (groups.failed ? number(groups.failed) : "") },
      { title: "Time left", kind: "number minor", text: (row) => left(row.groups, row.speed) || (row.status === 2 ? "stopped" : row.standing ? "standing" : "") },
    ],
    async (offset, amount) => {
      const said = await get("/overview/jobs/", { ...query, offset, amount });
      for (const row of said.jobs) {
        row.groups = grouped(row.tasks);
        row.speed = speeds.note(row.name, row.groups.done);
      }
      return { rows: said.jobs, total: said.total };
    },
    () => (query.match ? `No job has “${query.match}” in its name.` : query.open ? "No job has open tasks." : "There are no jobs yet. They are made by the SDK, by dart run, and by POST /job/."),
  );
  return { table, query };
}

export function jobsPage() {
  const { table, query } = jobTable({});
  const count = h("span", { class: "count", role: "status" });
  const field = search("Find a job", (text) => ask({ match: text }));
  const order = choices("Order", [["newest", "Newest first"], ["name", "By name"]], "newest", (choice) => ask({ order: choice }));
  const which = choices("Show", [["false", "All"], ["true", "With open tasks"]], "false", (choice) => ask({ open: choice === "true" }));
  const element = h("div", {}, h("h1", { tabindex: "-1" }, "Jobs"), h("div", { class: "tools" }, field, order.element, which.element, count), table.element);

  /** @param {object} changes */
  function ask(changes) {
    Object.assign(query, changes);
    table.restart().catch(() => {});
  }

  async function tick() {
    await table.refresh();
    say(count, counted(table.total, "job"));
  }

  return { element, tick, close: () => {}, title: "Jobs", field };
}

export function workersPage() {
  const query = { match: "", only: "", order: "name" };
  const lines = () => {
    const made = sparkline();
    return { element: made.element, draw: (/** @type {any} */ row) => made.draw(row.loads) };
  };
  const state = () => {
    const element = h("span");
    return {
      element,
      draw(/** @type {any} */ row) {
        const text = row.connected ? (row.draining ? "draining" : `${number(row.busy)} of ${number(row.count)}`) : "away";
        say(element, text);
        set(element, "class", row.connected ? (row.draining ? "warn" : "") : "bad");
      },
    };
  };
  const table = new Table(
    "Workers",
    "workers",
    [
      { title: "Worker", text: (row) => row.name, link: (row) => workerLink(row.name), hint: (row) => row.name },
      { title: "Place", kind: "minor", text: (row) => row.hosts.join(", "), hint: (row) => row.hosts.join(", ") },
      { title: "Machine", kind: "minor", text: (row) => row.architectures.join(", "), hint: (row) => row.architectures.join(", ") },
      { title: "Load", part: lines },
      { title: "Busy", kind: "number", part: state },
      { title: "Last contact", kind: "number", text: (row, now) => ago(row.last_contact, now) },
      { title: "Version", kind: "minor", text: (row) => row.versions.join(", ") },
    ],
    async (offset, amount) => {
      const said = await get("/overview/workers/", { ...query, offset, amount });
      return { rows: said.workers, total: said.total };
    },
    () => {
      if (query.match || query.only) {
        const what = query.only && `is ${query.only}`;
        return `No worker ${[what, query.match && `has “${query.match}” in its name, place or machine`].filter(Boolean).join(" and ")}.`;
      }
      return "No worker was let in yet. Make a token with dart agent token, and give it to dart agent start where the work is to be done.";
    },
  );
  const count = h("span", { class: "count", role: "status" });
  const field = search("Find a worker, place or machine", (text) => ask({ match: text }));
  const orders = /** @type {[string, string][]} */ ([["name", "By name"], ["busy", "Busiest first"], ["contact", "Longest silent first"]]);
  const order = choices("Order", orders, "name", (choice) => ask({ order: choice }));
  const states = /** @type {[string, string][]} */ ([["", "All"], ["connected", "Connected"], ["away", "Away"], ["draining", "Draining"]]);
  const which = choices("Show", states, "", (choice) => ask({ only: choice }));
  const element = h("div", {}, h("h1", { tabindex: "-1" }, "Workers"), h("div", { class: "tools" }, field, which.element, order.element, count), table.element);

  /** @param {object} changes */
  function ask(changes) {
    Object.assign(query, changes);
    table.restart().catch(() => {});
  }

  async function tick() {
    await table.refresh();
    say(count, counted(table.total, "worker"));
  }

  return { element, tick, close: () => {}, title: "Workers", field };
}
