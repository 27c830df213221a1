/** The page's assembler: a photo comes in, the answer goes to every view. */

import { annotate, predict, Problem } from "./api.js";
import { byId, css, el } from "./dom.js";
import { createExchange, inferCommand, predictCommand } from "./exchange.js";
import { bytes, count, milliseconds } from "./format.js";
import { listen } from "./intake.js";
import { showLadder } from "./ladder.js";
import { watchStatus } from "./live.js";
import { showModel } from "./model.js";
import { createOverlay } from "./overlay.js";
import { createResults } from "./results.js";
import { showTiming } from "./timing.js";
import { uprightBlob } from "./upright.js";

const point = (index) => {
  overlay.highlight(index);
  results.highlight(index);
};
const overlay = createOverlay(point);
const results = createResults(point);
const exchange = createExchange();
const stage = byId("stage");
const slider = byId("score");

/** @type {{payload: ArrayBuffer, upright: Blob, name: string, type: string} | null} */
let photo = null;
let opened = 0; // photos so far
let running = null; // AbortController of the request under way
let task = "";

exchange.showCommand(predictCommand("photo.jpg", "image/jpeg"));
const poll = watchStatus(followStatus);
listen(open);
byId("again").addEventListener("click", () => send());
byId("annotate").addEventListener("click", save);
slider.addEventListener("input", applyThreshold);

function followStatus(status) {
  showLadder(status.ladder);
  if (task === status.task) return;
  task = status.task;
  if (task === "tensors") stage.dataset.view = "tensors";
  byId("annotate").hidden = task === "image"; // there is nothing to draw
  const minimum = status.pipeline?.score_threshold ?? 0; // the server reports nothing below it
  slider.min = slider.value = Math.floor(minimum * 100) / 100;
  applyThreshold();
  showModel(status.app).then((model) => {
    if (task === "tensors") exchange.showCommand(inferCommand(status.app, model.inputs));
  }, () => (task = "")); // not loaded yet: the next status asks again
}

/** Take a photo: show it at once, then ask the server. A later photo overtakes an earlier one. */
async function open(file, more) {
  if (task === "tensors") return;
  const turn = (opened += 1);
  const taken = await read(file);
  if (turn !== opened || !taken) return;
  photo = taken;
  forget();
  const image = byId("photo");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(photo.upright);
  image.alt = `Photo ${photo.name}`;
  const showable = await image.decode().then(() => true, () => false);
  if (turn !== opened) return;
  present(image, showable);
  caption([photo.name, bytes(file.size), more > 0 && `first of ${more + 1} files`]);
  exchange.showCommand(predictCommand(photo.name, photo.type));
  await send();
}

async function read(file) {
  try {
    const payload = await file.arrayBuffer();
    const upright = await uprightBlob(file, payload);
    return { payload, upright, name: file.name || "pasted.png", type: file.type || "application/octet-stream" };
  } catch {
    showProblem(new Problem({ title: "Cannot read this", detail: `The browser cannot read ${file.name}. Is it a folder?` }));
    return null;
  }
}

function present(image, showable) {
  stage.dataset.view = showable ? "photo" : "empty";
  if (showable) frame(image.naturalWidth, image.naturalHeight);
  const focusGoes = document.activeElement === byId("drop"); // with the empty stage
  byId("tools").hidden = !showable;
  if (focusGoes && showable) byId("choose").focus({ preventScroll: true });
}

async function send() {
  running?.abort();
  const request = (running = new AbortController());
  stage.classList.add("sending");
  try {
    const { answer, elapsed } = await predict(photo.payload, photo.type, request.signal);
    showProblem(null);
    show(answer, elapsed);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    forget();
    showProblem(problem);
  } finally {
    if (running === request) stage.classList.remove("sending");
  }
  poll();
}

function show(answer, elapsed) {
  const [result] = answer.results;
  exchange.showAnswer(answer);
  showTiming(answer.timing_ms, elapsed);
  const { width, height } = result.image ?? result;
  if (width) {
    stage.dataset.view = "photo";
    byId("tools").hidden = false;
    frame(width, height);
    caption([photo.name, `${width} × ${height}`, bytes(photo.payload.byteLength)]);
  }
  const detects = Array.isArray(result.detections);
  byId("threshold").hidden = !detects;
  if (detects) {
    overlay.draw(result);
    results.showDetections(result);
    applyThreshold();
  } else if (result.classes) {
    results.showClasses(result);
  } else if (result.outputs) {
    results.showOutputs(result);
  }
  byId("announce").textContent = `${summary(result)}, in ${milliseconds(elapsed)}.`;
}

/** The photo's place on the page: its shape, at most twice its size. */
function frame(width, height) {
  css(css(byId("canvas"), "--width", width), "--height", height);
}

function summary({ detections, classes, outputs }) {
  if (outputs) return `Tensors: ${outputs.map(({ name }) => name).join(", ")}`;
  if (classes) return `Best class: ${classes[0]?.label ?? "none"}`;
  const found = (detections ?? []).slice(0, 3).map(({ label, score }) => `${label} ${score.toFixed(2)}`);
  return `${count(detections?.length ?? 0)} found${found.length ? `: ${found.join(", ")}` : ""}`;
}

/** Drop what belongs to the last answer. */
function forget() {
  showProblem(null);
  overlay.clear();
  results.clear();
  byId("timing").hidden = true;
  byId("threshold").hidden = true;
  exchange.showAnswer(null);
}

function applyThreshold() {
  const minimum = Number(slider.value);
  byId("score-value").textContent = minimum.toFixed(2);
  if (byId("threshold").hidden) return;
  overlay.filter(minimum);
  results.filter(minimum);
}

async function save() {
  try {
    const url = URL.createObjectURL(await annotate(photo.payload, photo.type));
    el("a", { href: url, download: `${photo.name.replace(/\.[^.]*$/, "")}-annotated.png` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  } catch (problem) {
    showProblem(problem);
  }
}

/** @param {Error | null} problem */
function showProblem(problem) {
  const box = byId("problem");
  box.hidden = !problem;
  if (!problem) return box.replaceChildren();
  const { title, detail, code, status, requestId, answer } =
    problem instanceof Problem ? problem : { title: "This page failed", detail: String(problem) };
  const facts = [code && photo?.name, code, status && `HTTP ${status}`, requestId].filter(Boolean).join(" · ");
  exchange.showAnswer(answer ?? null);
  return box.replaceChildren(el("strong", {}, title), el("p", {}, detail), el("small", { class: "mono" }, facts));
}

function caption(parts) {
  const [name, ...rest] = parts.filter(Boolean);
  byId("caption").replaceChildren(el("b", {}, name), el("span", { class: "muted" }, ` ${rest.join(" · ")}`));
}
