/**
 * Boxes over the photo. The SVG's user unit is one pixel of the upright photo, which is what the
 * server's boxes are in; the browser also shows the photo upright (CSS `image-orientation:
 * from-image`), so nothing needs to be turned here. Strokes keep their width at every zoom.
 */

import { byId, css, el, svg } from "./dom.js";
import { hue } from "./format.js";

/** @param {(index: number | null) => void} onHover */
export function createOverlay(onHover) {
  const canvas = byId("canvas");
  const boxes = byId("boxes");
  const tags = byId("tags");
  let size = { width: 1, height: 1 };
  let placed = [];

  function draw(result) {
    size = { width: result.width, height: result.height };
    boxes.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    placed = result.detections.map((detection, index) => ({
      detection,
      box: boxNode(detection, index),
      tag: tagNode(detection, index),
    }));
    // Large boxes first: a small one inside a large one stays reachable for the pointer.
    const order = [...placed].sort((a, b) => area(b.detection) - area(a.detection));
    boxes.replaceChildren(...order.map((item) => item.box));
    tags.replaceChildren(...order.map((item) => item.tag));
    placeTags();
  }

  /** Each tag takes the first free place at its box; the best scores choose first. */
  function placeTags() {
    const frame = boxes.getBoundingClientRect();
    if (frame.width === 0) return;
    const scale = { x: frame.width / size.width, y: frame.height / size.height };
    const taken = [];
    for (const { detection, tag } of placed) {
      if (tag.classList.contains("gone")) continue;
      const place = freePlace(detection.box, tag, scale, frame, taken);
      taken.push(place);
      css(tag, "left", `${place.x}px`);
      css(tag, "top", `${place.y}px`);
    }
  }

  /** Show the boxes with at least this score. */
  function filter(minimum) {
    for (const { detection, box, tag } of placed) {
      const gone = detection.score < minimum;
      box.classList.toggle("gone", gone);
      tag.classList.toggle("gone", gone);
    }
    placeTags();
  }

  /** Point one box out; `null`: none. */
  function highlight(index) {
    canvas.classList.toggle("pointing", index !== null);
    placed.forEach(({ box, tag }, i) => {
      box.classList.toggle("active", i === index);
      tag.classList.toggle("active", i === index);
    });
  }

  const clear = () => {
    placed = [];
    boxes.replaceChildren();
    tags.replaceChildren();
  };
  const indexOf = (event) => event.target.closest("[data-index]")?.dataset.index;
  boxes.addEventListener("pointerover", (event) => {
    const index = indexOf(event);
    onHover(index === undefined ? null : Number(index));
  });
  boxes.addEventListener("pointerleave", () => onHover(null));
  new ResizeObserver(placeTags).observe(boxes);
  return { draw, filter, highlight, clear };
}

/** On top of the box, inside it, at its foot, or at its right edge: whichever overlaps no other tag. */
function freePlace([x1, y1, x2, y2], tag, scale, frame, taken) {
  const { offsetWidth: width, offsetHeight: height } = tag;
  const [left, right] = [x1 * scale.x - 1, x2 * scale.x - width + 1];
  const [top, foot] = [y1 * scale.y, y2 * scale.y];
  const places = [[left, top - height], [left, top], [right, top - height], [right, top], [left, foot - height], [left, foot]]
    .map(([x, y]) => ({ x: Math.max(0, Math.min(x, frame.width - width)), y, width, height }))
    .filter(({ y }) => y >= 0 && y + height <= frame.height);
  const free = places.find((place) => !taken.some((other) => overlaps(place, other)));
  return free ?? places[0] ?? { x: Math.max(0, left), y: 0, width, height };
}

const overlaps = (a, b) =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);

function boxNode({ box: [x1, y1, x2, y2], class_id }, index) {
  const shape = { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) };
  const node = svg(
    "g",
    { class: "box", "data-index": index },
    svg("rect", { ...shape, class: "halo" }),
    svg("rect", { ...shape, class: "line" }),
  );
  return css(node, "--hue", hue(class_id));
}

function tagNode({ label, score, class_id }, index) {
  const node = el("span", { class: "tag", "data-index": index }, label, " ", el("b", {}, score.toFixed(2)));
  return css(node, "--hue", hue(class_id));
}
