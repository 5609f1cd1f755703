// One task: where it is and why it waits, what it prints, what came of it.

import { act, get, path } from "./api.js";
import { bar, facts, h, say, set, theirs } from "./dom.js";
import { jobLink, workerLink } from "./lists.js";
import { logPanel } from "./log.js";
import { action, tone } from "./parts.js";
import { duration, moment, number, size } from "./text.js";

const SHOWN_BYTES_MAX = 512 * 1024;
const OPEN = ["queued", "delayed", "leased", "running"];

/** @param {string} name @param {string} id @param {{scope: string}} session */
export function taskPage(name, id, session) {
  const state = h("strong");
  const reason = h("span", { class: "theirs" });
  const reasons = h("ul", { class: "reasons" });
  const some = h("p", { class: "quiet" }, "Of the first 20 workers that come into question:");
  const waits = h("section", { "aria-label": "Why it waits" }, h("h2", {}, "Why it waits"), reason, some, reasons);
  const made = bar();
  const told = h("p", { class: "theirs", role: "status" });
  const progress = h("section", { class: "large" }, h("h2", {}, "Progress"), made.element, told);
  const about = h("div");
  const value = h("pre", { class: "value theirs", tabindex: "0", "aria-label": "What came of it" });
  const title = h("h2");
  const outcome = h("section", { hidden: true }, title, value);
  const cancel = action("Cancel this task", () => `Cancel task ${id} of ${name}? If it runs, it is interrupted.`, async () => {
    const said = await act("DELETE", path`/job/${name}/tasks/${id}/`);
    return said.cancelled ? "Cancelled." : "It had finished.";
  });
  const log = logPanel(path`/job/${name}/events/`, {}, (data) => data.task === id, (data) => [data.worker ?? "", null]);
  const element = h(
    "div",
    {},
    h("h1", { tabindex: "-1" }, `Task ${id} of `, h("a", { href: jobLink(name), class: "theirs" }, name)),
    h("section", {}, h("p", {}, state), about, session.scope === "read" ? null : cancel.element),
    waits,
    progress,
    outcome,
    log.element,
  );
  waits.hidden = progress.hidden = some.hidden = true;

  let shown = "";
  let isRead = false;

  /** @param {any} task */
  async function readOutcome(task) {
    isRead = true;
    outcome.hidden = false;
    say(title, task.state === "succeeded" ? "Result" : "Error");
    set(title, "class", tone(task.state));
    if (task.result_bytes > SHOWN_BYTES_MAX) {
      value.textContent = `It has ${size(task.result_bytes)}, too much for this page. Get it with: dart result get, or the SDK.`;
      return;
    }
    const { result } = await get(path`/job/${name}/results/${id}/`);
    const came = "error" in result ? result.error : result.success;
    value.textContent = (typeof came === "string" ? came : JSON.stringify(came, null, 2)) + (result.encoding ? "\n(base64)" : "");
  }

  async function tick() {
    const { task } = await get(path`/job/${name}/tasks/${id}/`);
    const isOpen = OPEN.includes(task.state);
    say(state, task.state);
    set(state, "class", tone(task.state));
    cancel.button.hidden = !isOpen;
    waits.hidden = !task.pending_reason;
    say(reason, task.pending_reason ?? "");
    const all = (task.pending_reasons ?? []).filter((/** @type {string} */ text) => text !== task.pending_reason);
    if (all.join("\n") !== Array.from(reasons.children, (one) => one.textContent).join("\n")) {
      some.hidden = !all.length;
      reasons.replaceChildren(...all.map((/** @type {string} */ text) => theirs(text, "li")));
    }
    progress.hidden = !task.progress;
    if (task.progress) {
      const share = Math.round(100 * Math.max(0, task.progress.fraction ?? 0));
      made.draw({ active: share }, `${share} %`);
      say(told, `${task.progress.fraction >= 0 ? `${share} % ` : ""}${task.progress.text}`);
    }
    const { id: _, state: __, progress: ___, pending_reason: ____, pending_reasons: _____, ...rest } = task;
    const now = JSON.stringify(rest);
    if (now !== shown) {
      shown = now;
      about.replaceChildren(
        facts([
          ["worker", task.worker ? h("a", { href: workerLink(task.worker), class: "theirs" }, task.worker) : ""],
          ["host", task.host],
          ["location", task.location || (task.worker ? "" : "any worker")],
          ["requires", (task.requires ?? []).join(", ")],
          ["after", (task.after ?? []).join(", ")],
          ["attempts", number(task.attempts)],
          ["started", task.start_time ? `${moment(task.start_time)} UTC` : ""],
          ["finished", task.finished_at ? `${moment(task.finished_at)} UTC` : ""],
          ["took", task.duration ? duration(task.duration) : ""],
          ["priority", task.priority ? number(task.priority) : ""],
          ["error code", task.error_code ?? ""],
          ["tag", task.tag ?? ""],
        ]),
      );
    }
    if (!isOpen && task.state !== "cancelled" && !isRead) {
      await readOutcome(task);
    }
  }

  return { element, tick, close: log.close, title: `Task ${id}` };
}
