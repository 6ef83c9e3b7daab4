"""Figures of the model card → what a template needs to draw them: points, ticks, shades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 320.0, 150.0
SHADES = 5


@dataclass(frozen=True)
class Line:
    """One curve: its name, and SVG polyline points."""

    name: str
    points: str


@dataclass(frozen=True)
class Chart:
    """Curves over epochs on a logarithmic axis of width × height units, y downwards."""

    title: str
    lines: list[Line]
    y_ticks: list[tuple[float, str]]
    x_ticks: list[tuple[float, str]]
    width: float = WIDTH
    height: float = HEIGHT


def learning(history: Sequence[dict[str, Any]]) -> list[Chart]:
    """The training's loss and share of errors, epoch by epoch.  Nothing of fewer than two epochs is drawn."""
    if len(history) < 2:
        return []
    columns = {name: [row[name] for row in history if name in row] for name in history[0]}
    for name in ("accuracy", "held_accuracy"):
        if name in columns:
            columns[name.replace("accuracy", "errors")] = [1 - value for value in columns[name]]
    plots = [
        ("Loss", {"training": "loss", "held out": "held_loss"}, "{:g}"),
        ("Read wrongly", {"training": "errors", "held out": "held_errors"}, "{:.4g} %"),
    ]
    return [
        _chart(title, {label: columns[key] for label, key in keys.items() if len(columns.get(key, ())) == len(history)}, form)
        for title, keys, form in plots
        if any(len(columns.get(key, ())) == len(history) for key in keys.values())
    ]


def _chart(title: str, series: dict[str, list[float]], form: str) -> Chart:
    smallest = 1e-4  # a logarithm needs a floor: one digit in ten thousand
    values = [max(value, smallest) for row in series.values() for value in row]
    low, high = math.log10(min(values)) - 0.05, math.log10(max(values)) + 0.05
    epochs = max(len(row) for row in series.values())

    def x(epoch: int) -> float:
        return (epoch - 1) / max(epochs - 1, 1) * WIDTH

    def y(value: float) -> float:
        return (high - math.log10(max(value, smallest))) / (high - low) * HEIGHT

    percent = 100 if "%" in form else 1
    return Chart(
        title,
        [
            Line(name, " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in enumerate(row, start=1)))
            for name, row in series.items()
        ],
        [(y(tick), form.format(tick * percent)) for tick in _decades(low, high)],
        [(x(epoch), str(epoch)) for epoch in sorted({1, (epochs + 1) // 2, epochs})],
    )


def _decades(low: float, high: float) -> list[float]:
    """Round values between 10^low and 10^high: powers of ten, and where they are fewer than three, twos and fives too."""
    for steps in ((1,), (1, 2, 5)):
        ticks = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
        ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(ticks) >= 3:
            break
    return ticks


@dataclass(frozen=True)
class Cell:
    """One count of a confusion matrix; shade 0 (none) to SHADES (the commonest mistake)."""

    count: int
    right: bool
    shade: int


def confusion(table: Sequence[Sequence[int]]) -> list[list[Cell]]:
    """Rows = what was drawn, columns = what was read."""
    most = max((count for i, row in enumerate(table) for j, count in enumerate(row) if i != j), default=0)
    top = math.log1p(most) or 1.0
    return [
        [Cell(count, i == j, 0 if i == j else math.ceil(SHADES * math.log1p(count) / top)) for j, count in enumerate(row)]
        for i, row in enumerate(table)
    ]
