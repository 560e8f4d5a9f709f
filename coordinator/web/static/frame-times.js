// How long each frame took, as bars coloured by node; with the same in figures for each node.

import { h, setAttribute, setText, show } from "./dom.js";
import { count, duration } from "./format.js";
import { NODE_COLOURS, Palette, Redraw, sizeCanvas } from "./palette.js";

const HEIGHT_PX = 260;
const LEFT_PX = 76;
const BOTTOM_PX = 20;
const TOP_PX = 8;
const SLOWEST_SHOWN = 20;
const REDRAW_EVERY_MS = 2000;
/* All bars share one scale, so each change draws all of them, and both tables. */

/** The chart; `onSelect(frame)` is called when a person picks a bar. */
export class FrameTimes {
  constructor(farm, onSelect) {
    this.farm = farm;
    this.onSelect = onSelect;
    this.order = [];
    this.frames = new Map();
    this.selected = null;
    this.colourOf = new Map();
    /** Numbers of the frames that have a bar. */
    this.drawn = new Set();
    this.drawnAt = -Infinity;
    this.later = 0;
    this.redraw = new Redraw(() => this.draw());
    this.palette = new Palette(() => this.redraw.ask());
    this.canvas = h("canvas", {
      class: "chart",
      tabindex: 0,
      role: "slider",
      "aria-label": "Render time by frame",
      "aria-valuemin": 0,
      "aria-valuemax": 0,
      "aria-valuenow": 0,
    });
    this.tip = h("div", { class: "tip", "aria-hidden": "true", hidden: true });
    this.legend = h("ul", { class: "legend" });
    this.summary = h("p", { class: "muted" });
    this.none = h("p", { class: "muted" }, "Bars appear here as frames are finished.");
    this.nodes = h("tbody");
    this.slowest = h("tbody");
    this.tables = h(
      "div",
      { class: "chart-tables" },
      table("By node", ["Node", "Frames", "Mean", "Fastest", "Slowest"], this.nodes),
      table(`Slowest frames, at most ${SLOWEST_SHOWN}`, ["Frame", "Time", "Node"], this.slowest),
    );
    this.chart = h("div", { class: "chart-box" }, this.canvas, this.tip, this.palette.element);
    this.element = h("div", { class: "times" }, this.none, this.summary, this.chart, this.legend, this.tables);
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => show(this.tip, false));
    this.canvas.addEventListener("click", (event) => {
      const number = this.frameAt(event);
      if (number !== null) this.onSelect(number);
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.resizing = new ResizeObserver(() => this.redraw.ask());
    this.resizing.observe(this.element);
  }

  dispose() {
    clearTimeout(this.later);
    this.redraw.cancel();
    this.palette.dispose();
    this.resizing.disconnect();
  }

  /** Show these frames: numbers in order, views by number. */
  set(order, frames) {
    this.order = order;
    this.frames = frames;
    this.redraw.ask();
  }

  /** Frames that changed; only those that were finished are seen here. */
  patch(numbers) {
    if (this.later !== 0) return;
    const isSeen = [...numbers].some((number) => this.frames.get(number)?.stats || this.drawn.has(number));
    if (!isSeen) return;
    const wait = this.drawnAt + REDRAW_EVERY_MS - performance.now();
    this.later = setTimeout(() => {
      this.later = 0;
      this.redraw.ask();
    }, Math.max(0, wait));
  }

  /** Mark a frame; null marks none. */
  select(frame) {
    this.selected = frame;
    this.redraw.ask();
  }

  nameOf(id) {
    return this.farm.nodes.get(id)?.name ?? id.slice(0, 8);
  }

  draw() {
    const width = this.element.clientWidth;
    if (width === 0) return;
    const done = this.order.map((number) => this.frames.get(number)).filter((frame) => frame.stats);
    this.drawn = new Set(done.map((frame) => frame.frame));
    this.drawnAt = performance.now();
    for (const part of [this.chart, this.legend, this.tables, this.summary]) show(part, done.length > 0);
    show(this.none, done.length === 0);
    if (done.length === 0) return;
    const byNode = this.group(done);
    this.palette.read();
    const pen = sizeCanvas(this.canvas, width, HEIGHT_PX);
    const colours = this.palette.colours;
    const most = Math.max(...done.map((frame) => frame.stats.seconds), 1e-3);
    const room = HEIGHT_PX - BOTTOM_PX - TOP_PX;
    this.width = width;
    this.step = (width - LEFT_PX) / this.order.length;
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const value of ticks(most)) {
      const y = HEIGHT_PX - BOTTOM_PX - (value / most) * room;
      pen.strokeStyle = colours.line;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(LEFT_PX, Math.round(y) + 0.5);
      pen.lineTo(width, Math.round(y) + 0.5);
      pen.stroke();
      pen.fillStyle = colours.muted;
      pen.fillText(duration(value), LEFT_PX - 6, y);
    }
    const bar = Math.max(this.step > 4 ? this.step - 1 : this.step, 0.7);
    this.order.forEach((number, index) => {
      const frame = this.frames.get(number);
      if (!frame.stats) return;
      const x = LEFT_PX + index * this.step;
      const height = Math.max(1, (frame.stats.seconds / most) * room);
      pen.fillStyle = colours[`node-${this.colour(frame.node)}`];
      pen.fillRect(x, HEIGHT_PX - BOTTOM_PX - height, bar, height);
      if (number === this.selected) {
        pen.strokeStyle = colours.ink;
        pen.lineWidth = 2;
        pen.strokeRect(x - 1, HEIGHT_PX - BOTTOM_PX - height - 1, bar + 2, height + 2);
      }
    });
    pen.fillStyle = colours.muted;
    pen.textAlign = "left";
    pen.fillText(String(this.order[0]), LEFT_PX, HEIGHT_PX - BOTTOM_PX / 2);
    pen.textAlign = "right";
    pen.fillText(String(this.order.at(-1)), width, HEIGHT_PX - BOTTOM_PX / 2);
    const seconds = done.map((frame) => frame.stats.seconds).sort((a, b) => a - b);
    const middle = seconds[Math.floor(seconds.length / 2)];
    setText(
      this.summary,
      `${count(done.length, "frame")}: half of them within ${duration(middle)}, the slowest ${duration(seconds.at(-1))}, the fastest ${duration(seconds[0])}.`,
    );
    this.describe();
    this.drawTables(done, byNode);
  }

  group(done) {
    const byNode = new Map();
    for (const frame of done) {
      if (!byNode.has(frame.node)) byNode.set(frame.node, []);
      byNode.get(frame.node).push(frame.stats.seconds);
    }
    // A node keeps its colour, whoever comes later; those that did most have colours of their own.
    const byFrames = [...byNode.keys()].sort((a, b) => byNode.get(b).length - byNode.get(a).length);
    for (const node of byFrames) if (!this.colourOf.has(node)) this.colourOf.set(node, this.colourOf.size);
    return byNode;
  }

  /** Number of a node's colour; the last one is that of all for whom there is none. */
  colour(node) {
    const others = NODE_COLOURS - 1;
    const place = this.colourOf.get(node);
    return this.colourOf.size > NODE_COLOURS ? Math.min(place, others) : place;
  }

  drawTables(done, byNode) {
    const rows = [...byNode]
      .map(([node, seconds]) => ({ node, name: this.nameOf(node), seconds }))
      .sort((a, b) => b.seconds.length - a.seconds.length);
    const key = (colour, name) => h("li", {}, h("i", { class: "swatch", "data-node": colour, "aria-hidden": "true" }), name);
    const hasOthers = rows.length > NODE_COLOURS;
    const named = rows.filter(({ node }) => !hasOthers || this.colour(node) < NODE_COLOURS - 1);
    this.legend.replaceChildren(
      ...named.map(({ node, name }) => key(this.colour(node), name)),
      hasOthers ? key(NODE_COLOURS - 1, `${rows.length - named.length} others`) : "",
    );
    this.nodes.replaceChildren(
      ...rows.map(({ name, seconds }) =>
        row(name, seconds.length.toLocaleString("en-GB"), duration(mean(seconds)), duration(Math.min(...seconds)), duration(Math.max(...seconds))),
      ),
    );
    const slowest = [...done].sort((a, b) => b.stats.seconds - a.stats.seconds).slice(0, SLOWEST_SHOWN);
    this.slowest.replaceChildren(
      ...slowest.map((frame) => row(String(frame.frame), duration(frame.stats.seconds), this.nameOf(frame.node))),
    );
  }

  describe() {
    const frame = this.frames.get(this.selected);
    setAttribute(this.canvas, "aria-valuemin", this.order[0] ?? 0);
    setAttribute(this.canvas, "aria-valuemax", this.order.at(-1) ?? 0);
    setAttribute(this.canvas, "aria-valuenow", this.selected ?? this.order[0] ?? 0);
    setAttribute(this.canvas, "aria-valuetext", frame ? this.sentence(frame) : "No frame chosen");
  }

  sentence(frame) {
    if (!frame.stats) return `Frame ${frame.frame}: not finished`;
    return `Frame ${frame.frame}: ${duration(frame.stats.seconds)} on ${this.nameOf(frame.node)}`;
  }

  frameAt(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left - LEFT_PX;
    return x < 0 ? null : (this.order[Math.floor(x / this.step)] ?? null);
  }

  hover(event) {
    const number = this.frameAt(event);
    show(this.tip, number !== null);
    if (number === null) return;
    setText(this.tip, this.sentence(this.frames.get(number)));
    const box = this.chart.getBoundingClientRect();
    const x = Math.min(event.clientX - box.left + 14, box.width - this.tip.offsetWidth);
    this.tip.style.transform = `translate(${Math.max(0, x)}px, ${event.clientY - box.top + 18}px)`;
  }

  key(event) {
    const here = this.order.indexOf(this.selected);
    const last = this.order.length - 1;
    const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: last }[event.key];
    if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.onSelect(this.order[Math.max(0, Math.min(last, next))]);
  }
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Two to five round values up to `most`. */
function ticks(most) {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  const values = [];
  for (let value = step; value <= most * 1.0001; value += step) values.push(value);
  return values;
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

function row(...cells) {
  return h("tr", {}, ...cells.map((cell, index) => h(index ? "td" : "th", index ? { class: "number" } : { scope: "row" }, cell)));
}
