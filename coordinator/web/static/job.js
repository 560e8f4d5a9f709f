// One job: its frames as a field or as pictures, the chosen frame, and what was submitted.

import * as api from "./api.js";
import { actionButton, JobControls } from "./controls.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { timeLeft } from "./format.js";
import { FramePanel } from "./frame.js";
import { FrameGrid } from "./grid.js";
import { isEnded } from "./farm.js";
import { files, LogView, script, settings } from "./job-info.js";
import { tookText, workText } from "./overview.js";
import { Pictures } from "./pictures.js";
import { doneText, FRAME_STATES, JobBar, Pill } from "./words.js";

const PRIORITY_MOST = 100;

/** The page of a job; `go(hash)` changes the address without leaving a step in the history. */
export class JobPage {
  constructor(farm, id, go) {
    this.farm = farm;
    this.id = id;
    this.go = go;
    this.title = "Job";
    this.href = `#/jobs/${encodeURIComponent(id)}`;
    farm.watch(id);
    this.problem = h("p", { class: "card problem-text", role: "alert", hidden: true });
    this.name = h("h1");
    this.pill = new Pill();
    this.bar = new JobBar();
    this.done = h("span", { class: "number" });
    this.left = h("span");
    this.work = h("p", { class: "muted" });
    this.why = h("p", { class: "why" });
    this.failure = h("p", { class: "problem-text" });
    this.legend = new Legend();
    this.priority = h("input", { type: "number", min: 0, max: PRIORITY_MOST, id: "priority", class: "short" });
    this.grid = new FrameGrid((frame) => this.choose(frame));
    this.pictures = new Pictures(id, (frame) => `${this.href}/frames/${frame}`);
    this.panel = new FramePanel(farm, id, () => this.choose(null));
    this.log = new LogView(farm);
    this.controls = null;
    this.tabs = new Tabs([
      { name: "Frames", make: async () => h("div", { class: "frames" }, this.grid.element, this.pictures.element) },
      { name: "Log", make: async () => this.log.element },
      { name: "Settings", make: () => settings(id), again: true },
      { name: "Files", make: () => files(id) },
      { name: "Script", make: () => script(id), again: true },
    ]);
    const setPriority = actionButton("Set", async () => {
      farm.setJob(await api.patch(api.jobPath(id), { priority: this.priority.valueAsNumber }));
    });
    this.priorityForm = h("form", { class: "priority", "data-needs": "steer" }, h("label", { for: "priority" }, "Priority"), this.priority, setPriority);
    this.priorityForm.addEventListener("submit", (event) => {
      event.preventDefault();
      setPriority.click();
    });
    this.actions = h("div", { class: "job-actions" });
    this.head = h(
      "div",
      { class: "card job-head", hidden: true },
      h("div", { class: "spread" }, h("div", { class: "job-title" }, this.name, this.pill.element), this.actions),
      this.bar.element,
      h("p", { class: "spread" }, this.done, this.left),
      this.legend.element,
      this.why,
      this.failure,
      h("div", { class: "spread" }, this.work, this.priorityForm),
    );
    this.element = h(
      "div",
      { class: "page" },
      h("p", { class: "crumb" }, h("a", { href: "#/" }, "‹ All jobs")),
      this.problem,
      this.head,
      h("div", { class: "job-body" }, h("div", { class: "job-main" }, this.tabs.element), this.panel.element),
    );
    this.update({ everything: true });
  }

  /** Show the frame the address names; null shows none. */
  open(frame) {
    this.grid.select(frame);
    this.pictures.select(frame);
    this.panel.open(frame);
  }

  choose(frame) {
    this.go(frame === null ? this.href : `${this.href}/frames/${frame}`);
  }

  update(changes) {
    const watched = this.farm.watched;
    const job = this.farm.jobs.get(this.id);
    setText(this.problem, watched?.problem ?? "");
    show(this.problem, this.problem.textContent !== "");
    show(this.head, job !== undefined);
    if (job === undefined) {
      if (watched?.isLoaded) setText(this.problem, "This job has been removed from the farm.");
      show(this.problem, this.problem.textContent !== "");
      return;
    }
    if (changes.everything || changes.order || changes.jobs?.has(this.id)) this.updateJob(job);
    if (!watched?.isLoaded) return;
    if (changes.everything) {
      this.grid.set(watched.order, watched.frames);
      this.pictures.set(watched.order, watched.frames);
      this.panel.update();
    } else if (changes.frames?.size) {
      // A frame nobody had seen before changes the order of all.
      if (watched.order.length !== this.grid.places.size) this.grid.set(watched.order, watched.frames);
      this.grid.patch(changes.frames);
      this.pictures.set(watched.order, watched.frames);
      if (changes.frames.has(this.panel.number)) this.panel.update();
    }
    if (changes.log) this.log.update();
  }

  updateJob(job) {
    this.title = job.name;
    if (this.controls === null) {
      this.controls = new JobControls(this.farm, job, { onRemoved: () => this.go("#/") });
      this.actions.append(this.controls.element);
      setAttribute(this.priority, "value", job.priority);
    }
    setText(this.name, job.name);
    this.pill.job(job);
    this.bar.update(job);
    this.legend.update(job.counts);
    setText(this.done, doneText(job));
    setText(this.left, isEnded(job) ? tookText(job) : timeLeft(job));
    setText(this.work, workText(this.farm, job));
    setText(this.why, job.waiting_because);
    show(this.why, job.waiting_because !== "");
    setText(this.failure, job.problem);
    show(this.failure, job.problem !== "");
    if (document.activeElement !== this.priority) this.priority.value = String(job.priority);
    show(this.priorityForm, !isEnded(job));
    this.controls.update(job);
  }

  dispose() {
    this.grid.dispose();
    this.panel.dispose();
  }
}

class Legend {
  constructor() {
    this.items = new Map();
    this.element = h("ul", { class: "legend", "aria-label": "Frames by state" });
    for (const [state, word] of Object.entries(FRAME_STATES)) {
      const text = h("span", { class: "number" });
      const item = h("li", {}, h("i", { class: "swatch", "data-state": state, "aria-hidden": "true" }), text);
      this.items.set(state, { item, text, word });
      this.element.append(item);
    }
  }

  update(counts) {
    for (const [state, { item, text, word }] of this.items) {
      show(item, counts[state] > 0);
      setText(text, `${counts[state].toLocaleString("en-GB")} ${word}`);
    }
  }
}

// Tabs after the ARIA pattern: arrows move, the chosen one is the only stop for the Tab key.
class Tabs {
  constructor(tabs) {
    this.tabs = tabs;
    this.made = new Map();
    this.buttons = tabs.map((tab, index) =>
      h("button", { type: "button", role: "tab", id: `tab-${index}`, "aria-controls": "tab-panel" }, tab.name),
    );
    this.panel = h("div", { role: "tabpanel", id: "tab-panel", class: "card" });
    this.list = h("div", { role: "tablist", "aria-label": "Views of the job", class: "tabs" }, ...this.buttons);
    this.element = h("div", {}, this.list, this.panel);
    this.buttons.forEach((button, index) => button.addEventListener("click", () => this.choose(index)));
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.choose(0);
  }

  key(event) {
    const last = this.tabs.length - 1;
    const moves = {
      ArrowRight: this.chosen === last ? 0 : this.chosen + 1,
      ArrowLeft: this.chosen === 0 ? last : this.chosen - 1,
      Home: 0,
      End: last,
    };
    const next = moves[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.choose(next);
    this.buttons[next].focus();
  }

  async choose(index) {
    this.chosen = index;
    this.buttons.forEach((button, other) => {
      setAttribute(button, "aria-selected", other === index ? "true" : "false");
      setAttribute(button, "tabindex", other === index ? 0 : -1);
    });
    setAttribute(this.panel, "aria-labelledby", `tab-${index}`);
    const tab = this.tabs[index];
    let content = tab.again ? undefined : this.made.get(tab.name);
    if (content === undefined) {
      try {
        content = await tab.make();
        this.made.set(tab.name, content);
      } catch (error) {
        content = h("p", { class: "problem-text" }, error.message);
      }
    }
    if (this.chosen === index) this.panel.replaceChildren(content);
  }
}
