// Small pictures of drawings: the examples to try, and the last answers, to be brought back.
import { paintSheet, PLAIN } from "./render.js";
import { firstInk, lines, SHEET } from "./strokes.js";

const MOST = 8;
const PHOTOGRAPH_PX = 96;
const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {import("./strokes.js").Item} Item
 * @typedef {{items: Item[], button: HTMLButtonElement}} Entry
 */

export class LastAnswers {
  #list = /** @type {HTMLElement} */ (document.querySelector("#last"));
  /** @type {Entry[]}  newest first */
  #entries = [];

  /** @param {import("./drawing.js").Drawing} drawing */
  constructor(drawing) {
    this.drawing = drawing;
  }

  /**
   * Remember an answer.  An entry grows with its drawing, known by its first ink; what undo and eraser take stays in it.
   * @param {import("./api.js").Answer} answer
   */
  add(answer) {
    const { items } = this.drawing;
    if (items.every((item) => item.kind === "stroke" && item.example)) return; // it is at hand anyway
    let entry = this.#entries.find((one) => firstInk(one.items) === firstInk(items));
    const last = items[items.length - 1];
    if (entry && (begins(entry.items, items) || (last.kind === "stroke" && last.erases))) return;
    if (!entry) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "thumb";
      entry = { items, button };
      const kept = entry;
      button.addEventListener("click", () => {
        const shown = this.drawing.items;
        if (shown.length !== kept.items.length || !begins(shown, kept.items)) this.drawing.lay(kept.items);
      });
      this.#entries.unshift(entry);
      const slot = document.createElement("li");
      slot.append(button);
      this.#list.querySelector(".empty")?.remove();
      this.#list.prepend(slot);
      for (const old of this.#entries.splice(MOST)) old.button.parentElement?.remove();
    }
    entry.items = items;
    entry.button.replaceChildren(miniature(items));
    entry.button.classList.toggle("unsure", !answer.sure);
    const read = `read as ${answer.digit}${answer.sure ? "" : ", not sure"}`;
    entry.button.setAttribute("aria-label", `Bring back the drawing ${answer.note ? "that is no single digit" : read}`);
    if (answer.note) return;
    const label = document.createElement("span");
    label.textContent = answer.sure ? String(answer.digit) : `${answer.digit}?`;
    entry.button.append(label);
  }
}

/**
 * Whether a drawing begins with all of another.
 * @param {Item[]} whole
 * @param {Item[]} part
 */
function begins(whole, part) {
  return part.every((item, at) => item === whole[at]);
}

/**
 * A drawing as SVG.  Strokes alone take the theme's colours by themselves; a picture keeps its own paper and ink.
 * @param {Item[]} items
 */
function miniature(items) {
  const svg = make("svg", { viewBox: `0 0 ${SHEET} ${SHEET}`, "aria-hidden": "true" });
  if (items.some((item) => item.kind === "picture")) svg.append(photograph(items));
  else for (const item of items) {
    if (item.kind !== "stroke") continue;
    for (const { d, width } of lines(item)) svg.append(make("path", { d, "stroke-width": String(width), class: item.erases ? "erased" : "" }));
  }
  return svg;
}

/** @param {Item[]} items */
function photograph(items) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = PHOTOGRAPH_PX;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(PHOTOGRAPH_PX / SHEET, PHOTOGRAPH_PX / SHEET);
  paintSheet(context, items, PLAIN);
  return make("image", { href: canvas.toDataURL("image/webp", 0.8), width: String(SHEET), height: String(SHEET) });
}

/**
 * @param {string} name
 * @param {Record<string, string>} attributes
 */
function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/**
 * The examples are drawn into the page as polylines; a click lays their strokes on the sheet.
 * @param {import("./drawing.js").Drawing} drawing
 */
export function examples(drawing) {
  for (const button of document.querySelectorAll("#examples button")) {
    button.addEventListener("click", () => {
      const strokes = [...button.querySelectorAll("polyline")].map((line) => ({
        kind: /** @type {const} */ ("stroke"),
        erases: false,
        example: true,
        width: Number(line.getAttribute("stroke-width")),
        points: [...line.points].map(({ x, y }) => /** @type {[number, number, number]} */ ([x, y, 0.5])),
      }));
      drawing.lay(strokes);
    });
  }
}
