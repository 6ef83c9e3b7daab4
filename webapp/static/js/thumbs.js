// Small pictures of drawings: the examples to try, and the last answers, to be brought back.
import { lines, SHEET } from "./strokes.js";

const MOST = 8;
const SVG = "http://www.w3.org/2000/svg";

/** @typedef {{sheet: number, items: import("./strokes.js").Item[], button: HTMLButtonElement}} Entry */

export class LastAnswers {
  #list = /** @type {HTMLElement} */ (document.querySelector("#last"));
  /** @type {Entry[]}  newest first */
  #entries = [];

  /** @param {import("./drawing.js").Drawing} drawing */
  constructor(drawing) {
    this.drawing = drawing;
  }

  /**
   * Remember an answer.  While a sheet is being drawn on, its entry is kept up to date rather than doubled.
   * @param {import("./api.js").Answer} answer
   */
  add(answer) {
    const { sheet, items } = this.drawing;
    let entry = this.#entries.find((one) => one.sheet === sheet);
    if (!entry) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "thumb";
      entry = { sheet, items, button };
      const kept = entry;
      button.addEventListener("click", () => {
        if (this.drawing.sheet !== kept.sheet) this.drawing.lay(kept.items, kept.sheet);
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
    entry.button.setAttribute("aria-label", `Bring back the drawing ${answer.note ? "that is no single digit" : `read as ${answer.digit}`}`);
    if (answer.note) return;
    const label = document.createElement("span");
    label.textContent = String(answer.digit);
    entry.button.append(label);
  }
}

/**
 * A drawing as SVG: it takes the theme's colours by itself.
 * @param {import("./strokes.js").Item[]} items
 */
function miniature(items) {
  const svg = make("svg", { viewBox: `0 0 ${SHEET} ${SHEET}`, "aria-hidden": "true" });
  for (const item of items) {
    if (item.kind === "picture") svg.append(photograph(item));
    else for (const { d, width } of lines(item)) svg.append(make("path", { d, "stroke-width": String(width), class: item.erases ? "erased" : "" }));
  }
  return svg;
}

/** @param {import("./strokes.js").Picture} picture */
function photograph({ bitmap }) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 96;
  const scale = 96 / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  canvas.getContext("2d")?.drawImage(bitmap, (96 - width) / 2, (96 - height) / 2, width, height);
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
        width: Number(line.getAttribute("stroke-width")),
        points: [...line.points].map(({ x, y }) => /** @type {[number, number, number]} */ ([x, y, 0.5])),
      }));
      drawing.lay(strokes);
    });
  }
}
