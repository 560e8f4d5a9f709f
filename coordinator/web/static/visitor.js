// Who looks at the page and what the farm lets them do. Elements marked `data-needs="steer"` (or
// submit, nodes) are only there for visitors who may; the coordinator refuses all others anyway.

import * as api from "./api.js";
import { actionButton } from "./controls.js";
import { h, setAttribute, setText, show } from "./dom.js";

const ROLES = {
  admin: "may do everything",
  submit: "may submit and steer jobs",
  view: "may look",
  node: "is a machine that renders",
};

/** The visitor; null before signing in. `{ id, name, role, may }`. */
let visitor = null;

/** Ask who visits. Throws ApiError. */
export async function meetVisitor() {
  visitor = await api.get("/me");
  setAttribute(document.documentElement, "data-may", visitor.may.join(" "));
  return visitor;
}

/** Forget who visited. */
export function forgetVisitor() {
  visitor = null;
  setAttribute(document.documentElement, "data-may", null);
}

/** Whether the visitor may do something: "see", "submit", "steer", "nodes". */
export function may(what) {
  return visitor !== null && visitor.may.includes(what);
}

/** Why a visitor who is let in sees nothing all the same; "" for all others. */
export function cannotSee() {
  if (visitor === null || may("see")) return "";
  return "That token belongs to a machine that renders, not to a person. Use the link the coordinator printed when it started.";
}

/** Name, role and the way out, for the bar at the top. */
export class Account {
  /** `onOut` is called when the session has ended. */
  constructor(onOut) {
    this.who = h("span", { class: "account-name" });
    const out = async () => {
      await api.post("/sign-out", {});
      onOut();
    };
    this.out = actionButton("Sign out", out, "quiet", "");
    this.element = h("span", { class: "account", hidden: true }, this.who, this.out);
  }

  update() {
    show(this.element, visitor !== null);
    if (visitor === null) return;
    setText(this.who, visitor.name);
    setAttribute(this.who, "title", `${visitor.name} ${ROLES[visitor.role] ?? ""}`);
  }
}
