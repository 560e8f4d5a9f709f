// Where a film has pictures: a thin line under the player, each frame a point of it by its state.

import { h } from "./dom.js";
import { Palette, sizeCanvas } from "./palette.js";

const HEIGHT_PX = 14;
const LEAST_PX = 0.5;

/** The line. A frame that changed is painted over what lies there; the whole only when it must be. */
export class FilmTrack {
  constructor() {
    this.order = [];
    this.frames = new Map();
    this.places = new Map();
    this.painted = [];
    this.canvas = h("canvas", { class: "player-track", "aria-hidden": "true" });
    this.palette = new Palette(() => this.paintAll());
    this.element = h("div", {}, this.canvas, this.palette.element);
    this.resizing = new ResizeObserver(() => this.paintAll());
    this.resizing.observe(this.element);
  }

  dispose() {
    this.palette.dispose();
    this.resizing.disconnect();
  }

  /** Show these frames: numbers in order, views by number. */
  set(order, frames) {
    this.order = order;
    this.frames = frames;
    this.places = new Map(order.map((frame, index) => [frame, index]));
    this.paintAll();
  }

  /** Paint the frames that changed; returns the places of those that are in another state now. */
  patch(numbers) {
    const moved = [];
    for (const number of numbers) {
      const place = this.places.get(number);
      if (place !== undefined && this.painted[place] !== this.frames.get(number).state) moved.push(place);
    }
    // What is to be rendered anew leaves a hole, and shows its neighbours where several share a point.
    if (moved.some((place) => this.frames.get(this.order[place]).state === "waiting")) this.paintAll();
    else for (const place of moved) this.paint(place);
    return moved;
  }

  paintAll() {
    const width = this.element.clientWidth;
    if (width === 0) return;
    this.palette.read();
    this.pen = sizeCanvas(this.canvas, width, HEIGHT_PX);
    this.step = width / Math.max(1, this.order.length);
    for (let place = 0; place < this.order.length; place += 1) this.paint(place);
  }

  paint(place) {
    const { state } = this.frames.get(this.order[place]);
    this.painted[place] = state;
    if (state === "waiting" || this.pen === undefined) return;
    this.pen.fillStyle = this.palette.colours[state];
    const isLow = state === "failed" || state === "cancelled";
    const top = isLow ? HEIGHT_PX / 2 : 0;
    this.pen.clearRect(place * this.step, 0, this.step, HEIGHT_PX);
    this.pen.fillRect(place * this.step, top, Math.max(this.step, LEAST_PX), HEIGHT_PX - top);
  }
}
