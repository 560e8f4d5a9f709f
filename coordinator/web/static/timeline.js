// Who rendered what, when: a line for each node, a bar for each try. Second copies, failures and
// retries look different and are named in the tip and in the table.

import { Attempts, kindWord } from "./attempts.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { clock, count, duration } from "./format.js";
import { Palette, Redraw, sizeCanvas, textScale } from "./palette.js";
import { outcomeWord } from "./words.js";

const NAME_PX = 120;
const AXIS_PX = 24;
const LANE_MOST_PX = 26;
const LANE_LEAST_PX = 9;
const HEIGHT_WANTED_PX = 460;
const ZOOM_STEP = 1.5;
const TABLE_STEP = 200;
const FAILED = new Set(["scene", "crash", "hang", "too_long", "memory", "output", "node"]);
const GONE = new Set(["lost", "returned", "superseded"]);
const TICKS_SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800];

/** The timeline of a job; `onSelect(frame)` is called when a person picks a try. */
export class Timeline {
  constructor(jobId, onSelect) {
    this.onSelect = onSelect;
    this.attempts = new Attempts(jobId, () => this.changed());
    this.lanes = [];
    this.spans = [];
    this.range = null;
    this.view = null;
    this.chosen = -1;
    this.names = NAME_PX;
    this.axis = AXIS_PX;
    this.redraw = new Redraw(() => this.draw());
    this.palette = new Palette(() => this.redraw.ask());
    this.canvas = h("canvas", {
      class: "chart",
      tabindex: 0,
      role: "img",
      "aria-label": "Timeline of nodes and frames",
      "aria-describedby": "timeline-help timeline-now",
    });
    this.now = h("p", { id: "timeline-now", class: "unseen", "aria-live": "polite" });
    this.tip = h("div", { class: "tip", "aria-hidden": "true", hidden: true });
    this.problem = h("p", { class: "problem-text", role: "alert" });
    this.summary = h("p", { class: "muted" });
    const button = (label, text, act) => {
      const made = h("button", { type: "button", "aria-label": label, title: label }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.tools = h(
      "div",
      { class: "buttons" },
      button("Longer span", "−", () => this.zoom(1 / ZOOM_STEP)),
      button("Shorter span", "+", () => this.zoom(ZOOM_STEP)),
      button("Earlier", "‹", () => this.pan(-0.25)),
      button("Later", "›", () => this.pan(0.25)),
      button("Whole job", "All", () => this.all()),
    );
    this.legend = h(
      "ul",
      { class: "legend", "aria-label": "Bars" },
      ...[
        ["done", "done"],
        ["leased", "rendering now"],
        ["failed", "failed"],
        ["cancelled", "given back, lost or overtaken"],
      ].map(([state, text]) => h("li", {}, h("i", { class: "swatch", "data-state": state, "aria-hidden": "true" }), text)),
      h("li", {}, h("i", { class: "swatch swatch-copy", "aria-hidden": "true" }), "second copy"),
    );
    this.rows = h("tbody");
    this.more = button("Show more tries", "Show more", () => this.drawTable(this.rows.children.length + TABLE_STEP));
    this.details = h(
      "details",
      {},
      h("summary", {}, "As a table"),
      h(
        "table",
        {},
        h("caption", {}, "All tries, newest first"),
        h("thead", {}, h("tr", {}, ...["Frame", "Node", "Began", "Took", "Ended", "What"].map((head) => h("th", { scope: "col" }, head)))),
        this.rows,
      ),
      this.more,
    );
    this.details.addEventListener("toggle", () => this.drawTable(TABLE_STEP));
    this.chart = h("div", { class: "chart-box timeline-scroll" }, this.canvas, this.tip, this.palette.element);
    this.body = h(
      "div",
      { class: "times" },
      h("div", { class: "spread" }, this.summary, this.tools),
      this.chart,
      this.legend,
      h("p", { id: "timeline-help", class: "muted hint" }, "Wheel or + and − zoom, drag or arrow keys move, N and P walk over the tries, Enter opens the frame."),
      this.details,
    );
    this.element = h("div", { class: "times" }, this.problem, this.now, this.body);
    this.listen();
  }

  listen() {
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && Math.abs(event.deltaX) < Math.abs(event.deltaY) && event.shiftKey) return;
      event.preventDefault();
      const at = (event.clientX - this.canvas.getBoundingClientRect().left - this.names) / this.room();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(event.deltaX / this.room());
      else this.zoom(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, Math.min(1, Math.max(0, at)));
    }, { passive: false });
    this.canvas.addEventListener("pointerdown", (event) => this.grab(event));
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => show(this.tip, false));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.resizing = new ResizeObserver(() => this.redraw.ask());
    this.resizing.observe(this.element);
  }

  dispose() {
    this.attempts.dispose();
    this.redraw.cancel();
    this.palette.dispose();
    this.resizing.disconnect();
  }

  /** Fetch the tries and return the element. */
  async prepare() {
    await this.attempts.load();
    return this.element;
  }

  /** Something happened to the job's frames. */
  patch() {
    this.attempts.refresh();
  }

  changed() {
    setText(this.problem, this.attempts.problem);
    show(this.problem, this.attempts.problem !== "");
    const key = this.spans[this.chosen] === undefined ? "" : keyOf(this.spans[this.chosen]);
    this.spans = this.attempts.spans();
    this.chosen = key === "" ? -1 : this.spans.findIndex((span) => keyOf(span) === key);
    const names = new Map(this.spans.map((span) => [span.node, span.name]));
    this.lanes = [...names].map(([id, name]) => ({ id, name })).sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    this.laneOf = new Map(this.lanes.map((lane, index) => [lane.id, index]));
    show(this.body, this.spans.length > 0);
    if (this.spans.length === 0) {
      setText(this.problem, this.attempts.problem || "Bars appear here when nodes have begun to render.");
      show(this.problem, true);
      setAttribute(this.problem, "class", this.attempts.problem ? "problem-text" : "muted");
      return;
    }
    const isWhole = this.view === null || (this.range !== null && this.view.start === this.range.start && this.view.end === this.range.end);
    const now = Date.now() / 1000;
    this.range = {
      start: this.spans[0].started,
      end: Math.max(...this.spans.map((span) => span.ended ?? now)),
    };
    if (this.range.end - this.range.start < 1) this.range.end = this.range.start + 1;
    if (isWhole) this.view = { ...this.range };
    const copies = this.spans.filter((span) => span.isCopy).length;
    const failures = this.spans.filter((span) => FAILED.has(span.outcome)).length;
    const retries = this.spans.filter((span) => span.isRetry).length;
    setText(
      this.summary,
      [
        `${count(this.spans.length, "try", "tries")} on ${count(this.lanes.length, "node")}`,
        copies ? count(copies, "second copy", "second copies") : "",
        failures ? count(failures, "failure") : "",
        retries ? count(retries, "retry", "retries") : "",
      ].filter(Boolean).join(" · "),
    );
    if (this.details.open) this.drawTable(Math.max(TABLE_STEP, this.rows.children.length));
    this.redraw.ask();
  }

  room() {
    return Math.max(1, (this.width ?? 0) - this.names);
  }

  draw() {
    const width = this.body.clientWidth;
    if (width === 0 || this.view === null || this.spans.length === 0) return;
    this.width = width;
    this.scale = textScale();
    this.names = NAME_PX * this.scale;
    this.axis = AXIS_PX * this.scale;
    this.lane = Math.max(LANE_LEAST_PX, Math.min(Math.round(LANE_MOST_PX * this.scale), Math.floor((HEIGHT_WANTED_PX * this.scale) / this.lanes.length)));
    const height = this.lanes.length * this.lane + this.axis;
    this.palette.read();
    const pen = sizeCanvas(this.canvas, width, height);
    const colours = this.palette.colours;
    const { start, end } = this.view;
    const scale = this.room() / (end - start);
    const now = Date.now() / 1000;
    this.drawAxis(pen, colours, height, scale);
    pen.save();
    pen.beginPath();
    pen.rect(this.names, 0, this.room(), height);
    pen.clip();
    const gap = this.lane >= 14 ? 3 : 1;
    this.spans.forEach((span, index) => {
      const ended = span.ended ?? now;
      if (ended < start || span.started > end) return;
      const x = this.names + (span.started - start) * scale;
      const y = this.axis + this.laneOf.get(span.node) * this.lane;
      const w = Math.max(1, (ended - span.started) * scale - (scale > 4 ? 1 : 0));
      const tall = this.lane - gap;
      pen.fillStyle = colours[stateOf(span)];
      pen.fillRect(x, y, w, tall);
      this.drawMarks(pen, colours, span, x, y, w, tall);
      if (index === this.chosen) {
        pen.strokeStyle = colours.ink;
        pen.lineWidth = 2;
        pen.strokeRect(x, y, Math.max(3, w), tall);
      }
    });
    pen.restore();
    pen.fillStyle = colours.muted;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.font = `${Math.min(13 * this.scale, Math.max(9, this.lane - 1))}px system-ui, sans-serif`;
    const every = Math.ceil(11 / this.lane);
    this.lanes.forEach((lane, index) => {
      if (index % every) return;
      pen.fillText(shorten(pen, lane.name, this.names - 10), 0, this.axis + index * this.lane + this.lane / 2);
    });
    setAttribute(this.canvas, "aria-label", `Timeline of nodes and frames: ${this.summary.textContent}`);
  }

  // Not by colour alone: failures are crossed, second copies hatched, wide bars carry their frame.
  drawMarks(pen, colours, span, x, y, w, tall) {
    if (span.isCopy) {
      pen.save();
      pen.beginPath();
      pen.rect(x, y, w, tall);
      pen.clip();
      pen.strokeStyle = colours.paper;
      pen.lineWidth = 1.5;
      pen.beginPath();
      const from = Math.max(x, this.names);
      const to = Math.min(x + w, this.width);
      for (let at = from - tall; at < to; at += 6) {
        pen.moveTo(at, y + tall);
        pen.lineTo(at + tall, y);
      }
      pen.stroke();
      pen.restore();
    }
    if (FAILED.has(span.outcome) && w >= 5) {
      pen.strokeStyle = colours.paper;
      pen.lineWidth = 1.5;
      const mid = x + w / 2;
      const arm = Math.min(tall, w) * 0.28;
      pen.beginPath();
      pen.moveTo(mid - arm, y + tall / 2 - arm);
      pen.lineTo(mid + arm, y + tall / 2 + arm);
      pen.moveTo(mid + arm, y + tall / 2 - arm);
      pen.lineTo(mid - arm, y + tall / 2 + arm);
      pen.stroke();
    } else if (w >= 30 && tall >= 12 && !span.isCopy) {
      pen.fillStyle = span.outcome === "done" ? colours.paper : colours.ink;
      pen.font = `${Math.min(11 * this.scale, this.lane - 3)}px system-ui, sans-serif`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      const left = Math.max(x, this.names);
      const right = Math.min(x + w, this.width);
      if (right - left >= 24) pen.fillText(String(span.frame), (left + right) / 2, y + tall / 2 + 0.5, right - left - 4);
    }
  }

  drawAxis(pen, colours, height, scale) {
    const { start, end } = this.view;
    const step = TICKS_SECONDS.find((seconds) => seconds * scale >= 90 * this.scale) ?? TICKS_SECONDS.at(-1);
    pen.font = `${12 * this.scale}px system-ui, sans-serif`;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    const zone = new Date(start * 1000).getTimezoneOffset() * 60;
    for (let at = Math.ceil((start - zone) / step) * step + zone; at <= end; at += step) {
      const x = Math.round(this.names + (at - start) * scale) + 0.5;
      pen.strokeStyle = colours.line;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x, 4);
      pen.lineTo(x, height);
      pen.stroke();
      pen.fillStyle = colours.muted;
      if (x + 60 * this.scale < this.width) pen.fillText(clock(at, step), x + 4, this.axis / 2 - 1);
    }
  }

  drawTable(rows) {
    if (!this.details.open) return;
    const newest = this.spans.slice(-rows).reverse();
    this.rows.replaceChildren(
      ...newest.map((span) => {
        const frame = h("button", { type: "button", class: "link" }, String(span.frame));
        frame.addEventListener("click", () => this.onSelect(span.frame));
        const cells = [
          span.name,
          clock(span.started, 1),
          span.ended === null ? "" : duration(span.ended - span.started),
          span.ended === null ? "" : clock(span.ended, 1),
          [outcomeWord(span.outcome), kindWord(span), span.reason].filter(Boolean).join(", "),
        ];
        return h("tr", {}, h("th", { scope: "row" }, frame), ...cells.map((cell) => h("td", { class: "number" }, cell)));
      }),
    );
    show(this.more, newest.length < this.spans.length);
  }

  sentence(span) {
    const took = span.ended === null ? "" : `${duration(span.ended - span.started)}`;
    return [`Frame ${span.frame} on ${span.name}`, kindWord(span), outcomeWord(span.outcome), took, span.reason].filter(Boolean).join(" · ");
  }

  spanAt(event) {
    if (this.view === null || !this.lane) return -1;
    const box = this.canvas.getBoundingClientRect();
    const lane = this.lanes[Math.floor((event.clientY - box.top - this.axis) / this.lane)];
    if (lane === undefined) return -1;
    const second = (this.view.end - this.view.start) / this.room();
    const at = this.view.start + (event.clientX - box.left - this.names) * second;
    const now = Date.now() / 1000;
    let best = -1;
    let distance = 3 * second;
    this.spans.forEach((span, index) => {
      if (span.node !== lane.id) return;
      const away = Math.max(span.started - at, at - (span.ended ?? now), 0);
      if (away <= distance) {
        best = index;
        distance = away;
      }
    });
    return best;
  }

  hover(event) {
    const span = this.spans[this.spanAt(event)];
    show(this.tip, span !== undefined);
    setAttribute(this.canvas, "data-over", span !== undefined);
    if (span === undefined) return;
    setText(this.tip, this.sentence(span));
    const box = this.chart.getBoundingClientRect();
    const x = Math.min(event.clientX - box.left + 14, box.width - this.tip.offsetWidth - 4);
    this.tip.style.transform = `translate(${Math.max(0, x)}px, ${event.clientY - box.top + this.chart.scrollTop + 18}px)`;
  }

  grab(event) {
    if (event.button !== 0 || this.view === null) return;
    const from = event.clientX;
    const view = { ...this.view };
    let isMoved = false;
    this.canvas.setPointerCapture(event.pointerId);
    const move = (moved) => {
      if (Math.abs(moved.clientX - from) > 4) isMoved = true;
      if (!isMoved) return;
      const seconds = ((from - moved.clientX) / this.room()) * (view.end - view.start);
      this.setView(view.start + seconds, view.end + seconds);
    };
    const end = (ended) => {
      for (const name of ["pointermove", "pointerup", "pointercancel"]) this.canvas.removeEventListener(name, name === "pointermove" ? move : end);
      if (isMoved || ended.type === "pointercancel") return;
      const span = this.spans[this.spanAt(ended)];
      if (span !== undefined) this.onSelect(span.frame);
    };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", end);
    this.canvas.addEventListener("pointercancel", end);
  }

  key(event) {
    const acts = {
      "+": () => this.zoom(ZOOM_STEP),
      "=": () => this.zoom(ZOOM_STEP),
      "-": () => this.zoom(1 / ZOOM_STEP),
      ArrowLeft: () => this.pan(-0.1),
      ArrowRight: () => this.pan(0.1),
      0: () => this.all(),
      n: () => this.choose(this.chosen + 1),
      p: () => this.choose(this.chosen < 0 ? this.spans.length - 1 : this.chosen - 1),
      Enter: () => this.chosen >= 0 && this.onSelect(this.spans[this.chosen].frame),
    };
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  choose(index) {
    if (this.spans.length === 0) return;
    this.chosen = Math.max(0, Math.min(this.spans.length - 1, index));
    const span = this.spans[this.chosen];
    setText(this.now, this.sentence(span));
    const length = this.view.end - this.view.start;
    if (span.started < this.view.start || span.started > this.view.end) {
      this.setView(span.started - length / 2, span.started + length / 2);
    }
    this.redraw.ask();
  }

  zoom(factor, at = 0.5) {
    if (this.view === null) return;
    const { start, end } = this.view;
    const length = Math.max(0.05, Math.min(this.range.end - this.range.start, (end - start) / factor));
    const centre = start + (end - start) * at;
    this.setView(centre - length * at, centre + length * (1 - at));
  }

  pan(part) {
    if (this.view === null) return;
    const seconds = (this.view.end - this.view.start) * part;
    this.setView(this.view.start + seconds, this.view.end + seconds);
  }

  all() {
    this.setView(this.range.start, this.range.end);
  }

  setView(start, end) {
    const length = Math.min(end - start, this.range.end - this.range.start);
    const from = Math.min(Math.max(start, this.range.start), this.range.end - length);
    this.view = { start: from, end: from + length };
    this.redraw.ask();
  }
}

function keyOf(span) {
  return `${span.frame}.${span.epoch}`;
}

function stateOf(span) {
  if (span.outcome === "done") return "done";
  if (FAILED.has(span.outcome)) return "failed";
  return GONE.has(span.outcome) ? "cancelled" : "leased";
}

function shorten(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let end = text.length - 1;
  while (end > 1 && pen.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return `${text.slice(0, end)}…`;
}
