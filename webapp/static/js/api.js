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
 * @typedef {{kind: "away", wait_ms: number, fault: boolean, sentence?: string}} Away  it would, later; fault: unless this drawing
 *   itself trips the service; sentence: why, if the service says more than that it is away
 * @typedef {{kind: "dropped"}} Dropped  nobody waits for it any more
 */

const PATIENCE_MS = 8000;
const LONGEST_WAIT_MS = 30_000; // whatever the service asks for: nobody looks at a silent page for longer
const TOO_FAST = 429;
const PASSING = new Set([408, TOO_FAST, 500, 502, 503, 504]);

/**
 * Ask what digit a picture shows; never rejects.
 * @param {Blob} picture
 * @param {AbortSignal} dropped
 * @returns {Promise<Answered | Refused | Away | Dropped>}
 */
export async function ask(picture, dropped) {
  const question = new AbortController();
  const giveUp = () => question.abort();
  const patience = setTimeout(giveUp, PATIENCE_MS);
  dropped.addEventListener("abort", giveUp);
  const sent = performance.now();
  try {
    const response = await fetch("/api/predict", {
      method: "POST",
      body: picture,
      headers: { "Content-Type": picture.type || "application/octet-stream" },
      signal: question.signal,
    });
    if (PASSING.has(response.status)) {
      const seconds = Number(response.headers.get("Retry-After")) || 0; // a proxy may send a date
      const wait_ms = Math.min(LONGEST_WAIT_MS, Math.max(0, 1000 * seconds));
      const problem = response.status === TOO_FAST ? await response.json().catch(() => null) : null;
      return { kind: "away", wait_ms, fault: response.status === 500, sentence: problem?.sentence };
    }
    if (!response.ok) {
      const problem = await response.json().catch(() => null); // a proxy's own page is no problem document
      const sentence = problem?.sentence ?? `The service did not take this drawing (${response.status}).`;
      return { kind: "refused", sentence };
    }
    const body = await response.json();
    return { kind: "answer", answer: body, took_ms: performance.now() - sent };
  } catch {
    if (dropped.aborted) return { kind: "dropped" };
    return { kind: "away", wait_ms: 0, fault: false }; // no network, no server, or no patience left
  } finally {
    clearTimeout(patience);
  }
}
