// Items → pixels, the same way on the screen and for the gateway.
import { lines, SHEET } from "./strokes.js";

/**
 * @typedef {import("./strokes.js").Item} Item
 * @typedef {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} Context
 * @typedef {{paper: string, ink: string}} Colours
 */

/** @type {Colours} */
export const PLAIN = { paper: "#fff", ink: "#000" };
const MIN_CONTRAST = 24; // grey levels: below this the gateway takes a sheet for blank (digits/images.py)
const TINT = 64; // levels of one colour by which tinted paper and what the eraser leaves may differ

/**
 * The colours of a sheet: a picture brings its own paper, and ink that shows on it.
 * @param {Item[]} items
 * @param {Colours} usual
 * @returns {Colours}
 */
export function coloursFor(items, usual) {
  const picture = items.find((item) => item.kind === "picture");
  return picture?.kind === "picture" ? picture : usual;
}

/**
 * Paint a whole sheet.
 * @param {Context} context  already scaled to the sheet's 280 units
 * @param {Item[]} items
 * @param {Colours} usual
 */
export function paintSheet(context, items, usual) {
  const colours = coloursFor(items, usual);
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, SHEET, SHEET);
  for (const item of items) paint(context, item, colours);
}

/**
 * @param {Context} context
 * @param {Item} item
 * @param {Colours} colours
 */
export function paint(context, item, colours) {
  if (item.kind === "picture") {
    const { width, height } = item.bitmap;
    const scale = SHEET / Math.max(width, height);
    const [w, h] = [width * scale, height * scale];
    context.drawImage(item.bitmap, (SHEET - w) / 2, (SHEET - h) / 2, w, h);
    return;
  }
  context.strokeStyle = item.erases ? colours.paper : colours.ink;
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const { d, width } of lines(item)) {
    context.lineWidth = width;
    context.stroke(new Path2D(d));
  }
}

const canvas = document.createElement("canvas");
canvas.width = canvas.height = SHEET;
const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));

/**
 * The sheet as the gateway gets it: 280×280, black on white, whatever screen and theme.
 * @param {Item[]} items
 * @returns {Promise<Blob>}
 */
export function png(items) {
  paintSheet(context, items, PLAIN);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the canvas gave no PNG"))), "image/png");
  });
}

/**
 * Whether no ink can be seen on the sheet, by the gateway's own measure: strokes are there, but the eraser took them.
 * @param {Item[]} items
 */
export function isBare(items) {
  paintSheet(context, items, PLAIN);
  const { data } = context.getImageData(0, 0, SHEET, SHEET);
  const least = [255, 255, 255, 255];
  const most = [0, 0, 0, 0];
  for (let at = 0; at < data.length; at += 4) {
    const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
    const seen = [red, green, blue, 0.299 * red + 0.587 * green + 0.114 * blue];
    for (let i = 0; i < 4; i++) {
      if (seen[i] < least[i]) least[i] = seen[i];
      if (seen[i] > most[i]) most[i] = seen[i];
    }
  }
  const [inRed, inGreen, inBlue, inGrey] = most.map((value, i) => value - least[i]);
  return inGrey < MIN_CONTRAST && Math.max(inRed, inGreen, inBlue) < TINT; // there are inks as bright as their paper
}

/**
 * What to send: an untouched picture itself, for the gateway knows best how to read it, or at least all that is kept of it;
 * else the sheet.
 * @param {Item[]} items
 * @returns {Promise<Blob>}
 */
export async function sendable(items) {
  const [first] = items;
  if (items.length !== 1 || first.kind !== "picture") return png(items);
  return first.file ?? photograph(first);
}

/** @param {import("./strokes.js").Picture} picture */
function photograph({ bitmap, paper }) {
  const sheet = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (sheet.getContext("2d"));
  context.fillStyle = paper;
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  return sheet.convertToBlob({ type: "image/jpeg", quality: 0.9 });
}
