// What every page has: the light and dark switch, the notice when there is no network, the service worker.

const button = document.querySelector("#theme");

function show() {
  button?.setAttribute("aria-pressed", String(document.documentElement.dataset.bsTheme === "dark"));
}

button?.addEventListener("click", () => document.dispatchEvent(new Event("choosetheme")));
document.addEventListener("theme", show);
show();

const notice = /** @type {HTMLElement | null} */ (document.querySelector("#offline"));

function network() {
  if (notice) notice.hidden = navigator.onLine;
}

addEventListener("online", network);
addEventListener("offline", network);
network();

// a browser without one, or with one forbidden, shows the same page, only not without a network
navigator.serviceWorker?.register("/sw.js").catch(() => {});
