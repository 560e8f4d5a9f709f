// The machines: what each is, what it can do and why not, what it renders now.

import * as api from "./api.js";
import { actionButton } from "./controls.js";
import { h, keepFocus, KeyedList, setAttribute, setText, show } from "./dom.js";
import { bytes, count, moment, percent, version } from "./format.js";
import { Pill, ProgressBar } from "./words.js";

// Working nodes stand together: a card must not jump each time its node takes a frame.
const STATE_ORDER = { rendering: 0, idle: 0, unavailable: 0, joining: 0, draining: 0, disabled: 1, offline: 2 };

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
    this.filter.addEventListener("input", () => this.update({ everything: true }));
    this.number = h("p", { class: "muted", role: "status" });
    this.grid = h("div", { class: "nodes" });
    this.list = new KeyedList(this.grid, (node) => new NodeCard(farm, node));
    this.empty = h(
      "div",
      { class: "card empty" },
      h("h2", {}, "No nodes yet"),
      h("p", {}, "On each machine that shall render, run:"),
      h("pre", {}, "rendermill node"),
    );
    this.element = h(
      "div",
      { class: "page" },
      h(
        "div",
        { class: "spread page-head" },
        h("h1", {}, "Nodes"),
        h("label", { class: "filter", for: "node-filter" }, h("span", { class: "unseen" }, "Filter nodes"), this.filter),
      ),
      this.number,
      this.empty,
      this.grid,
    );
    this.update({ everything: true });
  }

  update(changes) {
    if (changes.everything || changes.order) {
      const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const all = [...this.farm.nodes.values()];
      const shown = all.filter((node) => {
        const text = searchText(node);
        return words.every((word) => text.includes(word));
      });
      shown.sort(
        (a, b) =>
          STATE_ORDER[a.state] - STATE_ORDER[b.state] ||
          a.name.localeCompare(b.name, "en", { numeric: true }) ||
          a.id.localeCompare(b.id),
      );
      this.list.set(shown, (node) => node.id);
      show(this.empty, all.length === 0);
      setText(this.number, words.length ? `${count(shown.length, "node")} of ${all.length}` : count(all.length, "node"));
      return;
    }
    for (const id of changes.nodes ?? []) this.list.patch(id, this.farm.nodes.get(id));
    // A card names the job it renders; a job's name arrives with the job.
    for (const id of changes.jobs ?? []) {
      for (const node of this.farm.nodes.values()) {
        if (node.job === id) this.list.patch(node.id, node);
      }
    }
  }

  dispose() {}
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

/** One node: what it is, what it does now, and what can be done with it. */
export class NodeCard {
  /** `heading`: "h1" where the card stands alone, with everything spelled out. */
  constructor(farm, node, heading = "h2") {
    this.farm = farm;
    this.node = node;
    this.isWhole = heading === "h1";
    this.name = this.isWhole ? h("span") : h("a", { href: `#/nodes/${encodeURIComponent(node.id)}` });
    this.pill = new Pill();
    this.reason = h("p", { class: "why" });
    this.job = h("a");
    this.frame = h("span", { class: "number" });
    this.bar = new ProgressBar("Progress of the frame");
    this.work = h("div", { class: "node-work" }, h("p", { class: "spread" }, this.job, this.frame), this.bar.element);
    this.machine = h("p", {});
    this.facts = h("p", { class: "muted number" });
    this.blenders = h("ul", { class: "blenders" });
    this.tags = h("p", { class: "tags" });
    this.probed = "";
    const act = (verb) => () => farm.askNode(this.node.id, () => api.post(`/nodes/${encodeURIComponent(this.node.id)}/${verb}`));
    this.drain = actionButton("Drain", act("drain"), "", "nodes");
    this.drain.title = "Finish what it renders, then take nothing new";
    this.resume = actionButton("Resume", act("enable"), "primary", "nodes");
    this.disable = actionButton("Disable", act("disable"), "", "nodes");
    this.disable.title = "Take nothing new, also after it was started again";
    this.enable = actionButton("Enable", act("enable"), "primary", "nodes");
    this.forgive = actionButton("Forgive", act("forgive"), "", "nodes");
    this.forgive.title = "Forget its failures: jobs that keep away from it may use it again";
    this.actions = h(
      "div",
      { class: "buttons", role: "group", "aria-label": `Actions for ${node.name}` },
      this.enable,
      this.resume,
      this.drain,
      this.disable,
      this.forgive,
    );
    this.element = h(
      "article",
      { class: "card node-card", "aria-label": `Node ${node.name}` },
      h("div", { class: "spread" }, h(heading, { class: "node-name" }, this.name), this.pill.element),
      this.reason,
      this.work,
      this.machine,
      this.blenders,
      this.tags,
      this.facts,
      this.actions,
    );
  }

  update(node) {
    this.node = node;
    const machine = node.machine;
    setText(this.name, node.name);
    this.pill.node(node.state);
    setText(this.reason, [node.reason, changeText(node)].filter(Boolean).join(" "));
    show(this.reason, this.reason.textContent !== "");
    show(this.work, node.job !== "");
    if (node.job !== "") {
      const job = this.farm.jobs.get(node.job);
      const frame = node.frame === null ? "" : `/frames/${node.frame}`;
      setAttribute(this.job, "href", `#/jobs/${encodeURIComponent(node.job)}${frame}`);
      setText(this.job, job?.name ?? `Job ${node.job}`);
      setText(this.frame, node.frame === null ? "preparing" : `frame ${node.frame} · ${percent(node.progress)}`);
      this.bar.update(node.progress);
    }
    setText(
      this.machine,
      `${machine.cpu}, ${count(machine.cores, "core")}, ${bytes(machine.memory_bytes)} · ${machine.system}`,
    );
    setText(
      this.facts,
      node.state === "offline"
        ? `${count(node.frames_done, "frame")} done${speedText(node)} · last seen ${moment(node.last_seen)}`
        : `${count(node.frames_done, "frame")} done${speedText(node)} · load ${percent(node.load)} · ` +
            `${bytes(node.memory_free_bytes)} memory and ${bytes(node.disk_free_bytes)} disk free`,
    );
    this.updateMachine(machine);
    const isTaking = ["idle", "rendering", "joining", "unavailable"].includes(node.state);
    keepFocus(this.actions, () => {
      show(this.drain, isTaking);
      show(this.disable, node.state !== "disabled");
      show(this.resume, node.state === "draining");
      show(this.enable, node.state === "disabled");
      show(this.forgive, this.isWhole);
    });
  }

  // Machines change rarely and cards are updated often: the lists are only rebuilt on a change.
  updateMachine(machine) {
    const probed = JSON.stringify([machine.blenders, machine.tags, machine.sandbox]);
    if (probed === this.probed) return;
    this.probed = probed;
    this.blenders.replaceChildren(...machine.blenders.map((blender) => blenderItem(blender, this.isWhole)));
    if (machine.blenders.length === 0) {
      this.blenders.append(h("li", { class: "problem-text" }, "No Blender found on this machine."));
    }
    const sandbox = machine.sandbox === "none" ? [] : [`sandbox: ${machine.sandbox}`];
    this.tags.replaceChildren(...[...machine.tags, ...sandbox].map((tag) => h("span", { class: "tag" }, tag)));
    show(this.tags, this.tags.childElementCount > 0);
  }
}

/** When a machine that somebody works at takes frames again, or takes no more; "" when unknown. */
function changeText(node) {
  if (node.changes_at === null || node.changes_at === undefined) return "";
  if (node.state === "unavailable") return `Renders again from ${moment(node.changes_at)}.`;
  return node.state === "idle" || node.state === "rendering" ? `Renders until ${moment(node.changes_at)}.` : "";
}

/** " · twice as fast" and the like, from what the farm has learned; "" before that. */
function speedText(node) {
  const speed = node.speed ?? null;
  if (speed === null) return "";
  const rounded = Math.round(speed * 100) / 100;
  return rounded === 1 ? " · average speed" : ` · ${rounded} × average speed`;
}

function blenderItem(blender, isWhole) {
  const title = `Blender ${version(blender.version)}${blender.is_module ? " (bpy module)" : ""}`;
  const able = [...blender.engines.map(engineWord), ...blender.capabilities].join(", ");
  const item = h(
    "li",
    {},
    h("strong", { title: blender.path }, title),
    h("span", { class: "muted" }, able ? ` ${able}` : " no engine works"),
  );
  for (const gpu of blender.gpus) item.append(h("div", {}, `${gpu.name} (${gpu.backend})`));
  if (blender.problems.length) {
    item.append(
      h(
        "details",
        { open: isWhole },
        h("summary", {}, count(blender.problems.length, "limitation")),
        h("ul", {}, ...blender.problems.map((problem) => h("li", {}, problem))),
      ),
    );
  }
  return item;
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
