"""Stroke skeletons of the digits that are made of straight strokes: 1, 4 and 7 (digits.skeletons)."""

from __future__ import annotations

import numpy as np

from digits.curves import Random, Stroke, curve, line


def one(r: Random) -> list[Stroke]:
    lean, bow = r.normal(0, 0.05), r.normal(0, 0.03)
    top, foot = (0.5 + lean, 0.0), (0.5 - lean, 1.0)
    stem = curve(top, (0.5 + bow, 0.5), foot)
    strokes = [stem]
    footed, level = r.random() < 0.3, r.random() < 0.3
    if r.random() < 0.78:  # the flag: a tick, or an upstroke nearly as long as the stem, never level like a 7's bar ...
        angle = np.deg2rad(r.uniform(24, 72))
        length = r.uniform(0.1, 0.45) if r.random() < 0.55 else r.uniform(0.4, 0.85)
        if footed and level:  # ... unless a foot tells the two apart
            angle, length = np.deg2rad(r.uniform(-4, 26)), r.uniform(0.12, 0.45)
        steep = r.random() < 0.18  # up the way the stem comes down, so that the two all but close a loop
        if steep:
            angle, length = np.deg2rad(r.uniform(68, 86)), r.uniform(0.35, 0.8)
        length = min(length, 0.8 / max(np.sin(angle), 0.1), 0.62 / np.cos(angle))
        tip = (top[0] - length * np.cos(angle), top[1] + length * np.sin(angle))
        bend = ((tip[0] + top[0]) / 2 + r.normal(0, 0.03), (tip[1] + top[1]) / 2 + r.normal(0.0, 0.04))
        if steep:
            bend = (bend[0] - r.uniform(0.0, 0.06), bend[1])
        elif r.random() < 0.12:  # the flag comes in level before it rises
            bend = (bend[0] + r.uniform(0.0, 0.08), tip[1] + r.uniform(-0.06, 0.04))
        flag = curve(tip, bend, top)
        if r.random() < 0.35:  # the pen swings over the top instead of turning
            wide = r.choice((0.05, 0.13))
            swing = (top[0] + r.uniform(0.0, wide), top[1] - r.uniform(0.0, 0.05))
            strokes = [curve(tip, bend, swing, (0.5 + bow + 0.02, 0.5), foot)]
        else:
            strokes = [np.vstack((flag, stem))]
        if r.random() < 0.15:  # a hook where the flag begins
            strokes[0] = np.vstack((line((tip[0] + r.uniform(0.0, 0.08), tip[1] - r.uniform(0.02, 0.1))), strokes[0]))
    if footed:
        left, right = r.uniform(0.18 if level else 0.08, 0.48), r.uniform(0.18 if level else 0.05, 0.48)
        tilt = r.normal(0, 0.04)
        strokes.append(line((foot[0] - left, 1.0 + tilt), (foot[0] + right, 1.0 - tilt)))
    elif r.random() < 0.15:  # or a hook at the end
        end = (foot[0] + r.normal(0.06, 0.1), 1.0 - r.uniform(0, 0.08))
        strokes[-1] = np.vstack((strokes[-1], line(end)))
    return strokes


def four(r: Random) -> list[Stroke]:
    bar = r.uniform(0.46, 0.74)
    stem_x, right = r.uniform(0.42, 0.66), r.uniform(0.62, 0.95)
    left = r.uniform(-0.02, 0.12)
    stem_end = (stem_x + r.normal(-0.03, 0.05), 1.0)
    style = r.random()
    if style < 0.33:  # open, two strokes: an angle and a stem
        angle = line((r.uniform(0.1, 0.42), 0.0), (left, bar), (right, bar + r.normal(0, 0.05)))
        return [angle, line((stem_x + r.normal(0.02, 0.04), r.uniform(0.0, 0.5)), stem_end)]
    if style < 0.5:  # narrow, the angle rounded like an L, a short stem through its foot
        bar = r.uniform(0.62, 0.86)
        foot = curve(
            (r.uniform(0.2, 0.5), 0.0),
            (left + 0.04, 0.55 * bar),
            (left, bar - 0.04),
            (left + 0.1, bar),
            (right - 0.1, bar - r.uniform(0, 0.14)),
        )
        stem = line((stem_x + r.normal(0, 0.04), bar - r.uniform(0.06, 0.36)), stem_end)
        squeezed = np.array([r.uniform(0.5, 1.0), 1.0])
        return [foot * squeezed, stem * squeezed]
    if style < 0.68:  # open and round, like a u with a tail
        bowl = curve(
            (left + 0.05, 0.0),
            (left, 0.32),
            (left + 0.12, bar - 0.03),
            (stem_x + r.uniform(-0.04, 0.2), bar - r.uniform(0, 0.12)),
        )
        return [bowl, line((stem_x + 0.06 + r.normal(0, 0.03), r.uniform(-0.06, 0.3)), stem_end)]
    if style < 0.82:  # one stroke: the angle runs on into the stem, or loops into it
        turn = (stem_x + r.uniform(0, 0.1), bar - r.uniform(0.0, 0.15))
        if r.random() < 0.5:
            return [
                curve(
                    (left + 0.25, 0.0),
                    (left, bar - 0.1),
                    (left + 0.1, bar),
                    turn,
                    (turn[0] + 0.05, 0.3),
                    (turn[0] - 0.02, 0.25),
                    (turn[0] - 0.03, 0.6),
                    stem_end,
                )
            ]
        return [line((left + 0.08, 0.0), (left, bar - 0.06), turn, (turn[0], r.uniform(0, 0.25)), stem_end)]
    if style < 0.86:  # a bolt of lightning: down, across and down again without lifting the pen
        corner = (stem_x + r.uniform(-0.02, 0.2), bar - r.uniform(0.0, 0.16))
        return [line((r.uniform(0.3, 0.75), 0.0), (left, bar), corner, (corner[0] - r.uniform(0.05, 0.3), 1.0))]
    top = (stem_x + r.normal(0.03, 0.04), 0.0)  # closed: the angle starts at the stem's top
    angle = line(top, (left, bar), (right, bar + r.normal(0, 0.03)))
    return [angle, line((top[0] + r.normal(0, 0.03), r.uniform(-0.03, 0.08)), stem_end)]


def seven(r: Random) -> list[Stroke]:
    width = r.uniform(0.45, 0.8)
    tilt = r.normal(0, 0.045)
    start, corner = (0.0, 0.02 + tilt), (width, 0.02 - tilt)
    foot = (width * r.uniform(0.12, 0.7), 1.0)
    bow = r.normal(-0.02, 0.05)
    middle = ((corner[0] + foot[0]) / 2 + bow, 0.5)
    bar = curve(start, (0.5 * width, r.normal(0.02, 0.035)), corner)
    if r.random() < 0.4:  # a serif where the bar begins
        bar = np.vstack((line((r.normal(0.0, 0.04), r.uniform(0.1, 0.3))), bar))
    strokes = [np.vstack((bar, curve(corner, middle, foot)))]
    if r.random() < 0.35:  # a round head, like a 2's
        hook = [(r.normal(0.02, 0.03), r.uniform(0.08, 0.24))] if r.random() < 0.5 else []
        strokes = [curve(*hook, (0.12 * width, 0.04), (0.6 * width, 0.0), (width, r.uniform(0.06, 0.16)), middle, foot)]
    if r.random() < 0.6:  # barred, high or low, straight or waved
        at = r.uniform(0.36, 0.74)
        x = corner[0] + (foot[0] - corner[0]) * at
        half, lift = r.uniform(0.1, 0.38), r.normal(0, 0.06)
        shift = r.normal(0.02, 0.09)
        wave = r.normal(0, 0.025)
        left = (x - half + shift, at + lift)
        # the pen that comes back from the foot begins the bar with a hook, as it would a 2's loop; but the stem goes on below
        hook = [(left[0] + r.normal(0.02, 0.04), left[1] + r.uniform(0.06, 0.18))] if r.random() < 0.35 else []
        strokes.append(curve(*hook, left, (x + shift, at + wave), (x + half + shift, at - lift)))
    return strokes
