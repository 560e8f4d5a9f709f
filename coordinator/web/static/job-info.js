// What was submitted: settings, files and the script that nodes feed to Blender.

import * as api from "./api.js";
import { h, setText, show } from "./dom.js";
import { bytes, count, moment, version } from "./format.js";
import { engineWord } from "./words.js";

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

/** The files of the scene with their sizes, largest first, and a search over their paths. */
export async function files(jobId) {
  const manifest = await api.get(`${api.jobPath(jobId)}/manifest`);
  manifest.sort((a, b) => b.length - a.length);
  const search = h("input", { type: "search", "aria-label": "Search files", placeholder: "Part of a path …", autocomplete: "off" });
  const caption = h("caption", { "aria-live": "polite" });
  const body = h("tbody");
  const rest = h("p", { class: "muted" });
  const draw = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = manifest.filter((file) => words.every((word) => file.path.toLowerCase().includes(word)));
    const total = found.reduce((sum, file) => sum + file.length, 0);
    setText(caption, `${count(found.length, "file")}, ${bytes(total)}, largest first`);
    body.replaceChildren(
      ...found
        .slice(0, FILES_SHOWN)
        .map((file) => h("tr", {}, h("td", { class: "path" }, file.path), h("td", { class: "right number" }, bytes(file.length)))),
    );
    const hidden = Math.max(0, found.length - FILES_SHOWN);
    setText(rest, `and ${count(hidden, "smaller file")}; search to see them`);
    show(rest, hidden > 0);
  };
  search.addEventListener("input", draw);
  draw();
  return h(
    "div",
    { class: "times" },
    search,
    h(
      "table",
      {},
      caption,
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Path"), h("th", { scope: "col", class: "right" }, "Size"))),
      body,
    ),
    rest,
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
