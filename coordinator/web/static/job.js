// One job: its frames as a field, as a film and over time, the chosen frame, and what was submitted.

import * as api from "./api.js";
import { actionButton, confirm, JobControls } from "./controls.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { bytes, count, moment, percent, timeLeft } from "./format.js";
import { Filmstrip } from "./filmstrip.js";
import { FramePanel } from "./frame.js";
import { FrameTimes } from "./frame-times.js";
import { FrameGrid } from "./grid.js";
import { isEnded } from "./farm.js";
import { files, script, settings } from "./job-info.js";
import { jobNodes } from "./job-nodes.js";
import { LogPanel } from "./logs.js";
import { Picture, tookText, workText } from "./overview.js";
import { Player } from "./player.js";
import { Tabs } from "./tabs.js";
import { Timeline } from "./timeline.js";
import { isViewable, Viewer } from "./viewer.js";
import { donePercent, doneText, FRAME_STATES, JobBar, Pill } from "./words.js";

const PRIORITY_MOST = 100;

/** The page of a job; `go(hash)` changes the address without leaving a step in the history. */
export class JobPage {
  constructor(farm, id, go) {
    this.farm = farm;
    this.id = id;
    this.go = go;
    this.title = "Job";
    this.href = `#/jobs/${encodeURIComponent(id)}`;
    this.frame = null;
    farm.watch(id);
    this.head = new Head(farm, id, () => this.go("#/"));
    this.problem = h("p", { class: "card problem-text", role: "alert", hidden: true });
    const choose = (frame) => this.choose(frame);
    this.grid = new FrameGrid(choose);
    this.legend = new StateFilter((state) => this.grid.setFilter(state));
    this.strip = new Filmstrip(id, (frame) => `${this.href}/frames/${frame}`);
    this.again = new RenderAgain(farm, id);
    this.panel = new FramePanel(farm, id, () => this.choose(null), () => this.look(true));
    this.viewer = new Viewer(id, choose, () => this.look(false));
    /** Views of the frames that were opened: each has element, set, patch, select and dispose. */
    this.views = [this.grid, this.strip];
    /** Those on a tab that is not open, and behind what is known: nobody sees them. */
    this.stale = new Set();
    const keep = (view) => {
      this.views.push(view);
      this.fill(view);
      return view;
    };
    this.tabs = new Tabs(
      [
        { name: "frames", title: "Frames", make: async () => h("div", { class: "frames" }, this.legend.element, this.grid.element, this.strip.element, this.again.element) },
        { name: "watch", title: "Watch", make: () => keep(new Player(id, (frame, full) => this.stopAt(frame, full))).prepare() },
        { name: "times", title: "Times", make: async () => keep(new FrameTimes(farm, choose)).element },
        { name: "timeline", title: "Timeline", make: () => keep(new Timeline(id, choose)).prepare() },
        { name: "log", title: "Log", make: async () => this.makeLog() },
        { name: "nodes", title: "Nodes", make: () => jobNodes(farm, id), again: true },
        { name: "settings", title: "Settings", make: () => settings(id), again: true },
        { name: "files", title: "Files", make: () => files(id) },
        { name: "script", title: "Script", make: () => script(id), again: true },
      ],
      "Views of the job",
      (name) => this.picked(name),
      () => this.shown(),
    );
    this.element = h(
      "div",
      { class: "page" },
      h("p", { class: "crumb" }, h("a", { href: "#/" }, "‹ All jobs")),
      this.problem,
      this.head.element,
      h("div", { class: "job-body" }, h("div", { class: "job-main" }, this.tabs.element), this.panel.element),
    );
    this.update({ everything: true });
  }

  makeLog() {
    this.log = new LogPanel(this.farm, { job: this.id }, "Log of the job");
    return this.log.element;
  }

  /** Show what the address names: a frame, null for none, and a tab. */
  open(frame, tab = "", isFull = false) {
    this.frame = frame;
    // A frame is looked at beside whatever tab is open.
    if (frame === null || this.tabs.name === "") this.tabs.show(tab || "frames");
    for (const view of this.views) view.select?.(frame);
    this.panel.open(frame);
    this.isFull = isFull;
    this.openViewer();
  }

  openViewer() {
    if (this.isFull && this.frame !== null && this.farm.watched?.isLoaded) this.viewer.open(this.frame);
    else if (!this.isFull && this.viewer.element.open) this.viewer.element.close();
  }

  choose(frame) {
    if (frame === null) this.go(this.tabHref(this.tabs.name));
    else this.go(`${this.href}/frames/${frame}${this.isFull ? "/full" : ""}`);
  }

  /** Open the chosen frame at full size, or close it. */
  look(isFull) {
    this.isFull = isFull;
    if (this.frame !== null) this.choose(this.frame);
  }

  stopAt(frame, isFull = false) {
    if (frame === undefined) return;
    this.isFull = isFull && isViewable(this.farm.watched?.frames.get(frame));
    this.choose(frame);
  }

  picked(name) {
    if (this.frame === null) this.go(this.tabHref(name));
  }

  tabHref(name) {
    return name === "frames" || name === "" ? this.href : `${this.href}/${name}`;
  }

  /** A tab was opened: what stands on it is brought up to date. */
  shown() {
    for (const view of [...this.stale]) if (view.element.isConnected) this.renew(view);
  }

  renew(view) {
    this.fill(view);
    // Views that fetch what they show do so when something happened to the frames.
    if (view.element.isConnected) view.patch(new Set());
    else this.stale.add(view);
  }

  fill(view) {
    this.stale.delete(view);
    const watched = this.farm.watched;
    if (watched?.id !== this.id || !watched.isLoaded) return;
    view.set?.(watched.order, watched.frames);
    view.select?.(this.frame);
  }

  update(changes) {
    const watched = this.farm.watched;
    const job = this.farm.jobs.get(this.id);
    setText(this.problem, watched?.problem ?? "");
    if (job === undefined && watched?.isLoaded) setText(this.problem, "This job has been removed from the farm.");
    show(this.problem, this.problem.textContent !== "");
    show(this.head.element, job !== undefined);
    show(this.tabs.element, job !== undefined);
    if (job === undefined) {
      // Nothing of a job that is gone can be looked at or rendered again.
      this.panel.open(null);
      if (this.viewer.element.open) this.viewer.element.close();
      return;
    }
    if (changes.everything || changes.order || changes.jobs?.has(this.id)) {
      this.title = job.name;
      this.head.update(job);
      this.legend.update(job.counts);
      this.again.update(job);
    }
    if (!watched?.isLoaded) return;
    if (changes.everything) {
      for (const view of this.views) this.renew(view);
      this.viewer.set(watched.order, watched.frames);
      this.panel.update();
      this.openViewer();
    } else if (changes.frames?.size) {
      const isNew = watched.order.length !== this.grid.places.size;
      for (const view of this.views) {
        // A frame nobody had seen before changes the order of all.
        if (!view.element.isConnected) this.stale.add(view);
        else if (isNew) this.fill(view);
        else view.patch(changes.frames);
      }
      this.viewer.set(watched.order, watched.frames);
      if (changes.frames.has(this.panel.number)) this.panel.update();
    }
  }

  dispose() {
    for (const view of this.views) view.dispose();
    this.log?.dispose();
    this.viewer.dispose();
    this.panel.dispose();
  }
}

class Head {
  constructor(farm, id, onRemoved) {
    this.farm = farm;
    this.onRemoved = onRemoved;
    this.name = h("h1");
    this.pill = new Pill();
    this.bar = new JobBar();
    this.percent = h("span", { class: "number job-percent" });
    this.done = h("span", { class: "number" });
    this.left = h("span", { class: "number" });
    this.work = h("p", { class: "muted" });
    this.who = h("p", { class: "muted" });
    this.filmText = h("p");
    this.why = h("p", { class: "why" });
    this.failure = h("p", { class: "problem-text" });
    this.priority = h("input", { type: "number", min: 0, max: PRIORITY_MOST, id: "priority", class: "short" });
    this.controls = null;
    this.approve = actionButton("Approve the rest", () => farm.askJob(id, () => api.post(`${api.jobPath(id)}/approve`)), "primary");
    this.reject = actionButton("Reject", async () => {
      const text = "The job is cancelled; its scout frames are kept.";
      if (!(await confirm("Reject the scout frames?", text, "Reject them"))) return;
      await farm.askJob(id, () => api.post(`${api.jobPath(id)}/reject`));
    });
    this.archive = h("a", { class: "button", href: api.archiveUrl(id), download: "" }, "Download frames");
    this.film = h("a", { class: "button", href: api.filmUrl(id), download: "" }, "Download film");
    const setPriority = actionButton("Set", async () => {
      await farm.askJob(id, () => api.patch(api.jobPath(id), { priority: this.priority.valueAsNumber }));
      this.isTyped = false;
    });
    // What was typed stays until it is set, whatever the farm says meanwhile.
    this.isTyped = false;
    this.priority.addEventListener("input", () => {
      this.isTyped = true;
    });
    this.priorityForm = h("form", { class: "priority", "data-needs": "steer" }, h("label", { for: "priority" }, "Priority"), this.priority, setPriority);
    this.priorityForm.addEventListener("submit", (event) => {
      event.preventDefault();
      setPriority.click();
    });
    this.actions = h("div", { class: "job-actions buttons" }, this.approve, this.reject);
    this.picture = new Picture();
    this.newest = h("a", { class: "job-picture", "aria-label": "Newest frame" }, this.picture.element);
    const words = h(
      "div",
      { class: "job-words" },
      h("div", { class: "job-first" }, h("div", { class: "job-title" }, this.name, this.pill.element), this.actions),
      this.bar.element,
      h("p", { class: "job-state job-numbers" }, h("span", {}, this.percent, this.done), this.left),
      this.filmText,
      this.why,
      this.failure,
      h("div", { class: "spread" }, h("div", {}, this.work, this.who), h("div", { class: "buttons" }, this.priorityForm, this.archive, this.film)),
    );
    this.element = h("div", { class: "card job-head", hidden: true }, this.newest, words);
  }

  update(job) {
    if (this.controls === null) {
      this.controls = new JobControls(this.farm, job, { onRemoved: this.onRemoved });
      this.actions.append(this.controls.element);
    }
    setText(this.name, job.name);
    this.pill.job(job);
    this.bar.update(job);
    setText(this.percent, donePercent(job));
    setText(this.done, doneText(job));
    this.picture.update(job);
    const hasPicture = job.thumbnail_frame !== null;
    show(this.newest, hasPicture);
    setAttribute(this.newest, "href", hasPicture ? `#/jobs/${encodeURIComponent(job.id)}/frames/${job.thumbnail_frame}` : null);
    setAttribute(this.newest, "title", hasPicture ? `Frame ${job.thumbnail_frame}, the newest` : null);
    setText(this.left, isEnded(job) ? tookText(job) : timeLeft(job));
    setText(this.work, workText(this.farm, job));
    show(this.work, this.work.textContent !== "");
    const began = job.started === null || isEnded(job) ? "" : ` · rendering since ${moment(job.started)}`;
    setText(this.who, `${job.submitter} · submitted ${moment(job.created)}${began}`);
    setText(this.why, job.waiting_because);
    show(this.why, job.waiting_because !== "");
    setText(this.failure, job.problem);
    show(this.failure, job.problem !== "");
    for (const answer of [this.approve, this.reject]) show(answer, job.waiting_kind === "scouts");
    if (!this.isTyped && document.activeElement !== this.priority) this.priority.value = String(job.priority);
    show(this.priorityForm, !isEnded(job));
    show(this.archive, job.counts.done > 0);
    setText(this.archive, `Download ${count(job.counts.done, "frame")}`);
    show(this.film, Boolean(job.film?.sha256));
    setText(this.filmText, filmSentence(this.farm, job.film));
    show(this.filmText, this.filmText.textContent !== "");
    this.controls.update(job);
  }
}

/** How a job's film stands: "Film: encoding on atlas, 40 %". */
function filmSentence(farm, film) {
  if (!film) return "";
  if (film.sha256) return `Film: ${film.name}, ${bytes(film.length)}`;
  if (film.problem) return `Film: ${film.problem}`;
  if (film.state === "leased") {
    return `Film: encoding on ${farm.nodes.get(film.node)?.name ?? "a node"}, ${percent(film.progress)}`;
  }
  return "Film: made when every frame is done";
}

/** The states as a legend whose entries, pressed, leave only their frames bright. */
class StateFilter {
  constructor(onChoose) {
    this.items = new Map();
    this.chosen = null;
    this.element = h("div", { class: "legend state-filter", role: "group", "aria-label": "Show frames by state" });
    for (const [state, word] of Object.entries(FRAME_STATES)) {
      const text = h("span", { class: "number" });
      const item = h("button", { type: "button", class: "quiet", "aria-pressed": "false" }, h("i", { class: "swatch", "data-state": state, "aria-hidden": "true" }), text);
      item.addEventListener("click", () => {
        this.chosen = this.chosen === state ? null : state;
        for (const [name, other] of this.items) setAttribute(other.item, "aria-pressed", name === this.chosen ? "true" : "false");
        onChoose(this.chosen);
      });
      this.items.set(state, { item, text, word });
      this.element.append(item);
    }
  }

  update(counts) {
    for (const [state, { item, text, word }] of this.items) {
      show(item, counts[state] > 0 || state === this.chosen);
      setText(text, `${counts[state].toLocaleString("en-GB")} ${word}`);
    }
  }
}

/** Frames a person names, to be rendered anew or taken home. */
class RenderAgain {
  constructor(farm, id) {
    this.id = id;
    this.range = h("input", { type: "text", id: "some-frames", placeholder: "1-10, 40", autocomplete: "off", spellcheck: "false" });
    this.render = actionButton("Render again", async () => {
      if (!this.range.value.trim()) throw new Error("Say which frames, like 1-10, 40.");
      await farm.askJob(id, () => api.post(`${api.jobPath(id)}/retry`, { frames: this.range.value.trim() }));
      this.range.value = "";
      draw();
    });
    this.download = h("a", { class: "button", download: "" }, "Download");
    const draw = () => {
      const text = this.range.value.trim();
      setAttribute(this.download, "href", text ? api.archiveUrl(id, text) : null);
      setAttribute(this.download, "aria-disabled", text ? null : "true");
    };
    this.range.addEventListener("input", draw);
    draw();
    this.element = h("form", { class: "buttons some-frames" }, h("label", { for: "some-frames" }, "Frames"), this.range, this.render, this.download);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.render.click();
    });
  }

  update(job) {
    show(this.download, job.counts.done > 0);
  }
}
