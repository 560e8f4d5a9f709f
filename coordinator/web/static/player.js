// Plays the finished frames of a job at the rate of its scene. Time decides which frame is shown: a
// browser that cannot keep up leaves frames out and says so, it never plays slower.

import * as api from "./api.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { FilmTrack } from "./film-track.js";
import { Redraw, sizeCanvas, textScale } from "./palette.js";
import { Reel } from "./reel.js";
import { FRAME_STATES } from "./words.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4];
const STAGE_HEIGHT_PX = 520;

/** The player; `onFrame(frame)` is called when a person stops at a frame. */
export class Player {
  constructor(jobId, onFrame) {
    this.jobId = jobId;
    this.onFrame = onFrame;
    this.reel = new Reel(jobId, () => this.redraw.ask());
    this.order = [];
    this.frames = new Map();
    this.place = 0;
    this.rate = 24;
    this.isPlaying = false;
    this.dropped = 0;
    this.handle = 0;
    this.redraw = new Redraw(() => this.draw());
    this.canvas = h("canvas", { class: "player-picture", role: "img", "aria-label": "Picture" });
    this.gap = h("p", { class: "player-gap" });
    this.stage = h("div", { class: "player-stage", tabindex: 0, role: "group", "aria-label": "Player" }, this.canvas, this.gap);
    this.play = h("button", { type: "button", class: "primary player-play" }, "Play");
    this.play.addEventListener("click", () => this.toggle());
    this.track = new FilmTrack();
    // Nothing to choose from until the frames are here.
    this.scrub = h("input", { type: "range", class: "player-scrub", min: 0, max: 0, step: 1, value: 0, disabled: true, "aria-label": "Frame" });
    this.scrub.addEventListener("input", () => {
      this.pause();
      this.go(this.scrub.valueAsNumber);
    });
    this.where = h("output", { class: "number player-where" });
    this.speed = h("select", { "aria-label": "Speed" }, ...SPEEDS.map((speed) => h("option", { value: speed, selected: speed === 1 }, `${speed} ×`)));
    this.speed.addEventListener("change", () => this.restart());
    this.loop = h("input", { type: "checkbox", id: "player-loop", checked: true });
    this.quality = h(
      "select",
      { "aria-label": "Quality" },
      h("option", { value: "small" }, "Small pictures"),
      h("option", { value: "full" }, "Full size"),
    );
    this.quality.addEventListener("change", () => {
      this.reel.setQuality(this.quality.value);
      this.draw();
    });
    this.facts = h("p", { class: "muted number player-facts" });
    this.element = h(
      "div",
      { class: "player" },
      this.stage,
      h("div", { class: "player-bar" }, this.scrub, this.track.element),
      h(
        "div",
        { class: "spread" },
        h(
          "div",
          { class: "buttons" },
          this.play,
          this.where,
          this.speed,
          h("label", { class: "check" }, this.loop, " Loop"),
          this.quality,
        ),
        this.facts,
      ),
      h("p", { class: "muted hint" }, "Space plays and stops, arrow keys step, Home and End jump, Enter opens the frame at full size."),
    );
    this.stage.addEventListener("click", () => this.toggle());
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.resizing = new ResizeObserver(() => this.redraw.ask());
    this.resizing.observe(this.element);
    this.hide = () => document.hidden && this.pause();
    document.addEventListener("visibilitychange", this.hide);
  }

  dispose() {
    this.pause();
    this.redraw.cancel();
    this.reel.dispose();
    this.track.dispose();
    this.resizing.disconnect();
    document.removeEventListener("visibilitychange", this.hide);
  }

  /** Ask for the rate of the scene. Throws ApiError. */
  async prepare() {
    const { spec } = await api.get(api.jobPath(this.jobId));
    this.rate = spec.fps > 0 ? spec.fps : 24;
    this.draw();
    return this.element;
  }

  /** Play these frames: numbers in order, views by number. */
  set(order, frames) {
    this.order = order;
    this.frames = frames;
    this.reel.set(order, frames);
    setAttribute(this.scrub, "max", Math.max(0, order.length - 1));
    this.scrub.disabled = order.length < 2;
    this.place = Math.min(this.place, Math.max(0, order.length - 1));
    this.track.set(order, frames);
    this.redraw.ask();
  }

  /** Frames that changed. The stage is drawn for those it shows, or loads ahead. */
  patch(numbers) {
    const moved = this.track.patch(numbers);
    if (moved.some((place) => this.reel.isNear(this.place, place))) this.redraw.ask();
  }

  /** Stand at a frame, unless the film is playing. */
  select(frame) {
    const place = this.order.indexOf(frame);
    if (place >= 0 && !this.isPlaying && place !== this.place) this.go(place);
  }

  toggle() {
    if (this.isPlaying) this.pause();
    else this.start();
  }

  start() {
    if (this.order.length < 2) return;
    if (this.place >= this.order.length - 1) this.place = 0;
    this.isPlaying = true;
    this.dropped = 0;
    setText(this.play, "Stop");
    this.restart();
  }

  // Counts from here on; called when the speed changes as well.
  restart() {
    cancelAnimationFrame(this.handle);
    if (!this.isPlaying) return;
    this.startedAt = null;
    this.startedPlace = this.place;
    this.handle = requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    cancelAnimationFrame(this.handle);
    setText(this.play, "Play");
    this.draw();
    this.onFrame(this.order[this.place]);
  }

  tick(now) {
    if (!this.isPlaying) return;
    this.startedAt ??= now;
    const passed = Math.floor(((now - this.startedAt) / 1000) * this.rate * Number(this.speed.value));
    const total = this.order.length;
    let place = this.startedPlace + passed;
    if (place >= total && !this.loop.checked) {
      this.place = total - 1;
      this.draw();
      this.pause();
      return;
    }
    place %= total;
    if (place !== this.place) {
      const steps = (place - this.place + total) % total;
      this.place = place;
      // Whatever was stepped over, and whatever is due and not here, was not seen.
      this.dropped += Math.max(0, steps - Math.max(1, Math.ceil(Number(this.speed.value))));
      if (!this.draw() && this.reel.url(this.frames.get(this.order[place])) !== null) this.dropped += 1;
    } else {
      this.reel.prepare(place, this.loop.checked);
    }
    this.handle = requestAnimationFrame((next) => this.tick(next));
  }

  go(place) {
    this.place = Math.max(0, Math.min(this.order.length - 1, place));
    this.draw();
  }

  key(event) {
    const isTyping = event.target.matches("select, input[type=checkbox]");
    const acts = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.stepBy(-1),
      ArrowRight: () => this.stepBy(1),
      Home: () => this.stepTo(0),
      End: () => this.stepTo(this.order.length - 1),
      Enter: () => {
        this.pause();
        this.onFrame(this.order[this.place], true);
      },
    };
    const act = acts[event.key];
    const isButton = event.target.matches("button") && (event.key === " " || event.key === "Enter");
    if (act === undefined || isTyping || isButton || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  stepBy(steps) {
    this.stepTo(this.place + steps);
  }

  stepTo(place) {
    this.pause();
    this.go(place);
    this.onFrame(this.order[this.place]);
  }

  /** Show the frame that is due; returns whether its picture was there. */
  draw() {
    const frame = this.frames.get(this.order[this.place]);
    if (frame === undefined) return false;
    this.reel.prepare(this.place, this.loop.checked);
    const picture = this.reel.picture(this.place);
    const isComing = this.reel.url(frame) !== null;
    if (picture !== null) this.paint(picture);
    // A frame that is on its way keeps the one before on the stage; one that is missing is a gap.
    show(this.canvas, picture !== null || isComing);
    const word = FRAME_STATES[frame.state] ?? frame.state;
    setText(this.gap, picture === null && !isComing ? `Frame ${frame.frame} is ${word}` : "");
    show(this.gap, this.gap.textContent !== "");
    setText(this.where, `Frame ${frame.frame}`);
    setAttribute(this.canvas, "aria-label", `Frame ${frame.frame}`);
    if (this.scrub.valueAsNumber !== this.place) this.scrub.value = String(this.place);
    setAttribute(this.scrub, "aria-valuetext", `Frame ${frame.frame}, ${word}`);
    const dropped = this.dropped > 0 ? ` · ${this.dropped.toLocaleString("en-GB")} frames left out to keep time` : "";
    setText(this.facts, `${Math.round(this.rate * 1000) / 1000} frames a second${dropped}`);
    return picture !== null;
  }

  paint(picture) {
    const most = this.stage.clientWidth;
    if (most === 0 || picture.naturalWidth === 0) return;
    const scale = Math.min(most / picture.naturalWidth, (STAGE_HEIGHT_PX * textScale()) / picture.naturalHeight);
    const width = Math.round(picture.naturalWidth * scale);
    const height = Math.round(picture.naturalHeight * scale);
    if (this.canvas.dataset.size !== `${width} ${height}`) {
      this.canvas.dataset.size = `${width} ${height}`;
      this.pen = sizeCanvas(this.canvas, width, height);
    }
    this.pen.imageSmoothingEnabled = scale < 3;
    this.pen.clearRect(0, 0, width, height);
    this.pen.drawImage(picture, 0, 0, width, height);
  }
}
