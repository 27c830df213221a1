/**
 * Photos that the browser would not show upright by itself. Every browser follows the EXIF
 * orientation of JPEG and PNG, but not of WebP; the server follows all three. So a turned WebP
 * photo is turned here, after its EXIF chunk was renamed: no browser can turn it a second time.
 */

/** From stored to upright pixels, for a stored size of w x h: EXIF tag 0x0112, CIPA DC-008. */
const TURNS = {
  2: (w) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (w, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (w, h) => [0, 1, -1, 0, h, 0],
  7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w) => [0, -1, 1, 0, 0, w],
};

/**
 * The photo as something that an `<img>` shows upright.
 * @param {Blob} file
 * @param {ArrayBuffer} payload the file's bytes
 * @returns {Promise<Blob>}
 */
export async function uprightBlob(file, payload) {
  try {
    const chunk = exifChunk(new DataView(payload));
    const turn = chunk && TURNS[orientation(chunk.data)];
    return turn ? await turned(payload, chunk.offset, turn) : file;
  } catch {
    return file; // damaged: the server will say so
  }
}

const fourCC = (view, at) => String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, 4));

/** The EXIF chunk of a WebP file (RFC 9649, section 2.7.1.5), or null. */
function exifChunk(view) {
  if (view.byteLength < 20 || fourCC(view, 0) !== "RIFF" || fourCC(view, 8) !== "WEBP") return null;
  for (let offset = 12; offset + 8 <= view.byteLength; ) {
    const size = view.getUint32(offset + 4, true);
    if (fourCC(view, offset) === "EXIF") return { offset, data: new DataView(view.buffer, offset + 8, size) };
    offset += 8 + size + (size % 2);
  }
  return null;
}

/** The orientation in a TIFF header's first directory; 1 when there is none. */
function orientation(exif) {
  const start = fourCC(exif, 0) === "Exif" ? 6 : 0;
  const little = exif.getUint16(start) === 0x4949;
  const directory = start + exif.getUint32(start + 4, little);
  for (let index = 0; index < exif.getUint16(directory, little); index += 1) {
    const entry = directory + 2 + 12 * index;
    if (exif.getUint16(entry, little) === 0x0112) return exif.getUint16(entry + 8, little);
  }
  return 1;
}

async function turned(payload, offset, turn) {
  const bytes = new Uint8Array(payload.slice(0));
  bytes.fill("X".charCodeAt(0), offset, offset + 4);
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/webp" }));
  const matrix = turn(bitmap.width, bitmap.height);
  const swaps = matrix[0] === 0;
  const canvas = document.createElement("canvas");
  canvas.width = swaps ? bitmap.height : bitmap.width;
  canvas.height = swaps ? bitmap.width : bitmap.height;
  const context = canvas.getContext("2d");
  context.setTransform(...matrix);
  context.drawImage(bitmap, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
