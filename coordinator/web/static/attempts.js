// All tries at the frames of a job: who rendered what, when, and how it ended.

import * as api from "./api.js";

const OVERLAP_SECONDS = 120;
/* Asked for again each time: clocks that were set back a little must not hide what has ended. */
const REFRESH_MS = 2500;

/** The tries of one job, kept up to date while somebody looks. `onChange()` is called after. */
export class Attempts {
  constructor(jobId, onChange) {
    this.jobId = jobId;
    this.onChange = onChange;
    /** By "frame.epoch": { frame, generation, epoch, node, name, started, ended, outcome, reason }. */
    this.byKey = new Map();
    this.newest = null;
    this.timer = 0;
    this.isLoaded = false;
    this.isLoading = false;
    this.problem = "";
  }

  dispose() {
    clearTimeout(this.timer);
    // Also what is on its way must not ask for more.
    this.timer = -1;
    this.onChange = () => {};
  }

  /** Something happened to the job's frames: look again soon. */
  refresh() {
    if (this.timer !== 0) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.load();
    }, REFRESH_MS);
  }

  /** Fetch what has ended since the last time, and what is in progress. */
  async load() {
    // One at a time: of two answers the older one may come last.
    if (this.isLoading) {
      this.refresh();
      return;
    }
    this.isLoading = true;
    const since = this.newest === null ? "" : `&ended_after=${(this.newest - OVERLAP_SECONDS).toFixed(3)}`;
    try {
      const fresh = [];
      let after = "";
      do {
        const page = await api.get(`${api.jobPath(this.jobId)}/attempts?limit=5000${since}${after}`);
        for (const span of page.attempts) {
          const { id, name } = page.nodes[span.node];
          fresh.push({ ...span, node: id, name });
        }
        after = page.next === null ? "" : `&after=${encodeURIComponent(page.next)}`;
      } while (after !== "");
      // What was in progress has ended or is told anew.
      for (const [key, span] of this.byKey) if (span.ended === null) this.byKey.delete(key);
      for (const span of fresh) {
        this.byKey.set(`${span.frame}.${span.epoch}`, span);
        if (span.ended !== null) this.newest = Math.max(this.newest ?? 0, span.ended);
      }
      markCopies(this.byKey);
      this.problem = "";
    } catch (error) {
      this.problem = error.message;
    }
    this.isLoading = false;
    this.isLoaded = true;
    this.onChange();
  }

  /** All tries in the order in which they began. */
  spans() {
    return [...this.byKey.values()].sort((a, b) => a.started - b.started || a.epoch - b.epoch);
  }
}

// A second copy is a try that began while another node was at the same frame.
function markCopies(byKey) {
  const byFrame = new Map();
  for (const span of byKey.values()) {
    const key = `${span.frame} ${span.generation}`;
    if (!byFrame.has(key)) byFrame.set(key, []);
    byFrame.get(key).push(span);
  }
  for (const spans of byFrame.values()) {
    spans.sort((a, b) => a.epoch - b.epoch);
    spans.forEach((span, index) => {
      const earlier = spans.slice(0, index);
      span.isCopy = earlier.some((one) => one.ended === null || one.ended > span.started);
      span.isRetry = !span.isCopy && earlier.length > 0;
    });
  }
}

/** What a try was, besides how it ended: "second copy", "retry", "". */
export function kindWord(span) {
  if (span.isCopy) return "second copy";
  return span.isRetry ? "retry" : "";
}
