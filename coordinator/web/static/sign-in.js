// Signing in: by a link whose fragment carries the token, or by typing it.

import * as api from "./api.js";
import { h, setText } from "./dom.js";

const LINK = /^#token=([^&]+)(?:&to=(\/.*))?$/;

/** Whether the address is a link that signs in. */
export function isSignInAddress() {
  return LINK.test(window.location.hash);
}

/**
 * Take a token out of the address (`#token=...`, with `&to=/jobs/...` for where to go then) and
 * sign in with it. The token leaves the address and the history before anything else happens.
 * Returns a problem to show, "" when there is none.
 */
export async function signInFromAddress() {
  const match = LINK.exec(window.location.hash);
  if (match === null) return "";
  history.replaceState(null, "", `${window.location.pathname}#${match[2] ?? "/"}`);
  try {
    await api.post("/sign-in", { token: decodeURIComponent(match[1]) });
    return "";
  } catch (error) {
    return error.message;
  }
}

/** The form; `onDone` is called once signed in. */
export class SignIn {
  constructor(onDone, problem) {
    const input = h("input", {
      id: "token",
      name: "token",
      type: "password",
      autocomplete: "current-password",
      spellcheck: "false",
      autocapitalize: "off",
      required: true,
      "aria-describedby": "token-help token-problem",
    });
    const message = h("p", { id: "token-problem", class: "problem-text", role: "alert" }, problem);
    const form = h(
      "form",
      { class: "sign-in card", method: "post" },
      h("h1", {}, "Sign in to the farm"),
      h("label", { for: "token" }, "Token"),
      input,
      message,
      h("button", { class: "primary" }, "Sign in"),
      h(
        "p",
        { id: "token-help", class: "muted" },
        "The coordinator prints a link to this page when it starts, with a token in it. The add-on in " +
          "Blender opens the page signed in.",
      ),
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      setText(message, "");
      try {
        await api.post("/sign-in", { token: input.value.trim() });
        onDone();
      } catch (error) {
        setText(message, error.message);
        input.select();
      }
    });
    this.element = form;
    this.title = "Sign in";
    this.focus = () => input.focus();
  }

  update() {}

  dispose() {}
}
