/** How a photo comes in: chosen, dropped anywhere on the page, or pasted. */

import { byId } from "./dom.js";

/** @param {(file: File, more: number) => void} onPhoto called with the first file; `more` were ignored */
export function listen(onPhoto) {
  const input = byId("file");
  const take = (files) => files.length > 0 && onPhoto(files[0], files.length - 1);

  for (const id of ["drop", "choose"]) byId(id).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });

  listenForDrops(take);
  window.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    take(files);
  });
}

function listenForDrops(take) {
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0; // dragenter and dragleave also fire for every child
  const show = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  window.addEventListener("dragenter", (event) => hasFiles(event) && show(1));
  window.addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
  window.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(-depth);
    take([...event.dataTransfer.files]);
  });
}
