// One worker: its agents, what their machines are, what runs there prints.

import { act, get, path, serverNow } from "./api.js";
import { facts, h, say } from "./dom.js";
import { logPanel } from "./log.js";
import { action } from "./parts.js";
import { about, state, taskLink, took } from "./job.js";
import { Table } from "./table.js";
import { ago, moment, number } from "./text.js";

/** @param {any} agent */
function agentFacts(agent) {
  return facts([
    ["state", agent.connected ? (agent.draining ? "draining" : "connected") : "away"],
    ["last contact", agent.silent_seconds < 60 ? "now" : ago(agent.last_contact, serverNow())],
    ["slots busy", agent.connected ? `${number(agent.busy)} of ${number(agent.slots)}` : ""],
    ["tasks held", agent.connected ? number(agent.leases) : ""],
    ["spool", agent.spool_full ? "full: it takes no tasks until its results were taken" : ""],
    ["results held for others", agent.results_held || ""],
    ["capabilities", (agent.capabilities ?? []).join(", ")],
    ...Object.entries(agent.facts ?? {}).map(([name, value]) => /** @type {[string, any]} */ ([name.replaceAll("_", " "), value])),
    ["enrolled", `${moment(agent.enrolled_at)} UTC`],
    ["key", h("code", {}, agent.id)],
  ]);
}

/** @param {string} name @param {{scope: string}} session */
export function workerPage(name, session) {
  const agents = h("div");
  const drain = action("Drain this worker", () => `Drain ${name}? Its agents finish what they run, and leave.`, async () => {
    const said = await act("POST", path`/worker/${name}/drain/`);
    return `${number(said.draining)} agents were asked to finish and leave.`;
  });
  const log = logPanel("/events/", { worker: name }, () => true, (data) => [`${data.job} ${data.task}`, taskLink(data.job, data.task)]);
  let held = /** @type {any[]} */ ([]);
  let amount = 0;
  const tasks = new Table(
    "Tasks it holds",
    "tasks small",
    [
      { title: "Task", text: (row) => row.id, link: (row) => taskLink(row.job, row.id) },
      { title: "State", part: state },
      { title: "Job", kind: "minor", text: (row) => row.job, hint: (row) => row.job },
      { title: "How far it is", text: about, hint: about },
      { title: "Took", kind: "number minor", text: took },
      { title: "Attempts", kind: "number minor", text: (row) => number(row.attempts) },
    ],
    async (first, wanted) => ({ rows: held.slice(first, first + wanted), total: held.length }),
    () => (amount ? "It holds tasks of jobs that this key does not see." : "It holds no task."),
  );
  const count = h("span", { class: "count" });
  const holds = h("section", {}, h("div", { class: "tools" }, h("h2", {}, "Tasks it holds"), count), tasks.element);
  const element = h("div", {}, h("h1", { tabindex: "-1", class: "theirs", dir: "auto" }, name), session.scope === "admin" ? drain.element : null, holds, agents, log.element);
  let shown = "";

  async function tick() {
    const { worker } = await get(path`/worker/${name}/`);
    const now = JSON.stringify(worker.agents.map((/** @type {any} */ agent) => ({ ...agent, silent_seconds: agent.silent_seconds < 60, last_contact: agent.connected || ago(agent.last_contact, serverNow()) })));
    held = worker.tasks;
    amount = worker.agents.reduce((/** @type {number} */ sum, /** @type {any} */ agent) => sum + (agent.leases ?? 0), 0);
    say(count, amount > held.length ? `${number(held.length)} of ${number(amount)}` : number(amount));
    await tasks.refresh();
    if (now !== shown) {
      shown = now;
      agents.replaceChildren(
        ...worker.agents.map((/** @type {any} */ agent) => h("section", {}, h("h2", { class: "theirs" }, agent.host ? `Agent on ${agent.host}` : "Agent"), agentFacts(agent))),
      );
    }
  }

  return { element, tick, close: log.close, title: name };
}
