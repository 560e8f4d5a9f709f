// Submit from the browser: drop a .blend or a folder, see what is in it, choose, queue.

import * as api from "./api.js";
import { actionButton, notify } from "./controls.js";
import { h, setText, show } from "./dom.js";
import { bytes, count, percent } from "./format.js";
import { blends, gatherDrop, gatherChosen, Upload } from "./upload.js";
import { may } from "./visitor.js";
import { engineWord, ProgressBar } from "./words.js";

const LOOK_MS = 700;
const GONE = 404;
/* Of a draft: the coordinator keeps drafts for an hour, and not over a restart. */
const LISTED_MOST = 100;
const NAMED_MOST = 5;
/* As many the node's sentence about them names itself. */

/** The page that takes a scene; `go` is where a job leads once it is queued. */
export class Submit {
  constructor(farm) {
    this.farm = farm;
    this.title = "Submit";
    this.upload = null;
    this.draft = null;
    this.timer = 0;
    this.run = 0;
    this.file = h("input", { type: "file", id: "blend-file", accept: ".blend", class: "unseen", tabindex: -1, "aria-hidden": "true" });
    this.folder = h("input", { type: "file", id: "blend-folder", webkitdirectory: true, class: "unseen", tabindex: -1, "aria-hidden": "true" });
    for (const input of [this.file, this.folder]) {
      input.addEventListener("change", () => {
        // Taken at once: beginning anew empties the input.
        const chosen = [...input.files];
        if (chosen.length) this.take(async () => gatherChosen(chosen));
      });
    }
    this.drop = h(
      "div",
      { class: "drop", "data-needs": "submit" },
      h("h2", {}, "Drop a .blend or its folder here"),
      h(
        "p",
        { class: "muted" },
        "A .blend with its files packed comes alone; else drop the folder that holds everything it uses. " +
          "Nothing in the scene is run while the farm looks at it.",
      ),
      h(
        "div",
        { class: "buttons" },
        actionButton("Choose a file …", async () => this.file.click(), "primary", "submit"),
        actionButton("Choose a folder …", async () => this.folder.click(), "", "submit"),
      ),
      this.file,
      this.folder,
    );
    this.drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.drop.classList.add("is-over");
    });
    this.drop.addEventListener("dragleave", () => this.drop.classList.remove("is-over"));
    this.drop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.drop.classList.remove("is-over");
      const files = gatherDrop(event.dataTransfer);
      this.take(() => files);
    });
    this.problem = h("p", { class: "card problem-text", role: "alert", hidden: true });
    this.status = h("p", { role: "status" });
    this.bar = new ProgressBar("Upload");
    this.stop = actionButton("Stop", async () => this.reset(""), "", "submit");
    this.work = h("div", { class: "card", hidden: true }, this.status, this.bar.element, h("div", { class: "buttons" }, this.stop));
    this.choices = h("div");
    const only = may("submit") ? null : h("p", { class: "card" }, "You may look at this farm, not submit to it. Ask whoever runs it for a link that may.");
    this.element = h("div", { class: "page submit-page" }, h("h1", {}, "Submit a scene"), only, this.drop, this.problem, this.work, this.choices);
  }

  update() {}

  dispose() {
    this.run += 1;
    clearTimeout(this.timer);
    this.upload?.stop();
  }

  /** Begin anew, with a problem to show or "". */
  reset(problem) {
    this.dispose();
    setText(this.problem, problem);
    show(this.problem, problem !== "");
    show(this.work, false);
    show(this.drop, true);
    this.choices.replaceChildren();
    this.file.value = "";
    this.folder.value = "";
  }

  async take(gather) {
    this.reset("");
    const run = this.run;
    const isCurrent = () => run === this.run;
    show(this.drop, false);
    show(this.work, true);
    show(this.bar.element, false);
    setText(this.status, "Reading the folder …");
    try {
      const files = await gather();
      const found = blends(files);
      if (found.length === 0) throw new Error("There is no .blend in what was dropped.");
      const blend = found.length === 1 ? found[0] : await this.chooseBlend(found);
      if (!isCurrent()) return;
      this.upload = new Upload(files, (progress) => isCurrent() && this.drawProgress(progress, files.length));
      this.body = { files: await this.upload.run(), blend };
      await this.begin(isCurrent);
    } catch (error) {
      if (isCurrent()) this.reset(error.message);
    }
  }

  /** Have the farm look at what was sent. Throws ApiError and UploadError. */
  async begin(isCurrent) {
    if (!isCurrent()) return;
    const draft = await this.upload.persist(() => api.post("/drafts", this.body));
    if (!isCurrent()) return;
    this.draft = draft;
    this.look(isCurrent);
  }

  /** The farm has forgotten the draft and still has its files: it looks at them once more. */
  async again(isCurrent) {
    try {
      await this.begin(isCurrent);
    } catch (error) {
      if (isCurrent()) this.reset(error.message);
    }
  }

  chooseBlend(found) {
    setText(this.status, "Which .blend is the scene?");
    return new Promise((resolve) => {
      const select = h("select", { id: "which-blend", "aria-label": "Which .blend is the scene?" }, ...found.map((path) => h("option", { value: path }, path)));
      const use = actionButton(
        "Use it",
        async () => {
          this.choices.replaceChildren();
          resolve(select.value);
        },
        "primary",
        "submit",
      );
      this.choices.replaceChildren(h("div", { class: "card" }, h("div", { class: "buttons" }, select, use)));
    });
  }

  drawProgress({ stage, done, total }, number) {
    show(this.bar.element, true);
    const part = total ? done / total : 1;
    this.bar.update(part);
    const word = stage === "hashing" ? "Reading" : "Sending";
    const wait = stage === "waiting" ? ". The coordinator does not answer; this goes on when it does." : "";
    setText(this.status, `${word} ${count(number, "file")}: ${bytes(done)} of ${bytes(total)} (${percent(part)})${wait}`);
  }

  async look(isCurrent) {
    try {
      this.draft = await api.get(`/drafts/${this.draft.id}`);
    } catch (error) {
      // The coordinator restarted, or is gone for a moment: only the first forgets the draft.
      if (!isCurrent()) return;
      if (error.status === GONE) {
        await this.again(isCurrent);
        return;
      }
      if (error.status !== 0) {
        this.reset(error.message);
        return;
      }
    }
    if (!isCurrent()) return;
    const { state, problem, node, blend } = this.draft;
    if (state === "failed") {
      this.reset(problem);
      return;
    }
    if (state === "ready") {
      show(this.work, false);
      const form = new Choices(this.draft, () => this.reset(""), () => {
        notify("The farm had forgotten this scene and looks at it again. Choose once more.", true);
        this.choices.replaceChildren();
        show(this.work, true);
        this.again(isCurrent);
      });
      this.choices.replaceChildren(form.element);
      form.focus();
      return;
    }
    show(this.bar.element, false);
    const words = {
      reading: `Reading ${blend} …`,
      waiting: problem || "Looking for a node that can open the scene …",
      inspecting: `${node} looks at the scene …`,
    };
    setText(this.status, words[state]);
    this.drawSummary();
    this.timer = setTimeout(() => this.look(isCurrent), LOOK_MS);
  }

  drawSummary() {
    if (this.draft.scenes.length === 0 || this.choices.childElementCount) return;
    this.choices.replaceChildren(
      h(
        "div",
        { class: "card" },
        h("h2", {}, `${this.draft.blend}, saved by Blender ${this.draft.version}`),
        h("ul", { class: "findings" }, ...this.draft.scenes.map((scene) => h("li", {}, summaryText(scene)))),
      ),
    );
  }
}

function summaryText(scene) {
  const step = scene.step === 1 ? "" : `, every ${scene.step}`;
  return `${scene.name}: ${engineWord(scene.engine)}, frames ${scene.first} to ${scene.last}${step}, ${scene.width} × ${scene.height}, ${scene.fps} fps`;
}

/** What can be changed before the job is queued. */
class Choices {
  constructor(draft, onAgain, onForgotten) {
    this.draft = draft;
    this.onForgotten = onForgotten;
    // The same for every try at this draft, so that a lost answer queues no second job.
    this.key = crypto.randomUUID();
    const select = (id, options) => h("select", { id }, ...options.map(([value, text]) => h("option", { value }, text)));
    this.scene = select("draft-scene", draft.inspected.map((one) => [one.spec.scene, one.spec.scene]));
    this.name = h("input", { id: "draft-name", maxlength: 200, autocomplete: "off" });
    this.kind = select("draft-kind", [["animation", "An animation"], ["image", "One image"]]);
    this.frames = h("input", { id: "draft-frames", autocomplete: "off", placeholder: "1-100, 120, 1-50:5" });
    this.priority = h("input", { id: "draft-priority", type: "number", min: 0, max: 100, value: 50, class: "short" });
    this.order = select("draft-order", [["forward", "From the first"], ["backward", "From the last"], ["binary", "First, last, middle, quarters …"]]);
    this.tags = h("input", { id: "draft-tags", autocomplete: "off", placeholder: "gpu, floor2" });
    this.scouts = h("input", { id: "draft-scouts", type: "checkbox" });
    this.anyway = h("input", { id: "draft-anyway", type: "checkbox" });
    this.facts = h("p", { class: "muted" });
    this.findings = h("ul", { class: "findings" });
    this.missing = h("details", { hidden: true });
    this.problem = h("p", { class: "problem-text", role: "alert" });
    this.queue = actionButton("Submit", () => this.submit(), "primary", "submit");
    const row = (label, field) => h("div", {}, h("label", { for: field.id }, label), h("div", {}, field));
    this.form = h(
      "form",
      { class: "form" },
      row("Scene", this.scene),
      row("Name of the job", this.name),
      row("Render", this.kind),
      row("Frames", this.frames),
      row("Priority", this.priority),
      row("Order", this.order),
      row("Only nodes with", this.tags),
      row("Approve first, middle and last frame first", this.scouts),
      (this.anywayRow = row("Submit although something is wrong", this.anyway)),
      this.problem,
      h("div", { class: "buttons" }, this.queue, actionButton("Another scene", async () => onAgain(), "", "submit")),
    );
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.queue.click();
    });
    this.scene.addEventListener("change", () => this.draw());
    this.kind.addEventListener("change", () => this.drawFrames());
    this.element = h(
      "section",
      { class: "card", "aria-label": "What to render" },
      h("h2", { tabindex: -1 }, `${draft.blend}, saved by Blender ${draft.version}`),
      this.facts,
      this.findings,
      this.missing,
      h("p", { class: "muted" }, "Finished frames stay on the farm; download them from the page of the job."),
      this.form,
    );
    this.draw();
  }

  focus() {
    this.element.querySelector("h2").focus();
  }

  get chosen() {
    return this.draft.inspected.find((one) => one.spec.scene === this.scene.value);
  }

  draw() {
    const { spec, findings, missing, warnings } = this.chosen;
    const { image, requires } = spec;
    setText(
      this.facts,
      `${engineWord(requires.engine)} on ${requires.device.toUpperCase()}, ${image.width} × ${image.height} ${image.file_format}, ` +
        `${Math.round(spec.fps * 100) / 100} fps${spec.samples ? `, ${count(spec.samples, "sample")}` : ""} · opened with Blender ${requires.blender.join(".")} on ${this.draft.node}`,
    );
    const items = [...findings, ...warnings.map((text) => ({ severity: "warning", what: text, why: "", fix: "" }))];
    this.findings.replaceChildren(
      ...items.map((one) =>
        h("li", { "data-severity": one.severity }, h("strong", {}, one.what), ` ${one.why}`.trimEnd(), one.fix ? h("span", { class: "mend" }, ` ${one.fix}`) : null),
      ),
    );
    this.missing.replaceChildren(
      h("summary", {}, `All ${count(missing.length, "missing file")}`),
      h("ul", {}, ...missing.slice(0, LISTED_MOST).map((text) => h("li", { class: "path" }, text))),
      missing.length > LISTED_MOST ? h("p", { class: "muted" }, `and ${count(missing.length - LISTED_MOST, "more")}`) : "",
    );
    show(this.missing, missing.length > NAMED_MOST);
    show(this.anywayRow, findings.some((one) => one.severity === "error"));
    this.anyway.checked = false;
    this.name.value = spec.name;
    this.drawFrames();
  }

  drawFrames() {
    const { spec } = this.chosen;
    const first = /^-?\d+/.exec(spec.frames)[0];
    this.frames.value = this.kind.value === "image" ? first : spec.frames;
  }

  async submit() {
    setText(this.problem, "");
    const choice = {
      scene: this.scene.value,
      name: this.name.value,
      kind: this.kind.value,
      frames: this.frames.value,
      priority: this.priority.valueAsNumber || 0,
      order: this.order.value,
      tags: this.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean),
      scouts: this.scouts.checked,
      anyway: this.anyway.checked,
    };
    try {
      const job = await api.postOnce(`/drafts/${this.draft.id}/submit`, choice, this.key);
      window.location.hash = `#/jobs/${encodeURIComponent(job.id)}`;
    } catch (error) {
      if (error.status === GONE) {
        this.onForgotten();
        return;
      }
      // Another choice is another job, and a key belongs to one.
      if (error.status !== 0) this.key = crypto.randomUUID();
      setText(this.problem, error.message);
    }
  }
}
