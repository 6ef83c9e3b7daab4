// Keeps the page when there is no network: fresh from the server whenever it answers, from the cache when it does not.
const CACHE = "digits-{{ release }}";
const PAGES = ["/"];
const FILES = {{ kept | tojson }};

addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll([...PAGES, ...FILES])).then(() => skipWaiting()));
});

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
  else if (request.mode === "navigate") event.respondWith(fresh(event, path));
});

/** A page from the server, kept for when it is away. */
async function fresh(event, path) {
  try {
    const response = await fetch(event.request);
    if (response.ok) {
      const copy = response.clone();
      event.waitUntil(caches.open(CACHE).then((cache) => cache.put(path, copy)));
    }
    return response;
  } catch {
    return offline(path);
  }
}

async function offline(path) {
  return (await caches.match(path)) ?? (await caches.match("/")) ?? Response.error();
}
