// Puts the parts together: strokes on the sheet, questions to the gateway, answers on the page.
import { Asker } from "./asker.js";
import { Board } from "./board.js";
import { codePanel } from "./code.js";
import { Drawing } from "./drawing.js";
import { Inside } from "./inside.js";
import { drawByKeyboard, undoByKeyboard } from "./keyboard.js";
import { onPicture, read } from "./picture.js";
import { drawByPointer } from "./pointer.js";
import { isBare } from "./render.js";
import { firstInk } from "./strokes.js";
import { examples, LastAnswers } from "./thumbs.js";
import { tools } from "./tools.js";
import { View } from "./view.js";

/** @param {string} selector */
const find = (selector) => /** @type {HTMLElement} */ (document.querySelector(selector));

const SLOW_MS = 300; // most pictures are opened sooner

const drawing = new Drawing();
const board = new Board(/** @type {HTMLCanvasElement} */ (find("#canvas")), drawing);
const view = new View();
const inside = new Inside();
const last = new LastAnswers(drawing);
const showCode = codePanel();
const asker = new Asker(drawing, {
  answered(shown) {
    view.show(shown.answer, firstInk(drawing.items));
    inside.show(shown);
    last.add(shown.answer);
    showCode(shown);
  },
  refused: (sentence) => view.refuse(sentence),
  away: (sentence) => view.away(firstInk(drawing.items), sentence),
  busy: (on) => view.busy(on),
});

let turns = 0;

drawing.addEventListener("change", () => {
  turns++;
  if (drawing.isUntouched) view.reset();
  else if (drawing.isBlank) view.refuse("There is nothing to erase yet. To draw, press the eraser again.");
  else if (drawing.wasErased && isBare(drawing.items)) drawing.renew();
  else ask();
});

function ask() {
  view.expect(firstInk(drawing.items));
  asker.request();
}

function predict() {
  if (drawing.isBlank) view.refuse("There is nothing to read yet. Draw a digit first.");
  else {
    view.repeat();
    ask();
  }
}

/** @param {File} file */
async function usePicture(file) {
  const turn = ++turns; // of two pictures the later counts, whichever is decoded first, and whoever draws meanwhile wants none
  const late = setTimeout(() => turn === turns && view.aside("Opening the picture…"), SLOW_MS);
  try {
    const picture = await read(file);
    if (turn !== turns) return;
    drawing.end(); // a hand that is drawing meanwhile has finished
    drawing.lay([picture]);
  } catch {
    if (turn === turns) view.aside("That is not a picture this page can show. Try PNG, JPEG, WebP, BMP or GIF.");
  } finally {
    clearTimeout(late);
  }
}

tools(drawing);
examples(drawing);
drawByPointer(board);
drawByKeyboard(board, find("#cursor"), (words) => (find("#told").textContent = words), predict);
undoByKeyboard(drawing);
onPicture(/** @type {HTMLInputElement} */ (find("#file")), find("#sheet"), usePicture);
find("#predict").addEventListener("click", predict);
