// Colours for canvases. They live in the style sheet; a canvas can only read them off elements
// that use them.

import { h } from "./dom.js";
import { FRAME_STATES } from "./words.js";

/** Colours that tell nodes apart: distinct for every kind of colour vision, see app.css. */
export const NODE_COLOURS = 8;

export const TEXT_PX = 15;
/* Pixels of a rem on a laptop. */

const NAMES = [
  ...Object.keys(FRAME_STATES),
  "ink",
  "on-leased",
  "paper",
  "muted",
  "line",
  "accent",
  ...Array.from({ length: NODE_COLOURS }, (_, index) => `node-${index}`),
];

/** Reads the colours of the theme; `onChange()` is called when the theme has changed. */
export class Palette {
  constructor(onChange) {
    this.colours = {};
    this.probes = new Map();
    this.element = h("div", { hidden: true });
    for (const name of NAMES) {
      const probe = h("i", { class: "probe", "data-colour": name });
      this.probes.set(name, probe);
      this.element.append(probe);
    }
    this.changed = () => {
      this.read();
      onChange();
    };
    this.scheme = window.matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.changed);
    document.addEventListener("themechange", this.changed);
  }

  dispose() {
    this.scheme.removeEventListener("change", this.changed);
    document.removeEventListener("themechange", this.changed);
  }

  read() {
    for (const [name, probe] of this.probes) this.colours[name] = getComputedStyle(probe).color;
  }
}

/** How much larger text is on this screen than on a laptop, see app.css: canvases keep up with it. */
export function textScale() {
  return parseFloat(getComputedStyle(document.documentElement).fontSize) / TEXT_PX;
}

/** Give a canvas its size in CSS pixels, sharp on every screen; returns its pen. */
export function sizeCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

/** Runs `draw` once before the next painted frame, however often it is asked. */
export class Redraw {
  constructor(draw) {
    this.draw = draw;
    this.handle = 0;
  }

  ask() {
    if (this.handle !== 0) return;
    this.handle = requestAnimationFrame(() => {
      this.handle = 0;
      this.draw();
    });
  }

  cancel() {
    cancelAnimationFrame(this.handle);
    this.handle = 0;
  }
}
