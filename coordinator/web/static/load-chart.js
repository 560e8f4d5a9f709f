// The load of the farm over the last hour: nodes rendering under nodes online, and frames finished.

import * as api from "./api.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { clock, count } from "./format.js";

const MINUTES_SHOWN = 60;
const REFRESH_MS = 20_000;
const WIDTH = 600;
const HEIGHT = 120;
const BARS = 34;
const SVG = "http://www.w3.org/2000/svg";
const TABLE_MINUTES = 5;

function s(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/** The chart; asks for new minutes while it is on the page and in sight. */
export class LoadChart {
  constructor() {
    this.online = s("path", { class: "load-online" });
    this.rendering = s("path", { class: "load-rendering" });
    this.line = s("path", { class: "load-line" });
    this.frames = s("path", { class: "load-frames" });
    this.picture = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + BARS + 6}`, preserveAspectRatio: "none", role: "img", class: "load-picture" });
    this.picture.append(this.online, this.rendering, this.line, this.frames);
    this.summary = h("p", { class: "load-now" });
    this.from = h("span");
    this.most = h("span", { class: "load-most number" });
    this.mostFrames = h("span", { class: "load-most load-most-frames number" });
    this.rows = h("tbody");
    this.details = h(
      "details",
      {},
      h("summary", {}, "As a table"),
      h(
        "table",
        {},
        h("caption", {}, `Every ${TABLE_MINUTES} minutes`),
        h("thead", {}, h("tr", {}, ...["Until", "Nodes rendering", "Nodes online", "Frames done"].map((head) => h("th", { scope: "col" }, head)))),
        this.rows,
      ),
    );
    this.details.addEventListener("toggle", () => this.history && this.drawTable());
    this.element = h(
      "section",
      { class: "card load", "aria-labelledby": "load-title" },
      h("div", { class: "spread" }, h("h2", { id: "load-title", class: "load-title" }, "Load, last hour"), this.summary),
      h("div", { class: "load-frame" }, this.picture, this.most, this.mostFrames),
      h("p", { class: "spread muted load-axis", "aria-hidden": "true" }, this.from, h("span", {}, "now")),
      h(
        "ul",
        { class: "legend muted", "aria-hidden": "true" },
        h("li", {}, h("i", { class: "swatch load-key-rendering" }), "nodes rendering"),
        h("li", {}, h("i", { class: "swatch load-key-online" }), "nodes online"),
        h("li", {}, h("i", { class: "swatch load-key-frames" }), "frames done a minute"),
      ),
      this.details,
    );
    show(this.element, false);
    this.timer = setInterval(() => this.refresh(), REFRESH_MS);
    this.wake = () => this.refresh();
    document.addEventListener("visibilitychange", this.wake);
    this.refresh();
  }

  dispose() {
    clearInterval(this.timer);
    document.removeEventListener("visibilitychange", this.wake);
    this.isGone = true;
  }

  async refresh() {
    if (document.hidden) return;
    try {
      this.history = await api.get("/farm/history");
    } catch {
      // The line at the top says that the coordinator is away; what is drawn stays true of then.
      return;
    }
    if (!this.isGone) this.draw();
  }

  draw() {
    const { start, minute_seconds: minute } = this.history;
    const from = Math.max(0, this.history.rendering.length - MINUTES_SHOWN);
    const last = (list) => list.slice(from);
    const rendering = last(this.history.rendering);
    const online = last(this.history.online);
    const frames = last(this.history.frames_done);
    // An hour wide from the start: the chart of a young farm fills from the right.
    const x = (index) => WIDTH * ((MINUTES_SHOWN - rendering.length + index) / MINUTES_SHOWN);
    const most = Math.max(1, ...online, ...rendering);
    const y = (value) => HEIGHT * (1 - value / most);
    const steps = (list) => list.map((value, index) => `L${x(index)},${y(value)}L${x(index + 1)},${y(value)}`).join("");
    const left = x(0);
    this.online.setAttribute("d", `M${left},${HEIGHT}${steps(online)}L${WIDTH},${HEIGHT}Z`);
    this.rendering.setAttribute("d", `M${left},${HEIGHT}${steps(rendering)}L${WIDTH},${HEIGHT}Z`);
    this.line.setAttribute("d", `M${left},${y(rendering[0])}${steps(rendering)}`);
    const mostFrames = Math.max(1, ...frames);
    const width = WIDTH / MINUTES_SHOWN;
    this.frames.setAttribute(
      "d",
      frames
        .map((value, index) => {
          const height = (value / mostFrames) * BARS;
          return value ? `M${x(index) + 0.5},${HEIGHT + BARS + 6}v${-height}h${width - 1}v${height}Z` : "";
        })
        .join(""),
    );
    const sum = frames.reduce((total, value) => total + value, 0);
    const mean = rendering.reduce((total, value) => total + value, 0) / rendering.length;
    const sentence = `${count(sum, "frame")} done, ${mean.toFixed(1)} nodes rendering on average`;
    setText(this.summary, sentence);
    setText(this.from, clock(start + (from + rendering.length - MINUTES_SHOWN) * minute, minute));
    setText(this.most, count(Math.round(most), "node"));
    setText(this.mostFrames, `${count(mostFrames, "frame")}/min`);
    setAttribute(this.picture, "aria-label", `Load of the farm over the last hour: ${sentence}; at most ${count(Math.round(most), "node")} online.`);
    show(this.element, true);
    this.drawTable();
  }

  drawTable() {
    if (!this.details.open) return;
    const { start, minute_seconds: minute, rendering, online, frames_done: frames } = this.history;
    const rows = [];
    for (let end = rendering.length; end > 0 && rows.length < MINUTES_SHOWN / TABLE_MINUTES; end -= TABLE_MINUTES) {
      const begin = Math.max(0, end - TABLE_MINUTES);
      const mean = (list) => list.slice(begin, end).reduce((sum, value) => sum + value, 0) / (end - begin);
      const cells = [mean(rendering).toFixed(1), mean(online).toFixed(1), frames.slice(begin, end).reduce((sum, value) => sum + value, 0)];
      rows.push(h("tr", {}, h("th", { scope: "row" }, clock(start + end * minute, minute)), ...cells.map((cell) => h("td", { class: "number" }, String(cell)))));
    }
    this.rows.replaceChildren(...rows);
  }
}
