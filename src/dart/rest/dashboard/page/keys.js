// The API keys, for who may do everything. Making one is for the command line: its text belongs into no page.

import { act, get, path } from "./api.js";
import { h, say } from "./dom.js";
import { sure } from "./parts.js";
import { counted, Table } from "./table.js";
import { ago, moment } from "./text.js";

/** What a key is bound to. @param {any} key */
function bounds(key) {
  const named = [...(key.jobs ?? []), ...(key.job_regex ? [`/${key.job_regex}/`] : [])];
  const there = [...(key.workers ?? []), ...(key.worker_regex ? [`/${key.worker_regex}/`] : [])];
  return [named.length ? `jobs ${named.join(", ")}` : "", there.length ? `workers ${there.join(", ")}` : ""].filter(Boolean).join("; ");
}

export function keysPage() {
  const told = h("p", { role: "status", class: "quiet" }, "Keys are added with ", h("code", {}, "dart key add"), ".");
  const count = h("span", { class: "count" });
  const revoke = () => {
    const element = h("button", { type: "button", class: "danger", on: { click: () => ask() } }, "Revoke");
    let key = /** @type {any} */ (null);
    async function ask() {
      if (await sure(`Revoke the key ${key.name}? Whoever uses it is refused from then on.`, "Revoke this key")) {
        try {
          await act("DELETE", path`/key/${key.id}/`);
          say(told, `The key ${key.name} was revoked.`);
        } catch (error) {
          say(told, /** @type {Error} */ (error).message);
        }
      }
    }
    return {
      element,
      draw(/** @type {any} */ row) {
        key = row;
        element.hidden = !row.valid || row.id === "admin" || row.id.startsWith("legacy-");
        element.setAttribute("aria-label", `Revoke ${row.name}`);
      },
    };
  };
  let keys = /** @type {any[]} */ ([]);
  const table = new Table(
    "Keys",
    "keys",
    [
      { title: "Key", text: (row) => row.name, hint: (row) => `${row.name} (${row.id})` },
      { title: "Scope", text: (row) => row.scope },
      { title: "Bound to", kind: "minor", text: bounds, hint: bounds },
      { title: "Last used", kind: "minor", text: (row, now) => (row.last_used_at ? ago(row.last_used_at, now) : "") },
      { title: "Counts", kind: "minor", text: (row) => (row.valid ? (row.expires_at ? `until ${moment(row.expires_at).slice(0, 10)}` : "yes") : `no: ${row.reason ?? ""}`), hint: (row) => row.reason ?? moment(row.expires_at) },
      { title: "", part: revoke },
    ],
    async (first, amount) => ({ rows: keys.slice(first, first + amount), total: keys.length }),
    () => "There are no keys.",
  );
  const element = h("div", {}, h("h1", { tabindex: "-1" }, "Keys"), h("div", { class: "tools" }, told, count), table.element);

  async function tick() {
    ({ keys } = await get("/key/"));
    await table.refresh();
    say(count, counted(keys.length, "key"));
  }

  return { element, tick, close: () => {}, title: "Keys" };
}
