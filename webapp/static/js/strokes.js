// What a drawing is made of, and the smooth line through a stroke's points.
// Coordinates are those of a 280×280 sheet, whatever the screen: the gateway is sent exactly that.

export const SHEET = 280;
export const WIDTHS = [12, 20, 28];
const EDGE = 2; // what an eraser takes beside its width: ink's edges are smoothed, and as wide a line would leave their outline

/**
 * @typedef {[x: number, y: number, pressure: number]} Point  pressure 0.5 is an ordinary hand
 * @typedef {{kind: "stroke", erases: boolean, example?: boolean, width: number, points: Point[] | Float32Array}} Stroke  packed once it is drawn
 * @typedef {{kind: "picture", bitmap: ImageBitmap, file: Blob | null, paper: string, ink: string}} Picture
 * @typedef {Stroke | Picture} Item
 */

/**
 * The first of a drawing that is no stroke of the eraser: as long as it stays, the drawing is the same one.
 * @param {Item[]} items
 */
export function firstInk(items) {
  return items.find((item) => item.kind === "picture" || !item.erases);
}

/**
 * The lines to draw for a stroke: one, or many short ones where a pen pressed unevenly.
 * Between the points it runs as quadratic curves from middle to middle, so that it has no corners but the hand's own.
 * @param {Stroke} stroke
 * @returns {{d: string, width: number}[]}  SVG path data and line width
 */
export function lines({ points: kept, width: chosen, erases }) {
  const points = unpacked(kept);
  const width = erases ? chosen + EDGE : chosen;
  const first = points[0];
  if (points.length === 1) return [{ d: `M${at(first)}l.01 0`, width: width * thickness(first) }];
  const last = points[points.length - 1];
  const pieces = [{ d: `M${at(first)}L${at(middle(first, points[1]))}`, width: width * thickness(first) }];
  for (let i = 1; i < points.length - 1; i++) {
    const [from, to] = [middle(points[i - 1], points[i]), middle(points[i], points[i + 1])];
    pieces.push({ d: `M${at(from)}Q${at(points[i])} ${at(to)}`, width: width * thickness(points[i]) });
  }
  pieces.push({ d: `M${at(middle(points[points.length - 2], last))}L${at(last)}`, width: width * thickness(last) });
  return joined(pieces);
}

/**
 * Neighbours of one width as one path, so that an even stroke is a single line.
 * @param {{d: string, width: number}[]} pieces
 */
function joined(pieces) {
  /** @type {{d: string[], width: number}[]} */
  const runs = [];
  for (const { d, width } of pieces) {
    const run = runs[runs.length - 1];
    if (run && run.width === width) run.d.push(d.slice(d.search(/[LQ]/)));
    else runs.push({ d: [d], width });
  }
  return runs.map(({ d, width }) => ({ d: d.join(""), width }));
}

/**
 * Points as they are kept: hundreds of strokes can be undone, and a small array for each point would weigh several times as much.
 * @param {Point[]} points
 */
export function packed(points) {
  return Float32Array.from(points.flat());
}

/**
 * @param {Point[] | Float32Array} points
 * @returns {Point[]}
 */
function unpacked(points) {
  if (!(points instanceof Float32Array)) return points;
  /** @type {Point[]} */
  const whole = [];
  for (let i = 0; i < points.length; i += 3) whole.push([hundredths(points[i]), hundredths(points[i + 1]), points[i + 2]]);
  return whole;
}

/** @param {Point} point */
function thickness([, , pressure]) {
  return Math.round((0.5 + pressure) * 8) / 8; // steps of an eighth keep the runs long
}

/** @param {Point} point */
function at([x, y]) {
  return `${x} ${y}`;
}

/**
 * @param {Point} a
 * @param {Point} b
 * @returns {Point}
 */
function middle(a, b) {
  return [hundredths((a[0] + b[0]) / 2), hundredths((a[1] + b[1]) / 2), 0.5];
}

/** @param {number} value */
export function hundredths(value) {
  return Math.round(value * 100) / 100;
}
