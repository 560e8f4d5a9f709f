// One finished frame over the whole window: at full size as Blender's render window shows it, with
// zoom, the frames before and behind, and the difference to the frame before.

import * as api from "./api.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { percent } from "./format.js";

const ZOOM_STEP = 1.25;
const ZOOM_MOST = 16;
const PAN_PX = 60;

/** Whether a frame can be looked at at full size. */
export function isViewable(frame) {
  return frame !== undefined && frame.state === "done" && (frame.preview !== "" || shownFile(frame) !== null);
}

function shownFile(frame) {
  return frame.files.find((file) => file.root === "main" && /\.(png|jpe?g|webp|bmp)$/i.test(file.path)) ?? null;
}

/** Address of the picture at full size; null where there is none a browser can show. */
export function previewUrl(jobId, frame) {
  const version = frame.preview || shownFile(frame)?.sha256;
  return version ? api.previewUrl(jobId, frame.frame, version) : null;
}

/** The full-size view of a job's frames. `onMove(frame)` follows; `onClose()` when it closes. */
export class Viewer {
  constructor(jobId, onMove, onClose) {
    this.jobId = jobId;
    this.onMove = onMove;
    this.onClose = onClose;
    this.order = [];
    this.frames = new Map();
    this.number = null;
    this.zoom = 1;
    this.shift = { x: 0, y: 0 };
    this.isFitted = true;
    this.title = h("h2", { class: "viewer-title", "aria-live": "polite" });
    this.picture = h("img", { class: "viewer-picture", draggable: "false" });
    this.other = h("img", { class: "viewer-picture viewer-other", draggable: "false", alt: "", hidden: true });
    this.message = h("p", { class: "viewer-message", role: "status" });
    this.stage = h("div", { class: "viewer-stage" }, this.picture, this.other, this.message);
    this.size = h("span", { class: "number" });
    const button = (label, text, act, key) => {
      const made = h("button", { type: "button", class: "quiet", "aria-label": label, title: `${label} (${key})` }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.compare = h("select", { "aria-label": "Compare", title: "Compare (C)" });
    this.compare.append(
      h("option", { value: "" }, "This frame"),
      h("option", { value: "before" }, "Frame before"),
      h("option", { value: "difference" }, "Difference to the frame before"),
    );
    this.compare.addEventListener("change", () => this.draw());
    this.download = h("a", { class: "button", download: "" }, "Download");
    this.element = h(
      "dialog",
      { class: "viewer", "aria-label": "Frame at full size" },
      h(
        "div",
        { class: "viewer-bar" },
        button("Previous frame", "‹", () => this.step(-1), "←"),
        this.title,
        button("Next frame", "›", () => this.step(1), "→"),
        h("span", { class: "spacer" }),
        this.compare,
        button("Smaller", "−", () => this.zoomBy(1 / ZOOM_STEP), "-"),
        this.size,
        button("Larger", "+", () => this.zoomBy(ZOOM_STEP), "+"),
        button("Fit the window", "Fit", () => this.fit(), "0"),
        button("One to one", "1:1", () => this.zoomTo(1 / (window.devicePixelRatio || 1)), "1"),
        this.download,
        button("Close", "×", () => this.element.close(), "Escape"),
      ),
      this.stage,
    );
    this.picture.addEventListener("load", () => {
      setText(this.message, "");
      show(this.picture, true);
      if (this.isFitted) this.fit();
      else this.place();
    });
    this.picture.addEventListener("error", () => {
      show(this.picture, false);
      if (this.number !== null) setText(this.message, "The picture did not arrive. It may be being rendered anew.");
    });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("close", () => {
      if (this.number === null) return;
      this.number = null;
      this.onClose();
    });
    this.stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.stage.addEventListener("pointerdown", (event) => this.grab(event));
    this.stage.addEventListener("dblclick", () => (this.isFitted ? this.zoomTo(1) : this.fit()));
    this.resizing = new ResizeObserver(() => (this.isFitted ? this.fit() : this.place()));
    this.resizing.observe(this.stage);
  }

  dispose() {
    this.number = null;
    this.resizing.disconnect();
    this.element.remove();
  }

  /** The frames one can walk over. */
  set(order, frames) {
    this.order = order;
    this.frames = frames;
    if (this.number !== null) this.draw();
  }

  /** Show a frame. */
  open(number) {
    if (!this.element.isConnected) document.body.append(this.element);
    if (!this.element.open) this.element.showModal();
    this.number = number;
    this.draw();
  }

  draw() {
    const frame = this.frames.get(this.number);
    if (frame === undefined) return;
    setText(this.title, `Frame ${frame.frame}`);
    this.picture.alt = `Frame ${frame.frame} at full size`;
    const url = isViewable(frame) ? previewUrl(this.jobId, frame) : null;
    if (url === null) {
      setAttribute(this.picture, "src", null);
      show(this.picture, false);
      setText(this.message, frame.state === "done" ? "No browser can show this frame; download its file." : "This frame is not finished.");
    } else if (this.picture.getAttribute("src") !== url) {
      setText(this.message, "Loading …");
      this.picture.setAttribute("src", url);
    }
    const before = this.neighbour(-1);
    this.compare.disabled = before === null;
    const mode = before === null ? "" : this.compare.value;
    show(this.other, mode !== "");
    setAttribute(this.other, "data-mode", mode);
    if (mode !== "") setAttribute(this.other, "src", previewUrl(this.jobId, this.frames.get(before)));
    const file = frame.files.findIndex((one) => one.root === "main");
    show(this.download, file >= 0);
    if (file >= 0) setAttribute(this.download, "href", api.fileUrl(this.jobId, frame.frame, file));
    // The next one is likely wanted next.
    const next = this.neighbour(1);
    if (next !== null) new Image().src = previewUrl(this.jobId, this.frames.get(next));
  }

  /** The nearest frame in a direction that can be shown; null at the end. */
  neighbour(direction) {
    let place = this.order.indexOf(this.number) + direction;
    while (place >= 0 && place < this.order.length) {
      if (isViewable(this.frames.get(this.order[place]))) return this.order[place];
      place += direction;
    }
    return null;
  }

  step(direction) {
    const next = this.neighbour(direction);
    if (next === null) return;
    this.number = next;
    this.draw();
    this.onMove(next);
  }

  key(event) {
    if (event.target === this.compare && event.key.startsWith("Arrow")) return;
    const acts = {
      ArrowLeft: () => (event.shiftKey ? this.pan(PAN_PX, 0) : this.step(-1)),
      ArrowRight: () => (event.shiftKey ? this.pan(-PAN_PX, 0) : this.step(1)),
      ArrowUp: () => this.pan(0, PAN_PX),
      ArrowDown: () => this.pan(0, -PAN_PX),
      "+": () => this.zoomBy(ZOOM_STEP),
      "=": () => this.zoomBy(ZOOM_STEP),
      "-": () => this.zoomBy(1 / ZOOM_STEP),
      0: () => this.fit(),
      1: () => this.zoomTo(1 / (window.devicePixelRatio || 1)),
      c: () => {
        this.compare.selectedIndex = (this.compare.selectedIndex + 1) % this.compare.options.length;
        this.draw();
      },
    };
    const act = acts[event.key];
    if (act === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  wheel(event) {
    event.preventDefault();
    const box = this.stage.getBoundingClientRect();
    this.zoomBy(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, {
      x: event.clientX - box.left - box.width / 2,
      y: event.clientY - box.top - box.height / 2,
    });
  }

  grab(event) {
    const start = { x: event.clientX - this.shift.x, y: event.clientY - this.shift.y };
    this.stage.setPointerCapture(event.pointerId);
    const move = (moved) => {
      this.shift = { x: moved.clientX - start.x, y: moved.clientY - start.y };
      this.isFitted = false;
      this.place();
    };
    const end = () => {
      this.stage.removeEventListener("pointermove", move);
      this.stage.removeEventListener("pointerup", end);
      this.stage.removeEventListener("pointercancel", end);
    };
    this.stage.addEventListener("pointermove", move);
    this.stage.addEventListener("pointerup", end);
    this.stage.addEventListener("pointercancel", end);
  }

  pan(x, y) {
    this.shift = { x: this.shift.x + x, y: this.shift.y + y };
    this.isFitted = false;
    this.place();
  }

  /** The whole picture, as large as the window allows. */
  fit() {
    const { naturalWidth: width, naturalHeight: height } = this.picture;
    this.isFitted = true;
    this.shift = { x: 0, y: 0 };
    if (width > 0) this.zoom = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height, 4);
    this.place();
  }

  zoomTo(zoom) {
    this.zoomBy(zoom / this.zoom);
  }

  // The point under the pointer stays where it is.
  zoomBy(factor, at = { x: 0, y: 0 }) {
    const zoom = Math.min(ZOOM_MOST, Math.max(0.02, this.zoom * factor));
    const change = zoom / this.zoom;
    this.shift = { x: at.x - (at.x - this.shift.x) * change, y: at.y - (at.y - this.shift.y) * change };
    this.zoom = zoom;
    this.isFitted = false;
    this.place();
  }

  place() {
    const move = `translate(-50%, -50%) translate(${this.shift.x}px, ${this.shift.y}px) scale(${this.zoom})`;
    for (const picture of [this.picture, this.other]) {
      picture.style.transform = move;
      // Pixels as they are once they are larger than the screen's.
      setAttribute(picture, "data-pixels", this.zoom * (window.devicePixelRatio || 1) >= 2);
    }
    setText(this.size, percent2(this.zoom * (window.devicePixelRatio || 1)));
  }
}

function percent2(part) {
  return part < 1 ? percent(part) : `${Math.round(part * 100)} %`;
}
