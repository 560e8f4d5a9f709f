// Tabs after the ARIA pattern: arrows move, the chosen one is the only stop for the Tab key.

import { h, setAttribute } from "./dom.js";

/**
 * Tabs: `{ name, title, make }`, where `make()` resolves to an element; `again` makes it anew each
 * time. `onChoose(name)` is called when a person chooses one, `onShown()` when its element is there.
 */
export class Tabs {
  constructor(tabs, label, onChoose, onShown) {
    this.tabs = tabs;
    this.onChoose = onChoose;
    this.onShown = onShown;
    this.made = new Map();
    this.chosen = -1;
    this.buttons = tabs.map((tab) =>
      h("button", { type: "button", role: "tab", id: `tab-${tab.name}`, "aria-controls": "tab-panel" }, tab.title),
    );
    this.panel = h("div", { role: "tabpanel", id: "tab-panel", class: "card" });
    this.list = h("div", { role: "tablist", "aria-label": label, class: "tabs" }, ...this.buttons);
    this.element = h("div", {}, this.list, this.panel);
    this.buttons.forEach((button, index) => {
      button.addEventListener("click", () => this.pick(index));
    });
    this.list.addEventListener("keydown", (event) => this.key(event));
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
    this.pick(next);
    this.buttons[next].focus();
  }

  pick(index) {
    this.choose(index);
    this.onChoose(this.tabs[index].name);
  }

  /** Show a tab by its name; one that is shown already stays as it is. */
  show(name) {
    const index = this.tabs.findIndex((tab) => tab.name === name);
    if (index >= 0 && index !== this.chosen) this.choose(index);
  }

  /** Name of the tab that is shown. */
  get name() {
    return this.tabs[this.chosen]?.name ?? "";
  }

  async choose(index) {
    this.chosen = index;
    this.buttons.forEach((button, other) => {
      setAttribute(button, "aria-selected", other === index ? "true" : "false");
      setAttribute(button, "tabindex", other === index ? 0 : -1);
    });
    setAttribute(this.panel, "aria-labelledby", this.buttons[index].id);
    const tab = this.tabs[index];
    let content = tab.again ? undefined : this.made.get(tab.name);
    if (content === undefined) {
      setAttribute(this.panel, "aria-busy", "true");
      // Nothing of the tab before may be taken for this one's.
      this.panel.replaceChildren(h("p", { class: "muted" }, "Loading …"));
      try {
        content = await tab.make();
        this.made.set(tab.name, content);
      } catch (error) {
        content = h("p", { class: "problem-text", role: "alert" }, error.message);
      }
    }
    if (this.chosen !== index) return;
    setAttribute(this.panel, "aria-busy", null);
    this.panel.replaceChildren(content);
    this.onShown();
  }
}
