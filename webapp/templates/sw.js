// Keeps the page when there is no network: fresh from the server whenever it answers, from the cache when it does not.
const CACHE = "digits-{{ release }}";
const PAGES = ["/", "/about", "/docs"]; // addresses that people go to; the others are for programs
const PATIENCE_MS = 3000;
const AWAY = new Set([502, 503, 504]);
const FILES = {{ kept | tojson }};

addEventListener("install", (event) => {
  event.waitUntil(keep().then(() => skipWaiting()));
});

/** Keep this release's files.  While another replica still has the release before, its files are not these: try again later. */
async function keep() {
  const cache = await caches.open(CACHE);
  await cache.add(PAGES[0]);
  await Promise.allSettled(PAGES.slice(1).map((page) => cache.add(page)));
  await Promise.all(FILES.map(async (file) => {
    const response = await fetch(file, { cache: "reload" });
    if (!response.ok || !response.headers.get("Cache-Control")?.includes("immutable")) throw new Error(`not of this release: ${file}`);
    await cache.put(file, response);
  }));
}

addEventListener("activate", (event) => {
  const forget = async () => {
    for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
    await clients.claim();
  };
  event.waitUntil(forget());
});

addEventListener("fetch", (event) => {
  const { request } = event;
  const path = new URL(request.url).pathname;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin) return;
  if (path.startsWith("/assets/")) event.respondWith(caches.match(request).then((kept) => kept ?? fetch(request)));
  else if (request.mode === "navigate" && PAGES.includes(path)) event.respondWith(fresh(event, path));
});

/** A page from the server, kept for when it is away, or takes too long. */
async function fresh(event, path) {
  const kept = await caches.match(path);
  const coming = fetch(event.request).then((response) => {
    if (response.ok) {
      const copy = response.clone();
      event.waitUntil(caches.open(CACHE).then((cache) => cache.put(path, copy)));
    }
    return kept && AWAY.has(response.status) ? kept : response;
  });
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  try {
    return (await (kept ? Promise.race([coming, late]) : coming)) ?? kept;
  } catch {
    return kept ?? (await caches.match("/")) ?? Response.error();
  }
}
