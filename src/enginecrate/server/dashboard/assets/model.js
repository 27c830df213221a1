/** The model's tensors, from the metadata route of the Open Inference Protocol v2. */

import { getJson } from "./api.js";
import { byId, el } from "./dom.js";

/** @returns {Promise<{name: string, inputs: object[], outputs: object[]}>} */
export async function showModel(name) {
  const model = await getJson(`v2/models/${encodeURIComponent(name)}`);
  byId("model-name").textContent = model.platform ?? "";
  const head = el("tr", {}, ...["Tensor", "Type", "Shape"].map((word) => el("th", { scope: "col" }, word)));
  const group = (title, tensors) =>
    el("tbody", {}, el("tr", { class: "group" }, el("th", { colspan: 3, scope: "rowgroup" }, title)),
      ...tensors.map(({ name, datatype, shape }) => el("tr", {},
        el("td", { class: "mono" }, name), el("td", { class: "mono muted" }, datatype),
        el("td", { class: "mono" }, `[${shape.join(", ")}]`))));
  byId("model-body").replaceChildren(el("table", { class: "model" }, el("thead", {}, head),
    group("Inputs", model.inputs), group("Outputs", model.outputs)));
  byId("model").hidden = false;
  return model;
}
