// Mouse, finger and pen → strokes.
import { hundredths, SHEET } from "./strokes.js";

const PEN_ERASER = 32; // the bit in PointerEvent.buttons of a pen turned upside down

/**
 * @param {import("./board.js").Board} board
 */
export function drawByPointer(board) {
  const { canvas, drawing } = board;
  /** @type {number | null} */
  let pointer = null;
  let touching = false; // by a finger, or a palm
  let box = canvas.getBoundingClientRect();

  /**
   * @param {PointerEvent} event
   * @returns {import("./strokes.js").Point}
   */
  function at(event) {
    const x = ((event.clientX - box.left - canvas.clientLeft) * SHEET) / canvas.clientWidth;
    const y = ((event.clientY - box.top - canvas.clientTop) * SHEET) / canvas.clientHeight;
    const pressure = event.pointerType === "pen" && event.pressure > 0 ? event.pressure : 0.5;
    return [hundredths(x), hundredths(y), pressure];
  }

  /** @param {PointerEvent} event */
  function down(event) {
    const turned = (event.buttons & PEN_ERASER) !== 0;
    if (event.button !== 0 && !turned) return;
    if (pointer !== null && touching && event.pointerType === "pen") {
      pointer = null; // it was the palm of the hand that holds the pen
      drawing.drop();
    }
    if (pointer !== null || drawing.live) return;
    pointer = event.pointerId;
    touching = event.pointerType === "touch";
    try {
      canvas.setPointerCapture(pointer); // so that hovering wakes nothing else while the hand draws
    } catch {
      // the pointer is gone already, or was never there but in a script
    }
    box = canvas.getBoundingClientRect();
    drawing.begin(at(event), drawing.erasing || turned, true);
    board.show();
  }

  /** @param {PointerEvent} event */
  function move(event) {
    if (event.pointerId !== pointer || !drawing.live) return;
    box = canvas.getBoundingClientRect(); // the page may have been scrolled under the hand
    const coalesced = event.getCoalescedEvents?.() ?? [];
    const { points } = drawing.live;
    for (const one of coalesced.length ? coalesced : [event]) {
      const point = at(one);
      const [x, y] = points[points.length - 1];
      if (Math.hypot(point[0] - x, point[1] - y) >= 0.5) points.push(point); // less would only be jitter
    }
    board.show();
  }

  /**
   * The hand is lifted, or the system takes the pointer away: either way the stroke stays.
   * @param {PointerEvent} event
   */
  function up(event) {
    if (event.pointerId !== pointer) return;
    pointer = null;
    drawing.end();
  }

  canvas.addEventListener("pointerdown", down);
  addEventListener("pointermove", move);
  for (const name of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) addEventListener(name, up);
}
