// The farm as this page knows it: views by id, kept up to date by one event stream.
//
// Everything is fetched once, then each event replaces the view it carries. The first change after
// a pause is told with the next painted frame and the rest of a burst twice a second: a hundred
// events a second cost two updates of the document.

import * as api from "./api.js";

const JOBS_PER_PAGE = 100;
const FRAMES_PER_PAGE = 1000;
const LOG_LINES_KEPT = 2000;
const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 15000;
const SUMMARY_DELAY_MS = 2000;
const UPDATE_EVERY_MS = 500;
/* Faster than an eye reads figures; each update costs style, layout and paint of what changed. */

/** Fires "change" (detail: what changed, see `Changes`) and "connection". */
export class Farm extends EventTarget {
  constructor() {
    super();
    this.summary = null;
    this.jobs = new Map();
    this.nodes = new Map();
    /** Ids of jobs that the farm has forgotten while this page was open. */
    this.removed = new Set();
    this.nextJobs = null;
    this.connection = "connecting";
    /** The job whose frames are followed: { id, frames, order, isLoaded, problem, log }. */
    this.watched = null;
    this.sequence = 0;
    this.source = null;
    this.retryMs = RETRY_FIRST_MS;
    this.retryTimer = 0;
    this.summaryTimer = 0;
    this.pending = new Changes();
    this.isScheduled = false;
    this.toldAt = -Infinity;
    this.isStopped = true;
  }

  /** Fetch everything, then follow. Throws ApiError when the first fetch fails. */
  async start() {
    this.isStopped = false;
    await this.load();
    this.follow();
  }

  /** Let go of the stream. */
  stop() {
    this.isStopped = true;
    clearTimeout(this.retryTimer);
    clearTimeout(this.summaryTimer);
    this.source?.close();
    this.source = null;
  }

  async load() {
    // The sequence is read first: whatever happens during the other requests is told again.
    const summary = await api.get("/farm");
    const { nodes } = await api.get("/nodes");
    const jobs = new Map();
    let next = null;
    do {
      next = await this.fetchJobs(jobs, next);
      // Newest first: an old job that is still open may stand many pages behind.
    } while (next !== null && openJobs(jobs) < summary.jobs_open);
    // Taken over at once, so that nothing half fetched is ever shown.
    this.summary = summary;
    this.sequence = summary.sequence;
    this.nodes = new Map(nodes.map((node) => [node.id, node]));
    this.jobs = jobs;
    this.nextJobs = next;
    if (this.watched !== null) await this.loadFrames();
    this.pending.everything = true;
    this.schedule();
  }

  /** Jobs that are not ended. */
  openJobs() {
    return openJobs(this.jobs);
  }

  /** Fetch the next page of jobs, older than those already here. */
  async loadMoreJobs() {
    this.nextJobs = await this.fetchJobs(this.jobs, this.nextJobs);
    this.pending.everything = true;
    this.schedule();
  }

  // A job that was told or removed while the page was on its way is newer than the page.
  async fetchJobs(jobs, from) {
    const after = from === null ? "" : `&after=${encodeURIComponent(from)}`;
    const page = await api.get(`/jobs?limit=${JOBS_PER_PAGE}${after}`);
    for (const job of page.jobs) if (!jobs.has(job.id) && !this.removed.has(job.id)) jobs.set(job.id, job);
    return page.next;
  }

  /** Follow the frames of one job; null follows none. */
  watch(id) {
    if (this.watched?.id === id) return;
    if (id === null) {
      this.watched = null;
      return;
    }
    this.watched = new WatchedJob(id);
    this.loadFrames();
  }

  async loadFrames() {
    const watched = this.watched;
    watched.touched = new Set();
    watched.problem = "";
    try {
      if (!this.jobs.has(watched.id)) {
        const detail = await api.get(api.jobPath(watched.id));
        if (!this.jobs.has(watched.id)) this.jobs.set(watched.id, detail.job);
      }
      const fresh = new Map();
      let after = "";
      for (;;) {
        const path = `${api.jobPath(watched.id)}/frames?limit=${FRAMES_PER_PAGE}${after}`;
        const page = await api.get(path);
        if (this.watched !== watched) return;
        for (const frame of page.frames) fresh.set(frame.frame, frame);
        if (page.next === null) break;
        after = `&after=${page.next}`;
      }
      // A frame that changed while the pages were on their way is newer than its page.
      for (const number of watched.touched) {
        if (watched.frames.has(number)) fresh.set(number, watched.frames.get(number));
      }
      watched.replace(fresh);
    } catch (error) {
      watched.problem = error.message;
    }
    this.pending.everything = true;
    this.schedule();
  }

  follow() {
    this.source?.close();
    const source = new EventSource(api.eventsUrl(this.sequence));
    this.source = source;
    const receive = (message) => this.receive(JSON.parse(message.data));
    source.addEventListener("open", () => {
      this.retryMs = RETRY_FIRST_MS;
      this.setConnection("live");
    });
    source.addEventListener("message", receive);
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      // Reconnecting is done here and not by the browser: the address then names the last event
      // seen, and a refusal is told apart from a coordinator that is down.
      source.close();
      this.source = null;
      if (this.isStopped) return;
      this.setConnection("lost");
      this.retryTimer = setTimeout(() => this.reconnect(), this.retryMs * (0.5 + Math.random()));
      this.retryMs = Math.min(this.retryMs * 2, RETRY_MOST_MS);
    });
  }

  /** Try again at once: the machine woke up or its network came back. */
  async reconnect() {
    if (this.isStopped || this.source !== null) return;
    clearTimeout(this.retryTimer);
    try {
      const summary = await api.get("/farm");
      if (this.isStopped || this.source !== null) return;
      const isSameFarm = summary.farm_id === this.summary.farm_id;
      // A lower number is another history: a farm set up anew, or restored from a copy.
      if (!isSameFarm || summary.sequence < this.sequence) await this.load();
      else {
        this.summary = summary;
        // A job that was opened while nobody answered.
        if (this.watched?.isLoaded === false) await this.loadFrames();
      }
    } catch (error) {
      if (error.status === 401) return;
      this.retryTimer = setTimeout(() => this.reconnect(), this.retryMs * (0.5 + Math.random()));
      this.retryMs = Math.min(this.retryMs * 2, RETRY_MOST_MS);
      return;
    }
    if (!this.isStopped) this.follow();
  }

  setConnection(state) {
    if (this.connection === state) return;
    this.connection = state;
    this.dispatchEvent(new Event("connection"));
  }

  receive(event) {
    if (event.kind === "reset") {
      this.stop();
      this.start().catch(() => {
        this.isStopped = false;
        this.reconnect();
      });
      return;
    }
    this.sequence = Math.max(this.sequence, event.sequence);
    if (event.kind === "job" && event.job) this.setJob(event.job);
    else if (event.kind === "job_removed") this.removeJob(event.job_id);
    else if (event.kind === "node" && event.node) this.setNode(event.node);
    else if (event.kind === "frame" && event.frame) this.setFrame(event.job_id, event.frame);
    else if (event.kind === "log") this.addLog(event);
    this.schedule();
  }

  /** Take over a job's view. */
  setJob(job) {
    const before = this.jobs.get(job.id);
    this.jobs.set(job.id, job);
    this.pending.jobs.add(job.id);
    if (before === undefined || before.state !== job.state || before.paused !== job.paused) {
      this.pending.order = true;
      this.refreshSummary();
    }
    this.schedule();
  }

  /**
   * Ask for something that is answered with a job's view. What the stream has told meanwhile is
   * newer than the answer, which then counts for nothing. Throws ApiError.
   */
  async askJob(id, ask) {
    const before = this.jobs.get(id);
    const job = await ask();
    if (this.jobs.get(id) === before) this.setJob(job);
  }

  /** The same for a node; resolves to the answer. */
  async askNode(id, ask) {
    const before = this.nodes.get(id);
    const node = await ask();
    if (this.nodes.get(id) === before) this.setNode(node);
    return node;
  }

  removeJob(id) {
    this.removed.add(id);
    this.jobs.delete(id);
    this.pending.order = true;
    this.schedule();
  }

  /** Take over a node's view. */
  setNode(node) {
    const before = this.nodes.get(node.id);
    this.nodes.set(node.id, node);
    this.pending.nodes.add(node.id);
    if (before === undefined || before.state !== node.state) this.pending.order = true;
    this.schedule();
  }

  setFrame(jobId, frame) {
    if (this.watched?.id !== jobId) return;
    this.watched.set(frame);
    this.pending.frames.add(frame.frame);
  }

  addLog(event) {
    this.dispatchEvent(new CustomEvent("log", { detail: event }));
    if (this.watched === null || event.job_id !== this.watched.id) return;
    this.watched.addLog(event);
    this.pending.log = true;
  }

  // What the views do not carry (free disk) is asked for again when jobs start and end.
  refreshSummary() {
    clearTimeout(this.summaryTimer);
    this.summaryTimer = setTimeout(async () => {
      try {
        this.summary = await api.get("/farm");
        this.pending.order = true;
        this.schedule();
      } catch {
        // The stream notices a coordinator that is gone, and asks again when it is back.
      }
    }, SUMMARY_DELAY_MS);
  }

  schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    const wait = this.toldAt + UPDATE_EVERY_MS - performance.now();
    if (wait > 0) setTimeout(() => this.tell(), wait);
    else this.tell();
  }

  tell() {
    requestAnimationFrame(() => {
      this.isScheduled = false;
      this.toldAt = performance.now();
      const changes = this.pending;
      this.pending = new Changes();
      this.dispatchEvent(new CustomEvent("change", { detail: changes }));
    });
  }
}

/** What changed since the views were last told. */
class Changes {
  constructor() {
    /** Whatever is known may differ: draw all of it. */
    this.everything = false;
    /** Jobs or nodes came, went, or moved to another state. */
    this.order = false;
    this.jobs = new Set();
    this.nodes = new Set();
    /** Numbers of frames of the watched job. */
    this.frames = new Set();
    this.log = false;
  }
}

class WatchedJob {
  constructor(id) {
    this.id = id;
    this.frames = new Map();
    /** Numbers of the frames, ascending. */
    this.order = [];
    this.isLoaded = false;
    this.problem = "";
    this.log = [];
    this.touched = new Set();
  }

  replace(frames) {
    this.frames = frames;
    this.order = [...frames.keys()].sort((a, b) => a - b);
    this.isLoaded = true;
  }

  set(frame) {
    this.touched.add(frame.frame);
    if (this.isLoaded && !this.frames.has(frame.frame)) {
      this.order.push(frame.frame);
      this.order.sort((a, b) => a - b);
    }
    this.frames.set(frame.frame, frame);
  }

  addLog(event) {
    const where = event.frame ? `frame ${event.frame.frame}` : "";
    for (const line of event.lines) {
      this.log.push({ time: event.time, node: event.node_id, where, line });
    }
    if (this.log.length > LOG_LINES_KEPT) this.log.splice(0, this.log.length - LOG_LINES_KEPT);
  }
}

function openJobs(jobs) {
  let open = 0;
  for (const job of jobs.values()) if (!isEnded(job)) open += 1;
  return open;
}

/** Whether a job does nothing more by itself. */
export function isEnded(job) {
  return job.state === "done" || job.state === "failed" || job.state === "cancelled";
}

/** Frames of a job in all. */
export function frameTotal(job) {
  const counts = job.counts;
  return counts.waiting + counts.leased + counts.done + counts.failed + counts.cancelled;
}
