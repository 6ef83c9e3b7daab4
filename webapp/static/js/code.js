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

  const chosen = () => [...choices].find((choice) => choice.checked)?.value ?? "curl";

  async function whole() {
    return latest ? WRITERS[chosen()](await parts(latest)) : "";
  }

  async function show() {
    if (latest) code.textContent = abridged(await whole());
  }

  choices.forEach((choice) => choice.addEventListener("change", show));
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(await whole());
      copied.textContent = "Copied.";
    } catch {
      copied.textContent = "The browser does not allow it.";
    }
    setTimeout(() => (copied.textContent = ""), 2500);
  });

  return (shown) => {
    latest = shown;
    copy.disabled = false;
    show();
  };
}
