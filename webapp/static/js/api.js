// The gateway's API, as the page uses it.

/**
 * @typedef {object} Answer
 * @property {number} digit
 * @property {number} confidence
 * @property {boolean} sure
 * @property {string} sentence
 * @property {string} [note]  what makes it no single digit; the sentence then says what to do
 * @property {number[]} probabilities
 * @property {string} image  data URL of the 28×28 that the model saw
 * @property {{name: string, version: number}} model
 * @property {Record<string, number>} timing_ms  by stage in the gateway, and their total
 *
 * @typedef {{kind: "answer", answer: Answer, took_ms: number}} Answered  took_ms: from sending to having it
 * @typedef {{kind: "refused", sentence: string}} Refused  asking again would not help
 * @typedef {{kind: "away", wait_ms: number}} Away  it would, later
 */

const PATIENCE_MS = 8000;
const PASSING = new Set([408, 429, 500, 502, 503, 504]);

/**
 * Ask what digit a picture shows; never rejects.
 * @param {Blob} picture
 * @returns {Promise<Answered | Refused | Away>}
 */
export async function ask(picture) {
  const sent = performance.now();
  try {
    const response = await fetch("/api/predict", {
      method: "POST",
      body: picture,
      headers: { "Content-Type": picture.type || "application/octet-stream" },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (PASSING.has(response.status)) {
      const seconds = Number(response.headers.get("Retry-After")) || 0; // a proxy may send a date
      return { kind: "away", wait_ms: 1000 * seconds };
    }
    const body = await response.json();
    if (!response.ok) return { kind: "refused", sentence: body.sentence };
    return { kind: "answer", answer: body, took_ms: performance.now() - sent };
  } catch {
    return { kind: "away", wait_ms: 0 }; // no network, no server, or no patience left
  }
}
