// Who may render a job: any node that can, or those a person chooses, and how many at once.

import * as api from "./api.js";
import { actionButton, notify } from "./controls.js";
import { h, setText, show } from "./dom.js";
import { count, moment } from "./format.js";
import { may } from "./visitor.js";

const MAX_NODES = 10_000;

/** The form. Throws ApiError. */
export async function jobNodes(farm, jobId) {
  const { spec } = await api.get(api.jobPath(jobId));
  const chosen = new Set(spec.requires.nodes);
  const most = h("input", { type: "number", id: "most-nodes", class: "short", min: 0, max: MAX_NODES, value: spec.max_nodes });
  const tags = h("input", { type: "text", id: "job-tags", value: spec.requires.tags.join(", "), autocomplete: "off", spellcheck: "false" });
  const any = h("input", { type: "radio", name: "who", id: "who-any", checked: chosen.size === 0 });
  const some = h("input", { type: "radio", name: "who", id: "who-some", checked: chosen.size > 0 });
  const filter = h("input", { type: "search", placeholder: "Names of nodes …", "aria-label": "Filter nodes", autocomplete: "off" });
  const summary = h("p", { class: "muted", "aria-live": "polite" });
  const nodes = [...farm.nodes.values()].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  for (const id of chosen) if (!farm.nodes.has(id)) nodes.push({ id, name: id, state: "unknown here" });
  const rows = nodes.map((node) => {
    const box = h("input", { type: "checkbox", checked: chosen.has(node.id), value: node.id });
    return { node, box, element: h("label", { class: "check" }, box, ` ${node.name} `, h("span", { class: "muted" }, node.state)) };
  });
  const list = h("fieldset", { class: "choose-nodes" }, h("legend", { class: "unseen" }, "Nodes"), ...rows.map((row) => row.element));
  const picked = () => rows.filter((row) => row.box.checked).map((row) => row.node.id);
  const draw = () => {
    const words = filter.value.toLowerCase();
    for (const row of rows) show(row.element, row.node.name.toLowerCase().includes(words));
    show(list, some.checked);
    show(filter, some.checked && rows.length > 12);
    setText(summary, some.checked ? `${count(picked().length, "node")} chosen` : "");
  };
  for (const control of [any, some, filter, list]) control.addEventListener("input", draw);
  const save = actionButton("Save", async () => {
    const ids = some.checked ? picked() : [];
    if (some.checked && ids.length === 0) throw new Error("Choose at least one node, or let any node render it.");
    const body = {
      nodes: ids,
      max_nodes: most.valueAsNumber || 0,
      tags: tags.value.split(",").map((tag) => tag.trim()).filter(Boolean),
    };
    await farm.askJob(jobId, () => api.patch(api.jobPath(jobId), body));
    notify("Saved. Frames that are being rendered elsewhere are still taken.");
  }, "primary");
  draw();
  const form = h(
    "form",
    { class: "job-nodes" },
    avoided(farm.jobs.get(jobId)?.avoids ?? []),
    h("label", { class: "check" }, any, " Any node that can render it"),
    h("label", { class: "check" }, some, " Only these"),
    filter,
    list,
    summary,
    h("p", {}, h("label", { for: "most-nodes" }, "Most nodes at once "), most, h("span", { class: "muted" }, " 0: no limit")),
    h("p", {}, h("label", { for: "job-tags" }, "Tags a node must have "), tags),
    h("p", { "data-needs": "steer" }, save),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save.click();
  });
  // Whoever may only look sees who renders it.
  if (!may("steer")) for (const control of [most, tags, any, some, list]) control.disabled = true;
  return form;
}

/** Which nodes the job keeps away from by itself, why and until when; null when there is none. */
function avoided(nodes) {
  if (nodes.length === 0) return null;
  const items = nodes.map((one) =>
    h(
      "li",
      {},
      h("a", { href: `#/nodes/${encodeURIComponent(one.node)}` }, one.name),
      one.until === null ? " until it is forgiven" : ` until ${moment(one.until)}`,
      `: ${one.reason}`,
    ),
  );
  return h("div", { class: "avoided" }, h("p", {}, "Kept away from; the page of a node forgives it:"), h("ul", {}, ...items));
}
