// The tools beside the sheet: widths, eraser, undo, redo, clear.

/** @param {import("./drawing.js").Drawing} drawing */
export function tools(drawing) {
  const [eraser, undo, redo, clear] = ["eraser", "undo", "redo", "clear"].map(
    (id) => /** @type {HTMLButtonElement} */ (document.getElementById(id)),
  );
  const widths = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('input[name="width"]'));
  const hint = document.querySelector("#hint");

  eraser.addEventListener("click", () => drawing.take(drawing.width, !drawing.erasing));
  undo.addEventListener("click", () => drawing.undo());
  redo.addEventListener("click", () => drawing.redo());
  clear.addEventListener("click", () => drawing.clear());
  widths.forEach((one) => one.addEventListener("change", () => drawing.take(Number(one.value), drawing.erasing)));

  function show() {
    eraser.setAttribute("aria-pressed", String(drawing.erasing));
    widths.forEach((one) => (one.checked = Number(one.value) === drawing.width));
    // aria-disabled, not disabled: a button that was just pressed keeps the focus; clearing a clear sheet does no harm
    undo.setAttribute("aria-disabled", String(!drawing.canUndo));
    redo.setAttribute("aria-disabled", String(!drawing.canRedo));
    hint?.classList.toggle("gone", !drawing.isUntouched);
  }

  drawing.addEventListener("change", show);
  drawing.addEventListener("tool", show);
  show();
}
