// The sheet on the screen: crisp at any pixel ratio, repainted once a frame and only when something changed.
import { coloursFor, paint, paintSheet } from "./render.js";
import { SHEET } from "./strokes.js";

export class Board {
  #settled = document.createElement("canvas"); // everything but the stroke being drawn
  #scheduled = false;
  #stale = true; // whether #settled must be painted anew

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./drawing.js").Drawing} drawing
   */
  constructor(canvas, drawing) {
    this.canvas = canvas;
    this.drawing = drawing;
    this.#resize(canvas.clientWidth * devicePixelRatio);
    const observer = new ResizeObserver(([entry]) => {
      const [size] = entry.devicePixelContentBoxSize ?? [];
      this.#resize(size ? size.inlineSize : canvas.clientWidth * devicePixelRatio);
    });
    try {
      observer.observe(canvas, { box: "device-pixel-content-box" }); // another zoom may leave the size in CSS pixels as it is
    } catch {
      observer.observe(canvas); // Safari knows no other box, but tells of a zoom
      addEventListener("resize", () => this.#resize(canvas.clientWidth * devicePixelRatio));
    }
    drawing.addEventListener("change", () => this.repaint());
    document.addEventListener("theme", () => this.repaint());
  }

  /** Paint everything in the next frame. */
  repaint() {
    this.#stale = true;
    this.show();
  }

  /** Paint the stroke being drawn in the next frame. */
  show() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#paint();
    });
  }

  /** @param {number} pixels */
  #resize(pixels) {
    const size = Math.max(1, Math.round(pixels));
    if (this.#settled.width === size && this.#settled.height === size) return;
    for (const canvas of [this.canvas, this.#settled]) canvas.width = canvas.height = size;
    this.#stale = true;
    this.#paint(); // at once: a resized canvas is blank
  }

  #paint() {
    const items = this.drawing.items;
    const style = getComputedStyle(this.canvas);
    const usual = { paper: style.getPropertyValue("--sheet"), ink: style.getPropertyValue("--ink") };
    const scale = this.canvas.width / SHEET;
    if (this.#stale) {
      const behind = context(this.#settled);
      behind.setTransform(scale, 0, 0, scale, 0, 0);
      paintSheet(behind, items, usual);
      this.#stale = false;
    }
    const front = context(this.canvas);
    front.setTransform(1, 0, 0, 1, 0, 0);
    front.drawImage(this.#settled, 0, 0);
    if (this.drawing.live) {
      front.setTransform(scale, 0, 0, scale, 0, 0);
      paint(front, this.drawing.live, coloursFor(items, usual));
    }
  }
}

/**
 * Painted by the processor, not the graphics card: the same strokes give the same pixels every time.
 * @param {HTMLCanvasElement} canvas
 */
function context(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
}
