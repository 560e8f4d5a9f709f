// Render times in figures: for each node, and the slowest frames. Rows are kept and patched, for the
// figures of most nodes stay as they are.

import { h, KeyedList, setText } from "./dom.js";
import { duration } from "./format.js";

const SLOWEST_SHOWN = 20;

/** Both tables; `nameOf(node)` is what a node is called. */
export class TimesTables {
  constructor(nameOf) {
    this.nameOf = nameOf;
    const nodes = h("tbody");
    const slowest = h("tbody");
    this.nodes = new KeyedList(nodes, () => new Row(5));
    this.slowest = new KeyedList(slowest, () => new Row(3));
    this.element = h(
      "div",
      { class: "chart-tables" },
      table("By node", ["Node", "Frames", "Mean", "Fastest", "Slowest"], nodes),
      table(`Slowest frames, at most ${SLOWEST_SHOWN}`, ["Frame", "Time", "Node"], slowest),
    );
  }

  /** `done`: frames with a render time; `byNode`: the seconds of each node's frames. */
  update(done, byNode) {
    const rows = [...byNode].map(([node, seconds]) => ({
      key: node,
      number: seconds.length,
      cells: [this.nameOf(node), seconds.length.toLocaleString("en-GB"), duration(mean(seconds)), duration(Math.min(...seconds)), duration(Math.max(...seconds))],
    }));
    // Those with as many frames keep their order: rows must not jump about.
    rows.sort((a, b) => b.number - a.number || a.cells[0].localeCompare(b.cells[0], "en", { numeric: true }));
    this.nodes.set(rows, (row) => row.key);
    const slowest = [...done].sort((a, b) => b.stats.seconds - a.stats.seconds || a.frame - b.frame).slice(0, SLOWEST_SHOWN);
    this.slowest.set(
      slowest.map((frame) => ({ key: frame.frame, cells: [String(frame.frame), duration(frame.stats.seconds), this.nameOf(frame.node)] })),
      (row) => row.key,
    );
  }
}

class Row {
  constructor(cells) {
    this.cells = Array.from({ length: cells }, (_, index) => h(index ? "td" : "th", index ? { class: "number" } : { scope: "row" }));
    this.element = h("tr", {}, ...this.cells);
  }

  update({ cells }) {
    cells.forEach((text, index) => setText(this.cells[index], text));
  }
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function table(caption, heads, body) {
  const made = h(
    "table",
    {},
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
    body,
  );
  return h("div", { class: "chart-table", tabindex: 0, role: "group", "aria-label": caption }, made);
}
