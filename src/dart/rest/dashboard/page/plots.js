// Numbers over time, drawn by uPlot where the server has it.

import { h, say } from "./dom.js";
import { clock } from "./text.js";

export const MISSING =
  "Plots are missing: uPlot was not there when this server's package was built (it needs npm). All numbers are on this page.";

/** @returns {any} */
const library = () => /** @type {any} */ (window).uPlot;

/** Whether plots can be drawn. */
export const canPlot = () => Boolean(library());

/** @param {string} name */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/**
 * A plot of lines over time.
 * @param {string} title @param {{label: string, tone: string, fill?: boolean}[]} lines @param {(value: number) => string} write values as text @param {(value: number) => string} mark the same, beside the plot
 */
export function plot(title, lines, write, mark = write) {
  const place = h("div", { class: "plot" });
  const told = h("p", { class: canPlot() ? "unseen" : "quiet" });
  const element = h("section", {}, h("h2", {}, title), place, told);
  let chart = /** @type {any} */ (null);
  let data = /** @type {any[]} */ ([[], ...lines.map(() => [])]);

  function make() {
    const Plot = library();
    chart?.destroy();
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
    chart = new Plot(
      {
        width: Math.max(200, place.clientWidth),
        height: 200,
        cursor: { drag: { x: false, y: false } },
        scales: { y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ most) => [0, most > 0 ? 1.1 * most : 1] } },
        series: [
          { label: "UTC", value: (/** @type {any} */ _, /** @type {number} */ at) => (at ? clock(1000 * at) : "") },
          ...lines.map((line) => ({
            label: line.label,
            stroke: colour(line.tone),
            width: 1.5,
            points: { show: false },
            spanGaps: false,
            value: (/** @type {any} */ _, /** @type {number | null} */ value) => (value === null || value === undefined ? "" : write(value)),
          })),
        ],
        axes: [{ ...axis, space: 70, values: (/** @type {any} */ _, /** @type {number[]} */ marks) => marks.map((at) => clock(1000 * at)) }, { ...axis, size: 70, values: (/** @type {any} */ _, /** @type {number[]} */ marks) => marks.map(mark) }],
      },
      data,
      place,
    );
  }

  const sizes = new ResizeObserver(() => {
    if (chart && place.clientWidth > 0) {
      chart.setSize({ width: place.clientWidth, height: 200 });
    }
  });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  if (canPlot()) {
    sizes.observe(place);
    dark.addEventListener("change", make);
  } else {
    place.hidden = true;
  }

  return {
    element,
    /** @param {number[]} at seconds @param {(number | null)[][]} columns */
    draw(at, columns) {
      data = [at, ...columns];
      const latest = columns.map((column) => column.at(-1));
      const parts = lines.map((line, index) => {
        const value = latest[index];
        return `${line.label} ${value === null || value === undefined ? "–" : write(value)}`;
      });
      say(told, `Now: ${parts.join(", ")}`);
      if (canPlot()) {
        if (chart) {
          chart.setData(data);
        } else {
          make();
        }
        if (chart.cursor.idx === null || chart.cursor.idx === undefined) {
          chart.setLegend({ idx: at.length - 1 });  // where nobody points, the latest
        }
      }
    },
    close() {
      sizes.disconnect();
      dark.removeEventListener("change", make);
      chart?.destroy();
    },
  };
}
