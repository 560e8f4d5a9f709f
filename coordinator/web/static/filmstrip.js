// All frames of a job side by side. Only those in sight are elements, so a film of ten thousand
// frames scrolls as one of ten.

import { thumbnailUrl } from "./api.js";
import { h, KeyedList, setAttribute, setText, show } from "./dom.js";
import { Redraw, textScale, TEXT_PX } from "./palette.js";
import { FRAME_STATES } from "./words.js";

const TILE_REM = 12;
/* A cell of app.css and the gap beside it. */
const BEYOND_TILES = 4;
/* Made on either side of what is in sight, so that a short scroll shows no empty place. */

/** The strip; `frameHref(frame)` is where a click leads. */
export class Filmstrip {
  constructor(jobId, frameHref) {
    this.jobId = jobId;
    this.frameHref = frameHref;
    this.order = [];
    this.frames = new Map();
    this.places = new Map();
    this.selected = null;
    this.hasPicture = false;
    this.band = h("div", { class: "strip-band", role: "list" });
    this.list = new KeyedList(this.band, (frame) => new Cell(this, frame));
    this.box = h("div", { class: "strip", tabindex: -1, role: "group", "aria-label": "Filmstrip" }, this.band);
    this.none = h("p", { class: "muted" }, "Fetching the frames …");
    this.element = h("section", { class: "strip-box" }, this.none, this.box);
    this.redraw = new Redraw(() => this.draw());
    this.box.addEventListener("scroll", () => this.redraw.ask(), { passive: true });
    this.resizing = new ResizeObserver(() => this.redraw.ask());
    this.resizing.observe(this.box);
  }

  dispose() {
    this.resizing.disconnect();
    this.redraw.cancel();
  }

  /** Show these frames: numbers in order, views by number. */
  set(order, frames) {
    this.frames = frames;
    setText(this.none, "Pictures appear here as frames are finished.");
    this.hasPicture = order.some((number) => frames.get(number).thumbnail !== "");
    if (order !== this.order || order.length !== this.places.size) {
      this.order = order;
      this.places = new Map(order.map((frame, index) => [frame, index]));
      this.band.style.width = `${order.length * TILE_REM}rem`;
    }
    this.redraw.ask();
  }

  /** Draw the frames that changed, where they are in sight. */
  patch(numbers) {
    for (const number of numbers) this.list.patch(number, this.frames.get(number));
    if (this.hasPicture) return;
    this.hasPicture = [...numbers].some((number) => this.frames.get(number)?.thumbnail);
    if (this.hasPicture) this.redraw.ask();
  }

  /** Mark a frame and bring it into sight; null marks none. */
  select(frame) {
    const before = this.selected;
    this.selected = frame;
    for (const number of [before, frame]) {
      if (this.frames.has(number)) this.list.patch(number, this.frames.get(number));
    }
    const place = this.places.get(frame);
    if (place === undefined) return;
    const tile = tileWidth();
    const left = place * tile;
    if (left < this.box.scrollLeft || left + tile > this.box.scrollLeft + this.box.clientWidth) {
      this.box.scrollLeft = left - (this.box.clientWidth - tile) / 2;
    }
  }

  draw() {
    show(this.none, !this.hasPicture);
    show(this.box, this.hasPicture);
    if (!this.hasPicture || this.box.clientWidth === 0) return;
    const tile = tileWidth();
    const first = Math.max(0, Math.floor(this.box.scrollLeft / tile) - BEYOND_TILES);
    const last = Math.ceil((this.box.scrollLeft + this.box.clientWidth) / tile) + BEYOND_TILES;
    const shown = this.order.slice(first, last).map((number) => this.frames.get(number));
    this.list.set(shown, (frame) => frame.frame);
  }
}

function tileWidth() {
  return TILE_REM * TEXT_PX * textScale();
}

class Cell {
  constructor(owner, frame) {
    this.owner = owner;
    this.picture = h("img", { decoding: "async", alt: "", hidden: true });
    this.picture.addEventListener("error", () => show(this.picture, false));
    this.state = h("span", { class: "strip-state" });
    this.link = h(
      "a",
      { href: owner.frameHref(frame.frame) },
      this.picture,
      this.state,
      h("span", { class: "strip-number number" }, String(frame.frame)),
    );
    this.element = h("div", { role: "listitem" }, this.link);
  }

  update(frame) {
    const place = this.owner.places.get(frame.frame) ?? 0;
    const left = `${place * TILE_REM}rem`;
    if (this.element.style.left !== left) this.element.style.left = left;
    const hasPicture = frame.thumbnail !== "";
    setAttribute(this.element, "class", hasPicture ? "strip-cell tile" : "strip-cell gap");
    setAttribute(this.element, "aria-setsize", this.owner.order.length);
    setAttribute(this.element, "aria-posinset", place + 1);
    if (hasPicture) {
      const url = thumbnailUrl(this.owner.jobId, frame.frame, frame.thumbnail);
      if (this.picture.getAttribute("src") !== url) {
        this.picture.setAttribute("src", url);
        show(this.picture, true);
      }
    } else {
      setAttribute(this.picture, "src", null);
      show(this.picture, false);
    }
    const word = FRAME_STATES[frame.state] ?? frame.state;
    setAttribute(this.element, "data-state", frame.state);
    setText(this.state, hasPicture && frame.state === "done" ? "" : word);
    setAttribute(this.link, "aria-label", `Frame ${frame.frame}, ${word}`);
    setAttribute(this.link, "aria-current", frame.frame === this.owner.selected ? "true" : null);
  }
}
