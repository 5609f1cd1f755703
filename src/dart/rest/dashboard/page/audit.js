// Who did what, the newest first.

import { get } from "./api.js";
import { h, set, say } from "./dom.js";
import { Pages, Table } from "./table.js";
import { moment, when } from "./text.js";

export function auditPage() {
  const pages = new Pages(async (after, amount) => {
    const said = await get("/audit/", { newest: true, after, amount });
    return { rows: said.audit, next: said.next };
  });
  const outcome = () => {
    const element = h("span", { class: "theirs", dir: "auto" });
    return {
      element,
      draw(/** @type {any} */ row) {
        say(element, row.outcome);
        set(element, "class", row.outcome.startsWith("done") ? "theirs" : "theirs bad");
        set(element, "title", row.outcome);
      },
    };
  };
  const table = new Table(
    "Audit",
    "audit",
    [
      { title: "At (UTC)", text: (row, now) => when(row.at, now), hint: (row) => moment(row.at) },
      { title: "Who", text: (row) => row.who, hint: (row) => row.who },
      { title: "What", text: (row) => row.what },
      { title: "To what", text: (row) => row.target, hint: (row) => row.target },
      { title: "Outcome", kind: "minor", part: outcome },
      { title: "From", kind: "minor", text: (row) => row.address, hint: (row) => `${row.address} request ${row.request}` },
    ],
    (first, amount) => pages.part(first, amount),
    () => "Nothing was done yet.",
  );
  const element = h("div", {}, h("h1", { tabindex: "-1" }, "Audit"), table.element);
  return { element, tick: () => table.refresh(), close: () => {}, title: "Audit" };
}
