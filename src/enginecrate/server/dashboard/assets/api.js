/** Every call to the server. Paths are relative, so the page also works behind a path prefix. */

/** What the server (or the network) said when a request failed, in words. */
export class Problem extends Error {
  constructor({ title, detail, code = "", status = 0, requestId = "", answer = null }) {
    super(detail);
    Object.assign(this, { title, detail, code, status, requestId, answer });
  }
}

export const absolute = (path) => new URL(path, document.baseURI).href;

/**
 * Send one photo's bytes as they are.
 * @returns {Promise<{answer: object, elapsed: number}>} elapsed: milliseconds, request to last byte
 */
export async function predict(payload, type, signal) {
  performance.clearResourceTimings(); // the browser keeps 250 entries and then stops
  const start = performance.now();
  const response = await request("v1/predict", photo(payload, type, signal));
  const text = await response.text();
  const now = performance.now();
  // The browser's own clock leaves out how long this page's script had to wait.
  const [entry] = performance.getEntriesByName(absolute("v1/predict"));
  return { answer: JSON.parse(text), elapsed: entry?.responseEnd ? entry.responseEnd - entry.startTime : now - start };
}

/** The same photo with the boxes drawn by the server. @returns {Promise<Blob>} */
export async function annotate(payload, type) {
  return (await request("v1/predict?annotate=1", photo(payload, type))).blob();
}

export const getJson = async (path) => (await request(path, { cache: "no-store" })).json();

const photo = (body, type, signal) => ({
  method: "POST",
  body,
  signal,
  headers: { "Content-Type": type, Accept: "application/json, image/png;q=0.9" },
});

async function request(path, options) {
  let response;
  try {
    response = await fetch(absolute(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      title: "No answer",
      detail: "The server cannot be reached, or it closed the connection. Is it still running?",
    });
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** RFC 9457 problem details; `{"error": ...}` on v2 routes; anything else by its status. */
async function problemOf(response) {
  let body = {};
  let answer = null;
  try {
    body = answer = await response.json();
  } catch {
    // A proxy in between may answer HTML: the status must do.
  }
  return new Problem({
    title: body.title ?? (response.statusText || `HTTP ${response.status}`),
    detail: body.detail ?? body.error ?? `The server answered with status ${response.status}.`,
    code: body.code ?? "",
    status: response.status,
    requestId: body.request_id ?? "",
    answer,
  });
}
