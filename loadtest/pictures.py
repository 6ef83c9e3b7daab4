"""Small pictures as SVG: lines over a linear or logarithmic axis, and stacked bars.  Nothing to install."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 28, 46
COLOURS = ("#2f6fde", "#d64550", "#2b9a66", "#b7791f", "#7a5bc7", "#8a97a6")
INK, GRID = "#1f2933", "#d9e2ec"

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A named series; dashed lines carry no marks."""

    name: str
    points: Sequence[Point]
    dashed: bool = False


def ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round numbers between two ends."""
    if logarithmic:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        return [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]
    raw = (high - low) / 5 or 1
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"


def _frame(title: str, body: Sequence[str], x_name: str, y_name: str) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    words = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="16" font-weight="600">{escape(title)}</text>',
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text x="14" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2})">{escape(y_name)}</text>',
    ]
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(title, True)}" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">')  # fmt: skip
    return "\n".join([head, *words, *body, "</svg>"])


def _legend(names: Sequence[str], colours: Sequence[str]) -> list[str]:
    out, x = [], WIDTH - RIGHT
    for name, colour in reversed(list(zip(names, colours, strict=False))):
        x -= 7 * len(name) + 22
        out.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="17">{escape(name)}</text>')
    return out


def lines(title: str, x_name: str, y_name: str, series: Sequence[Line], logarithmic: bool = False,
          mark: tuple[float, str] | None = None) -> str:  # fmt: skip
    """Draw lines over one another.  mark: an x and what to write beside it."""
    points = [point for one in series for point in one.points]
    if not points:
        return _frame(
            title, [f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">nothing was measured</text>'], x_name, y_name
        )
    x_high = max(x for x, _ in points) * 1.04 or 1
    low = min(y for _, y in points) * 0.8 if logarithmic else 0.0
    high = max(max(y for _, y in points) * (1.25 if logarithmic else 1.08), low + 1e-9)

    def px(x: float) -> float:
        return LEFT + x / x_high * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        share = math.log(y / low) / math.log(high / low) if logarithmic else (y - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    body = []
    for y in ticks(low, high, logarithmic):
        body.append(f'<path d="M{LEFT} {py(y):.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>'
                    f'<text x="{LEFT - 6}" y="{py(y) + 4:.1f}" text-anchor="end">{_number(y)}</text>')  # fmt: skip
    for x in ticks(0, x_high, False):
        body.append(f'<text x="{px(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_number(x)}</text>')
    if mark is not None:
        at = px(mark[0])
        anchor, shift = ("end", -5) if at > WIDTH / 2 else ("start", 5)
        body.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{INK}" stroke-dasharray="3 3"/>'
                    f'<text x="{at + shift:.1f}" y="{TOP + 14}" text-anchor="{anchor}">{escape(mark[1])}</text>')  # fmt: skip
    for one, colour in zip(series, COLOURS, strict=False):
        path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in one.points)
        dash = ' stroke-dasharray="5 4" opacity=".6"' if one.dashed else ""
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if not one.dashed and len(one.points) < 60:
            body += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3" fill="{colour}"/>' for x, y in one.points]
    return _frame(title, [*body, *_legend([one.name for one in series], COLOURS)], x_name, y_name)


def bars(title: str, x_name: str, y_name: str, labels: Sequence[str], stacks: Mapping[str, Sequence[float]], top: float) -> str:
    """Draw stacked bars.  stacks: heights by name, one for each label; top: a line across, such as all cores."""
    high = max([top * 1.1, *(sum(column) for column in zip(*stacks.values(), strict=True))]) or 1
    scale = (HEIGHT - TOP - BOTTOM) / high
    slot = (WIDTH - LEFT - RIGHT) / max(len(labels), 1)
    floor = HEIGHT - BOTTOM
    body = [
        f'<path d="M{LEFT} {floor - y * scale:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>'
        f'<text x="{LEFT - 6}" y="{floor - y * scale + 4:.1f}" text-anchor="end">{_number(y)}</text>'
        for y in ticks(0, high, False)
    ]
    for at, label in enumerate(labels):
        x, base = LEFT + slot * (at + 0.15), float(floor)
        for (name, heights), colour in zip(stacks.items(), COLOURS, strict=False):
            height = max(heights[at], 0.0) * scale
            base -= height
            body.append(f'<rect x="{x:.1f}" y="{base:.1f}" width="{slot * 0.7:.1f}" height="{height:.1f}" fill="{colour}">'
                        f"<title>{escape(name)}: {heights[at]:.2f}</title></rect>")  # fmt: skip
        body.append(f'<text x="{x + slot * 0.35:.1f}" y="{floor + 16}" text-anchor="middle">{escape(label)}</text>')
    body.append(f'<path d="M{LEFT} {floor - top * scale:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-dasharray="3 3"/>')
    return _frame(title, [*body, *_legend(list(stacks), COLOURS)], x_name, y_name)
