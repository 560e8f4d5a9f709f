// Finished frames as pictures, in order; new ones appear as they come.

import { thumbnailUrl } from "./api.js";
import { actionButton } from "./controls.js";
import { h, KeyedList, setAttribute, setText, show } from "./dom.js";

const PICTURES_PER_STEP = 240;

/** The thumbnails of a job; `frameHref(frame)` is where a click leads. */
export class Pictures {
  constructor(jobId, frameHref) {
    this.jobId = jobId;
    this.frameHref = frameHref;
    this.limit = PICTURES_PER_STEP;
    this.order = [];
    this.frames = new Map();
    this.selected = null;
    this.wall = h("div", { class: "wall" });
    this.list = new KeyedList(this.wall, (frame) => new Tile(this, frame));
    this.none = h("p", { class: "muted" }, "Pictures appear here as frames are finished.");
    this.more = actionButton("Show more", async () => {
      this.limit += PICTURES_PER_STEP;
      this.draw();
    }, "", "");
    this.element = h("div", {}, this.none, this.wall, h("p", { class: "centred" }, this.more));
  }

  dispose() {}

  set(order, frames) {
    this.order = order;
    this.frames = frames;
    this.draw();
  }

  patch(numbers) {
    for (const number of numbers) {
      const frame = this.frames.get(number);
      const isShown = this.list.rows.has(number);
      // A picture came or went: the order has to be found anew.
      if ((frame.thumbnail !== "") !== isShown) {
        this.draw();
        return;
      }
      this.list.patch(number, frame);
    }
  }

  select(frame) {
    const before = this.selected;
    this.selected = frame;
    for (const number of [before, frame]) {
      if (this.frames.has(number)) this.list.patch(number, this.frames.get(number));
    }
  }

  draw() {
    const shown = [];
    let left = 0;
    for (const number of this.order) {
      const frame = this.frames.get(number);
      if (frame.thumbnail === "") continue;
      if (shown.length < this.limit) shown.push(frame);
      else left += 1;
    }
    this.list.set(shown, (frame) => frame.frame);
    show(this.none, shown.length === 0);
    show(this.more, left > 0);
    setText(this.more, `Show more (${left.toLocaleString("en-GB")})`);
  }
}

class Tile {
  constructor(owner, frame) {
    this.owner = owner;
    this.picture = h("img", { loading: "lazy", decoding: "async", alt: `Frame ${frame.frame}` });
    this.element = h(
      "a",
      { class: "tile", href: owner.frameHref(frame.frame) },
      this.picture,
      h("span", { class: "number", "aria-hidden": "true" }, String(frame.frame)),
    );
  }

  update(frame) {
    setAttribute(this.picture, "src", thumbnailUrl(this.owner.jobId, frame.frame, frame.thumbnail));
    setAttribute(this.element, "aria-current", frame.frame === this.owner.selected ? "true" : null);
  }
}
