// The words of states and settings, and the pills and bars that show them.

import { h, setAttribute, setText } from "./dom.js";
import { count, percent } from "./format.js";
import { frameTotal, isEnded } from "./farm.js";

const JOB_STATES = {
  queued: "Queued",
  rendering: "Rendering",
  assembling: "Assembling",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** Word for each state of a frame, in the order in which bars and legends show them. */
export const FRAME_STATES = {
  done: "done",
  leased: "rendering",
  failed: "failed",
  cancelled: "cancelled",
  waiting: "waiting",
};

/** Word for each state of a node, in the order in which they are counted. */
export const NODE_STATES = {
  rendering: "Rendering",
  idle: "Idle",
  joining: "Joining",
  unavailable: "Not available",
  draining: "Draining",
  disabled: "Disabled",
  offline: "Offline",
};

const OUTCOMES = {
  rendering: "rendering now",
  preparing: "preparing now",
  done: "done",
  lost: "node lost",
  returned: "given back",
  superseded: "another node was faster",
  scene: "failed: scene",
  crash: "failed: Blender crashed",
  hang: "failed: Blender hung",
  too_long: "failed: took too long",
  memory: "failed: out of memory",
  output: "failed: bad output",
  node: "failed: machine",
};

/** A job's state as one word; a paused job says so. */
export function jobWord(job) {
  return job.paused && !isEnded(job) ? "Paused" : (JOB_STATES[job.state] ?? job.state);
}

/** How an attempt at a frame ended. */
export function outcomeWord(outcome) {
  return OUTCOMES[outcome] ?? outcome;
}

/** A state as a coloured word. */
export class Pill {
  constructor() {
    this.element = h("span", { class: "pill" });
  }

  job(job) {
    setAttribute(this.element, "data-state", job.paused && !isEnded(job) ? "paused" : job.state);
    setText(this.element, jobWord(job));
  }

  frame(state) {
    setAttribute(this.element, "data-state", state === "leased" ? "rendering" : state);
    const word = FRAME_STATES[state] ?? state;
    setText(this.element, word[0].toUpperCase() + word.slice(1));
  }

  node(state) {
    setAttribute(this.element, "data-state", state);
    setText(this.element, NODE_STATES[state] ?? state);
  }
}

/** The frames of a job as one bar, a part for each state. */
export class JobBar {
  constructor() {
    this.parts = new Map();
    this.element = h("div", { class: "bar", role: "progressbar", "aria-valuemin": 0 });
    for (const state of ["done", "leased", "failed", "cancelled"]) {
      const part = h("span", { class: "bar-part", "data-state": state });
      this.parts.set(state, part);
      this.element.append(part);
    }
  }

  update(job) {
    const total = Math.max(1, frameTotal(job));
    for (const [state, part] of this.parts) {
      const width = `${((100 * job.counts[state]) / total).toFixed(3)}%`;
      if (part.style.width !== width) part.style.width = width;
    }
    setAttribute(this.element, "aria-valuemax", total);
    setAttribute(this.element, "aria-valuenow", job.counts.done);
    setAttribute(this.element, "aria-valuetext", countsText(job.counts));
    setAttribute(this.element, "aria-label", `Frames of ${job.name}`);
  }
}

/** Progress of one thing, 0 to 1. */
export class ProgressBar {
  constructor(label) {
    this.fill = h("span", { class: "bar-part bar-fill", "data-state": "leased" });
    this.element = h(
      "div",
      { class: "bar bar-thin", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 },
      this.fill,
    );
  }

  update(fraction) {
    const value = Math.round(100 * Math.min(1, Math.max(0, fraction)));
    // Not its width: that would lay out the page anew with every per cent.
    const scale = `scaleX(${value / 100})`;
    if (this.fill.style.transform !== scale) this.fill.style.transform = scale;
    setAttribute(this.element, "aria-valuenow", value);
  }
}

/** "120 done, 3 rendering, 1 failed, 76 waiting"; states without frames are left out. */
export function countsText(counts) {
  return Object.entries(FRAME_STATES)
    .filter(([state]) => counts[state] > 0)
    .map(([state, word]) => `${counts[state].toLocaleString("en-GB")} ${word}`)
    .join(", ");
}

/** "34 %": the part of a job's frames that is done. */
export function donePercent(job) {
  return percent(job.counts.done / Math.max(1, frameTotal(job)));
}

/** "87 of 250 frames". */
export function doneText(job) {
  return `${job.counts.done.toLocaleString("en-GB")} of ${count(frameTotal(job), "frame")}`;
}

/** An engine's identifier as artists say it. */
export function engineWord(engine) {
  const words = {
    CYCLES: "Cycles",
    BLENDER_EEVEE: "EEVEE",
    BLENDER_EEVEE_NEXT: "EEVEE",
    BLENDER_WORKBENCH: "Workbench",
  };
  return words[engine] ?? engine;
}
