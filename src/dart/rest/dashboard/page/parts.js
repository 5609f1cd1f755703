// What several pages share: how far a job is and how fast, states, questions.

import { bar, h, set } from "./dom.js";
import { duration, number } from "./text.js";

const WINDOW_MILLISECONDS = 30_000;

/** Every state in the group that people ask for. */
export const GROUPS = /** @type {Record<string, string[]>} */ ({
  active: ["leased", "running"],
  waiting: ["queued", "delayed"],
  failed: ["failed", "lost", "expired"],
  succeeded: ["succeeded"],
  cancelled: ["cancelled"],
});

/** @param {Record<string, number>} tasks amounts by state @returns {Record<string, number>} by group, and `total`, `done` */
export function grouped(tasks) {
  const found = Object.fromEntries(
    Object.entries(GROUPS).map(([group, states]) => [group, states.reduce((sum, state) => sum + (tasks[state] ?? 0), 0)]),
  );
  const done = found.succeeded + found.failed + found.cancelled;
  return { ...found, done, total: done + found.active + found.waiting };
}

/** How fast jobs go, from what was seen of them in the last half minute. */
export class Speeds {
  constructor() {
    this.seen = /** @type {Map<string, {at: number, done: number}[]>} */ (new Map());
  }

  /** Tasks a second; 0: not known yet, or none. @param {string} job @param {number} done */
  note(job, done) {
    const at = performance.now();
    const seen = this.seen.get(job) ?? [];
    if (seen.length && done < seen[seen.length - 1].done) {
      seen.length = 0;
    }
    seen.push({ at, done });
    while (seen.length > 2 && at - seen[1].at > WINDOW_MILLISECONDS) {
      seen.shift();
    }
    this.seen.set(job, seen);
    const span = at - seen[0].at;
    return span > 0 ? (1000 * (done - seen[0].done)) / span : 0;
  }
}

/** What is left at this speed. @param {Record<string, number>} groups @param {number} speed */
export function left(groups, speed) {
  const open = groups.active + groups.waiting;
  return open && speed > 0 ? duration(open / speed) : "";
}

/** A bar of a job's tasks. */
export function progress() {
  const made = bar();
  return {
    element: made.element,
    /** @param {Record<string, number>} groups */
    draw(groups) {
      const share = 100 / Math.max(1, groups.total);
      const parts = { done: groups.succeeded * share, wrong: groups.failed * share, active: groups.active * share };
      const told = `${number(groups.done)} of ${number(groups.total)} tasks finished, ${number(groups.failed)} failed`;
      made.draw(parts, told);
      set(made.element, "title", told);
    },
  };
}

/** The colour of a state. @param {string} state */
export const tone = (state) => ({ failed: "bad", lost: "bad", expired: "bad", succeeded: "good", delayed: "warn" })[state] ?? "";

/** Ask before something is done that cannot be undone. @param {string} text @param {string} yes @returns {Promise<boolean>} */
export function sure(text, yes) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("ask"));
  /** @type {HTMLElement} */ (document.getElementById("ask-text")).textContent = text;
  /** @type {HTMLElement} */ (document.getElementById("ask-yes")).textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** A button that asks, does, and says what came of it. @param {string} label @param {() => string} question @param {() => Promise<any>} run */
export function action(label, question, run) {
  const told = h("span", { role: "status", class: "quiet" });
  const button = h("button", { type: "button", class: "danger", on: { click } }, label);
  async function click() {
    if (await sure(question(), label)) {
      told.textContent = "";
      try {
        told.textContent = (await run()) ?? "";
      } catch (error) {
        told.textContent = /** @type {Error} */ (error).message;
      }
    }
  }
  return { button, element: h("div", { class: "buttons" }, button, told) };
}

/** A field to search in, that waits for a pause in the typing. @param {string} label @param {(text: string) => void} take */
export function search(label, take) {
  let timer = 0;
  const field = h("input", {
    type: "search",
    placeholder: label,
    "aria-label": label,
    on: {
      input: () => {
        clearTimeout(timer);
        timer = setTimeout(() => take(field.value), 150);
      },
    },
  });
  return field;
}

/** Buttons of which one is pressed. @param {string} label @param {[string, string][]} choices @param {string} chosen @param {(choice: string) => void} take */
export function choices(label, choices, chosen, take) {
  const buttons = choices.map(([name, text]) => h("button", { type: "button", on: { click: () => choose(name) } }, text));
  function press(/** @type {string} */ name) {
    buttons.forEach((button, at) => set(button, "aria-pressed", choices[at][0] === name));
  }
  function choose(/** @type {string} */ name) {
    press(name);
    take(name);
  }
  press(chosen);
  const element = h("div", { class: "buttons", role: "group", "aria-label": label }, h("span", { class: "quiet", "aria-hidden": "true" }, label), ...buttons);
  return { element, buttons, press };
}
