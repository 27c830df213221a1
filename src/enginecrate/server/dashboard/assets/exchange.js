/** The request as a command and the answer as JSON: two tabs and one copy button. */

import { absolute } from "./api.js";
import { byId, el } from "./dom.js";
import { shellQuote } from "./format.js";

const TABS = ["curl", "json"];

export function createExchange() {
  const copy = byId("copy");
  let current = "curl";

  function select(name, focus = false) {
    current = name;
    for (const tab of TABS) {
      const button = byId(`tab-${tab}`);
      button.setAttribute("aria-selected", String(tab === name));
      button.tabIndex = tab === name ? 0 : -1;
      byId(`pane-${tab}`).hidden = tab !== name;
    }
    if (focus) byId(`tab-${name}`).focus();
  }
  byId("tabs").addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) select(tab.id.slice(4));
  });
  byId("tabs").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    select(TABS[1 - TABS.indexOf(current)], true);
  });
  copy.addEventListener("click", async () => {
    await copyText(byId(`pane-${current}`));
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });

  return {
    showCommand: (command) => (byId("pane-curl").textContent = command),
    /** @param {object | null} answer `null`: there is none */
    showAnswer: (answer) =>
      byId("pane-json").replaceChildren(...(answer ? colored(prettyJson(short(answer))) : ["No answer yet."])),
  };
}

/** The command that sends one photo. */
export function predictCommand(fileName, type) {
  return [
    "curl -sS \\",
    `  -H ${shellQuote(`Content-Type: ${type}`)} \\`,
    `  --data-binary ${shellQuote(`@${fileName}`)} \\`,
    `  ${shellQuote(absolute("v1/predict"))}`,
  ].join("\n");
}

/** A command that sends zeros in the shape of the model's inputs (1 for a dynamic dimension). */
export function inferCommand(model, inputs) {
  const tensors = inputs.map(({ name, datatype, shape }) => {
    const sizes = shape.map((size) => (size < 0 ? 1 : size));
    const length = sizes.reduce((product, size) => product * size, 1);
    const zero = { BYTES: '""', BOOL: "False" }[datatype] ?? "0";
    return `{"name": ${JSON.stringify(name)}, "datatype": "${datatype}", `
      + `"shape": ${JSON.stringify(sizes)}, "data": [${zero}] * ${length}}`;
  });
  const program = `import json\nprint(json.dumps({"inputs": [\n  ${tensors.join(",\n  ")}\n]}))`;
  return `python3 -c ${shellQuote(program)} |\ncurl -sS -H 'Content-Type: application/json' --data-binary @- \\\n`
    + `  ${shellQuote(absolute(`v2/models/${encodeURIComponent(model)}/infer`))}`;
}

const MOST_NUMBERS = 64;

/** The answer without the bulk of its tensors: millions of numbers would stop the page. */
function short(answer) {
  const shortened = (output) => {
    const more = output.data.length - MOST_NUMBERS;
    if (more <= 0) return output;
    return { ...output, data: [...output.data.slice(0, MOST_NUMBERS), `and ${more} more`] };
  };
  const results = answer.results?.map((result) =>
    result.outputs ? { ...result, outputs: result.outputs.map(shortened) } : result);
  return results ? { ...answer, results } : answer;
}

/** Indented, but arrays of plain values (a box) stay on one line. */
function prettyJson(value) {
  // A raw line break cannot stand inside a JSON string, so labels are never touched.
  return JSON.stringify(value, null, 2).replace(/\[\n\s+([^[\]{}]*?)\n\s*\]/g, (_, inner) =>
    `[${inner.split(/,\n\s+/).join(", ")}]`);
}

const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)/g;

/** JSON text as nodes: keys, strings and numbers in colours. */
function* colored(text) {
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    yield text.slice(end, match.index);
    const [whole, string, colon = ""] = match;
    yield el("span", { class: colon ? "key" : string ? "string" : "number" }, string ?? whole);
    yield colon;
    end = match.index + whole.length;
  }
  yield text.slice(end);
}

async function copyText(node) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(node.textContent);
    return;
  }
  // Plain HTTP from another machine: the clipboard API is off there.
  getSelection().selectAllChildren(node);
  document.execCommand("copy");
  getSelection().removeAllRanges();
}
