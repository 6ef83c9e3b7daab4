"""Stroke skeletons of the ten digits as the world writes them, drawn by rule.

MNIST was written by Americans: its 1 is a bare stick and its 7 has no bar.  People elsewhere
give the 1 a flag and a foot, bar the 7, leave the 4 open, curl the 9.  Each function here draws
one digit in a random hand as a list of strokes, about one unit high; every number is a guess at
how far hands differ, none was fitted to anybody's data.  Which kinds of shape there are was chosen
by looking at what earlier networks misread, drawings of pen digits among them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from digits.curves import Random, Stroke, arc, curve, line
from digits.straight import four, one, seven


def zero(r: Random) -> list[Stroke]:
    if r.random() < 0.08:  # begun out at the upper right; the ring shuts on its own side, well below where the pen came in
        width, end = r.uniform(0.45, 0.85), (r.uniform(0.02, 0.3), r.uniform(0.12, 0.28))
        out = (width * r.uniform(0.35, 0.95), r.uniform(-0.03, 0.08))
        left = [(0.2 * width, r.uniform(0.1, 0.2)), (0.0, r.uniform(0.5, 0.65)), (0.45 * width, 1.0)]
        right = [(width, r.uniform(0.5, 0.65)), (width * r.uniform(0.65, 0.85), r.uniform(0.12, 0.24))]
        return [curve(out, *left, *right, (end[0] * width, end[1]))]
    # most hands start near the top; some do not close, some run over and end in a curl inside
    start, sweep = r.normal(-0.25, 0.06), r.uniform(0.86, 1.12)
    curl = r.random() < 0.15
    if curl:
        sweep = r.uniform(1.1, 1.45)
    outline = arc((0.35, 0.5), (r.uniform(0.2, 0.46), 0.5), start, sweep * r.choice((-1, 1), p=(0.7, 0.3)), r.uniform(1.7, 2.4))
    along = np.linspace(0, 1, len(outline))
    outline[:, 0] += along * r.normal(0, 0.06)  # the end misses the start sideways
    if curl:
        inward = np.clip((along - 1 / sweep) / (1 - 1 / sweep), 0, 1)[:, None] * r.uniform(0.2, 0.7)
        outline += inward * (np.array([0.35, 0.5]) - outline)
    elif r.random() < 0.2:  # the pen comes in from the upper right, or swings out there, over a ring that is whole
        top = (0.35 + r.normal(0.02, 0.05), r.uniform(0.0, 0.1))
        way = [(top[0] + r.uniform(0.05, 0.2), top[1] - r.uniform(-0.04, 0.1))]
        way.append((way[0][0] + r.uniform(0.02, 0.2), way[0][1] + r.normal(-0.02, 0.05)))
        return [outline, curve(top, *way)]
    elif r.random() < 0.1:  # slashed, as programmers and radio operators do
        reach, lean = r.uniform(0.25, 0.62), np.deg2rad(r.uniform(35, 75))
        dx, dy = reach * np.cos(lean), reach * np.sin(lean)
        return [outline, line((0.35 + dx, 0.5 - dy), (0.35 - dx, 0.5 + dy))]
    return [outline]


def two(r: Random) -> list[Stroke]:
    width, neck = r.uniform(0.5, 0.8), r.uniform(0.2, 0.34)
    head = [(0.02, r.uniform(0.1, 0.34)), (0.28 * width, 0.02), (0.75 * width, 0.06), (0.9 * width, neck)]
    if r.random() < 0.15:  # a flat, nearly Z-shaped head
        head = [(0.04, 0.06 + r.normal(0, 0.03)), (0.8 * width, 0.03), (0.85 * width, 0.12)]
    corner = (r.uniform(-0.02, 0.14), r.uniform(0.9, 1.0))
    end = (width * r.uniform(0.85, 1.45), 0.97 + r.normal(0, 0.05))
    down = [*head, (0.62 * width, 0.55 + r.normal(0, 0.03)), corner]
    style = r.random()
    if style < 0.5:  # an angular foot
        return [np.vstack((curve(*down), curve(corner, (0.5 * width, 0.96 + r.normal(0, 0.035)), end)))]
    if style < 0.8:  # a loop at the lower left
        loop = [(0.02, 0.98), (0.0, 0.86), (0.14, 0.8), (0.4 * width, 0.95)]
        return [curve(*down[:-1], (0.3 * width, 0.85), *loop, end)]
    return [curve(*down, (0.45 * width, 0.93 + r.normal(0, 0.02)), end)]  # rounded


def three(r: Random) -> list[Stroke]:
    width, waist = r.uniform(0.45, 0.7), r.uniform(0.36, 0.54)
    inner = r.uniform(0.12, 0.75) * width
    belly = [(0.98 * width, r.uniform(0.62, 0.78)), (0.6 * width, 1.0)]
    tail = (r.uniform(-0.05, 0.2), r.uniform(0.8, 1.0))
    if r.random() < 0.25:  # flat top, like a Z turning into a bowl
        top = line((0.03, 0.04 + r.normal(0, 0.03)), (0.85 * width, 0.02))
        return [np.vstack((top, curve((0.85 * width, 0.02), (inner, waist)), curve((inner, waist), *belly, tail)))]
    head = [(0.02, r.uniform(0.06, 0.2)), (0.45 * width, 0.0), (0.88 * width, 0.2)]
    style = r.random()
    if style < 0.2:  # a small loop at the waist
        return [curve(*head, (inner + 0.1, waist), (inner - 0.06, waist + 0.03), (inner + 0.08, waist + 0.07), *belly, tail)]
    if style < 0.35:  # hardly any waist: the stroke slides from the head into the belly
        return [curve(*head, (0.72 * width, waist), *belly, tail)]
    if style < 0.47:  # a wide head, a notch for a waist, and a belly that is all tail
        waist, notch = r.uniform(0.3, 0.5), r.uniform(0.6, 0.86) * width
        hook = (r.uniform(-0.1, 0.3) * width, r.uniform(0.88, 1.02))
        low = [(r.uniform(0.85, 1.1) * width, r.uniform(0.6, 0.75)), (r.uniform(0.45, 0.75) * width, r.uniform(0.9, 1.0))]
        return [
            np.vstack(
                (
                    curve((0.02, r.uniform(0.02, 0.16)), (0.5 * width, 0.0), (width, r.uniform(0.06, 0.16)), (notch, waist)),
                    curve((notch, waist), *low, hook),
                )
            )
        ]
    return [np.vstack((curve(*head, (inner, waist)), curve((inner, waist), *belly, tail)))]


def five(r: Random) -> list[Stroke]:
    width, left = r.uniform(0.45, 0.68), r.uniform(0.02, 0.16)
    shoulder = r.uniform(0.32, 0.5)
    bowl = [
        (0.62 * width, shoulder - r.uniform(0, 0.04)),
        (width, 0.68),
        (0.62 * width, 0.98),
        (r.uniform(-0.06, 0.14), r.uniform(0.84, 1.0)),
    ]
    if r.random() < 0.1:  # the bowl is drawn nearly shut
        bowl[2:] = [(0.45 * width, 0.98), (r.uniform(0.0, 0.12), 0.86), (r.uniform(0.0, 0.2), r.uniform(0.62, 0.78))]
    top_left = (left + r.uniform(0, 0.16), r.uniform(0, 0.06))
    bar_end = (width * r.uniform(0.85, 1.6), r.normal(0.0, 0.05))
    neck = curve(top_left, (left + 0.02, 0.22), (left - 0.02, shoulder + 0.03))
    body = np.vstack((neck, curve((left - 0.02, shoulder + 0.03), *bowl)))
    style = r.random()
    if style < 0.42:  # the bar is a stroke of its own, and may miss the neck
        start = (top_left[0] + r.normal(0, 0.05), top_left[1] + r.normal(0, 0.035))
        return [body, line(start, bar_end)]
    if style < 0.72:
        return [np.vstack((line(bar_end, top_left), body))]
    if style < 0.86:  # all angles: neck, shoulder and a bowl that is half a diamond
        corner = (left, shoulder)
        point = (width, shoulder + r.uniform(0.12, 0.3))
        zigzag = line(
            top_left,
            corner,
            (0.45 * width, shoulder - r.uniform(-0.06, 0.06)),
            point,
            (0.4 * width, 0.97),
            (left * r.uniform(0, 1), 1.0),
        )
        return [zigzag, line((top_left[0] + r.normal(0, 0.04), top_left[1]), bar_end)]
    return [curve(bar_end, (0.6 * width, 0.0), (left, 0.2), (0.25 * width, shoulder + 0.03), *bowl)]  # nearly an S


def six(r: Random) -> list[Stroke]:
    width, eye = r.uniform(0.42, 0.68), r.uniform(0.42, 0.6)
    start = (width * r.uniform(0.4, 1.15), r.uniform(-0.02, 0.06))
    turn = (r.uniform(-0.05, 0.25) * width, r.uniform(0.72, 0.98))
    close = (r.uniform(-0.02, 0.35) * width, r.uniform(0.6, 0.85))
    back = [(0.18 * width, 0.35), (0.0, 0.68), (0.42 * width, 1.0), (width, 0.76), (0.58 * width, eye), close]
    if r.random() < 0.3:  # a straight stem
        back = [(0.3 * width, 0.3), (0.02, 0.7), (0.4 * width, 1.0), (width, 0.78), (0.6 * width, eye + 0.04), close]
    return [curve(start, *back, *([turn] if r.random() < 0.2 else []))]


def eight(r: Random) -> list[Stroke]:
    upper, lower, waist = r.uniform(0.13, 0.3), r.uniform(0.18, 0.36), r.uniform(0.38, 0.56)
    c = 0.4
    style = r.random()
    if style < 0.15:  # two rings
        top = arc((c, waist / 2), (upper, waist / 2 + 0.02), r.uniform(0, 1), r.uniform(0.95, 1.1))
        return [
            top,
            arc((c + r.normal(0, 0.03), (1 + waist) / 2), (lower, (1 - waist) / 2), r.uniform(0.6, 0.9), r.uniform(0.95, 1.1)),
        ]
    if style < 0.27:  # the lower ring squeezed to a loop of string, the upper one wide and not quite shut
        lower, upper = r.uniform(0.06, 0.18), r.uniform(0.14, 0.3)
    # one stroke from the upper right: an S, and back up; the ends may not meet, or may cross
    gap = r.normal(0.03, 0.09)
    begin = (c + upper * r.uniform(0.4, 1.15), r.uniform(0.0, 0.24))
    s = [(c, 0.0), (c - upper, waist * 0.45), (c, waist), (c + lower, (1 + waist) / 2), (c, 1.0), (c - lower, (1 + waist) / 2)]
    back = [
        (c + r.normal(0, 0.03), waist + r.normal(0, 0.02)),
        (c + upper * 0.9 + gap, waist * 0.45),
        (begin[0] - 0.02 + gap, begin[1] - gap),
    ]
    stroke = curve(begin, *s, *back)
    if r.random() < 0.3:  # mirrored hand
        stroke[:, 0] = 2 * c - stroke[:, 0]
    return [stroke]


def nine(r: Random) -> list[Stroke]:
    width, eye = r.uniform(0.4, 0.62), r.uniform(0.32, 0.56)
    start = (width * r.uniform(0.75, 1.02), r.uniform(0.02, 0.2))
    loop = [(0.5 * width, 0.0), (0.0, 0.5 * eye), (0.42 * width, eye)]
    style = r.random()
    if style < 0.12:  # the loop stays open, the hand turns early
        loop = [(0.45 * width, 0.02), (0.08, 0.5 * eye), (0.5 * width, eye - 0.04)]
    elif style < 0.3:  # a small curl high up, begun inside
        eye = r.uniform(0.24, 0.36)
        start = (0.5 * width, r.uniform(0.1, 0.2))
        loop = [(0.62 * width, 0.0), (0.2 * width, 0.0), (0.05, 0.6 * eye), (0.4 * width, eye)]
    meet = (width * r.uniform(0.86, 1.02), r.uniform(0.04, 0.26))
    if 0.3 <= style < 0.38:  # the loop pressed flat by a hurried hand
        eye = r.uniform(0.14, 0.26)
        start = (width * r.uniform(0.85, 1.0), r.uniform(0.06, 0.14))
        loop = [(0.5 * width, 0.0), (0.05, 0.65 * eye), (0.42 * width, eye)]
        meet = (width * r.uniform(0.9, 1.05), r.uniform(0.04, 0.14))
    tail = r.random()
    if tail < 0.4:  # straight down
        down = [(width * r.uniform(0.75, 1.05), 0.62), (width * r.uniform(0.2, 1.05), 1.0)]
        return [np.vstack((curve(start, *loop, meet), curve(meet, *down)))]
    if tail < 0.72:  # a tail curling to the left
        end = (r.uniform(-0.15, 0.35) * width, r.uniform(0.8, 1.0))
        down = [(width * r.uniform(0.92, 1.08), 0.55), (0.6 * width, 0.97), end]
        return [np.vstack((curve(start, *loop, meet), curve(meet, *down)))]
    if tail < 0.9:  # the loop runs on into the tail without going back up: a curl over a wide bow
        start = (0.55 * width, eye * r.uniform(0.7, 1.0))  # begun at the loop's foot, so that the loop is closed all the same
        loop = [(0.88 * width, 0.42 * eye), (0.5 * width, 0.0), (0.02, 0.5 * eye), (0.42 * width, eye)]
        bow = [(0.75 * width, eye + r.uniform(-0.06, 0.04)), (width * r.uniform(0.98, 1.15), r.uniform(0.55, 0.7))]
        return [curve(start, *loop, *bow, (0.55 * width, 0.98), (r.uniform(-0.1, 0.3) * width, r.uniform(0.82, 1.0)))]
    ring = arc((0.5 * width, eye / 2), (0.5 * width, eye / 2), r.uniform(-0.2, 0.05), -r.uniform(0.95, 1.1))
    return [ring, line((width, r.uniform(0.0, 0.25)), (width * r.uniform(0.5, 1.0), 1.0))]


HANDS: tuple[Callable[[Random], list[Stroke]], ...] = (zero, one, two, three, four, five, six, seven, eight, nine)
