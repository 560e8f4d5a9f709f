// All machines: what each is and renders now, those that need a person first.

import { isInNeed } from "./attention.js";
import { h, KeyedList, setAttribute, setText, show } from "./dom.js";
import { bytes, count, moment, percent, version } from "./format.js";
import { changeText, NodeActions, speedOf } from "./node-card.js";
import { FROM_NODES, NodeMap } from "./node-map.js";
import { engineWord, NODE_STATES, Pill, ProgressBar } from "./words.js";

const AWAY = new Set(["disabled", "offline"]);
const NEAR_VIEW = "300px 0px";
/* How far beyond the window's edge a node is kept up to date: a short scroll shows nothing old. */

// Working nodes stand together: one must not jump each time it takes a frame.
const GROUPS = [
  { name: "Need a look", has: (node) => isInNeed(node) },
  { name: "At work or ready", has: (node) => !AWAY.has(node.state) },
  { name: "Not in use", has: () => true },
];

/** Every node of the farm, live. */
export class Nodes {
  constructor(farm) {
    this.farm = farm;
    this.title = "Nodes";
    this.filter = h("input", {
      type: "search",
      id: "node-filter",
      placeholder: "Name, tag, GPU, Blender …",
      autocomplete: "off",
    });
    this.filter.addEventListener("input", () => this.arrange());
    this.number = h("p", { class: "muted", role: "status" });
    this.states = new StateCounts(() => this.arrange());
    this.map = new NodeMap();
    this.grid = h("div", { class: "nodes" });
    this.tiles = new Map();
    // Only those in sight are drawn again; the others when they come into sight.
    this.sight = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) this.tiles.get(entry.target)?.see(entry.isIntersecting);
      },
      { rootMargin: NEAR_VIEW },
    );
    this.list = new KeyedList(this.grid, (item) => (item.node ? this.makeTile(item.node) : new GroupTitle(item)));
    this.empty = h(
      "div",
      { class: "card empty" },
      h("h2", {}, "No nodes yet"),
      h("p", {}, "A node is a machine that renders. On each one, install Rendermill, then run:"),
      h("pre", {}, "rendermill node"),
      h("p", { class: "muted" }, "It finds this farm in the local network by itself. From Blender: Preferences ▸ Add-ons ▸ Rendermill ▸ Render for the Farm on This Computer."),
    );
    this.none = h("p", { class: "card empty muted" }, "No node is like that.");
    this.element = h(
      "div",
      { class: "page" },
      h(
        "div",
        { class: "spread page-head" },
        h("h1", {}, "Nodes"),
        this.states.element,
        h("span", { class: "spacer" }),
        this.number,
        h("label", { class: "filter", for: "node-filter" }, h("span", { class: "unseen" }, "Filter nodes"), this.filter),
      ),
      this.map.element,
      this.empty,
      this.none,
      this.grid,
    );
    this.update({ everything: true });
  }

  makeTile(node) {
    const tile = new NodeTile(this.farm, node);
    this.tiles.set(tile.element, tile);
    this.sight.observe(tile.element);
    return {
      element: tile.element,
      update: (item) => tile.update(item.node),
      dispose: () => {
        this.tiles.delete(tile.element);
        this.sight.unobserve(tile.element);
      },
    };
  }

  update(changes) {
    if (changes.everything || changes.order) {
      this.arrange();
      return;
    }
    for (const id of changes.nodes ?? []) this.list.patch(id, { node: this.farm.nodes.get(id) });
    // A tile names the job it renders; a job's name arrives with the job.
    for (const id of changes.jobs ?? []) {
      for (const node of this.farm.nodes.values()) {
        if (node.job === id) this.list.patch(node.id, { node });
      }
    }
  }

  /** Put those that are looked for in their places. */
  arrange() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = [...this.farm.nodes.values()];
    this.states.update(all);
    const shown = all.filter((node) => {
      if (this.states.chosen !== null && node.state !== this.states.chosen) return false;
      const text = words.length ? searchText(node) : "";
      return words.every((word) => text.includes(word));
    });
    shown.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }) || a.id.localeCompare(b.id));
    const groups = GROUPS.map(({ name }) => ({ key: name, name, nodes: [] }));
    for (const node of shown) groups[GROUPS.findIndex((group) => group.has(node))].nodes.push(node);
    const filled = groups.filter((group) => group.nodes.length > 0);
    const items = filled.flatMap((group) => [
      // One group of all needs no name.
      ...(filled.length > 1 || group.name === GROUPS[0].name ? [group] : []),
      ...group.nodes.map((node) => ({ key: node.id, node })),
    ]);
    this.list.set(items, (item) => item.key);
    setAttribute(this.grid, "data-few", shown.length < FROM_NODES);
    this.map.update(filled.flatMap((group) => group.nodes));
    show(this.empty, all.length === 0);
    show(this.none, all.length > 0 && shown.length === 0);
    setText(this.number, shown.length < all.length ? `${count(shown.length, "node")} of ${all.length}` : count(all.length, "node"));
  }

  dispose() {
    this.sight.disconnect();
  }
}

function searchText(node) {
  const machine = node.machine;
  const blenders = machine.blenders.flatMap((blender) => [
    `blender ${version(blender.version)}`,
    ...blender.engines,
    ...blender.capabilities,
    ...blender.gpus.map((gpu) => `${gpu.backend} ${gpu.name}`),
  ]);
  return [node.name, node.state, machine.hostname, machine.system, machine.cpu, ...machine.tags, ...blenders]
    .join(" ")
    .toLowerCase();
}

/** How many nodes are in each state; pressed, only those are shown. */
class StateCounts {
  constructor(onChoose) {
    this.chosen = null;
    this.items = new Map();
    this.element = h("div", { class: "legend state-filter", role: "group", "aria-label": "Show nodes by state" });
    for (const [state, word] of Object.entries(NODE_STATES)) {
      const number = h("strong", { class: "number" });
      const item = h("button", { type: "button", class: "quiet", "aria-pressed": "false" }, h("i", { class: "dot", "data-state": state, "aria-hidden": "true" }), number, word.toLowerCase());
      item.addEventListener("click", () => {
        this.chosen = this.chosen === state ? null : state;
        for (const [name, other] of this.items) setAttribute(other.item, "aria-pressed", name === this.chosen ? "true" : "false");
        onChoose();
      });
      this.items.set(state, { item, number });
      this.element.append(item);
    }
  }

  update(nodes) {
    for (const [state, { item, number }] of this.items) {
      const inState = nodes.filter((node) => node.state === state).length;
      show(item, inState > 0 || state === this.chosen);
      setText(number, inState.toLocaleString("en-GB"));
    }
  }
}

class GroupTitle {
  constructor(group) {
    this.number = h("span", { class: "muted" });
    this.element = h("h2", { class: "section nodes-title" }, group.name, " ", this.number);
  }

  update(group) {
    setText(this.number, String(group.nodes.length));
  }
}

/** What a node that renders nothing, and gives no reason, is about. */
function quietText(node) {
  if (node.state === "offline") return `Last seen ${moment(node.last_seen)}${node.left_job ? `, while it rendered frame ${node.left_frame}` : ""}.`;
  return node.state === "idle" ? "Ready for frames." : "";
}

/** A node in five lines, always as high: a change inside moves nothing outside. */
class NodeTile {
  constructor(farm, node) {
    this.farm = farm;
    this.isSeen = false;
    this.name = h("a", { href: `#/nodes/${encodeURIComponent(node.id)}` });
    this.pill = new Pill();
    this.job = h("a", { class: "line" });
    this.frame = h("span", { class: "number" });
    this.bar = new ProgressBar("Progress of the frame");
    this.work = h("div", { class: "node-work" }, h("p", { class: "node-frame" }, this.job, this.frame), this.bar.element);
    this.reason = h("p", { class: "why" });
    this.quiet = h("p", { class: "muted" });
    this.machine = h("p", { class: "line" });
    this.blenders = h("p", { class: "line muted" });
    this.facts = h("p", { class: "line muted number" });
    this.actions = new NodeActions(farm, node, { kind: "quiet" });
    this.element = h(
      "article",
      { class: "card node-card node-tile", "aria-label": `Node ${node.name}` },
      h("div", { class: "node-top" }, h("h2", { class: "node-name line" }, this.name), this.pill.element),
      h("div", { class: "node-now" }, this.work, this.reason, this.quiet),
      this.machine,
      this.blenders,
      h("div", { class: "node-foot" }, this.facts, this.actions.element),
    );
    this.update(node);
    this.draw();
  }

  /** Whether it is in sight from now on. */
  see(isSeen) {
    this.isSeen = isSeen;
    if (isSeen && this.isStale) this.draw();
  }

  update(node) {
    this.node = node;
    this.isStale = true;
    if (this.isSeen) this.draw();
  }

  draw() {
    const { node } = this;
    this.isStale = false;
    setText(this.name, node.name);
    setAttribute(this.name, "title", node.name);
    this.pill.node(node.state);
    show(this.work, node.job !== "");
    if (node.job !== "") {
      const frame = node.frame === null ? "" : `/frames/${node.frame}`;
      setAttribute(this.job, "href", `#/jobs/${encodeURIComponent(node.job)}${frame}`);
      setText(this.job, this.farm.jobs.get(node.job)?.name ?? `Job ${node.job}`);
      setText(this.frame, node.frame === null ? "preparing" : `frame ${node.frame} · ${percent(node.progress)}`);
      this.bar.update(node.progress);
    }
    const reason = [node.reason, changeText(node)].filter(Boolean).join(" ");
    // Where it renders and something is to be said of it, the sentence is a tip: the place is taken.
    setAttribute(this.element, "title", reason || null);
    setText(this.reason, node.job === "" ? reason : "");
    show(this.reason, this.reason.textContent !== "");
    setText(this.quiet, node.job === "" && !reason ? quietText(node) : "");
    this.drawMachine(node);
    const speed = speedOf(node);
    setText(this.facts, `${count(node.frames_done, "frame")}${speed === null ? "" : ` · ${speed} ×`}`);
    setAttribute(this.facts, "title", speed === null ? null : `${speed} times as fast as the farm's average node`);
    this.actions.update(node);
  }

  drawMachine({ machine }) {
    // Views of events carry their machine anew each time; what it says changes rarely.
    const gpus = new Set(machine.blenders.flatMap((blender) => blender.gpus.map((gpu) => gpu.name)));
    const text = [machine.cpu, count(machine.cores, "core"), bytes(machine.memory_bytes)].join(" · ");
    setText(this.machine, [...gpus, text].join(" · "));
    setAttribute(this.machine, "title", this.machine.textContent);
    const versions = machine.blenders.map((blender) => version(blender.version)).join(", ");
    const limits = machine.blenders.reduce((sum, blender) => sum + blender.problems.length, 0);
    const engines = new Set(machine.blenders.flatMap((blender) => blender.engines.map(engineWord)));
    const blenders = versions ? `Blender ${versions} ${[...engines].join(", ")}` : "No usable Blender";
    const parts = [blenders, limits ? count(limits, "limitation") : "", ...machine.tags];
    setText(this.blenders, parts.filter(Boolean).join(" · "));
    setAttribute(this.blenders, "title", this.blenders.textContent);
  }
}
