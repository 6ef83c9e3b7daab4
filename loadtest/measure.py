"""What was measured: one cell a phase and second, small enough to send every second, exact enough for a p99."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

STEPS_PER_E = 100  # latencies fall into buckets one per cent wide


def bucket(ms: float) -> int:
    """Return the number of the bucket that a latency falls into."""
    return round(math.log(max(ms, 0.001)) * STEPS_PER_E)


def middle(number: int) -> float:
    """Milliseconds in the middle of a bucket."""
    return math.exp(number / STEPS_PER_E)


def percentile(latencies: Mapping[int, int], share: float) -> float | None:
    """Milliseconds that `share` of the latencies do not exceed; None if there are none.

    latencies: counts by bucket.
    """
    total = sum(latencies.values())
    if not total:
        return None
    wanted, seen = math.ceil(share * total), 0
    for number in sorted(latencies):
        seen += latencies[number]
        if seen >= wanted:
            break
    return middle(number)


@dataclass
class Cell:
    """Requests of one phase that were due in one second.

    right: answered with the right digits; failures: the others by reason; latencies: of the right ones by bucket;
    late: of all by bucket, how long after it was due each was sent, for want of CPU or of a free user;
    unsent: slots that came due and that no user was free to take before the phase ended.
    """

    right: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    late: Counter[int] = field(default_factory=Counter)
    unsent: int = 0

    @property
    def sent(self) -> int:
        """Requests that got any end."""
        return self.right + self.failures.total()

    def add(self, other: Cell) -> None:
        """Add another cell's counts."""
        self.right += other.right
        self.failures += other.failures
        self.latencies += other.latencies
        self.late += other.late
        self.unsent += other.unsent


def total(cells: Iterable[Cell]) -> Cell:
    """All cells in one."""
    out = Cell()
    for cell in cells:
        out.add(cell)
    return out


class Recorder:
    """Counts by (phase, second)."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], Cell] = {}

    def add(self, phase: int, second: int, latency_ms: float, late_ms: float | None, failure: str | None) -> None:
        """Count one request.  second: of the phase, in which it was due."""
        cell = self._cells.setdefault((phase, second), Cell())
        if failure is None:
            cell.right += 1
            cell.latencies[bucket(latency_ms)] += 1
        else:
            cell.failures[failure] += 1
        if late_ms is not None:
            cell.late[bucket(late_ms)] += 1

    def leave(self, phase: int, by_second: Mapping[int, int]) -> None:
        """Count slots that nobody took."""
        for second, unsent in by_second.items():
            self._cells.setdefault((phase, second), Cell()).unsent += unsent

    def drain(self) -> list[dict[str, Any]]:
        """Give what was counted since the last time, as JSON."""
        cells, self._cells = self._cells, {}
        return [
            {"phase": phase, "second": second, "right": one.right, "failures": one.failures,
             "latencies": list(one.latencies.items()), "late": list(one.late.items()), "unsent": one.unsent}
            for (phase, second), one in cells.items()
        ]  # fmt: skip


def cell_of(row: Mapping[str, Any]) -> Cell:
    """Read what `drain` gave."""
    latencies, late = (Counter(dict(row[name])) for name in ("latencies", "late"))
    return Cell(row["right"], Counter(row["failures"]), latencies, late, row["unsent"])
