// Light or dark, before the first paint: the visitor's choice, else the system's.  Not a module, because those wait.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  /** @type {string | null} */
  let chosen = null;

  function recall() {
    try {
      chosen = localStorage.getItem("theme");
    } catch {
      // storage may be forbidden; the choice then lasts as long as the page
    }
  }

  function apply() {
    const theme = chosen ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.bsTheme = theme;
    document.querySelector('meta[name="theme-color"]')?.setAttribute("content", theme === "dark" ? "#15171c" : "#f7f5f0");
    document.dispatchEvent(new Event("theme"));
  }

  document.addEventListener("choosetheme", () => {
    const now = document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark";
    chosen = now === (dark.matches ? "dark" : "light") ? null : now; // back in step with the system: follow it again
    try {
      if (chosen) localStorage.setItem("theme", chosen);
      else localStorage.removeItem("theme");
    } catch {
      // as above
    }
    apply();
  });
  dark.addEventListener("change", apply);
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return; // else it was chosen on another page, and this one comes back as it was left
    recall();
    apply();
  });
  recall();
  apply();
})();
