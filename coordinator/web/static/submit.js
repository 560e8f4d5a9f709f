// Submit from the browser.

import { h } from "./dom.js";

/** The page that takes a scene. */
export class Submit {
  constructor(farm) {
    this.farm = farm;
    this.title = "Submit";
    this.element = h("div", { class: "page submit-page" }, h("h1", {}, "Submit a scene"));
  }

  update() {}

  dispose() {}
}
