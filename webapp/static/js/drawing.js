// The one state of the page: the sheet on the desk, what can be undone, the tool in the hand.
import { packed, WIDTHS } from "./strokes.js";

/**
 * @typedef {import("./strokes.js").Item} Item
 * @typedef {{kind: "sheet", items: Item[]}} Sheet  a fresh sheet, empty or with something on it
 * @typedef {Sheet | Item} Step
 */

const MOST_STEPS = 200;
const MOST_PICTURES = 16; // of 4 MB each
const SWEEP_MS = 400; // who rubs goes to and fro faster than that, and who has looked draws later
const RUBBING_MS = 1200; // and by then everybody has looked

/** Changes are told by a "change" event; a new tool, or a brush put down, by "tool". */
export class Drawing extends EventTarget {
  /** @type {Step[]}  the first is always a sheet */
  #steps = [{ kind: "sheet", items: [] }];
  /** @type {Step[]} */
  #undone = [];
  /** Grows with every change: an answer to an earlier revision is stale. */
  revision = 0;
  /** @type {(import("./strokes.js").Stroke & {points: import("./strokes.js").Point[]}) | null}  being drawn, not yet a step */
  live = null;
  width = WIDTHS[1];
  erasing = false;
  #emptied = -Infinity; // when the eraser took the last of the ink, in ms
  #swept = -Infinity; // when it was last lifted since
  #sweeps = false; // the stroke being drawn is one more sweep over the sheet that the eraser has just emptied

  /** @returns {Item[]}  what is to be seen, first drawn first; an item stays the same object when it is undone and comes back */
  get items() {
    const at = this.#steps.findLastIndex((step) => step.kind === "sheet");
    const sheet = /** @type {Sheet} */ (this.#steps[at]);
    return [...sheet.items, .../** @type {Item[]} */ (this.#steps.slice(at + 1))];
  }

  /** Nothing was ever put on this sheet, nor is just being put there. */
  get isUntouched() {
    return !this.live && this.items.length === 0;
  }

  get isBlank() {
    return !this.items.some((item) => item.kind === "picture" || !item.erases);
  }

  get canUndo() {
    return this.#steps.length > 1;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /**
   * Put the brush down: the stroke is a step once it is lifted.
   * @param {import("./strokes.js").Point} point
   * @param {boolean} [erases]
   * @param {boolean} [rubs]  a hand does it, which may still be rubbing
   */
  begin(point, erases = this.erasing, rubs = false) {
    const now = performance.now();
    this.#sweeps = rubs && this.isUntouched && now - this.#swept < SWEEP_MS && now - this.#emptied < RUBBING_MS;
    this.live = { kind: "stroke", erases: erases || this.#sweeps, width: this.width, points: [point] };
    this.dispatchEvent(new Event("tool"));
  }

  /** Lift the brush. */
  end() {
    const stroke = this.live;
    this.live = null;
    if (!stroke) return;
    if (this.#sweeps) {
      this.#swept = performance.now();
      this.dispatchEvent(new Event("tool"));
    } else this.#do({ ...stroke, points: packed(stroke.points) });
  }

  /** Lift the brush as if it had never been put down. */
  drop() {
    this.live = null;
  }

  clear() {
    if (this.items.length) this.lay([]);
    else {
      this.#putDownEraser();
      this.dispatchEvent(new Event("change")); // who waits for a picture to be opened no longer does
    }
  }

  /**
   * Put a new sheet on the desk; undo brings the old one back.
   * @param {Item[]} items
   */
  lay(items) {
    this.#do({ kind: "sheet", items });
  }

  /** The last that was done is a stroke of the eraser. */
  get wasErased() {
    const step = this.#steps[this.#steps.length - 1];
    return step.kind === "stroke" && step.erases;
  }

  /** The eraser has taken the last of the ink: the sheet is as good as new; undo brings back what the last stroke took. */
  renew() {
    this.#steps[this.#steps.length - 1] = { kind: "sheet", items: [] };
    this.#changed();
    this.#emptied = this.#swept = performance.now();
  }

  /** Take back the last step, or the stroke that is being drawn. */
  undo() {
    if (this.live) {
      this.drop();
      this.dispatchEvent(new Event("change"));
      return;
    }
    if (!this.canUndo) return;
    this.#undone.push(/** @type {Step} */ (this.#steps.pop()));
    this.#changed();
  }

  redo() {
    const step = this.live ? undefined : this.#undone.pop();
    if (!step) return;
    this.#steps.push(step);
    this.#changed();
  }

  /**
   * @param {number} width
   * @param {boolean} erasing
   */
  take(width, erasing) {
    this.width = width;
    this.erasing = erasing;
    this.#swept = -Infinity;
    this.dispatchEvent(new Event("tool"));
  }

  /** @param {Step} step */
  #do(step) {
    this.#steps.push(step);
    this.#undone = [];
    while (this.#steps.length > MOST_STEPS + 1 || this.#pictures > MOST_PICTURES) this.#forget(); // the ground is one more step
    this.#changed();
  }

  /** How many are kept. */
  get #pictures() {
    return this.#steps.flatMap((step) => (step.kind === "sheet" ? step.items : step)).filter(({ kind }) => kind === "picture").length;
  }

  /** The oldest step can no longer be undone: it becomes part of the ground. */
  #forget() {
    const [ground, next] = /** @type {[Sheet, Step]} */ (this.#steps);
    const merged = next.kind === "sheet" ? next : { ...ground, items: [...ground.items, next] };
    this.#steps.splice(0, 2, merged);
  }

  /** An empty sheet has nothing to erase: whoever draws on it next wants the brush. */
  #putDownEraser() {
    if (this.erasing) this.take(this.width, false);
  }

  #changed() {
    this.revision++;
    if (this.isUntouched) this.#putDownEraser();
    this.dispatchEvent(new Event("change"));
  }
}
