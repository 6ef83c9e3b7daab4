// Where the time went: a waterfall of what happened between the end of the stroke and the answer.

/** The gateway's stages in the order in which they happen; it may report others, which then follow. */
const STAGES = ["queue", "decode", "preprocess", "predict"];
/** @type {Record<string, string>} */
const NAMES = { encode: "Encode", network: "Network", decode: "Decode", preprocess: "Preprocess", queue: "Queue", predict: "Model (RPC)" };

export class Inside {
  #rows = /** @type {HTMLElement} */ (document.querySelector("#waterfall"));
  #total = /** @type {HTMLElement} */ (document.querySelector("#total"));
  #version = /** @type {HTMLElement} */ (document.querySelector("#version"));

  /** @param {import("./asker.js").Shown} shown */
  show({ answer, client_ms }) {
    const { total: _, ...stages } = answer.timing_ms;
    const names = [...STAGES.filter((name) => name in stages), ...Object.keys(stages).filter((name) => !STAGES.includes(name))];
    const spans = Object.entries({ ...client_ms, ...Object.fromEntries(names.map((name) => [name, stages[name]])) });
    const total = spans.reduce((sum, [, ms]) => sum + ms, 0);
    let from = 0;
    spans.forEach(([name, ms], at) => {
      const row = this.#rows.children[at] ?? this.#rows.appendChild(newRow());
      const [label, track, time] = /** @type {HTMLElement[]} */ ([...row.children]);
      label.textContent = NAMES[name] ?? name;
      track.style.setProperty("--from", (from / total).toFixed(4));
      track.style.setProperty("--share", (ms / total).toFixed(4));
      time.textContent = spoken(ms, 1);
      from += ms;
    });
    while (this.#rows.children.length > spans.length) this.#rows.lastElementChild?.remove();
    this.#total.textContent = spoken(total, 0);
    this.#version.textContent = `${answer.model.name}, version ${answer.model.version}`;
  }
}

/**
 * @param {number} ms
 * @param {number} digits  after the point
 */
function spoken(ms, digits) {
  return ms < 1000 ? `${ms.toFixed(digits)}\u00a0ms` : `${(ms / 1000).toFixed(1)}\u00a0s`;
}

function newRow() {
  const row = document.createElement("li");
  row.append(document.createElement("span"), document.createElement("span"), document.createElement("span"));
  row.children[1].className = "track";
  row.children[2].className = "time";
  return row;
}
