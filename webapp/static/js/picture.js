// A picture pasted, dropped or chosen → an item for the sheet.

const MOST_PX = 1024; // kept in memory for showing
const FORMATS = new Set(["image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"]); // the gateway's
const SEND_BYTES = 150_000; // as it is a larger file would not come in time over a slow line: 20 kB a second
const SEND_PIXELS = 16_000_000; // nor does the gateway decode more
const EDGE_PX = 32;

/**
 * Decode a file, upright as its camera meant it.
 * @param {Blob} file
 * @returns {Promise<import("./strokes.js").Picture>}  rejects if it is no picture
 */
export async function read(file) {
  const fits = FORMATS.has(file.type) && file.size <= SEND_BYTES;
  const kept = fits ? new Blob([await file.arrayBuffer()], { type: file.type }) : null; // the file may be gone by then
  const whole = await createImageBitmap(file);
  const asItIs = whole.width * whole.height <= SEND_PIXELS;
  const scale = Math.min(1, MOST_PX / Math.max(whole.width, whole.height));
  const [width, height] = [whole.width, whole.height].map((side) => Math.max(1, Math.round(side * scale)));
  const bitmap = await createImageBitmap(whole, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
  whole.close();
  const grey = paperOf(bitmap);
  return { kind: "picture", bitmap, file: asItIs ? kept : null, paper: `rgb(${grey} ${grey} ${grey})`, ink: grey < 128 ? "#fff" : "#000" };
}

/**
 * Grey level of the picture's paper: the median along its edge.  Where the edge is transparent, dark ink lies on white and
 * light ink on black.
 * @param {ImageBitmap} bitmap
 */
function paperOf(bitmap) {
  const canvas = new OffscreenCanvas(EDGE_PX, EDGE_PX);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(bitmap, 0, 0, EDGE_PX, EDGE_PX);
  const { data } = context.getImageData(0, 0, EDGE_PX, EDGE_PX);
  const edge = [];
  let [light, seen] = [0, 0];
  for (let i = 0; i < EDGE_PX * EDGE_PX; i++) {
    const [red, green, blue, alpha] = data.subarray(4 * i, 4 * i + 4);
    const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
    const [x, y] = [i % EDGE_PX, Math.floor(i / EDGE_PX)];
    if (alpha > 127 && (x % (EDGE_PX - 1) === 0 || y % (EDGE_PX - 1) === 0)) edge.push(grey);
    light += grey * alpha;
    seen += alpha;
  }
  if (edge.length < 2 * EDGE_PX) return seen && light / seen > 127 ? 0 : 255;
  return Math.round(edge.sort((a, b) => a - b)[edge.length >> 1]);
}

/**
 * Call `use` with each picture pasted or dropped anywhere on the page, or chosen by the input.
 * @param {HTMLInputElement} input
 * @param {HTMLElement} target  shown as welcoming while something is dragged over the page
 * @param {(file: File) => void} use
 */
export function onPicture(input, target, use) {
  /** @param {FileList | undefined} files */
  const first = (files) => {
    if (files?.length) use(files[0]);
    return Boolean(files?.length);
  };
  input.addEventListener("change", () => {
    first(input.files ?? undefined);
    input.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    if (first(event.clipboardData?.files)) event.preventDefault();
  });
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    target.classList.add("welcoming");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) target.classList.remove("welcoming");
  });
  document.addEventListener("drop", (event) => {
    target.classList.remove("welcoming");
    if (first(event.dataTransfer?.files)) event.preventDefault();
  });
}
