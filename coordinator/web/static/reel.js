// The pictures of a film while it is played: a few kept decoded around the place where one looks.

import { thumbnailUrl } from "./api.js";
import { isViewable, previewUrl } from "./viewer.js";

const AHEAD = { small: 120, full: 12 };
const KEPT = { small: 400, full: 24 };
const LOADING_MOST = 6;

/** Loads pictures ahead of the frame that is shown. `quality` is "small" or "full". */
export class Reel {
  constructor(jobId, onLoaded) {
    this.jobId = jobId;
    this.onLoaded = onLoaded;
    this.quality = "small";
    this.order = [];
    this.frames = new Map();
    this.pictures = new Map();
    this.loading = 0;
  }

  set(order, frames) {
    this.order = order;
    this.frames = frames;
  }

  /** Use other pictures from now on. */
  setQuality(quality) {
    this.quality = quality;
    this.pictures.clear();
  }

  dispose() {
    this.pictures.clear();
    this.order = [];
  }

  /** Address of a frame's picture; null where it has none (yet). */
  url(frame) {
    if (frame === undefined || frame.state !== "done") return null;
    if (this.quality === "full" && isViewable(frame)) return previewUrl(this.jobId, frame);
    return frame.thumbnail === "" ? null : thumbnailUrl(this.jobId, frame.frame, frame.thumbnail);
  }

  /** The decoded picture at a place; null while it is not here. */
  picture(place) {
    const url = this.url(this.frames.get(this.order[place]));
    const kept = url === null ? undefined : this.pictures.get(url);
    return kept?.isReady ? kept.image : null;
  }

  /** Whether a frame at `other` is shown, or soon will be, by whoever looks at `place`. */
  isNear(place, other) {
    const ahead = (other - place + this.order.length) % Math.max(1, this.order.length);
    return ahead < AHEAD[this.quality];
  }

  /** Load what comes next, in the order in which it will be shown. */
  prepare(place, loops) {
    const wanted = Math.min(AHEAD[this.quality], this.order.length);
    for (let step = 0; step < wanted && this.loading < LOADING_MOST; step += 1) {
      let next = place + step;
      if (next >= this.order.length) {
        if (!loops) return;
        next -= this.order.length;
      }
      const url = this.url(this.frames.get(this.order[next]));
      if (url !== null && !this.pictures.has(url)) this.load(url);
    }
  }

  load(url) {
    const kept = { image: new Image(), isReady: false };
    this.pictures.set(url, kept);
    this.loading += 1;
    kept.image.src = url;
    kept.image
      .decode()
      .then(() => {
        kept.isReady = true;
      })
      // A picture that was collected or replaced meanwhile is a gap like any other.
      .catch(() => {})
      .finally(() => {
        this.loading -= 1;
        this.onLoaded();
      });
    // The oldest go first: they lie behind, unless the film is shorter than what is kept.
    while (this.pictures.size > KEPT[this.quality]) this.pictures.delete(this.pictures.keys().next().value);
  }
}
