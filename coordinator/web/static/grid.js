// All frames of a job as one field of coloured cells.
//
// A canvas, because ten thousand elements are slow to lay out; one changed frame repaints one
// cell. To a keyboard or a screen reader it is a slider over the frames: arrows move, the value
// is read out.

import { h, setAttribute, setText, show } from "./dom.js";
import { percent } from "./format.js";
import { Palette, sizeCanvas, textScale } from "./palette.js";
import { FRAME_STATES } from "./words.js";

const CELL_MOST_PX = 40;
const CELL_LEAST_PX = 8;
const FIELD_HEIGHT_PX = 420;
const NUMBER_FROM_PX = 30;
const MARK_FROM_PX = 10;

/** The field of frames; `onSelect(frame)` is called when a person picks one. */
export class FrameGrid {
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.order = [];
    this.frames = new Map();
    this.places = new Map();
    this.selected = null;
    this.columns = 1;
    this.cell = CELL_MOST_PX;
    this.scale = 1;
    this.canvas = h("canvas", {
      class: "field",
      tabindex: 0,
      role: "slider",
      "aria-label": "Frames",
      "aria-describedby": "field-help",
      "aria-valuemin": 0,
      "aria-valuemax": 0,
      "aria-disabled": "true",
    });
    this.tip = h("div", { class: "tip", "aria-hidden": "true", hidden: true });
    this.filter = null;
    this.palette = new Palette(() => this.paintAll());
    this.element = h(
      "div",
      { class: "field-box" },
      this.canvas,
      this.tip,
      this.palette.element,
      h("p", { id: "field-help", class: "unseen" }, "Arrow keys move between frames, F goes to the next failed frame."),
    );
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => show(this.tip, false));
    this.canvas.addEventListener("click", (event) => {
      const frame = this.frameAt(event);
      if (frame !== null) this.onSelect(frame);
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.resizing = new ResizeObserver(() => this.layout());
    this.resizing.observe(this.element);
  }

  dispose() {
    this.resizing.disconnect();
    this.palette.dispose();
  }

  /** Show these frames: numbers in order, views by number. */
  set(order, frames) {
    this.order = order;
    this.frames = frames;
    this.places = new Map(order.map((frame, index) => [frame, index]));
    // Nothing to choose from until the frames are here.
    setAttribute(this.canvas, "aria-disabled", order.length === 0 ? "true" : null);
    setAttribute(this.canvas, "aria-valuemin", order[0] ?? 0);
    setAttribute(this.canvas, "aria-valuemax", order.at(-1) ?? 0);
    this.layout();
    this.select(this.selected);
  }

  /** Leave only frames of this state bright; null shows all alike. */
  setFilter(state) {
    this.filter = state;
    this.paintAll();
  }

  /** Paint the frames that changed. */
  patch(numbers) {
    const pen = this.canvas.getContext("2d");
    for (const number of numbers) {
      const index = this.places.get(number);
      if (index === undefined) {
        this.set(this.order, this.frames);
        return;
      }
      this.paint(pen, index);
    }
    if (numbers.has(this.selected)) this.describe();
  }

  /** Mark one frame as chosen; null marks none. */
  select(frame) {
    const before = this.places.get(this.selected);
    this.selected = frame;
    const pen = this.canvas.getContext("2d");
    // The mark is wider than a cell, so the neighbours are painted as well.
    if (before !== undefined) this.paintAround(pen, before);
    const now = this.places.get(frame);
    if (now !== undefined) this.paint(pen, now);
    this.describe();
  }

  describe() {
    const frame = this.frames.get(this.selected);
    setAttribute(this.canvas, "aria-valuenow", this.selected ?? this.order[0] ?? 0);
    setAttribute(this.canvas, "aria-valuetext", frame ? describeFrame(frame) : "No frame chosen");
  }

  layout() {
    const width = this.element.clientWidth;
    if (width === 0) return;
    const total = Math.max(1, this.order.length);
    this.scale = textScale();
    let cell = Math.round(CELL_MOST_PX * this.scale);
    const height = FIELD_HEIGHT_PX * this.scale;
    while (cell > CELL_LEAST_PX && Math.ceil(total / Math.floor(width / cell)) * cell > height) cell -= 1;
    this.cell = cell;
    this.columns = Math.max(1, Math.floor(width / cell));
    sizeCanvas(this.canvas, width, Math.ceil(total / this.columns) * cell);
    this.paintAll();
  }

  paintAll() {
    this.palette.read();
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (let index = 0; index < this.order.length; index += 1) this.paint(pen, index);
    // Last, so that no neighbour covers its mark.
    const chosen = this.places.get(this.selected);
    if (chosen !== undefined) this.paint(pen, chosen);
  }

  paintAround(pen, index) {
    for (const row of [-1, 0, 1]) {
      for (const column of [-1, 0, 1]) {
        const near = index + row * this.columns + column;
        if (near >= 0 && near < this.order.length) this.paint(pen, near);
      }
    }
  }

  paint(pen, index) {
    const frame = this.frames.get(this.order[index]);
    if (frame === undefined) return;
    const size = this.cell;
    const gap = size >= 16 ? 2 : 1;
    const x = (index % this.columns) * size;
    const y = Math.floor(index / this.columns) * size;
    const side = size - gap;
    const colours = this.palette.colours;
    pen.clearRect(x, y, size, size);
    pen.globalAlpha = this.filter === null || frame.state === this.filter ? 1 : 0.15;
    pen.fillStyle = colours[frame.state === "leased" ? "waiting" : frame.state];
    pen.fillRect(x, y, side, side);
    if (frame.state === "leased") {
      // A frame under way fills from below, where there is room to see it.
      const part = size < MARK_FROM_PX * 2 ? side : Math.max(0.2, Math.min(1, frame.progress)) * side;
      pen.fillStyle = colours.leased;
      pen.fillRect(x, y + side - part, side, part);
    }
    if (size >= NUMBER_FROM_PX * this.scale) {
      pen.fillStyle = colours[numberColour(frame)];
      pen.font = `${11 * this.scale}px system-ui, sans-serif`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.fillText(String(frame.frame), x + side / 2, y + side / 2, side - 4);
    }
    this.paintMark(pen, colours, frame.state, x, y, side);
    pen.globalAlpha = 1;
    if (frame.frame === this.selected) {
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 2;
      pen.strokeRect(x + 1, y + 1, side - 2, side - 2);
    }
  }

  // Not by colour alone: failed frames are crossed, cancelled ones struck through.
  paintMark(pen, colours, state, x, y, side) {
    if (state !== "failed" && state !== "cancelled") return;
    const isLarge = side >= NUMBER_FROM_PX * this.scale - 2;
    const [near, far] = isLarge ? [0.08, 0.3] : [0.25, 0.75];
    pen.strokeStyle = colours.paper;
    pen.lineWidth = side < MARK_FROM_PX ? 1 : 1.5;
    pen.beginPath();
    pen.moveTo(x + side * near, y + side * far);
    pen.lineTo(x + side * far, y + side * near);
    if (state === "failed") {
      pen.moveTo(x + side * near, y + side * near);
      pen.lineTo(x + side * far, y + side * far);
    }
    pen.stroke();
  }

  frameAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.cell);
    const row = Math.floor((event.clientY - box.top) / this.cell);
    if (column < 0 || column >= this.columns || row < 0) return null;
    return this.order[row * this.columns + column] ?? null;
  }

  hover(event) {
    const number = this.frameAt(event);
    show(this.tip, number !== null);
    if (number === null) return;
    setText(this.tip, describeFrame(this.frames.get(number)));
    const box = this.element.getBoundingClientRect();
    const x = Math.min(event.clientX - box.left + 14, box.width - this.tip.offsetWidth);
    this.tip.style.transform = `translate(${Math.max(0, x)}px, ${event.clientY - box.top + 18}px)`;
  }

  key(event) {
    const here = this.places.get(this.selected) ?? -1;
    const last = this.order.length - 1;
    const moves = {
      ArrowRight: this.next(here, 1),
      ArrowLeft: this.next(here, -1),
      ArrowDown: here + this.columns,
      ArrowUp: here - this.columns,
      PageDown: here + 10 * this.columns,
      PageUp: here - 10 * this.columns,
      Home: 0,
      End: last,
    };
    let next = moves[event.key];
    if (event.key === "f" || event.key === "F") next = this.nextFailed(here);
    if (next === undefined || last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.onSelect(this.order[Math.max(0, Math.min(last, next))]);
  }

  // With a filter, left and right walk over its frames alone.
  next(here, step) {
    if (this.filter === null) return here + step;
    for (let index = here + step; index >= 0 && index < this.order.length; index += step) {
      if (this.frames.get(this.order[index])?.state === this.filter) return index;
    }
    return here;
  }

  nextFailed(here) {
    for (let step = 1; step <= this.order.length; step += 1) {
      const index = (here + step) % this.order.length;
      if (this.frames.get(this.order[index])?.state === "failed") return index;
    }
    return undefined;
  }
}

/** Name of the colour of a frame's number, so that it stands out from what is behind it. */
function numberColour(frame) {
  if (frame.state === "waiting") return "ink";
  if (frame.state !== "leased") return "paper";
  return frame.progress < 0.5 ? "ink" : "on-leased";
}

/** One frame in a line: "Frame 12: rendering, 40 %". */
export function describeFrame(frame) {
  const word = FRAME_STATES[frame.state] ?? frame.state;
  const progress = frame.state === "leased" ? `, ${percent(frame.progress)}` : "";
  const problem = frame.state === "failed" && frame.problem ? `. ${frame.problem}` : "";
  return `Frame ${frame.frame}: ${word}${progress}${problem}`;
}
