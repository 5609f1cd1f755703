// Lines of running tasks as they come. What nobody can read any more is let go of.

import { follow } from "./api.js";
import { h, theirs } from "./dom.js";
import { number } from "./text.js";

const LINES_MAX = 2000;

/**
 * A panel with the lines of a job, a task or a worker.
 * @param {string} path of the stream @param {Record<string, any>} query @param {(data: any) => boolean} wanted @param {(data: any) => [string, string | null]} from who speaks, and where that leads
 */
export function logPanel(path, query, wanted, from) {
  const lines = h("div", { class: "log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Lines of running tasks" });
  const pausing = h("button", { type: "button", "aria-pressed": "false", on: { click: toggle } }, "Hold still");
  const empty = h("p", { class: "quiet" }, "Nothing was printed or reported lately.");
  lines.append(empty);
  const element = h("section", {}, h("h2", {}, "Live log"), h("div", { class: "tools" }, pausing), lines);
  const end = new AbortController();
  let isHeld = false;
  const held = /** @type {Node[]} */ ([]);

  function toggle() {
    isHeld = !isHeld;
    pausing.setAttribute("aria-pressed", String(isHeld));
    if (!isHeld) {
      append(held.splice(0));
    }
  }

  /** @param {Node[]} made */
  function append(made) {
    if (!made.length) {
      return;
    }
    empty.remove();
    const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 30;
    lines.append(...made.slice(-LINES_MAX));
    while (lines.childElementCount > LINES_MAX) {
      lines.firstElementChild?.remove();
    }
    if (isAtEnd) {
      lines.scrollTop = lines.scrollHeight;
    }
  }

  /** @param {any} data @param {string} text @param {string} tone */
  function line(data, text, tone = "") {
    const [who, where] = from(data);
    const speaker = where ? h("a", { class: "from theirs", href: where }, who) : h("span", { class: "from theirs" }, who);
    const said = theirs(text);
    said.classList.toggle("quiet", tone === "quiet");
    return h("p", {}, speaker, said);
  }

  follow(path, { after: "oldest", events: "log,progress", ...query }, end.signal, (events) => {
    const made = /** @type {Node[]} */ ([]);
    for (const { kind, data } of events) {
      if (kind === "missed") {
        made.push(h("p", { class: "warn" }, data.amount ? `${number(data.amount)} events are missing here.` : "Events are missing here."));
      } else if (wanted(data)) {
        if (kind === "log") {
          made.push(...data.lines.map((/** @type {string} */ text) => line(data, text)));
        } else {
          const share = data.fraction >= 0 ? `${Math.round(100 * data.fraction)} % ` : "";
          made.push(line(data, `${share}${data.text}`, "quiet"));
        }
      }
    }
    if (isHeld) {
      held.push(...made);
      held.splice(0, Math.max(0, held.length - LINES_MAX));
    } else {
      append(made);
    }
  });
  return { element, close: () => end.abort() };
}
