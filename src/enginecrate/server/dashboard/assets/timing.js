/** Where the time went, from the browser's click to the last byte of the answer. */

import { byId, css, el } from "./dom.js";
import { milliseconds } from "./format.js";

const STAGES = [
  ["decode", "Decode", "Read the photo and make it a tensor"],
  ["queue", "Queue", "Wait for a free engine"],
  ["compute", "Compute", "The model itself"],
  ["postprocess", "Postprocess", "Turn outputs into results"],
];

/**
 * @param {Record<string, number>} timing the answer's `timing_ms`
 * @param {number} elapsed milliseconds as this browser measured them
 */
export function showTiming(timing, elapsed) {
  const parts = STAGES.map(([key, name, title]) => ({ key, name, title, value: timing[key] ?? 0 }));
  const known = parts.reduce((sum, part) => sum + part.value, 0);
  const total = timing.total ?? known;
  parts.push(
    { key: "other", name: "Server, rest", title: "Receive the body, find the way, write the answer", value: Math.max(0, total - known) },
    { key: "network", name: "Network", title: "Upload, download and the browser's own work", value: Math.max(0, elapsed - total) },
  );
  byId("timing-total").textContent = milliseconds(elapsed);
  const bar = byId("timing-bar");
  bar.replaceChildren(...parts.map((part) =>
    css(el("span", { "data-stage": part.key, title: `${part.name}: ${milliseconds(part.value)}` }), "flex-grow", part.value * 1000)));
  bar.setAttribute("aria-label", parts.map((part) => `${part.name} ${milliseconds(part.value)}`).join(", "));
  byId("timing-legend").replaceChildren(...parts.map((part) =>
    el("div", { title: part.title }, el("dt", { "data-stage": part.key }, part.name),
      el("dd", { class: "mono" }, milliseconds(part.value)))));
  byId("timing").hidden = false;
}
