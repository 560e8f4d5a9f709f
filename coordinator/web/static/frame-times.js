// How long each frame took, as bars coloured by node; with the same in figures for each node.

import { h, setAttribute, setText, show } from "./dom.js";
import { count, duration } from "./format.js";
import { NODE_COLOURS, Palette, Redraw, sizeCanvas, textScale } from "./palette.js";
import { TimesTables } from "./times-tables.js";

const HEIGHT_PX = 260;
const LEFT_PX = 76;
const BOTTOM_PX = 20;
const TOP_PX = 8;
const REDRAW_EVERY_MS = 2000;

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
    /** Numbers of those that changed since. */
    this.changed = new Set();
    /** Seconds that the tallest bar stands for; 0: nothing is drawn yet. */
    this.most = 0;
    this.drawnAt = -Infinity;
    this.later = 0;
    this.redraw = new Redraw(() => this.draw());
    this.palette = new Palette(() => this.drawAll());
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
    this.tables = new TimesTables((id) => this.nameOf(id));
    this.chart = h("div", { class: "chart-box" }, this.canvas, this.tip, this.palette.element);
    this.element = h("div", { class: "times" }, this.none, this.summary, this.chart, this.legend, this.tables.element);
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => show(this.tip, false));
    this.canvas.addEventListener("click", (event) => {
      const number = this.frameAt(event);
      if (number !== null) this.onSelect(number);
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.resizing = new ResizeObserver(() => this.drawAll());
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
    this.places = new Map(order.map((frame, index) => [frame, index]));
    this.drawAll();
  }

  /** Frames that changed; only those that were finished are seen here. */
  patch(numbers) {
    for (const number of numbers) {
      if (this.frames.get(number)?.stats || this.drawn.has(number)) this.changed.add(number);
    }
    if (this.later !== 0 || this.changed.size === 0) return;
    const wait = this.drawnAt + REDRAW_EVERY_MS - performance.now();
    this.later = setTimeout(() => {
      this.later = 0;
      this.redraw.ask();
    }, Math.max(0, wait));
  }

  /** Mark a frame; null marks none. */
  select(frame) {
    if (frame === this.selected) return;
    this.selected = frame;
    this.drawAll();
  }

  drawAll() {
    this.most = 0;
    this.redraw.ask();
  }

  nameOf(id) {
    return this.farm.nodes.get(id)?.name ?? id.slice(0, 8);
  }

  draw() {
    const width = this.element.clientWidth;
    if (width === 0) return;
    const done = this.order.map((number) => this.frames.get(number)).filter((frame) => frame.stats);
    this.drawnAt = performance.now();
    for (const part of [this.chart, this.legend, this.tables.element, this.summary]) show(part, done.length > 0);
    show(this.none, done.length === 0);
    if (done.length === 0) return;
    const seconds = done.map((frame) => frame.stats.seconds).sort((a, b) => a - b);
    const byNode = this.group(done);
    // All bars share one scale: while it holds, those that came are added to what is there.
    const isSame = this.most >= seconds.at(-1) && [...this.changed].every((number) => this.frames.get(number).stats && !this.drawn.has(number));
    if (isSame) for (const number of this.changed) this.drawBar(number);
    else this.drawChart(width, seconds.at(-1));
    this.changed.clear();
    this.drawn = new Set(done.map((frame) => frame.frame));
    const middle = seconds[Math.floor(seconds.length / 2)];
    setText(
      this.summary,
      `${count(done.length, "frame")}: half of them within ${duration(middle)}, the slowest ${duration(seconds.at(-1))}, the fastest ${duration(seconds[0])}.`,
    );
    this.describe();
    this.drawLegend(byNode);
    this.tables.update(done, byNode);
  }

  drawChart(width, slowest) {
    this.palette.read();
    const scale = textScale();
    this.height = HEIGHT_PX * scale;
    this.left = LEFT_PX * scale;
    this.floor = this.height - BOTTOM_PX * scale;
    this.room = this.floor - TOP_PX;
    this.pen = sizeCanvas(this.canvas, width, this.height);
    const { pen } = this;
    const colours = this.palette.colours;
    this.most = Math.max(slowest, 1e-3);
    this.step = (width - this.left) / this.order.length;
    pen.font = `${12 * scale}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const value of ticks(this.most)) {
      const y = this.floor - (value / this.most) * this.room;
      pen.strokeStyle = colours.line;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(this.left, Math.round(y) + 0.5);
      pen.lineTo(width, Math.round(y) + 0.5);
      pen.stroke();
      pen.fillStyle = colours.muted;
      pen.fillText(duration(value), this.left - 6, y);
    }
    pen.fillStyle = colours.muted;
    pen.textAlign = "left";
    pen.fillText(String(this.order[0]), this.left, (this.floor + this.height) / 2);
    pen.textAlign = "right";
    pen.fillText(String(this.order.at(-1)), width, (this.floor + this.height) / 2);
    for (const number of this.order) if (this.frames.get(number).stats) this.drawBar(number);
    if (this.frames.get(this.selected)?.stats) this.markBar(this.selected);
  }

  /** Place of a frame's bar: left edge, width, height. */
  bar(number) {
    const width = Math.max(this.step > 4 ? this.step - 1 : this.step, 0.7);
    const height = Math.max(1, (this.frames.get(number).stats.seconds / this.most) * this.room);
    return [this.left + this.places.get(number) * this.step, width, height];
  }

  drawBar(number) {
    const [x, width, height] = this.bar(number);
    this.pen.fillStyle = this.palette.colours[`node-${this.colour(this.frames.get(number).node)}`];
    this.pen.fillRect(x, this.floor - height, width, height);
  }

  markBar(number) {
    const [x, width, height] = this.bar(number);
    this.pen.strokeStyle = this.palette.colours.ink;
    this.pen.lineWidth = 2;
    this.pen.strokeRect(x - 1, this.floor - height - 1, width + 2, height + 2);
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

  drawLegend(byNode) {
    const nodes = [...byNode.keys()];
    const hasOthers = nodes.length > NODE_COLOURS;
    const named = nodes.filter((node) => !hasOthers || this.colour(node) < NODE_COLOURS - 1);
    const keys = named.map((node) => [this.colour(node), this.nameOf(node)]);
    if (hasOthers) keys.push([NODE_COLOURS - 1, `${nodes.length - named.length} others`]);
    keys.sort((a, b) => a[0] - b[0]);
    const drawn = JSON.stringify(keys);
    if (this.legendDrawn === drawn) return;
    this.legendDrawn = drawn;
    this.legend.replaceChildren(
      ...keys.map(([colour, name]) => h("li", {}, h("i", { class: "swatch", "data-node": colour, "aria-hidden": "true" }), name)),
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
    const x = event.clientX - this.canvas.getBoundingClientRect().left - this.left;
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

/** Two to five round values up to `most`. */
function ticks(most) {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  const values = [];
  for (let value = step; value <= most * 1.0001; value += step) values.push(value);
  return values;
}
