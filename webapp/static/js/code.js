// The panel with the request as code: three tabs and a button that copies.
import { abridged, parts, WRITERS } from "./requests.js";

/** @returns {(shown: import("./asker.js").Shown) => void}  to be called with every answer */
export function codePanel() {
  const code = /** @type {HTMLElement} */ (document.querySelector("#code"));
  const copy = /** @type {HTMLButtonElement} */ (document.querySelector("#copy"));
  const copied = /** @type {HTMLElement} */ (document.querySelector("#copied"));
  const choices = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('input[name="language"]'));
  /** @type {import("./asker.js").Shown | null} */
  let latest = null;
  /** @type {import("./requests.js").Parts | null}  made beforehand: some browsers let only the click itself copy */
  let known = null;

  const chosen = () => [...choices].find((choice) => choice.checked)?.value ?? "curl";

  const whole = () => (known ? WRITERS[chosen()](known) : "");

  function show() {
    if (known) code.textContent = abridged(whole());
  }

  choices.forEach((choice) => choice.addEventListener("change", show));
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(whole());
      copied.textContent = "Copied.";
    } catch {
      // not without https: the reader can, once it stands there in full
      code.textContent = whole();
      getSelection()?.selectAllChildren(code);
      copied.textContent = "Marked: copy it with Ctrl-C.";
    }
    setTimeout(() => (copied.textContent = ""), 2500);
  });

  return async (shown) => {
    latest = shown;
    const made = await parts(shown);
    if (shown !== latest) return; // a later answer has come
    known = made;
    copy.disabled = false;
    show();
  };
}
