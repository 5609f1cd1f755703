// Tables of any length: only the rows in sight exist, and only they are asked for.

import { serverNow } from "./api.js";
import { h, say, set } from "./dom.js";
import { number } from "./text.js";

const ROW_PIXELS = 36;
const HIGHEST_PIXELS = 800;
const BEYOND = 6;
const PAGE = 100;
const READS_MAX = 10;

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {string} [kind] classes of its cells
 * @property {(row: any, now: number) => any} [text]
 * @property {(row: any) => string} [link] where its text leads
 * @property {(row: any) => string} [hint] all of what may be cut off
 * @property {() => {element: Element, draw(row: any): void}} [part] instead of text
 */

/** @typedef {{rows: any[], total: number}} Part `rows` of a list of `total`, from the row that was asked for */

/** A table whose rows come from `fetch(first, amount)`. */
export class Table {
  /**
   * @param {string} label @param {string} kind @param {Column[]} columns
   * @param {(first: number, amount: number) => Promise<Part>} fetch
   * @param {() => string} nothing what to say of an empty table
   */
  constructor(label, kind, columns, fetch, nothing) {
    this.columns = columns;
    this.fetch = fetch;
    this.slots = /** @type {any[]} */ ([]);
    this.total = -1;
    this.asked = 0;
    this.space = h("div", { class: "space", role: "none" });
    this.tell = nothing;
    this.nothing = h("p", { class: "nothing", hidden: true });
    this.window = h("div", { class: "window", role: "rowgroup", tabindex: "0", "aria-label": label }, this.space);
    const titles = columns.map((column) => h("span", { role: "columnheader", class: column.kind?.replace("bad", "") }, column.title));
    const head = h("div", { role: "rowgroup" }, h("div", { class: "row titles", role: "row" }, ...titles));
    this.table = h("div", { role: "table", "aria-label": label }, head, this.window);
    this.element = h("div", { class: `table ${kind}` }, this.table, this.nothing);
    this.window.addEventListener("scroll", () => this.soon(), { passive: true });
    this.waiting = false;
  }

  /** Ask again as soon as the scrolling lets us. */
  soon() {
    if (!this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.refresh().catch(() => {});
      });
    }
  }

  /** To the top, and ask again: other rows are wanted. */
  async restart() {
    this.window.scrollTop = 0;
    await this.refresh();
  }

  /** Ask for what is in sight. */
  async refresh() {
    const first = Math.max(0, Math.floor(this.window.scrollTop / ROW_PIXELS) - BEYOND);
    const amount = Math.ceil(Math.min(innerHeight, HIGHEST_PIXELS) / ROW_PIXELS) + 2 * BEYOND;
    const asked = ++this.asked;
    const part = await this.fetch(first, amount);
    if (asked === this.asked) {
      this.show(first, part);
    }
  }

  /** @param {number} first @param {Part} part */
  show(first, part) {
    if (part.total !== this.total) {
      this.total = part.total;
      this.space.style.height = `${part.total * ROW_PIXELS}px`;
      set(this.table, "aria-rowcount", part.total + 1);
      this.nothing.hidden = part.total > 0;
      this.window.hidden = part.total === 0;
    }
    if (part.total === 0) {
      say(this.nothing, this.tell());
    }
    while (this.slots.length < part.rows.length) {
      this.slots.push(this.slot());
    }
    const now = serverNow();
    this.slots.forEach((slot, at) => {
      const row = part.rows[at];
      slot.element.hidden = !row;
      if (row) {
        slot.element.style.transform = `translateY(${(first + at) * ROW_PIXELS}px)`;
        set(slot.element, "aria-rowindex", first + at + 2);
        slot.draw(row, now);
      }
    });
  }

  /** A row without content. */
  slot() {
    const drawers = /** @type {((row: any, now: number) => void)[]} */ ([]);
    const cells = this.columns.map((column) => {
      const cell = h("span", { role: "cell", class: column.kind });
      if (column.part) {
        const part = column.part();
        cell.append(part.element);
        drawers.push((row) => part.draw(row));
        return cell;
      }
      const text = column.link ? h("a", { class: "theirs", dir: "auto" }) : h("span", { class: "theirs", dir: "auto" });
      cell.append(text);
      drawers.push((row, now) => {
        const said = column.text ? column.text(row, now) : "";
        say(text, said);
        if (column.link) {
          set(text, "href", column.link(row));
        }
        set(cell, "title", column.hint ? column.hint(row) : null);
      });
      return cell;
    });
    const element = h("div", { class: "row", role: "row" }, ...cells);
    this.space.append(element);
    return { element, draw: (/** @type {any} */ row, /** @type {number} */ now) => drawers.forEach((draw) => draw(row, now)) };
  }
}

/**
 * Rows of a list that is read by cursors only, as if it could be read anywhere: where its pages begin is remembered as
 * one comes along, so the list grows while one scrolls.
 */
export class Pages {
  /** @param {(after: string, amount: number) => Promise<{rows: any[], next?: string}>} read */
  constructor(read) {
    this.read = read;
    /** Where pages begin: the cursor, and which row of the list comes first. */
    this.starts = [{ after: "0", row: 0 }];
    this.end = -1;
  }

  /** @param {string} after */
  restart(after) {
    this.starts = [{ after, row: 0 }];
    this.end = -1;
  }

  /** @param {number} first @param {number} amount @returns {Promise<Part>} */
  async part(first, amount) {
    const { starts } = this;
    let at = starts.findLastIndex((start) => start.row <= first);
    const begin = starts[at].row;
    const found = /** @type {any[]} */ ([]);
    for (let reads = 0; reads < READS_MAX && at < starts.length && starts[at].row < first + amount; reads += 1, at += 1) {
      const { rows, next } = await this.read(starts[at].after, PAGE);
      if (starts !== this.starts) {
        return { rows: [], total: 0 };
      }
      found.push(...rows);
      const row = starts[at].row + rows.length;
      if (!next) {
        starts.length = at + 1;
        this.end = row;
      } else if (starts[at + 1]?.after !== next || starts[at + 1].row !== row) {
        starts.length = at + 1;
        starts.push({ after: next, row });
        this.end = -1;
      }
    }
    const total = this.end >= 0 ? this.end : starts[starts.length - 1].row + PAGE / 2;
    return { rows: found.slice(first - begin, first - begin + amount), total };
  }
}

/** @param {number} amount @param {string} noun */
export const counted = (amount, noun) => `${number(amount)} ${noun}${amount === 1 ? "" : "s"}`;
