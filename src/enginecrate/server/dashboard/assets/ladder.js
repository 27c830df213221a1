/** The engine ladder: which rung serves, what is being built, what has failed and why. */

import { byId, css, el } from "./dom.js";

const WORDS = {
  serving: "serves",
  building: "is being built",
  proving: "is being checked",
  waiting: "comes later",
  replaced: "served before",
  failed: "cannot serve",
  "not needed": "not needed",
};

let shown = "";

/** @param {{steps: object[], left_out: object[], rung: number | null, rungs: number}} ladder */
export function showLadder(ladder) {
  const text = JSON.stringify([ladder.steps, ladder.left_out]);
  if (text === shown) return; // touch the page only on change
  shown = text;
  byId("ladder").hidden = ladder.steps.length + ladder.left_out.length < 2;
  byId("ladder-count").textContent = ladder.rung ? `rung ${ladder.rung} of ${ladder.rungs}` : "";
  const left = ladder.left_out.map((one) => ({ ...one, state: "left out" }));
  byId("ladder-steps").replaceChildren(...[...ladder.steps, ...left].map(rung));
}

function rung({ name, state, reason, plan, origin, step, progress }) {
  const facts = [WORDS[state] ?? state, state === "building" && step, state === "serving" && origin, state === "serving" && plan && `plan ${plan}`];
  return el("li", { "data-state": state },
    el("b", {}, name),
    el("span", { class: "muted" }, facts.filter(Boolean).join(" · ")),
    ...(state === "building" ? [bar(progress)] : []),
    ...(reason ? [el("small", { class: "reason" }, reason)] : []));
}

function bar(progress) {
  const percent = Math.round(progress * 100);
  const role = { class: "track", role: "progressbar", "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100 };
  return el("span", { ...role, "aria-label": "This step of the build" },
    css(el("span", { class: "fill" }), "--share", progress));
}
