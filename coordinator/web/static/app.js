// The page as a whole: signing in, the bar at the top, and which view the address names.

import { session } from "./api.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { Farm } from "./farm.js";
import { JobPage } from "./job.js";
import { Logs } from "./logs.js";
import { NodePage } from "./node.js";
import { Nodes } from "./nodes.js";
import { Overview } from "./overview.js";
import { isSignInAddress, SignIn, signInFromAddress } from "./sign-in.js";
import { Submit } from "./submit.js";
import { Account, cannotSee, forgetVisitor, meetVisitor } from "./visitor.js";

const THEMES = ["auto", "light", "dark"];
const CONNECTIONS = { connecting: "Connecting …", live: "Live", lost: "Reconnecting …" };

/** Pages by the first word of the address; each gets the words behind it. */
const VIEWS = {
  nodes: (farm, [id]) => (id ? new NodePage(farm, id) : new Nodes(farm)),
  logs: (farm, words, go) => new Logs(farm, words, go),
  submit: (farm) => new Submit(farm),
};

class App {
  constructor() {
    this.farm = new Farm();
    this.view = null;
    this.viewKey = "";
    this.isIn = false;
    this.main = document.getElementById("main");
    this.build();
    this.farm.addEventListener("change", (event) => {
      this.drawTop();
      this.view?.update(event.detail);
      this.drawTitle();
    });
    this.farm.addEventListener("connection", () => this.drawConnection());
    window.addEventListener("hashchange", () => {
      // A link that signs in, opened where the page is open already: begin as a new tab would.
      if (isSignInAddress()) window.location.reload();
      else this.route();
    });
    window.addEventListener("online", () => this.farm.reconnect());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.farm.reconnect();
    });
    session.addEventListener("signed-out", () => {
      // Before anybody came in it is no news that nobody is signed in.
      if (this.isIn) this.signOut("Your session has ended. Sign in again.");
    });
  }

  build() {
    this.name = h("span", { class: "farm-name" });
    this.links = {
      jobs: h("a", { href: "#/" }, "Jobs"),
      nodes: h("a", { href: "#/nodes" }, "Nodes"),
      logs: h("a", { href: "#/logs" }, "Logs"),
      submit: h("a", { href: "#/submit", "data-needs": "submit" }, "Submit"),
    };
    this.connectionText = h("span", { class: "connection-text" });
    this.connection = h("span", { class: "connection", role: "status" }, this.connectionText);
    this.theme = h("button", { type: "button", class: "quiet" });
    this.theme.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(storedTheme()) + 1) % THEMES.length];
      localStorage.setItem("theme", next);
      this.drawTheme();
    });
    this.account = new Account(() => this.signOut("You are signed out."));
    this.nav = h("nav", { "aria-label": "Pages" }, ...Object.values(this.links));
    document.getElementById("top").append(
      h(
        "a",
        { class: "brand", href: "#/" },
        h("img", { src: "/static/icon.svg", alt: "", width: 26, height: 26 }),
        h("span", {}, "Rendermill"),
        this.name,
      ),
      this.nav,
      h("span", { class: "spacer" }),
      this.connection,
      this.account.element,
      this.theme,
    );
    document.querySelector(".skip").addEventListener("click", (event) => {
      // The address belongs to the views, so the jump is made here.
      event.preventDefault();
      this.main.focus();
    });
    this.drawTheme();
  }

  async start() {
    const problem = await signInFromAddress();
    if (problem) {
      this.signOut(problem);
      return;
    }
    await this.enter();
  }

  async enter() {
    try {
      await meetVisitor();
      this.account.update();
      const problem = cannotSee();
      if (problem) {
        this.signOut(problem);
        return;
      }
      await this.farm.start();
    } catch (error) {
      if (error.status === 401) this.signOut("");
      else this.fail(error.message);
      return;
    }
    this.isIn = true;
    show(this.nav, true);
    this.route();
  }

  signOut(problem) {
    if (this.view instanceof SignIn) return;
    this.farm.stop();
    this.farm.setConnection("connecting");
    this.isIn = false;
    forgetVisitor();
    this.account.update();
    show(this.nav, false);
    setText(this.connectionText, "");
    setAttribute(this.connection, "data-state", null);
    this.show(
      "sign-in",
      new SignIn(() => {
        this.view = null;
        this.enter();
      }, problem),
    );
    this.view.focus();
  }

  fail(message) {
    show(this.nav, false);
    const again = h("button", { type: "button", class: "primary" }, "Try again");
    again.addEventListener("click", () => this.enter());
    this.main.replaceChildren(
      h("div", { class: "card empty", role: "alert" }, h("h1", {}, "No connection"), h("p", {}, message), again),
    );
    setAttribute(this.main, "aria-busy", null);
  }

  route() {
    if (!this.isIn) return;
    const parts = window.location.hash.replace(/^#\/?/, "").split("/").map(decodePart);
    const [page, id, sub, number] = parts;
    if (page === "jobs" && id) {
      const isNew = this.viewKey !== `job ${id}`;
      if (isNew) this.show(`job ${id}`, new JobPage(this.farm, id, (hash) => this.go(hash)));
      const frame = sub === "frames" && /^-?\d+$/.test(number) ? Number(number) : null;
      this.view.open(frame, sub, parts[4] === "full");
      if (isNew) this.main.focus({ preventScroll: true });
    } else {
      this.farm.watch(null);
      const key = viewKeyOf(parts);
      if (this.viewKey !== key) {
        const hadView = this.viewKey !== "";
        const go = (hash) => this.go(hash);
        const view = page in VIEWS ? VIEWS[page](this.farm, parts.slice(1), go) : new Overview(this.farm);
        this.show(key, view);
        if (hadView) this.main.focus({ preventScroll: true });
      } else {
        this.view.open?.(parts.slice(1));
      }
    }
    const current = page in this.links ? page : "jobs";
    for (const [name, link] of Object.entries(this.links)) {
      setAttribute(link, "aria-current", name === current ? "page" : null);
    }
    this.drawTitle();
  }

  // Arrow keys walk over frames: each step in the history would bury the page before.
  go(hash) {
    history.replaceState(null, "", hash);
    this.route();
  }

  show(key, view) {
    this.view?.dispose();
    this.view = view;
    this.viewKey = key;
    this.main.replaceChildren(view.element);
    setAttribute(this.main, "aria-busy", null);
    window.scrollTo(0, 0);
    this.drawTop();
    this.drawConnection();
    this.drawTitle();
  }

  drawTop() {
    setText(this.name, this.farm.summary?.farm ?? "");
  }

  drawConnection() {
    if (!this.isIn) return;
    setAttribute(this.connection, "data-state", this.farm.connection);
    setText(this.connectionText, CONNECTIONS[this.farm.connection]);
    setAttribute(this.connection, "title", CONNECTIONS[this.farm.connection]);
  }

  drawTitle() {
    const farm = this.farm.summary?.farm;
    const title = [this.view?.title, farm ?? "Rendermill"].filter(Boolean).join(" · ");
    if (document.title !== title) document.title = title;
  }

  drawTheme() {
    const theme = storedTheme();
    setAttribute(document.documentElement, "data-theme", theme === "auto" ? null : theme);
    setText(this.theme, { auto: "◐", light: "☀", dark: "☾" }[theme]);
    const label = `Colours: ${theme === "auto" ? "as the system" : theme}`;
    setAttribute(this.theme, "aria-label", label);
    setAttribute(this.theme, "title", label);
    document.dispatchEvent(new Event("themechange"));
  }
}

/** What tells one view from another; the log's filter is part of its address, not another view. */
function viewKeyOf(parts) {
  const [page] = parts;
  if (!(page in VIEWS)) return "jobs";
  return page === "logs" ? page : parts.join(" ");
}

function storedTheme() {
  const theme = localStorage.getItem("theme");
  return THEMES.includes(theme) ? theme : "auto";
}

function decodePart(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    // A mistyped address names nothing, which is what its page then says.
    return part;
  }
}

new App().start();
