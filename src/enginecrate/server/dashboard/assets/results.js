/** What was found: a table of detections, or a bar for each class. */

import { byId, css, el } from "./dom.js";
import { count, hue, percent } from "./format.js";

/** @param {(index: number | null) => void} onPoint a row was pointed at, or left */
export function createResults(onPoint) {
  const card = byId("results");
  const title = byId("results-title");
  const tally = byId("results-count");
  const body = byId("results-body");
  let rows = [];

  function showDetections(result) {
    title.textContent = "Detections";
    rows = result.detections.map((detection, index) => ({ detection, row: rowNode(detection, index) }));
    const head = el("tr", {}, el("th", { scope: "col" }, "Object"), el("th", { scope: "col" }, "Score"),
      el("th", { scope: "col", title: "x1, y1, x2, y2 in pixels of the upright photo" }, "Box, px"));
    const table = el("table", { class: "found" }, el("thead", {}, head),
      el("tbody", {}, ...rows.map(({ row }) => row)));
    const nothing = el("p", { class: "muted pad", hidden: true }, "");
    body.replaceChildren(el("div", { class: "scroll tall" }, table), nothing);
    card.hidden = false;
  }

  /** Hide rows below a score; returns how many are left. */
  function filter(minimum) {
    let shown = 0;
    for (const { detection, row } of rows) {
      row.hidden = detection.score < minimum;
      shown += row.hidden ? 0 : 1;
    }
    tally.textContent = shown === rows.length ? count(shown) : `${count(shown)} of ${count(rows.length)}`;
    const [table, nothing] = body.children;
    table.hidden = shown === 0;
    nothing.hidden = shown > 0;
    nothing.textContent = rows.length === 0
      ? "Nothing was found in this photo."
      : "Every box is below the chosen score. Move the slider to the left.";
    return shown;
  }

  function showClasses(result) {
    title.textContent = "Classes";
    tally.textContent = `top ${result.classes.length}`;
    rows = [];
    const items = result.classes.map(({ label, score, class_id }) => {
      const bar = css(el("span", { class: "fill" }), "--share", Math.max(0, Math.min(1, score)));
      return el("li", { "data-class": class_id },
        el("span", { class: "name" }, label), el("b", { class: "mono" }, percent(score)),
        el("span", { class: "track", "aria-hidden": "true" }, bar));
    });
    body.replaceChildren(el("ol", { class: "classes" }, ...items));
    card.hidden = false;
  }

  function showOutputs(result) {
    title.textContent = "Tensors";
    tally.textContent = count(result.outputs.length);
    rows = [];
    const head = el("tr", {}, el("th", { scope: "col" }, "Output"), el("th", { scope: "col" }, "Shape"),
      el("th", { scope: "col" }, "Least"), el("th", { scope: "col" }, "Mean"), el("th", { scope: "col" }, "Most"));
    const table = el("table", { class: "found" }, el("thead", {}, head),
      el("tbody", {}, ...result.outputs.map(outputNode)));
    body.replaceChildren(el("div", { class: "scroll tall" }, table));
    card.hidden = false;
  }

  const highlight = (index) =>
    rows.forEach(({ row }, i) => row.classList.toggle("active", i === index));
  const clear = () => {
    rows = [];
    card.hidden = true;
    body.replaceChildren();
  };

  const indexOf = (event) => event.target.closest?.("tr[data-index]")?.dataset.index;
  const point = (event) => {
    const index = indexOf(event);
    onPoint(index === undefined ? null : Number(index));
  };
  for (const name of ["pointerover", "focusin"]) body.addEventListener(name, point);
  for (const name of ["pointerleave", "focusout"]) body.addEventListener(name, () => onPoint(null));
  body.addEventListener("keydown", moveBetweenRows);
  return { showDetections, showClasses, showOutputs, filter, highlight, clear };
}

function moveBetweenRows(event) {
  const side = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  let row = event.target.closest("tr[data-index]");
  if (!side || !row) return;
  event.preventDefault();
  do row = row[side]; while (row?.hidden);
  row?.focus();
}

/** A tensor by its range: a page has no room for its numbers. */
function outputNode({ name, datatype, shape, data }) {
  const numbers = data.filter((value) => typeof value === "number");
  let [least, most, sum] = [Infinity, -Infinity, 0];
  for (const value of numbers) {
    least = Math.min(least, value);
    most = Math.max(most, value);
    sum += value;
  }
  const shown = (value) => el("td", { class: "mono muted" }, numbers.length ? Number(value.toPrecision(4)) : "–");
  return el("tr", {}, el("td", {}, name), el("td", { class: "mono muted" }, `${datatype} [${shape.join(", ")}]`),
    shown(least), shown(sum / numbers.length), shown(most));
}

function rowNode({ label, score, class_id, box }, index) {
  const swatch = css(el("i", { class: "swatch", "aria-hidden": "true" }), "--hue", hue(class_id));
  const name = el("td", {}, el("span", { class: "object" }, swatch, label));
  const bar = css(el("span", { class: "fill" }), "--share", score);
  css(bar, "--hue", hue(class_id));
  const points = el("td", { class: "score" }, el("b", { class: "mono" }, score.toFixed(2)),
    el("span", { class: "track", "aria-hidden": "true" }, bar));
  const corners = el("td", { class: "mono muted corners" }, box.map((value) => Math.round(value)).join(", "));
  return el("tr", { "data-index": index, tabindex: 0 }, name, points, corners);
}
