// The log: what is kept is fetched, what comes is followed, and every line is there once.
//
// Each line has a number that grows over all nodes. Events are held back while a page is on its
// way, and then only lines behind its last number are taken from them.

import * as api from "./api.js";
import { actionButton } from "./controls.js";
import { h, setText, show } from "./dom.js";
import { moment } from "./format.js";

const PAGE_LINES = 1000;
const CATCH_UP_LINES = 5000;
const KEPT_LINES = 5000;
const TYPING_MS = 250;
const NEAR_END_PX = 40;

/** Lines that fit a filter `{ job, frame, node, text }`, fetched and followed. */
export class LogFeed {
  /** `onChange(kind)`: "reset" (draw anew), "added" or "earlier". */
  constructor(farm, filter, onChange) {
    this.farm = farm;
    this.filter = filter;
    this.onChange = onChange;
    this.lines = [];
    this.hasEarlier = false;
    this.isLoading = true;
    this.problem = "";
    this.last = 0;
    this.held = [];
    this.run = 0;
    this.onEvent = (event) => this.receive(event.detail);
    this.onFarm = (event) => {
      if (event.detail.everything) this.catchUp();
    };
    this.onConnection = () => {
      // What could not be fetched while nobody answered.
      if (farm.connection === "live" && this.problem) this.load();
    };
    farm.addEventListener("log", this.onEvent);
    farm.addEventListener("change", this.onFarm);
    farm.addEventListener("connection", this.onConnection);
    this.load();
  }

  dispose() {
    this.run += 1;
    this.farm.removeEventListener("log", this.onEvent);
    this.farm.removeEventListener("change", this.onFarm);
    this.farm.removeEventListener("connection", this.onConnection);
  }

  path(limit, rest) {
    const query = new URLSearchParams({ limit, ...rest });
    for (const name of ["job", "node"]) if (this.filter[name]) query.set(name, this.filter[name]);
    if (this.filter.frame !== null) query.set("frame", this.filter.frame);
    if (this.filter.text) query.set("q", this.filter.text);
    return `/logs?${query}`;
  }

  /** Begin anew with another filter. */
  set(filter) {
    this.filter = filter;
    this.load();
  }

  async load() {
    await this.fetch(async (isCurrent) => {
      const page = await api.get(this.path(PAGE_LINES, {}));
      if (!isCurrent()) return;
      this.lines = page.lines;
      this.hasEarlier = page.more;
      this.last = page.last;
      this.onChange("reset");
    });
  }

  /** What came while the stream was cut for longer than the coordinator remembers. */
  async catchUp() {
    if (this.isLoading) return;
    await this.fetch(async (isCurrent) => {
      for (;;) {
        const page = await api.get(this.path(CATCH_UP_LINES, { after: this.last }));
        if (!isCurrent()) return;
        this.append(page.lines);
        this.last = Math.max(this.last, page.last);
        if (!page.more) return;
      }
    });
  }

  async fetch(what) {
    const run = ++this.run;
    const isCurrent = () => run === this.run;
    this.isLoading = true;
    this.problem = "";
    try {
      await what(isCurrent);
    } catch (error) {
      if (isCurrent()) this.problem = error.message;
    }
    if (!isCurrent()) return;
    this.isLoading = false;
    const held = this.held;
    this.held = [];
    for (const event of held) this.take(event);
    this.onChange("loaded");
  }

  /** The page before the first line shown. */
  async loadEarlier() {
    if (this.isLoading || this.lines.length === 0) return;
    const run = this.run;
    const page = await api.get(this.path(PAGE_LINES, { before: this.lines[0].number }));
    if (run !== this.run) return;
    this.lines = [...page.lines, ...this.lines];
    this.hasEarlier = page.more;
    this.onChange("earlier", page.lines);
  }

  receive(event) {
    if (this.isLoading) this.held.push(event);
    else this.take(event);
  }

  take(event) {
    const { job, node, frame, text } = this.filter;
    const first = event.log_number;
    const end = first + event.lines.length - 1;
    if (end <= this.last) return;
    const fits =
      (!job || job === event.job_id) && (!node || node === event.node_id) && (frame === null || frame === event.log_frame);
    if (fits) {
      const wanted = fold(text);
      const fresh = [];
      event.lines.forEach((line, index) => {
        const number = first + index;
        if (number <= this.last || !fold(line).includes(wanted)) return;
        fresh.push({ number, time: event.time, node: event.node_id, job: event.job_id, frame: event.log_frame, text: line });
      });
      this.append(fresh);
    }
    this.last = end;
  }

  append(lines) {
    if (lines.length === 0) return;
    this.lines.push(...lines);
    const over = this.lines.length - KEPT_LINES;
    if (over > 0) {
      this.lines.splice(0, over);
      this.hasEarlier = true;
    }
    this.onChange("added", lines);
  }
}

// As the coordinator searches: the case of ASCII letters does not matter.
function fold(text) {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** A log with its search, for the page of logs, of a job, of a frame or of a node. */
export class LogPanel {
  /** `fixed`: `{ job, frame, node }` this log is about; what is fixed is not repeated in each line. */
  constructor(farm, fixed = {}, label = "Log") {
    this.farm = farm;
    this.filter = { job: "", frame: null, node: "", text: "", ...fixed };
    this.waiting = [];
    this.isScheduled = false;
    this.search = h("input", {
      type: "search",
      placeholder: "Words in the log …",
      autocomplete: "off",
      "aria-label": "Search the log",
      maxlength: 500,
    });
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.narrow({ text: this.search.value }), TYPING_MS);
    });
    this.earlier = actionButton("Earlier lines", () => this.feed.loadEarlier(), "quiet", "");
    this.none = h("p", { class: "muted", role: "status" });
    // A log that reads itself out line by line would drown everything else.
    this.box = h("div", { class: "log tall log-lines", tabindex: 0, role: "log", "aria-live": "off", "aria-label": label });
    this.top = h("p", { class: "centred" }, this.earlier);
    this.element = h("div", { class: "log-panel" }, this.search, this.none, h("div", {}, this.top, this.box));
    this.feed = new LogFeed(farm, this.filter, (kind, lines) => this.changed(kind, lines));
    this.drawNone();
  }

  dispose() {
    clearTimeout(this.typing);
    this.feed.dispose();
  }

  update() {}

  /** Look for something else. */
  narrow(changes) {
    this.filter = { ...this.filter, ...changes };
    this.feed.set(this.filter);
  }

  changed(kind, lines) {
    if (kind === "added") {
      this.waiting.push(...lines);
      if (this.isScheduled) return;
      this.isScheduled = true;
      requestAnimationFrame(() => this.drawAdded());
      return;
    }
    if (kind === "loaded") {
      this.drawNone();
      return;
    }
    this.waiting = [];
    if (kind === "earlier") {
      const height = this.box.scrollHeight;
      this.box.prepend(...lines.map((line) => this.row(line)));
      this.box.scrollTop += this.box.scrollHeight - height;
    } else {
      this.box.replaceChildren(...this.feed.lines.map((line) => this.row(line)));
      // What is hidden cannot be scrolled.
      this.drawNone();
      this.box.scrollTop = this.box.scrollHeight;
    }
    this.drawNone();
  }

  drawAdded() {
    this.isScheduled = false;
    const lines = this.waiting.slice(-KEPT_LINES);
    this.waiting = [];
    if (lines.length === 0) return;
    const box = this.box;
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END_PX;
    box.append(...lines.map((line) => this.row(line)));
    for (let over = box.childElementCount - KEPT_LINES; over > 0; over -= 1) box.firstElementChild.remove();
    if (isAtEnd) box.scrollTop = box.scrollHeight;
    this.drawNone();
  }

  drawNone() {
    show(this.top, this.feed?.hasEarlier ?? false);
    const isEmpty = this.box.childElementCount === 0;
    show(this.box, !isEmpty);
    const problem = this.feed?.problem ?? "";
    let text = "";
    if (problem) text = problem;
    else if (isEmpty && (this.feed?.isLoading ?? true)) text = "Loading …";
    else if (isEmpty) text = this.filter.text ? "No line has these words." : "Nothing has been said yet. New lines appear here as they come.";
    setText(this.none, text);
    show(this.none, text !== "");
  }

  row(line) {
    const where = [];
    if (!this.filter.node) {
      const name = this.farm.nodes.get(line.node)?.name ?? line.node.slice(0, 8);
      where.push(h("a", { href: `#/nodes/${encodeURIComponent(line.node)}`, class: "log-where" }, name));
    }
    if (line.job && this.filter.frame === null) {
      const job = this.filter.job ? "" : `${this.farm.jobs.get(line.job)?.name ?? "job"} `;
      const frame = line.frame === null ? "" : `/frames/${line.frame}`;
      const text = `${job}${line.frame === null ? "" : `frame ${line.frame}`}`;
      where.push(h("a", { href: `#/jobs/${encodeURIComponent(line.job)}${frame}`, class: "log-where" }, text));
    }
    return h(
      "div",
      { class: "log-line" },
      h("time", { class: "muted", datetime: new Date(line.time * 1000).toISOString() }, moment(line.time)),
      " ",
      ...where.flatMap((part) => [part, " "]),
      h("span", { class: "log-text" }, ...marked(line.text, this.filter.text)),
    );
  }
}

/** The text with what was searched for marked. */
function marked(text, wanted) {
  if (!wanted) return [text];
  const parts = [];
  const low = fold(text);
  const word = fold(wanted);
  let from = 0;
  for (let at = low.indexOf(word); at >= 0; at = low.indexOf(word, from)) {
    parts.push(text.slice(from, at), h("mark", {}, text.slice(at, at + word.length)));
    from = at + word.length;
  }
  parts.push(text.slice(from));
  return parts;
}

/** What an address behind `#/logs` names: `job/ID/frame/7/node/ID`, each or none of them. */
function namedIn(words) {
  const asked = {};
  for (let at = 0; at + 1 < words.length; at += 2) asked[words[at]] = words[at + 1];
  const frame = /^-?\d+$/.test(asked.frame ?? "") ? Number(asked.frame) : null;
  return { job: asked.job ?? "", node: asked.node ?? "", frame };
}

/** The page of logs: of everything, or of what the address names. */
export class Logs {
  /** `go(hash)` changes the address without leaving a step in the history. */
  constructor(farm, words, go) {
    this.farm = farm;
    this.go = go;
    this.title = "Logs";
    this.chosen = namedIn(words);
    this.panel = new LogPanel(farm, this.chosen);
    this.job = h("select", { id: "log-job" });
    this.node = h("select", { id: "log-node" });
    this.frame = h("input", { type: "number", id: "log-frame", class: "short", value: this.chosen.frame });
    this.job.addEventListener("change", () => this.choose({ job: this.job.value }));
    this.node.addEventListener("change", () => this.choose({ node: this.node.value }));
    this.frame.addEventListener("change", () => {
      this.choose({ frame: this.frame.value === "" ? null : this.frame.valueAsNumber });
    });
    this.element = h(
      "div",
      { class: "page logs-page" },
      h("h1", {}, "Logs"),
      h(
        "div",
        { class: "card log-card" },
        h(
          "div",
          { class: "buttons" },
          h("label", { for: "log-job" }, "Job"),
          this.job,
          h("label", { for: "log-frame" }, "Frame"),
          this.frame,
          h("label", { for: "log-node" }, "Node"),
          this.node,
        ),
        this.panel.element,
      ),
    );
    this.drawChoices();
  }

  choose(changes) {
    const words = [];
    for (const [name, value] of Object.entries({ ...this.chosen, ...changes })) {
      if (value !== "" && value !== null) words.push(name, encodeURIComponent(value));
    }
    this.go(`#/${["logs", ...words].join("/")}`);
  }

  /** Show what the address names now. */
  open(words) {
    const named = namedIn(words);
    if (JSON.stringify(named) === JSON.stringify(this.chosen)) return;
    this.chosen = named;
    this.drawChoices();
    this.job.value = named.job;
    this.node.value = named.node;
    this.frame.value = named.frame ?? "";
    this.panel.narrow(named);
  }

  drawChoices() {
    const fill = (select, items, all, chosen) => {
      const names = new Map(items.map((item) => [item.id, item.name]));
      if (chosen && !names.has(chosen)) names.set(chosen, chosen);
      const key = JSON.stringify([...names]);
      if (select.drawn === key || document.activeElement === select) return;
      select.drawn = key;
      select.replaceChildren(
        h("option", { value: "" }, all),
        ...[...names].map(([id, name]) => h("option", { value: id }, name)),
      );
      select.value = chosen;
    };
    fill(this.job, [...this.farm.jobs.values()], "All jobs", this.chosen.job);
    const nodes = [...this.farm.nodes.values()].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    fill(this.node, nodes, "All nodes", this.chosen.node);
  }

  update(changes) {
    if (changes.everything || changes.order) this.drawChoices();
  }

  dispose() {
    this.panel.dispose();
  }
}
