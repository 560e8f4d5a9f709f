// One frame: its picture, files, node, time, and every attempt with its reason and log.

import * as api from "./api.js";
import { actionButton } from "./controls.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { bytes, duration, moment, percent } from "./format.js";
import { isViewable } from "./viewer.js";
import { outcomeWord, Pill } from "./words.js";

const REFRESH_MS = 400;

/** The panel beside the frames of a job. `onClose()` closes it, `onLook()` opens the full size. */
export class FramePanel {
  constructor(farm, jobId, onClose, onLook) {
    this.farm = farm;
    this.jobId = jobId;
    this.number = null;
    this.known = "";
    this.timer = 0;
    this.run = 0;
    this.title = h("h2", { tabindex: -1 });
    this.pill = new Pill();
    this.close = h("button", { type: "button", class: "quiet", "aria-label": "Close frame" }, "×");
    this.close.addEventListener("click", onClose);
    this.picture = h("img", { class: "frame-picture", decoding: "async" });
    this.picture.addEventListener("error", () => show(this.full, false));
    this.full = h("button", { type: "button", class: "frame-link" }, this.picture);
    this.full.addEventListener("click", onLook);
    this.text = h("p", { class: "muted" });
    this.problem = h("p", { class: "problem-text" });
    this.facts = h("dl", { class: "facts" });
    this.files = h("div");
    this.attempts = h("div");
    this.log = h("a");
    this.retry = actionButton("Render this frame again", async () => {
      await farm.askJob(jobId, () => api.post(`${api.jobPath(jobId)}/retry`, { frames: String(this.number) }));
    });
    this.element = h(
      "aside",
      { class: "card frame-panel", "aria-label": "Frame", hidden: true },
      h("div", { class: "spread" }, this.title, h("span", { class: "buttons" }, this.pill.element, this.close)),
      this.full,
      this.text,
      this.problem,
      this.facts,
      this.files,
      this.attempts,
      h("p", {}, this.log),
      this.retry,
    );
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") onClose();
    });
  }

  dispose() {
    clearTimeout(this.timer);
  }

  /** Show a frame; null closes the panel. */
  open(number) {
    if (number !== this.number) {
      this.known = "";
      this.run += 1;
      this.attempts.replaceChildren();
    }
    this.number = number;
    show(this.element, number !== null);
    if (number !== null) this.update();
  }

  /** Draw what is known of the frame and fetch its attempts when it moved on. */
  update() {
    if (this.number === null) return;
    const frame = this.farm.watched?.frames.get(this.number);
    if (frame === undefined) {
      setText(this.title, `Frame ${this.number}`);
      setText(this.problem, this.farm.watched?.isLoaded ? "This job has no such frame." : "");
      return;
    }
    setText(this.title, `Frame ${frame.frame}`);
    setText(this.log, "Log of this frame");
    setAttribute(this.log, "href", `#/logs/job/${encodeURIComponent(this.jobId)}/frame/${frame.frame}`);
    this.pill.frame(frame.state);
    this.drawPicture(frame);
    const text = frame.state === "leased" ? [percent(frame.progress), frame.progress_text].filter(Boolean).join(" · ") : "";
    setText(this.text, text);
    show(this.text, text !== "");
    setText(this.problem, frame.problem);
    show(this.problem, frame.problem !== "");
    this.drawFacts(frame);
    this.drawFiles(frame);
    const known = [frame.state, frame.generation, frame.node, frame.failures].join(" ");
    if (known !== this.known) {
      const isNew = this.known === "";
      this.known = known;
      clearTimeout(this.timer);
      // Several changes in a row (done, then accepted) make one request.
      this.timer = setTimeout(() => this.fetchAttempts(frame.frame), isNew ? 0 : REFRESH_MS);
    }
  }

  drawPicture(frame) {
    if (frame.thumbnail === "") {
      show(this.full, false);
      setAttribute(this.picture, "src", null);
      return;
    }
    const url = api.thumbnailUrl(this.jobId, frame.frame, frame.thumbnail);
    if (this.picture.getAttribute("src") !== url) {
      this.picture.setAttribute("src", url);
      this.picture.alt = `Frame ${frame.frame}, small`;
    }
    this.full.disabled = !isViewable(frame);
    setAttribute(this.full, "title", isViewable(frame) ? "Open at full size" : null);
    show(this.full, true);
  }

  drawFacts(frame) {
    const node = this.farm.nodes.get(frame.node);
    const facts = [];
    if (frame.node) facts.push(["Node", node?.name ?? frame.node]);
    if (frame.stats) {
      facts.push(["Rendered in", duration(frame.stats.seconds)]);
      if (frame.stats.prepare_seconds > 0) facts.push(["Scene opened in", duration(frame.stats.prepare_seconds)]);
      if (frame.stats.peak_memory_bytes > 0) facts.push(["Memory", bytes(frame.stats.peak_memory_bytes)]);
    }
    if (frame.failures > 0) facts.push(["Failures", String(frame.failures)]);
    for (const warning of frame.warnings) facts.push(["Warning", warning]);
    const drawn = JSON.stringify(facts);
    if (this.factsDrawn === drawn) return;
    this.factsDrawn = drawn;
    this.facts.replaceChildren(...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  drawFiles(frame) {
    const drawn = `${this.number} ${JSON.stringify(frame.files)}`;
    if (this.filesDrawn === drawn) return;
    this.filesDrawn = drawn;
    this.files.replaceChildren();
    if (frame.files.length === 0) return;
    const rows = frame.files.map((file, index) =>
      h(
        "li",
        { class: "spread" },
        h(
          "a",
          { href: api.fileUrl(this.jobId, frame.frame, index), download: file.path.split("/").at(-1) },
          file.root === "main" ? file.path : `${file.root}/${file.path}`,
        ),
        h("span", { class: "muted number" }, bytes(file.length)),
      ),
    );
    this.files.append(h("h3", {}, "Files"), h("ul", { class: "plain" }, ...rows));
  }

  async fetchAttempts(number) {
    // An answer that was overtaken by a later one is old.
    const run = ++this.run;
    let attempts;
    try {
      attempts = (await api.get(api.framePath(this.jobId, number))).attempts;
    } catch (error) {
      if (run === this.run) this.attempts.replaceChildren(h("p", { class: "problem-text" }, error.message));
      return;
    }
    if (run !== this.run) return;
    this.attempts.replaceChildren();
    if (attempts.length === 0) return;
    this.attempts.append(h("h3", {}, "Attempts"), ...attempts.map(attemptItem).reverse());
  }
}

function attemptItem(attempt) {
  const took = attempt.ended === null ? "" : ` · ${duration(attempt.ended - attempt.started)}`;
  const item = h(
    "div",
    { class: "attempt" },
    h("p", {}, h("strong", {}, attempt.node_name || attempt.node), ` ${outcomeWord(attempt.outcome)}`),
    h("p", { class: "muted number" }, `${moment(attempt.started)}${took}`),
  );
  if (attempt.reason) item.append(h("p", { class: attempt.outcome === "done" ? "muted" : "problem-text" }, attempt.reason));
  if (attempt.log.length) {
    item.append(
      h("details", {}, h("summary", {}, "Log"), h("pre", { class: "log", tabindex: 0 }, attempt.log.join("\n"))),
    );
  }
  return item;
}
