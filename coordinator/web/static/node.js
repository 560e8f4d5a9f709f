// One node: the machine, each of its Blenders, its settings, what it has rendered, its log.

import * as api from "./api.js";
import { actionButton } from "./controls.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { bytes, count, duration, moment } from "./format.js";
import { LogPanel } from "./logs.js";
import { NodeCard } from "./node-card.js";

const HISTORY_DELAY_MS = 1500;
const OUTCOMES = {
  done: "Done",
  lost: "Lost",
  returned: "Given back",
  superseded: "Another was faster",
  scene: "Scene failed",
  crash: "Crashed",
  hang: "Hung",
  too_long: "Took too long",
  memory: "Out of memory",
  output: "Bad output",
  node: "Node failed",
};

/** The page of one node. */
export class NodePage {
  constructor(farm, id) {
    this.farm = farm;
    this.id = id;
    this.title = "Node";
    this.card = null;
    this.place = h("div");
    this.none = h("p", { class: "card problem-text", role: "alert", hidden: true });
    this.settings = new Settings(farm, id);
    this.history = new History(id);
    this.log = new LogPanel(farm, { node: id }, "Log of the node");
    this.element = h(
      "div",
      { class: "page node-page" },
      h("p", { class: "crumb" }, h("a", { href: "#/nodes" }, "‹ All nodes")),
      this.none,
      this.place,
      this.settings.element,
      h("section", { class: "card" }, h("h2", {}, "Rendered lately"), this.history.element),
      h("section", { class: "card log-card" }, h("h2", {}, "Log"), this.log.element),
    );
    this.update({ everything: true });
  }

  update(changes) {
    const node = this.farm.nodes.get(this.id);
    show(this.none, node === undefined);
    setText(this.none, node === undefined ? "The farm knows no such node." : "");
    if (node === undefined) return;
    this.title = node.name;
    if (this.card === null) {
      this.card = new NodeCard(this.farm, node);
      this.place.append(this.card.element);
    }
    if (changes.everything || changes.nodes?.has(this.id) || changes.jobs?.has(node.job)) {
      if (this.doneBefore !== undefined && this.doneBefore !== `${node.frames_done} ${node.job} ${node.frame}`) {
        this.history.soon();
      }
      this.doneBefore = `${node.frames_done} ${node.job} ${node.frame}`;
      this.card.update(node);
      this.settings.update(node);
    }
  }

  dispose() {
    this.history.dispose();
    this.log.dispose();
  }
}

/** Tags, hours and what becomes of the frame when somebody returns; only for administrators. */
class Settings {
  constructor(farm, id) {
    this.farm = farm;
    this.id = id;
    this.shown = "";
    const input = (name, props) => h("input", { id: `node-${name}`, name, autocomplete: "off", ...props });
    this.tags = input("tags", { placeholder: "gpu, nuke, floor2" });
    this.schedule = input("schedule", { placeholder: "mon-fri 19:00-07:30; sat,sun 00:00-24:00" });
    this.idle = input("idle", { type: "number", min: 0, step: "any", class: "short" });
    this.load = input("load", { type: "number", min: 0, max: 100, step: 1, class: "short" });
    this.onReturn = h(
      "select",
      { id: "node-return" },
      h("option", { value: "finish" }, "Finish the frame first"),
      h("option", { value: "hand-back" }, "Give the frame back at once"),
    );
    this.note = h("p", { class: "muted" });
    this.problem = h("p", { class: "problem-text", role: "alert" });
    this.save = actionButton("Save", () => this.send(), "primary", "nodes");
    this.reset = actionButton("As the node was started", () => this.sendReset(), "", "nodes");
    const row = (label, field, hint) =>
      h("div", {}, h("label", { for: field.id }, label), h("div", {}, field, hint ? h("span", { class: "muted" }, ` ${hint}`) : null));
    this.form = h(
      "form",
      { class: "form" },
      row("Tags", this.tags, ""),
      row("Renders at", this.schedule, "in the node's own time; empty: always"),
      row("Only after", this.idle, "minutes without anybody at the machine; 0: whoever is there"),
      row("Only below", this.load, "% of the processors used by other programs; 0: whatever they use"),
      row("When it may no more", this.onReturn, ""),
      this.note,
      this.problem,
      h("div", { class: "buttons" }, this.save, this.reset),
    );
    this.isTyped = false;
    this.form.addEventListener("input", () => {
      this.isTyped = true;
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save.click();
    });
    this.element = h("details", { class: "card", "data-needs": "nodes" }, h("summary", {}, "Tags and hours"), this.form);
  }

  update(node) {
    const key = JSON.stringify([node.settings, node.farm_settings]);
    // Whoever is typing keeps what they have typed.
    if (key === this.shown || this.isTyped) return;
    this.fill(node);
  }

  fill(node) {
    this.shown = JSON.stringify([node.settings, node.farm_settings]);
    const { tags, schedule, idle_minutes, max_load, on_return } = node.settings;
    this.tags.value = tags.join(", ");
    this.schedule.value = schedule;
    this.idle.value = idle_minutes;
    this.load.value = Math.round(max_load * 100);
    this.onReturn.value = on_return;
    const set = Object.values(node.farm_settings).some((value) => value !== null);
    setText(this.note, set ? "Some of this was set here and holds instead of what the node was started with." : "As the node was started.");
    show(this.reset, set);
    setText(this.problem, "");
  }

  async patch(body) {
    try {
      const node = await this.farm.askNode(this.id, () => api.patch(`/nodes/${encodeURIComponent(this.id)}`, body));
      this.isTyped = false;
      this.fill(node);
    } catch (error) {
      setText(this.problem, error.message);
    }
  }

  async send() {
    const before = this.farm.nodes.get(this.id).settings;
    const now = {
      tags: this.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean),
      schedule: this.schedule.value.trim(),
      idle_minutes: Number(this.idle.value) || 0,
      max_load: (Number(this.load.value) || 0) / 100,
      on_return: this.onReturn.value,
    };
    // Only what was changed is set here: the rest goes on being the node's own.
    const changed = Object.entries(now).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]));
    await this.patch(Object.fromEntries(changed));
  }

  async sendReset() {
    await this.patch({ reset: ["tags", "schedule", "idle_minutes", "max_load", "on_return"] });
  }
}

/** Frames that the node has tried, the newest first. */
class History {
  constructor(id) {
    this.id = id;
    this.timer = 0;
    this.run = 0;
    this.next = null;
    this.body = h("tbody");
    this.none = h("p", { class: "muted" }, "Loading …");
    this.more = actionButton("Show older", () => this.load(this.next), "", "");
    this.table = h(
      "table",
      { class: "history" },
      h(
        "thead",
        {},
        h("tr", {}, ...["Ended", "Job", "Frame", "Took", "Outcome"].map((name) => h("th", { scope: "col" }, name))),
      ),
      this.body,
    );
    this.element = h("div", {}, this.none, h("div", { class: "scroll" }, this.table), h("p", { class: "centred" }, this.more));
    this.load(null);
  }

  /** Look again, when a few frames may have ended together. */
  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(null), HISTORY_DELAY_MS);
  }

  dispose() {
    clearTimeout(this.timer);
  }

  async load(before) {
    // An answer that was overtaken by a later one is old.
    const run = ++this.run;
    const query = before === null ? "" : `?before=${encodeURIComponent(before)}`;
    let page;
    try {
      page = await api.get(`/nodes/${encodeURIComponent(this.id)}/history${query}`);
    } catch (error) {
      if (run !== this.run) return;
      setText(this.none, error.message);
      show(this.none, true);
      return;
    }
    if (run !== this.run) return;
    const rows = page.attempts.map(historyRow);
    if (before === null) this.body.replaceChildren(...rows);
    else this.body.append(...rows);
    this.next = page.next;
    const isEmpty = this.body.childElementCount === 0;
    setText(this.none, "It has rendered nothing yet.");
    show(this.none, isEmpty);
    show(this.table, !isEmpty);
    show(this.more, page.next !== null);
  }
}

function historyRow(attempt) {
  const href = `#/jobs/${encodeURIComponent(attempt.job)}/frames/${attempt.frame}`;
  const outcome = OUTCOMES[attempt.outcome] ?? attempt.outcome;
  return h(
    "tr",
    {},
    h("td", { class: "number" }, moment(attempt.ended)),
    h("td", {}, attempt.job_name || "removed job"),
    h("td", { class: "number" }, h("a", { href }, String(attempt.frame))),
    h("td", { class: "number" }, duration(attempt.ended - attempt.started)),
    h("td", {}, outcome, attempt.reason && attempt.outcome !== "done" ? h("div", { class: "muted" }, attempt.reason) : null),
  );
}
