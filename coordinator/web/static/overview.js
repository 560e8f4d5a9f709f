// The first page: what runs, what waits, what ended, and what needs a person.

import { thumbnailUrl } from "./api.js";
import { Attention } from "./attention.js";
import { actionButton, JobControls } from "./controls.js";
import { h, KeyedList, setAttribute, setText, show } from "./dom.js";
import { count, duration, moment, timeLeft, bytes } from "./format.js";
import { isEnded } from "./farm.js";
import { LoadChart } from "./load-chart.js";
import { countsText, donePercent, doneText, JobBar, Pill } from "./words.js";

/** Jobs of the farm, live. */
export class Overview {
  constructor(farm) {
    this.farm = farm;
    this.title = "Jobs";
    this.figures = new Figures();
    this.attention = new Attention(farm);
    this.load = new LoadChart();
    this.sections = [
      new JobSection(farm, "Rendering", (job) => job.state === "rendering" || job.state === "assembling"),
      new JobSection(farm, "Queued", (job) => job.state === "queued"),
      new JobSection(farm, "Ended", isEnded, "ended"),
    ];
    this.noNodes = h(
      "p",
      { class: "why" },
      "No machine renders here yet: ",
      h("a", { href: "#/nodes" }, "add a node"),
      ". Jobs wait until there is one.",
    );
    this.empty = h(
      "div",
      { class: "card empty" },
      h("h2", {}, "No jobs yet"),
      h("p", {}, "In Blender, choose Render ▸ Render Animation on Farm. Or in a terminal:"),
      h("pre", {}, "rendermill submit scene.blend"),
      h("p", { "data-needs": "submit" }, "Or ", h("a", { href: "#/submit" }, "submit a scene from this browser"), "."),
      this.noNodes,
    );
    this.older = actionButton("Show older jobs", () => farm.loadMoreJobs(), "", "");
    this.element = h(
      "div",
      { class: "page overview" },
      h("h1", { class: "unseen" }, "Jobs"),
      h(
        "div",
        { class: "overview-main" },
        this.attention.element,
        this.empty,
        ...this.sections.map((section) => section.element),
        h("p", { class: "centred" }, this.older),
      ),
      h("div", { class: "overview-side" }, this.figures.element, this.load.element),
    );
    this.update({ everything: true });
  }

  update(changes) {
    if (changes.everything || changes.order || changes.nodes?.size || changes.jobs?.size) {
      this.figures.update(this.farm);
      show(this.noNodes, this.farm.nodes.size === 0);
      this.attention.update();
    }
    if (changes.everything || changes.order) {
      const jobs = [...this.farm.jobs.values()].sort((a, b) => b.created - a.created);
      const held = this.heldJob();
      for (const section of this.sections) section.set(jobs);
      // A job that moved to another section takes the keyboard's place along.
      if (held !== null && !this.element.contains(document.activeElement)) this.focus(held);
      show(this.empty, jobs.length === 0);
      show(this.older, this.farm.nextJobs !== null);
      return;
    }
    for (const id of changes.jobs ?? []) {
      const job = this.farm.jobs.get(id);
      if (job) for (const section of this.sections) section.list.patch(id, job);
    }
  }

  /** Id of the job whose card has the focus; null where none has. */
  heldJob() {
    return document.activeElement?.closest(".job-card")?.dataset.job ?? null;
  }

  focus(job) {
    const card = [...this.element.querySelectorAll(".job-card")].find((one) => one.dataset.job === job);
    (card?.querySelector(".job-title a") ?? document.getElementById("main")).focus({ preventScroll: true });
  }

  dispose() {
    this.load.dispose();
  }
}

class Figures {
  constructor() {
    this.values = new Map();
    this.element = h("dl", { class: "figures", "aria-label": "The farm at a glance" });
    for (const name of ["Nodes rendering", "Nodes ready", "Open jobs", "Frames waiting", "Free disk"]) {
      const value = h("dd");
      this.values.set(name, value);
      this.element.append(h("div", {}, h("dt", {}, name), value));
    }
  }

  update(farm) {
    let online = 0;
    let rendering = 0;
    for (const node of farm.nodes.values()) {
      if (node.state === "idle" || node.state === "rendering") online += 1;
      if (node.state === "rendering") rendering += 1;
    }
    let waiting = 0;
    for (const job of farm.jobs.values()) if (!isEnded(job)) waiting += job.counts.waiting;
    setText(this.values.get("Nodes rendering"), rendering.toLocaleString("en-GB"));
    setText(this.values.get("Nodes ready"), `${online} of ${farm.nodes.size}`);
    setText(this.values.get("Open jobs"), farm.openJobs().toLocaleString("en-GB"));
    setText(this.values.get("Frames waiting"), waiting.toLocaleString("en-GB"));
    setText(this.values.get("Free disk"), bytes(farm.summary.disk_free_bytes));
  }
}

class JobSection {
  constructor(farm, title, belongs, id = null) {
    this.belongs = belongs;
    this.rows = h("div", { class: "jobs", "data-kind": id });
    this.number = h("span", { class: "muted" });
    this.element = h("section", {}, h("h2", { class: "section", id, tabindex: id === null ? null : -1 }, title, " ", this.number), this.rows);
    this.list = new KeyedList(this.rows, (job) => new JobCard(farm, job));
  }

  set(jobs) {
    const mine = jobs.filter(this.belongs);
    this.list.set(mine, (job) => job.id);
    setText(this.number, mine.length ? String(mine.length) : "");
    show(this.element, mine.length > 0);
  }
}

class JobCard {
  constructor(farm, job) {
    this.farm = farm;
    const href = `#/jobs/${encodeURIComponent(job.id)}`;
    this.picture = new Picture();
    this.name = h("a", { href });
    this.pill = new Pill();
    this.bar = new JobBar();
    this.percent = h("span", { class: "number job-percent" });
    this.done = h("span", { class: "number" });
    this.left = h("span");
    this.who = h("p", { class: "muted" });
    this.work = h("p", { class: "muted" });
    this.why = h("p", { class: "why" });
    this.problem = h("p", { class: "problem-text" });
    this.controls = new JobControls(farm, job);
    this.element = h(
      "article",
      { class: "card job-card", "data-job": job.id },
      h("a", { class: "job-picture", href, tabindex: -1, "aria-hidden": "true" }, this.picture.element),
      h(
        "div",
        { class: "job-text" },
        h("div", { class: "job-top" }, h("h3", { class: "job-title" }, this.name, this.pill.element), this.controls.element),
        this.bar.element,
        h("p", { class: "job-state" }, h("span", {}, this.percent, this.done), this.left),
        this.why,
        this.problem,
        this.work,
        this.who,
      ),
    );
  }

  update(job) {
    setText(this.name, job.name);
    setAttribute(this.name, "title", job.name);
    this.pill.job(job);
    this.picture.update(job);
    this.bar.update(job);
    setText(this.percent, donePercent(job));
    setText(this.done, doneText(job));
    setAttribute(this.done, "title", countsText(job.counts));
    setText(this.left, isEnded(job) ? tookText(job) : timeLeft(job));
    const since = job.started === null || isEnded(job) ? moment(job.created) : `rendering since ${moment(job.started)}`;
    setText(this.who, `${job.submitter} · ${since} · priority ${job.priority}`);
    setText(this.work, workText(this.farm, job));
    show(this.work, this.work.textContent !== "");
    setText(this.why, job.waiting_because);
    show(this.why, job.waiting_because !== "");
    setText(this.problem, job.problem);
    show(this.problem, job.problem !== "");
    this.controls.update(job);
  }
}

/** The newest picture of a job, or an empty place of the same size. */
export class Picture {
  constructor() {
    this.element = h("img", { alt: "", loading: "lazy", decoding: "async" });
    // A thumbnail that is gone must not show as a broken picture.
    this.element.addEventListener("error", () => show(this.element, false));
  }

  update(job) {
    if (job.thumbnail_frame === null) {
      show(this.element, false);
      return;
    }
    const url = thumbnailUrl(job.id, job.thumbnail_frame, job.generation);
    if (this.element.getAttribute("src") === url) return;
    show(this.element, true);
    this.element.setAttribute("src", url);
  }
}

/** "1.2 s a frame · on atlas, boreas and 3 more". */
export function workText(farm, job) {
  const parts = [];
  if (job.mean_frame_seconds !== null) parts.push(`${duration(job.mean_frame_seconds)} a frame`);
  if (job.nodes.length) {
    const names = job.nodes.map((id) => farm.nodes.get(id)?.name ?? id);
    const shown = names.length <= 4 ? names : names.slice(0, 3);
    const rest = names.length - shown.length;
    parts.push(`on ${shown.join(", ")}${rest ? ` and ${rest} more` : ""}`);
  }
  return parts.join(" · ");
}

/** "took 12 min, until 14:20". */
export function tookText(job) {
  if (job.ended === null) return "";
  if (job.started === null) return `ended ${moment(job.ended)}`;
  return `took ${duration(job.ended - job.started)}, until ${moment(job.ended)}`;
}
