"""A hand at the page's sheet: ten digits as strokes, drawn by mouse or by finger in a real browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digits.curves import arc, curve, line

SHEET = 280
SCREENS = {"phone": {"width": 360, "height": 740}, "desk": {"width": 1440, "height": 900}}
PIXEL_RATIOS = {"phone": 3, "desk": 1}
PATIENCE_MS = 20_000
"""For machines that have much else to do; how quick the page is, a test does not say."""
Path = Sequence[tuple[float, float]]

DIGITS: tuple[list[NDArray[np.float64]], ...] = (
    [arc((0.5, 0.5), (0.33, 0.42), -0.25, -1.02)],
    [line((0.34, 0.3), (0.55, 0.1), (0.53, 0.9))],
    [np.vstack((curve((0.25, 0.3), (0.45, 0.1), (0.7, 0.28), (0.5, 0.6), (0.22, 0.9)), line((0.22, 0.9), (0.8, 0.88))))],
    [np.vstack((
        curve((0.25, 0.18), (0.55, 0.1), (0.7, 0.28), (0.42, 0.47)),
        curve((0.42, 0.47), (0.76, 0.68), (0.5, 0.92), (0.22, 0.82)),
    ))],
    [line((0.55, 0.1), (0.22, 0.62), (0.8, 0.62)), line((0.62, 0.35), (0.6, 0.92))],
    [
        np.vstack((line((0.32, 0.12), (0.3, 0.45)), curve((0.3, 0.45), (0.55, 0.4), (0.74, 0.66), (0.52, 0.92), (0.24, 0.84)))),
        line((0.32, 0.12), (0.74, 0.12)),
    ],
    [curve((0.66, 0.1), (0.4, 0.34), (0.28, 0.7), (0.5, 0.92), (0.72, 0.72), (0.52, 0.52), (0.3, 0.68))],
    [line((0.24, 0.14), (0.76, 0.14), (0.44, 0.9)), line((0.38, 0.52), (0.72, 0.52))],
    [curve(
        (0.64, 0.18), (0.46, 0.09), (0.33, 0.26), (0.5, 0.47), (0.69, 0.7),
        (0.5, 0.92), (0.3, 0.7), (0.5, 0.47), (0.66, 0.28), (0.62, 0.16),
    )],
    [np.vstack((curve((0.68, 0.22), (0.48, 0.1), (0.3, 0.3), (0.48, 0.48), (0.69, 0.26)), line((0.69, 0.26), (0.6, 0.92))))],
)  # fmt: skip
"""Strokes of each digit on a sheet of 1 × 1."""


def opened(chromium: Any, site: str, screen: str = "desk", theme: str = "light", **options: Any) -> Any:
    """Open the page in a context of its own; options: more for the context."""
    context = chromium.new_context(**{
        "viewport": SCREENS[screen], "device_scale_factor": PIXEL_RATIOS[screen], "color_scheme": theme, "has_touch": True,
        "is_mobile": screen == "phone", "service_workers": "block", **options,
    })  # fmt: skip
    page = context.new_page()
    page.goto(site)
    page.wait_for_load_state("load")  # the modules have run by then
    return page


def answer(page: Any) -> str:
    """The digit on the page, once no question is in flight."""
    page.wait_for_selector("#answer:not(.busy):not([data-mood=away]) #digit:not(:empty)", timeout=PATIENCE_MS)
    return str(page.locator("#digit").inner_text())


def place(page: Any, stroke: NDArray[np.float64], every_px: float = 10.0) -> list[tuple[float, float]]:
    """A stroke as points of the window, at most `every_px` apart on the sheet of 280."""
    box = page.locator("#canvas").bounding_box()
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T)))) * SHEET
    at = np.linspace(0, along[-1], max(2, int(along[-1] / every_px)))
    xs, ys = (np.interp(at, along, stroke[:, axis]) for axis in (0, 1))
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in zip(xs, ys, strict=True)]


def draw(page: Any, digit: int, by: str = "mouse") -> None:
    """Draw a digit; by: mouse or touch."""
    page.locator("#canvas").scroll_into_view_if_needed()
    for stroke in DIGITS[digit]:
        (by_touch if by == "touch" else by_mouse)(page, place(page, stroke))


def by_mouse(page: Any, path: Path) -> None:
    """One stroke: press, move, release."""
    page.mouse.move(*path[0])
    page.mouse.down()
    for x, y in path[1:]:
        page.mouse.move(x, y)
    page.mouse.up()


def by_touch(page: Any, path: Path) -> None:
    """One stroke of a finger, as the browser gets it from a touch screen."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, points: Path) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    send("touchStart", path[:1])
    for point in path[1:]:
        send("touchMove", [point])
    send("touchEnd", [])
    session.detach()


def quickly(page: Any, strokes: Sequence[Path]) -> None:
    """Strokes in the sheet's 280 units, as pointer events at once: for many of them."""
    page.evaluate(
        """strokes => {
          const canvas = document.querySelector('#canvas'), box = canvas.getBoundingClientRect();
          const send = (type, [x, y]) => canvas.dispatchEvent(new PointerEvent(type, {
            bubbles: true, pointerId: 1, pointerType: 'mouse', pressure: 0.5, buttons: 1,
            clientX: box.x + x * box.width / 280, clientY: box.y + y * box.height / 280}));
          for (const stroke of strokes) {
            send('pointerdown', stroke[0]);
            for (const point of stroke.slice(1)) send('pointermove', point);
            send('pointerup', stroke[stroke.length - 1]);
          }
        }""",
        [[[float(x), float(y)] for x, y in stroke] for stroke in strokes],
    )


def scribble(page: Any, count: int, seed: int = 0) -> None:
    """`count` strokes anywhere on the sheet."""
    r = np.random.default_rng(seed)
    quickly(page, [[(float(x), float(y)) for x, y in curve(*r.uniform(30, 250, (5, 2)))] for _ in range(count)])


def pixels(page: Any) -> str:
    """The sheet as the screen shows it, after the frame in which it is painted: a PNG as a data URL."""
    frame = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    return str(page.evaluate(f"async () => {{ await {frame}; return document.querySelector('#canvas').toDataURL(); }}"))
