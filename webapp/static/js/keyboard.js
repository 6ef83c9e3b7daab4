// Drawing with the keyboard alone: arrows move a brush over the sheet, space puts it down and lifts it.
import { SHEET, WIDTHS } from "./strokes.js";

const STEP = 10;
const FINE = 2;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * @param {import("./board.js").Board} board
 * @param {HTMLElement} cursor  the ring that shows where the brush is
 * @param {(words: string) => void} tell  says it to those who do not see the ring
 * @param {() => void} predict
 */
export function drawByKeyboard(board, cursor, tell, predict) {
  const { canvas, drawing } = board;
  let [x, y] = [SHEET / 2, SHEET / 2];
  let down = false;
  /** @type {Set<string>} */
  const held = new Set(); // two arrows at once make a diagonal

  function show() {
    cursor.hidden = false;
    cursor.style.setProperty("--x", String(x / SHEET));
    cursor.style.setProperty("--y", String(y / SHEET));
    cursor.style.setProperty("--width", String(drawing.width / SHEET));
    cursor.classList.toggle("down", down);
  }

  function lift() {
    if (!down) return;
    down = false;
    drawing.end();
  }

  function press() {
    if (drawing.live) return; // a pointer is drawing
    down = true;
    drawing.begin([x, y, 0.5]);
    board.show();
  }

  /** @param {number} step */
  function move(step) {
    for (const key of held) {
      x = Math.min(SHEET, Math.max(0, x + ARROWS[key][0] * step));
      y = Math.min(SHEET, Math.max(0, y + ARROWS[key][1] * step));
    }
    if (!down || !drawing.live) return;
    drawing.live.points.push([x, y, 0.5]);
    board.show();
  }

  /** @type {Record<string, () => void>}  on the sheet */
  const keys = {
    " ": () => {
      const erased = drawing.erasing;
      if (down) lift();
      else press();
      tell(down ? "Brush down." : erased && drawing.isUntouched ? "Nothing is left. Brush." : "Brush up.");
    },
    Enter: () => {
      if (down) tell("Brush up.");
      lift();
      predict();
    },
    Escape: () => {
      if (down) tell("Brush up.");
      lift();
    },
  };

  /** @type {Record<string, () => void>}  on the tools as well: after a click on one of them the focus is there */
  const tools = {
    Delete: () => {
      const erased = drawing.erasing;
      lift();
      drawing.end(); // a pointer's stroke too
      drawing.clear();
      tell(erased ? "Cleared. Brush." : "Cleared.");
    },
    e: () => {
      drawing.take(drawing.width, !drawing.erasing);
      tell(drawing.erasing ? "Eraser." : "Brush.");
    },
    1: () => widen(0),
    2: () => widen(1),
    3: () => widen(2),
  };

  /** @param {number} which */
  function widen(which) {
    drawing.take(WIDTHS[which], drawing.erasing);
    tell(["Fine.", "Medium.", "Broad."][which]);
  }

  tools.Backspace = tools.Delete;

  canvas.closest("section")?.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const sheet = event.target === canvas;
    const act = tools[letter(event)] ?? (sheet ? keys[letter(event)] : undefined);
    if (sheet && event.key in ARROWS) {
      held.add(event.key);
      move(event.shiftKey ? FINE : STEP);
    } else if (act) {
      if (!event.repeat) act();
    } else return;
    event.preventDefault();
    if (sheet) show();
  });
  canvas.addEventListener("keyup", (event) => held.delete(event.key));

  function leave() {
    held.clear();
    lift();
    cursor.hidden = true;
  }

  drawing.addEventListener("change", () => {
    if (down && !drawing.live) tell("Brush up."); // a picture came meanwhile
    if (!drawing.live) down = false;
    cursor.classList.toggle("down", down);
  });
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("pointerdown", leave, { capture: true }); // before the pointer puts its own brush down
}

/**
 * Ctrl-Z, Ctrl-Y and Ctrl-Shift-Z anywhere on the page (⌘ on a Mac).
 * @param {import("./drawing.js").Drawing} drawing
 */
export function undoByKeyboard(drawing) {
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = letter(event);
    if (key === "z" && !event.shiftKey) drawing.undo();
    else if (key === "y" || key === "z") drawing.redo();
    else return;
    event.preventDefault();
  });
}

/**
 * The key as a Latin keyboard has it, small: also with Caps Lock, and where another alphabet's letter or digit sits on it, or
 * digits want Shift.
 * @param {KeyboardEvent} event
 */
function letter({ key, code, shiftKey }) {
  if (key.length !== 1) return key;
  if (/^Digit[0-9]$/.test(code) && !shiftKey) return code.slice(5);
  if (/^[\x20-\x7e]$/.test(key)) return key.toLowerCase();
  return /^Key[A-Z]$/.test(code) ? code.slice(3).toLowerCase() : key;
}
