// What the page says: the digit, the sentence, how sure, ten bars, what the model saw.

const ADVICE = "Draw it once more, a little plainer.";
const SOON_MS = 300; // most answers are quicker
const AGAIN_MS = 100; // for so long words are gone that are to be heard a second time
const ASIDE_MS = 5000;

/** @typedef {[mood: string, digit: string, sentence: string, sure: string, advice: string]} Words */

export class View {
  /** @type {number | undefined}  fires when an answer that is waited for is not there soon */
  #late;
  /** @type {unknown}  the drawing that bars and picture are about, by its first ink */
  #about;
  /** @type {Words}  what stands there */
  #said;
  /** @type {Words | null}  what stood there before something that is not about the drawing */
  #before = null;
  /** @type {number | undefined}  fires when the sentence comes back, to be heard a second time */
  #again;

  constructor() {
    this.panel = find("#answer");
    this.digit = find("#digit");
    this.sentence = find("#sentence");
    this.sure = find("#sure");
    this.advice = find("#advice");
    this.seen = /** @type {HTMLImageElement} */ (find("#seen"));
    this.bars = Array.from(document.querySelectorAll("#bars li"), (row) => ({
      row: /** @type {HTMLElement} */ (row),
      share: /** @type {HTMLElement} */ (row.querySelector(".share")),
    }));
    this.#said = ["quiet", "", this.sentence.textContent ?? "", this.sure.textContent ?? "", ""];
  }

  /** Nothing is on the sheet. */
  reset() {
    this.#say("quiet", "", "Draw a digit.", "Any hand will do; the answer comes as you draw.", "");
    this.#showNothing();
  }

  /**
   * @param {import("./api.js").Answer} answer
   * @param {unknown} about  the drawing's first ink
   */
  show(answer, about) {
    this.#about = about;
    if (answer.note) {
      this.#say("unsure", "", ...parted(answer.sentence), ""); // no digit: whatever the network makes of it is no answer
      this.#share([]);
    } else {
      this.#say(answer.sure ? "sure" : "unsure", String(answer.digit), answer.sentence, howSure(answer), answer.sure ? "" : ADVICE);
      this.#share(answer.probabilities);
    }
    this.seen.src = answer.image;
    this.seen.hidden = false;
  }

  /** @param {string} sentence */
  refuse(sentence) {
    this.#say("quiet", "", ...parted(sentence), "");
    this.#showNothing();
  }

  /**
   * Say something that is not about the drawing; what stood there comes back.
   * @param {string} sentence
   */
  aside(sentence) {
    const before = this.#before ?? this.#said;
    this.#say("quiet", "", ...parted(sentence), "");
    this.#before = before;
    this.#late = setTimeout(() => this.#say(...before), ASIDE_MS);
  }

  /**
   * The evidence of the last answer stays in view while it is about this drawing; it is only the words that change.
   * @param {unknown} about  the drawing's first ink
   * @param {string} [why]  the service's own sentence
   */
  away(about, why) {
    const sentence = why ?? (navigator.onLine ? "The reader is away for a moment." : "You are offline.");
    const [matter, remedy] = parted(sentence);
    this.#say("away", "", matter || remedy, "Keep this page open: the answer comes by itself.", "");
    if (about !== this.#about) this.#showNothing();
  }

  /**
   * An answer is on its way: where none is shown, or another drawing's, and it takes a while, say so.
   * @param {unknown} about  the drawing's first ink
   */
  expect(about) {
    if (this.#before) this.#say(...this.#before);
    if (this.panel.dataset.mood !== "quiet" && about === this.#about) return;
    this.#late ??= setTimeout(() => {
      this.#say("quiet", "", "Reading…", "", "");
      this.#showNothing();
    }, SOON_MS);
  }

  /** The answer was asked for by hand: say it again, if it is the same. */
  repeat() {
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.panel.animate({ opacity: [0.3, 1] }, 2 * AGAIN_MS);
    this.sentence.textContent = "";
    this.#again ??= setTimeout(() => {
      this.#again = undefined;
      this.sentence.textContent = this.#said[2];
    }, AGAIN_MS);
  }

  /** @param {boolean} on */
  busy(on) {
    this.panel.classList.toggle("busy", on);
  }

  /**
   * @param {string} mood
   * @param {string} digit
   * @param {string} sentence
   * @param {string} sure
   * @param {string} advice
   */
  #say(mood, digit, sentence, sure, advice) {
    clearTimeout(this.#late);
    this.#late = undefined;
    this.#before = null;
    this.#said = [mood, digit, sentence, sure, advice];
    this.panel.dataset.mood = mood;
    for (const [element, text] of /** @type {const} */ ([
      [this.digit, digit], [this.sentence, sentence], [this.sure, sure], [this.advice, advice],
    ])) {
      if (element === this.sentence && this.#again) continue; // it comes in a moment
      if (element.textContent !== text) element.textContent = text; // what has not changed is not announced again
    }
  }

  /** No drawing's evidence. */
  #showNothing() {
    this.#about = undefined;
    this.#share([]);
    this.seen.hidden = true;
  }

  /** @param {number[]} probabilities */
  #share(probabilities) {
    const most = Math.max(...probabilities);
    this.bars.forEach(({ row, share }, digit) => {
      const value = probabilities[digit] ?? 0;
      row.style.setProperty("--share", value.toFixed(4));
      row.classList.toggle("first", probabilities.length > 0 && value === most);
      share.textContent = probabilities.length ? percent(value) : "";
    });
  }
}

/**
 * What is the matter, and what to do about it.
 * @param {string} text  one or two sentences
 * @returns {[string, string]}
 */
function parted(text) {
  const [, matter, remedy] = /^(.*?\.) (.*)$/.exec(text) ?? ["", text, ""];
  return [matter, remedy];
}

/** @param {import("./api.js").Answer} answer */
function howSure({ sure, confidence }) {
  const words = !sure ? "Not sure" : confidence >= 0.995 ? "As good as certain" : confidence >= 0.95 ? "Very sure" : "Fairly sure";
  return `${words}: ${percent(confidence)}`;
}

/** @param {number} share */
function percent(share) {
  if (share > 0.999) return ">\u202f99.9\u00a0%";
  if (share < 0.001) return "<\u202f0.1\u00a0%";
  return `${(100 * share).toFixed(1)}\u00a0%`;
}

/** @param {string} selector */
function find(selector) {
  return /** @type {HTMLElement} */ (document.querySelector(selector));
}
