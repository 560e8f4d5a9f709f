// What a person can do: buttons that act on the farm, questions before what cannot be undone, and
// notices that say how it went.

import * as api from "./api.js";
import { h, keepFocus, setAttribute, setText, show } from "./dom.js";
import { frameTotal, isEnded } from "./farm.js";

const NOTICE_MS = 8000;

/** Say something in the corner of the page; read out by screen readers. */
export function notify(text, isProblem = false) {
  const area = document.getElementById("notices");
  const close = h("button", { class: "quiet", type: "button", "aria-label": "Dismiss" }, "×");
  const notice = h("p", { class: isProblem ? "notice problem" : "notice" }, h("span", {}, text), close);
  close.addEventListener("click", () => notice.remove());
  area.append(notice);
  // A problem stays until it has been read; what went well may go by itself.
  if (!isProblem) setTimeout(() => notice.remove(), NOTICE_MS);
}

/** Ask before something that cannot be undone; resolves to whether the person agreed. */
export function confirm(question, explanation, verb) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "question", "aria-labelledby": "question-title", "aria-describedby": "question-text" },
      h("h2", { id: "question-title" }, question),
      h("p", { id: "question-text" }, explanation),
      h(
        "form",
        { method: "dialog", class: "buttons" },
        h("button", { value: "no", autofocus: true }, "Keep it"),
        h("button", { value: "yes", class: "danger" }, verb),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * A button that runs `act` once at a time and says what went wrong. It is only there for visitors
 * who may do what it `needs` (see visitor.js); "" for what changes nothing on the farm.
 */
export function actionButton(label, act, kind = "", needs = "steer") {
  const button = h("button", { type: "button", class: kind, "data-needs": needs || null }, label);
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    // Not `disabled`: that would drop the keyboard's place on the page.
    setAttribute(button, "aria-disabled", "true");
    try {
      await act();
    } catch (error) {
      notify(error.message, true);
    } finally {
      setAttribute(button, "aria-disabled", null);
    }
  });
  return button;
}

/** Pause, resume, retry, cancel and remove: those that make sense for the job's state. */
export class JobControls {
  constructor(farm, job, { onRemoved = null } = {}) {
    this.job = job;
    const act = (verb, body) => () => farm.askJob(this.job.id, () => api.post(`${api.jobPath(this.job.id)}/${verb}`, body));
    this.pause = actionButton("Pause", act("pause"));
    this.resume = actionButton("Resume", act("resume"), "primary");
    this.retry = actionButton("Retry", act("retry"));
    this.cancel = actionButton("Cancel", async () => {
      const text = "Frames being rendered are stopped. Finished frames are kept.";
      if (await confirm(`Cancel “${this.job.name}”?`, text, "Cancel the job")) await act("cancel")();
    });
    this.remove = actionButton("Remove", async () => {
      const text = "The farm forgets the job and its frames. Files already delivered stay where they are.";
      if (!(await confirm(`Remove “${this.job.name}”?`, text, "Remove the job"))) return;
      try {
        await api.remove(api.jobPath(this.job.id));
      } catch (error) {
        // Somebody else was quicker: it is gone, as was wanted.
        if (error.status !== 404) throw error;
      }
      farm.removeJob(this.job.id);
      onRemoved?.();
    });
    this.element = h(
      "div",
      { class: "buttons", role: "group", "aria-label": `Actions for ${job.name}`, "data-needs": "steer" },
      this.resume,
      this.pause,
      this.retry,
      this.cancel,
      this.remove,
    );
    this.update(job);
  }

  update(job) {
    this.job = job;
    keepFocus(this.element, () => this.draw(job));
  }

  draw(job) {
    const ended = isEnded(job);
    const lost = job.counts.failed + job.counts.cancelled;
    show(this.pause, !ended && !job.paused);
    show(this.resume, !ended && job.paused);
    show(this.cancel, !ended);
    show(this.retry, lost > 0);
    const text = lost > 0 ? `Retry ${lost === frameTotal(job) ? "all" : lost.toLocaleString("en-GB")}` : "Retry";
    setText(this.retry, text);
    show(this.remove, ended);
  }
}
