// What was submitted: settings, files and the script that nodes feed to Blender; and the log.

import * as api from "./api.js";
import { h, setText, show } from "./dom.js";
import { bytes, count, moment, version } from "./format.js";
import { engineWord } from "./nodes.js";

const FILES_SHOWN = 2000;

/** The settings as a list of names and values. */
export async function settings(jobId) {
  const { job, spec } = await api.get(api.jobPath(jobId));
  const needs = spec.requires;
  const rows = [
    ["Submitted by", `${spec.submitter}, ${moment(job.created)}`],
    ["Kind", spec.kind === "image" ? "Image" : "Animation"],
    ["Frames", spec.frames],
    ["Scene", `${spec.scene} in ${spec.blend}`],
    ["View layers", spec.view_layers.join(", ")],
    ["Camera", spec.camera],
    ["Engine", `${engineWord(needs.engine)} on ${needs.device.toUpperCase()}, Blender ${version(needs.blender)}`],
    ["Samples", spec.samples ? String(spec.samples) : ""],
    ["Picture", `${spec.image.width} × ${spec.image.height}, ${spec.image.file_format.replaceAll("_", " ")}`],
    ["Stereo views", spec.image.views.join(", ")],
    ["Rate", `${spec.fps} frames a second`],
    ["Film", spec.film ? `${spec.film.folder} ${spec.film.name}` : ""],
    ["Needs", needs.capabilities.join(", ")],
    ["Memory", needs.memory_bytes ? bytes(needs.memory_bytes) : ""],
    ["Tags", needs.tags.join(", ")],
    ["Nodes", needs.nodes.join(", ")],
    ["Most nodes at once", spec.max_nodes ? String(spec.max_nodes) : ""],
    ["Order", spec.order],
    ["Scripts in the file", spec.trust_scripts ? "trusted, may run" : "blocked"],
    ["Persistent data", spec.persistent_data ? "on" : "off"],
    ["Scene", `${count(job.scene_files, "file")}, ${bytes(job.scene_bytes)}`],
    ...spec.outputs.map((root) => [root.label, root.name ? `${root.folder}/${root.name}` : root.folder]),
    ["Submitted with", spec.client],
    ["Job", job.id],
  ];
  return h(
    "dl",
    { class: "facts wide" },
    ...rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/** The files of the scene with their sizes, largest first. */
export async function files(jobId) {
  const manifest = await api.get(`${api.jobPath(jobId)}/manifest`);
  manifest.sort((a, b) => b.length - a.length);
  const total = manifest.reduce((sum, file) => sum + file.length, 0);
  const shown = manifest.slice(0, FILES_SHOWN);
  const rest = manifest.length - shown.length;
  return h(
    "div",
    {},
    h(
      "table",
      {},
      h("caption", {}, `${count(manifest.length, "file")}, ${bytes(total)}, largest first`),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Path"), h("th", { scope: "col", class: "right" }, "Size"))),
      h(
        "tbody",
        {},
        ...shown.map((file) =>
          h("tr", {}, h("td", { class: "path" }, file.path), h("td", { class: "right number" }, bytes(file.length))),
        ),
      ),
    ),
    rest ? h("p", { class: "muted" }, `and ${count(rest, "smaller file")}`) : null,
  );
}

/** The generated script, for people to read and to run. */
export async function script(jobId) {
  try {
    const text = await api.getText(`${api.jobPath(jobId)}/script`);
    return h("pre", { class: "log", tabindex: 0, "aria-label": "Script" }, text);
  } catch (error) {
    if (error.status !== 404) throw error;
    return h("p", { class: "muted" }, "The script appears when a node has opened the scene for the first time.");
  }
}

/** The log of a job, line by line as it comes, with a filter. */
export class LogView {
  constructor(farm) {
    this.farm = farm;
    this.filter = h("input", { type: "search", id: "log-filter", placeholder: "Words in the log …", autocomplete: "off" });
    this.filter.addEventListener("input", () => this.update());
    this.lines = h("pre", { class: "log tall", tabindex: 0, role: "log", "aria-label": "Log of the job" });
    this.none = h("p", { class: "muted" });
    this.element = h(
      "div",
      {},
      h("label", { class: "filter", for: "log-filter" }, h("span", { class: "unseen" }, "Filter the log"), this.filter),
      this.none,
      this.lines,
    );
    this.update();
  }

  update() {
    const log = this.farm.watched?.log ?? [];
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = log
      .map((entry) => {
        const node = this.farm.nodes.get(entry.node)?.name ?? entry.node;
        return [moment(entry.time), node, entry.where, entry.line].filter(Boolean).join("  ");
      })
      .filter((line) => words.every((word) => line.toLowerCase().includes(word)))
      .join("\n");
    const box = this.lines;
    // Follow the end, unless the reader has scrolled up to look at something.
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
    setText(box, text);
    if (isAtEnd) box.scrollTop = box.scrollHeight;
    show(box, text !== "");
    show(this.none, text === "");
    setText(
      this.none,
      log.length ? "No line has these words." : "New lines appear here while the page is open. Each frame keeps the log of its attempts.",
    );
  }
}
