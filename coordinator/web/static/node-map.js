// The whole farm as one field of marks, a node each: where there are more nodes than a window holds.

import { isInNeed } from "./attention.js";
import { h, KeyedList, setAttribute, show } from "./dom.js";
import { NODE_STATES } from "./words.js";

export const FROM_NODES = 25;
/* Fewer are all in sight below. */

/** The field. Screen readers and keyboards have the list of nodes, which says the same and more. */
export class NodeMap {
  constructor() {
    this.element = h("div", { class: "card node-map", "aria-hidden": "true" });
    this.list = new KeyedList(this.element, (node) => new Mark(node));
  }

  /** Show these nodes in this order. */
  update(nodes) {
    show(this.element, nodes.length >= FROM_NODES);
    this.list.set(nodes.length >= FROM_NODES ? nodes : [], (node) => node.id);
  }
}

class Mark {
  constructor(node) {
    this.element = h("a", { class: "dot", href: `#/nodes/${encodeURIComponent(node.id)}`, tabindex: -1 });
  }

  update(node) {
    setAttribute(this.element, "data-state", isInNeed(node) ? "failed" : node.state);
    setAttribute(this.element, "title", `${node.name}: ${(NODE_STATES[node.state] ?? node.state).toLowerCase()}`);
  }
}
