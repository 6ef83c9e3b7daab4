// When to ask: after every change, one question at a time, and again and again while the service is away.
import { ask } from "./api.js";
import { sendable } from "./render.js";
import { firstInk } from "./strokes.js";

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 2000;
const FAULTS = 3; // after so many the drawing itself must be what the service trips over

/**
 * @typedef {object} Shown
 * @property {import("./api.js").Answer} answer
 * @property {Blob} picture  what was sent
 * @property {{encode: number, network: number}} client_ms
 */

/**
 * @typedef {object} Listener
 * @property {(shown: Shown) => void} answered
 * @property {(sentence: string) => void} refused
 * @property {(sentence?: string) => void} away  the sentence: the service's own
 * @property {(on: boolean) => void} busy
 */

export class Asker {
  #asking = false;
  #wake = () => {};
  #question = new AbortController();
  /** @type {import("./strokes.js").Item | undefined}  the first ink of the drawing that it is about */
  #about;

  /**
   * @param {import("./drawing.js").Drawing} drawing
   * @param {Listener} listener
   */
  constructor(drawing, listener) {
    this.drawing = drawing;
    this.listener = listener;
    addEventListener("online", () => this.#wake());
  }

  /**
   * Ask about the drawing as it is now; while a question is in flight, its answer is dropped if the drawing has changed.  One about
   * another drawing is broken off: its picture may be large, and the line slow.
   */
  async request() {
    this.#wake();
    if (firstInk(this.drawing.items) !== this.#about) this.#question.abort();
    if (this.#asking) return;
    this.#asking = true;
    this.listener.busy(true);
    try {
      await this.#untilAnswered();
    } finally {
      this.#asking = false;
      this.listener.busy(false);
    }
  }

  async #untilAnswered() {
    let wait = FIRST_WAIT_MS;
    let [faults, faulty] = [0, -1];
    while (!this.drawing.isBlank) {
      const { revision } = this.drawing;
      const began = performance.now();
      this.#question = new AbortController();
      this.#about = firstInk(this.drawing.items);
      const picture = await sendable(this.drawing.items);
      const encode = performance.now() - began;
      const reply = await ask(picture, this.#question.signal);
      if (this.drawing.isBlank) return; // cleared meanwhile: there is nothing to say
      if (reply.kind === "dropped") continue;
      if (reply.kind === "away") {
        faults = reply.fault ? (faulty === revision ? faults + 1 : 1) : 0;
        faulty = revision;
        if (faults === FAULTS && revision === this.drawing.revision) {
          this.listener.refused("The service fails on this drawing. Change it, or try again later.");
          return;
        }
        this.listener.away(reply.sentence);
        await this.#pause(Math.max(wait, reply.wait_ms), reply.wait_ms);
        wait = Math.min(wait * 1.6, LONGEST_WAIT_MS);
        continue;
      }
      wait = FIRST_WAIT_MS;
      if (revision !== this.drawing.revision) continue; // stale: the hand went on
      if (reply.kind === "refused") this.listener.refused(reply.sentence);
      else {
        const network = Math.max(0, reply.took_ms - reply.answer.timing_ms.total);
        this.listener.answered({ answer: reply.answer, picture, client_ms: { encode, network } });
      }
      return;
    }
  }

  /**
   * Wait, or until there is a reason not to: a new stroke, or the network is back.
   * @param {number} ms
   * @param {number} least  what the service asked for: nothing is a reason not to
   */
  #pause(ms, least) {
    const began = performance.now();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        // a hasty scribbler must not become a flood
        setTimeout(resolve, Math.max(FIRST_WAIT_MS, least - (performance.now() - began)));
      };
    });
  }
}
