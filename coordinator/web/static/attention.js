// What a person should look at first, each with what mends it; not there when all is well.

import * as api from "./api.js";
import { actionButton } from "./controls.js";
import { h, KeyedList, setAttribute, setText, show } from "./dom.js";
import { isEnded } from "./farm.js";
import { bytes, count, moment } from "./format.js";

const DISK_LOW_BYTES = 5 * 1024 ** 3;
/* About a thousand frames of a 4K EXR sequence; below it a night's work may not fit. */
const NODE_DISK_LOW_BYTES = 2 * 1024 ** 3;
const GONE_SECONDS = 12 * 3600;
/* A node that went away earlier than this was most likely switched off on purpose. */
const NODES_NAMED = 3;
const ITEMS_SHOWN = 4;

/** What was lost comes before what will be lost, and that before what only waits. */
const RANK = { failed: 0, disk: 1, node: 2, stuck: 3, scouts: 4 };

/* Kinds of `JobView.waiting_kind` that stay as they are until a person does something. */
const STUCK = new Set(["no-node", "lost-job"]);

/** The list at the top of the overview. */
export class Attention {
  constructor(farm) {
    this.farm = farm;
    this.items = h("ul", { class: "attention-list" });
    this.number = h("span", { class: "badge" });
    this.element = h(
      "section",
      { class: "attention", "aria-labelledby": "attention-title" },
      h("h2", { id: "attention-title" }, "Needs attention ", this.number),
      this.items,
    );
    this.list = new KeyedList(this.items, (item) => new Item(farm, item));
    this.isOpen = false;
    this.more = h("button", { type: "button", class: "link attention-more" });
    this.more.addEventListener("click", () => {
      this.isOpen = !this.isOpen;
      this.update();
    });
    this.element.append(this.more);
  }

  update() {
    const found = [...this.disk(), ...this.jobs(), ...this.nodes()].sort((a, b) => RANK[a.kind] - RANK[b.kind]);
    // One more takes as much room as the sentence that it is left out.
    const isLong = found.length > ITEMS_SHOWN + 1;
    this.list.set(isLong && !this.isOpen ? found.slice(0, ITEMS_SHOWN) : found, (item) => item.key);
    show(this.more, isLong);
    setText(this.more, this.isOpen ? "Show fewer" : `Show ${found.length - ITEMS_SHOWN} more`);
    setAttribute(this.more, "aria-expanded", this.isOpen ? "true" : "false");
    setText(this.number, String(found.length));
    show(this.element, found.length > 0);
  }

  *disk() {
    const free = this.farm.summary.disk_free_bytes;
    if (free >= DISK_LOW_BYTES) return;
    const ended = [...this.farm.jobs.values()].filter(isEnded);
    yield {
      key: "disk",
      kind: "disk",
      text: `The coordinator has only ${bytes(free)} of disk left.`,
      hint: ended.length ? "Remove ended jobs that are delivered." : "Make room on its disk.",
      anchor: ended.length ? "ended" : null,
      anchorText: "Show ended jobs",
    };
  }

  *jobs() {
    for (const job of this.farm.jobs.values()) {
      const href = `#/jobs/${encodeURIComponent(job.id)}`;
      if (job.counts.failed > 0 && job.state !== "cancelled") {
        const failed = count(job.counts.failed, "frame");
        yield { key: `failed ${job.id}`, kind: "failed", job, href, text: `${job.name}: ${failed} failed.`, hint: job.problem, act: "retry" };
      } else if (job.state === "failed") {
        yield { key: `failed ${job.id}`, kind: "failed", job, href, text: `${job.name} failed.`, hint: job.problem, act: "retry" };
      }
      if (isEnded(job) || job.paused) continue;
      const why = job.waiting_because;
      if (job.waiting_kind === "scouts") {
        yield { key: `scouts ${job.id}`, kind: "scouts", job, href, text: `${job.name}: look at its scout frames.`, hint: why, act: "approve" };
      } else if (STUCK.has(job.waiting_kind)) {
        const mend = job.waiting_kind === "no-node" ? { anchorText: "Choose nodes", anchorHref: `${href}/nodes` } : {};
        yield { key: `stuck ${job.id}`, kind: "stuck", job, href, text: `${job.name} waits.`, hint: why, ...mend };
      }
    }
  }

  *nodes() {
    const nodes = [...this.farm.nodes.values()];
    const gone = nodes.filter(isGone);
    if (gone.length > NODES_NAMED) {
      yield { key: "gone", kind: "node", href: "#/nodes", text: `${count(gone.length, "node")} went away while they rendered: ${names(gone)}.`, hint: "Others take their frames over. Start “rendermill node” there again." };
      gone.length = 0;
    }
    for (const node of gone) {
      const job = this.farm.jobs.get(node.left_job);
      const what = job === undefined ? "" : ` of ${job.name}`;
      yield {
        key: `gone ${node.id}`,
        kind: "node",
        href: "#/nodes",
        text: `${node.name} went away while it rendered frame ${node.left_frame}${what}.`,
        hint: `Last seen ${moment(node.last_seen)}; others take its frames over. Start “rendermill node” there again.`,
      };
    }
    const bare = nodes.filter(isBare);
    if (bare.length) {
      yield { key: "no blender", kind: "node", href: "#/nodes", text: `${count(bare.length, "node")} without a usable Blender: ${names(bare)}.`, hint: "Install Blender there; each node says what it found." };
    }
    const full = nodes.filter(isFull);
    if (full.length) {
      yield { key: "node disk", kind: "disk", href: "#/nodes", text: `${count(full.length, "node")} with little disk left: ${names(full)}.`, hint: "Make room on the disk of its cache." };
    }
  }
}

/** Whether a node went away while it rendered, not long ago. */
function isGone(node) {
  return node.state === "offline" && node.left_job !== "" && node.last_seen > Date.now() / 1000 - GONE_SECONDS;
}

/** Whether a node has no Blender it could render with. */
function isBare(node) {
  return node.state !== "offline" && node.state !== "joining" && node.machine.blenders.length === 0;
}

/** Whether the disk of a node's cache is nearly full. */
function isFull(node) {
  return node.state !== "offline" && node.last_seen > 0 && node.disk_free_bytes > 0 && node.disk_free_bytes < NODE_DISK_LOW_BYTES;
}

/** Whether a person should look after a node. */
export function isInNeed(node) {
  return isGone(node) || isBare(node) || isFull(node);
}

function names(nodes) {
  const shown = nodes.slice(0, NODES_NAMED).map((node) => node.name);
  const rest = nodes.length - shown.length;
  return `${shown.join(", ")}${rest ? ` and ${rest} more` : ""}`;
}

class Item {
  constructor(farm, item) {
    this.item = item;
    this.link = h("a", { class: "attention-text" });
    this.hint = h("span", { class: "muted" });
    this.act = actionButton("", async () => {
      const { job, act } = this.item;
      await farm.askJob(job.id, () => api.post(`${api.jobPath(job.id)}/${act}`, act === "retry" ? {} : undefined));
    });
    this.anchor = h("a", { class: "button" });
    this.anchor.addEventListener("click", (event) => {
      if (!this.item.anchor) return;
      // The address belongs to the views, so the jump is made here.
      event.preventDefault();
      document.getElementById(this.item.anchor)?.scrollIntoView();
      document.getElementById(this.item.anchor)?.focus();
    });
    this.element = h("li", { "data-kind": item.kind }, h("span", { class: "attention-words" }, this.link, " ", this.hint), this.act, this.anchor);
  }

  update(item) {
    this.item = item;
    setAttribute(this.link, "href", item.href ?? null);
    setText(this.link, item.text);
    setText(this.hint, item.hint ?? "");
    const words = { retry: item.job ? `Retry ${item.job.counts.failed || "all"}` : "", approve: "Approve" };
    show(this.act, item.act !== undefined);
    setText(this.act, words[item.act] ?? "");
    setAttribute(this.act, "aria-label", item.act ? `${words[item.act]}: ${item.job.name}` : null);
    show(this.anchor, Boolean(item.anchorText && (item.anchor || item.anchorHref)));
    setText(this.anchor, item.anchorText ?? "");
    setAttribute(this.anchor, "href", item.anchorHref ?? (item.anchor ? `#${item.anchor}` : null));
    setAttribute(this.anchor, "data-needs", item.anchorHref ? "steer" : null);
  }
}
