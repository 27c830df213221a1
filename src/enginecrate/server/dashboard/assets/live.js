/** The header: who serves, in what state, how busy. Polls the status route while the page is visible. */

import { getJson } from "./api.js";
import { byId, el } from "./dom.js";
import { count, duration, milliseconds } from "./format.js";

const EVERY_MS = 2000;
const STATES = {
  ready: ["Ready", "The golden samples gave the expected results."],
  unproven: ["Unproven", "This app serves, but it has no golden sample: it runs, and nothing shows that its answers are right. "
    + "Record one with: enginecrate golden record PHOTO"],
  degraded: ["Degraded", "The engine that serves does not count as ready."],
  loading: ["Loading", "The model is being loaded."],
  proving: ["Proving", "The golden samples are being checked; without any, the app is tried."],
  failed: ["Failed", "The model cannot serve."],
  closed: ["Closing", "The server is shutting down."],
  offline: ["Unreachable", "The server does not answer."],
};

/**
 * @param {(status: object) => void} onStatus called with every status that arrives
 * @returns {() => Promise<void>} polls at once
 */
export function watchStatus(onStatus) {
  let timer = 0;
  async function poll() {
    clearTimeout(timer);
    try {
      const status = await getJson("v1/status");
      show(status);
      onStatus(status);
    } catch (problem) {
      showState("offline", problem.detail ?? String(problem));
    }
    clearTimeout(timer); // another poll may have ended meanwhile
    if (!document.hidden) timer = setTimeout(poll, EVERY_MS);
  }
  document.addEventListener("visibilitychange", () => !document.hidden && poll());
  poll();
  return poll;
}

function show(status) {
  document.title = `${status.app} · Enginecrate`;
  setText("app-name", status.app);
  setText("app-version", status.version);
  setText("summary", status.summary);
  byId("app-version").title = `served by enginecrate ${status.tool_version}`;
  const unproven = status.state === "ready" && status.golden.state === "unproven";
  showState(unproven ? "unproven" : status.state, status.reason);
  if (status.engine) showEngine(status.engine);
  const failed = Object.values(status.requests.failed).reduce((sum, value) => sum + value, 0);
  setText("live-requests", count(status.requests.success + failed));
  byId("live-requests").title = `${count(failed)} failed`;
  setText("live-p50", milliseconds(status.latency_ms.p50));
  setText("live-p95", milliseconds(status.latency_ms.p95));
  setText("live-p99", milliseconds(status.latency_ms.p99));
  setText("live-queue", count(status.queue.depth));
  setText("live-uptime", duration(status.uptime_seconds));
}

function showState(state, reason) {
  const [word, meaning] = STATES[state] ?? [state, ""];
  const badge = byId("state");
  badge.dataset.state = state;
  badge.title = reason || meaning;
  setText(badge.lastElementChild, word);
  const notice = byId("notice");
  notice.hidden = state === "ready";
  notice.dataset.state = state;
  setText(notice, reason || meaning);
}

function showEngine({ backend, precision, device, one_by_one: oneByOne }) {
  const words = [backend, precision, device, ...(oneByOne ? ["one by one"] : [])];
  const list = byId("engine");
  if (list.textContent !== words.join("")) list.replaceChildren(...words.map((word) => el("li", {}, word)));
}

/** Touch the page only on change, so that screen readers stay quiet. */
function setText(node, text) {
  const target = typeof node === "string" ? byId(node) : node;
  if (target.textContent !== String(text)) target.textContent = text;
}
