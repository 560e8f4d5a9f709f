// One node as a card with everything on it, and what a person can do with a node.

import * as api from "./api.js";
import { actionButton } from "./controls.js";
import { h, keepFocus, setAttribute, setText, show } from "./dom.js";
import { bytes, count, moment, percent, version } from "./format.js";
import { engineWord, Pill, ProgressBar } from "./words.js";

/** States in which a node takes frames, now or soon. */
const TAKING = new Set(["idle", "rendering", "joining", "unavailable"]);

/** Drain, resume, disable and enable: those that make sense for the node's state. */
export class NodeActions {
  /** `forgives`: whether forgiving its failures is offered as well. */
  constructor(farm, node, { forgives = false, kind = "" } = {}) {
    const button = (label, verb, look, title) => {
      const ask = () => farm.askNode(node.id, () => api.post(`/nodes/${encodeURIComponent(node.id)}/${verb}`));
      const made = actionButton(label, ask, look, "nodes");
      setAttribute(made, "title", title);
      return made;
    };
    this.enable = button("Enable", "enable", `primary ${kind}`, "Let it take frames again");
    this.resume = button("Resume", "enable", `primary ${kind}`, "Let it take frames again");
    this.drain = button("Drain", "drain", kind, "Finish what it renders, then take nothing new");
    this.disable = button("Disable", "disable", kind, "Take nothing new, also after it was started again");
    this.forgive = button("Forgive", "forgive", kind, "Forget its failures: jobs that keep away from it may use it again");
    show(this.forgive, forgives);
    this.element = h(
      "div",
      { class: "buttons", role: "group", "aria-label": `Actions for ${node.name}` },
      this.enable,
      this.resume,
      this.drain,
      this.disable,
      this.forgive,
    );
    this.update(node);
  }

  update(node) {
    if (node.state === this.state) return;
    this.state = node.state;
    keepFocus(this.element, () => {
      show(this.drain, TAKING.has(node.state));
      show(this.disable, node.state !== "disabled");
      show(this.resume, node.state === "draining");
      show(this.enable, node.state === "disabled");
    });
  }
}

/** One node on its own page, with everything spelled out. */
export class NodeCard {
  constructor(farm, node) {
    this.farm = farm;
    this.name = h("h1", { class: "node-name" });
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
    this.actions = new NodeActions(farm, node, { forgives: true });
    this.element = h(
      "article",
      { class: "card node-card", "aria-label": `Node ${node.name}` },
      h("div", { class: "spread" }, this.name, this.pill.element),
      this.reason,
      this.work,
      this.machine,
      this.blenders,
      this.tags,
      this.facts,
      this.actions.element,
    );
  }

  update(node) {
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
    this.actions.update(node);
  }

  // Machines change rarely and the card often: the lists are only rebuilt on a change.
  updateMachine(machine) {
    const probed = JSON.stringify([machine.blenders, machine.tags, machine.sandbox]);
    if (probed === this.probed) return;
    this.probed = probed;
    this.blenders.replaceChildren(...machine.blenders.map((blender) => blenderItem(blender)));
    if (machine.blenders.length === 0) {
      this.blenders.append(h("li", { class: "problem-text" }, "No Blender found on this machine."));
    }
    const sandbox = machine.sandbox === "none" ? [] : [`sandbox: ${machine.sandbox}`];
    this.tags.replaceChildren(...[...machine.tags, ...sandbox].map((tag) => h("span", { class: "tag" }, tag)));
    show(this.tags, this.tags.childElementCount > 0);
  }
}

/** When a machine that somebody works at takes frames again, or takes no more; "" when unknown. */
export function changeText(node) {
  if (node.changes_at === null || node.changes_at === undefined) return "";
  if (node.state === "unavailable") return `Renders again from ${moment(node.changes_at)}.`;
  return node.state === "idle" || node.state === "rendering" ? `Renders until ${moment(node.changes_at)}.` : "";
}

/** " · twice as fast" and the like, from what the farm has learned; "" before that. */
function speedText(node) {
  const speed = speedOf(node);
  if (speed === null) return "";
  return speed === 1 ? " · average speed" : ` · ${speed} × average speed`;
}

/** How many times as fast as the average node it is, to two places; null before its first frame. */
export function speedOf(node) {
  const speed = node.speed ?? null;
  return speed === null ? null : Math.round(speed * 100) / 100;
}

function blenderItem(blender) {
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
        { open: true },
        h("summary", {}, count(blender.problems.length, "limitation")),
        h("ul", {}, ...blender.problems.map((problem) => h("li", {}, problem))),
      ),
    );
  }
  return item;
}
