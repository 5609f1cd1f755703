// One job: how far it is, its tasks and why they wait, and what they print.

import { act, get, path } from "./api.js";
import { facts, h, say, set } from "./dom.js";
import { jobLink } from "./lists.js";
import { logPanel } from "./log.js";
import { action, choices, GROUPS, grouped, left, progress, search, Speeds, tone } from "./parts.js";
import { Pages, Table } from "./table.js";
import { brief, duration, moment, number, rate } from "./text.js";

const NAMES = /** @type {[string, string][]} */ ([
  ["all", "All"],
  ["active", "At workers"],
  ["waiting", "Waiting"],
  ["failed", "Failed"],
  ["succeeded", "Succeeded"],
  ["cancelled", "Cancelled"],
]);

/** @param {string} job @param {string} id */
export const taskLink = (job, id) => `${jobLink(job)}/tasks/${encodeURIComponent(id)}`;

/** What there is to say of a task in one line. @param {any} task */
export function about(task) {
  if (task.pending_reason) {
    return task.pending_reason;
  }
  if (task.progress) {
    return `${task.progress.fraction >= 0 ? `${Math.round(100 * task.progress.fraction)} % ` : ""}${task.progress.text}`;
  }
  return task.error_code ? `error code ${task.error_code}` : (task.tag ?? "");
}

/** How long it ran, or runs by now. @param {any} task @param {number} now */
export function took(task, now) {
  if (task.duration) {
    return duration(task.duration);
  }
  return task.start_time ? brief(Math.max(0, Math.round((now - task.start_time) / 1000))) : "";
}

/** A cell with the state of a task. */
export function state() {
  const element = h("span");
  return {
    element,
    draw(/** @type {any} */ row) {
      say(element, row.state);
      set(element, "class", tone(row.state));
    },
  };
}

/** @param {string} name @param {{scope: string}} session */
export function jobPage(name, session) {
  const speeds = new Speeds();
  const made = progress();
  const numbers = h("p", { class: "quiet", role: "status" });
  const about_ = h("div");
  let group = "";
  const pages = new Pages(async (after, amount) => {
    const query = /** @type {Record<string, any>} */ ({ after, amount });
    if (group !== "all") {
      query.state = GROUPS[group].join(",");
    }
    const said = await get(path`/job/${name}/tasks/`, query);
    return { rows: said.tasks, next: said.next };
  });
  const table = new Table(
    "Tasks",
    "tasks small",
    [
      { title: "Task", text: (row) => row.id, link: (row) => taskLink(name, row.id) },
      { title: "State", part: state },
      { title: "Worker", kind: "minor", text: (row) => row.worker || row.location || "any", hint: (row) => row.worker || row.location },
      { title: "Why it waits, or how far it is", text: about, hint: about },
      { title: "Took", kind: "number minor", text: took },
      { title: "Attempts", kind: "number minor", text: (row) => number(row.attempts) },
    ],
    (first, amount) => pages.part(first, amount),
    () => (group === "all" ? "There are no tasks from here on." : "No task is in such a state."),
  );
  const which = choices("Show", NAMES, "", (choice) => choose(choice, "0"));
  const jump = search("From task id", (text) => choose(group, /^\d+$/.test(text) ? String(BigInt(text) - (text === "0" ? 0n : 1n)) : "0"));
  const stop = action("Stop this job", () => `Stop the job ${name}? Its open tasks are cancelled; running ones are interrupted.`, async () => {
    const said = await act("DELETE", path`/job/${name}/`);
    return `Stopped; ${number(said.cancelled)} tasks were open.`;
  });
  const log = logPanel(path`/job/${name}/events/`, {}, () => true, (data) => [`${data.worker ?? ""} ${data.task}`, taskLink(name, data.task)]);
  const element = h(
    "div",
    {},
    h("h1", { tabindex: "-1", class: "theirs", dir: "auto" }, name),
    h("section", { class: "large" }, made.element, numbers, about_, session.scope === "read" ? null : stop.element),
    h("div", { class: "tools" }, which.element, jump),
    table.element,
    log.element,
  );

  /** @param {string} choice @param {string} after */
  function choose(choice, after) {
    group = choice;
    which.press(choice);
    pages.restart(after);
    table.restart().catch(() => {});
  }

  let shown = "";
  async function tick() {
    const { job } = await get(path`/job/${name}/`);
    const groups = grouped(job.tasks);
    const speed = speeds.note(name, groups.done);
    if (!group) {
      group = ["active", "waiting", "failed"].find((one) => groups[one] > 0) ?? "all";
      which.press(group);
    }
    made.draw(groups);
    const remaining = left(groups, speed);
    say(
      numbers,
      [
        `${number(groups.done)} of ${number(groups.total)} tasks finished`,
        groups.failed ? `${number(groups.failed)} failed` : "",
        rate(speed),
        remaining ? `about ${remaining} left` : "",
        job.status === 2 ? "stopped" : "",
      ].filter(Boolean).join(" · "),
    );
    NAMES.forEach(([one, text], at) => say(which.buttons[at], `${text} ${number(one === "all" ? groups.total : groups[one])}`));
    stop.button.hidden = job.status === 2;
    const told = JSON.stringify(job.config);
    if (told !== shown) {
      shown = told;
      const { module_path: module, method, ...others } = job.config;
      const rest = Object.entries(others).map(([key, value]) => /** @type {[string, any]} */ ([key, typeof value === "object" ? JSON.stringify(value) : String(value)]));
      about_.replaceChildren(facts([["runs", `${module}.${method}`], ["defined", `${moment(job.defined_at)} UTC`], ...rest]));
    }
    await table.refresh();
  }

  return { element, tick, close: log.close, title: name };
}
