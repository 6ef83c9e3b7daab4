"""`python -m loadtest.capacity --drawings-per-second N --p99-ms M`: replicas and cores, from a report's steps.

What a drawing costs is the slope of each tier's CPU over the load, and what every replica costs is its intercept.
How full the cores may be is how full the measured machine was in the highest step that kept the p99.
docs/capacity.md states what is assumed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.profiles import STEP
from loadtest.run import REPORTS
from loadtest.summary import FILE

TIERS = ("gateway", "model server")
LEAST_STEPS = 3
SPARE = 1  # a replica of each tier may be away (a node drained, a version rolled out) without breaking the promise


class CannotPlan(Exception):
    """The report does not allow the calculation; the text says why."""


@dataclass(frozen=True)
class Cost:
    """What a tier takes.

    per_drawing: core-seconds for one more drawing; per_replica: cores besides, mostly the price of small batches: with its share
    of the drawings only, each replica pays it.
    """

    per_drawing: float
    per_replica: float


@dataclass(frozen=True)
class Measured:
    """What a report says.

    cpus: cores of its machine; costs: by tier; steps: drawings a second, p99 in ms and share of the machine's
    cores in use, by load, of those steps that kept up.
    """

    source: str
    cpus: int
    costs: dict[str, Cost]
    steps: list[tuple[float, float, float]]

    def fullest(self, p99_ms: float) -> tuple[float, float, float]:
        """The highest step within a p99.  Raises CannotPlan if even the quietest is beyond it."""
        good = [step for step in self.steps if step[1] <= p99_ms]
        if not good:
            least = min(p99 for _, p99, _ in self.steps)
            raise CannotPlan(
                f"got a p99 of {p99_ms:g} ms; the least that was measured is {least:.1f} ms, and no number of replicas lowers it"
            )
        return good[-1]


@dataclass(frozen=True)
class Tier:
    """Replicas of one tier.  each: drawings a second that one answers when it is as full as allowed; busy: how many must."""

    name: str
    each: float
    busy: int

    @property
    def replicas(self) -> int:
        """The spare one included."""
        return self.busy + SPARE


def measured(summary: Mapping[str, Any], source: str) -> Measured:
    """Read a report.  Raises CannotPlan."""
    rows = [row for row in summary["rows"] if row["role"] == STEP and row["p99"] is not None and row["kept_up"]]
    rows = sorted((row for row in rows if all(tier in row["cores"] for tier in TIERS)), key=lambda row: row["drawings"])
    if len(rows) < LEAST_STEPS:
        raise CannotPlan(
            f"{source} holds {len(rows)} steps that kept up and whose tiers were watched; wanted at least {LEAST_STEPS} "
            "(run `make loadtest` without HOST, or on the machine that serves)"
        )
    rate = np.array([row["drawings"] for row in rows])
    costs = {}
    for tier in TIERS:
        slope, intercept = np.polyfit(rate, np.array([row["cores"][tier] for row in rows]), 1)
        if slope <= 0:
            raise CannotPlan(f"{source}: the {tier}'s CPU does not grow with the load, so other work on that machine hid it")
        costs[tier] = Cost(float(slope), max(float(intercept), 0.0))
    steps = [(row["drawings"], row["p99"], min(row["cores"]["machine"] / summary["cpus"], 1.0)) for row in rows]
    return Measured(source, summary["cpus"], costs, steps)


def plan(found: Measured, drawings_per_second: float, p99_ms: float, cores_each: float = 1.0) -> list[Tier]:
    """How many replicas of `cores_each` cores each tier needs.  Raises CannotPlan."""
    _, _, full = found.fullest(p99_ms)
    tiers = []
    for name, cost in found.costs.items():
        each = (cores_each * full - cost.per_replica) / cost.per_drawing
        if each <= 0:
            raise CannotPlan(
                f"a {name} takes {cost.per_replica:.2f} cores at any load, so {100 * full:.0f} % of {cores_each:g} leave nothing"
            )
        tiers.append(Tier(name, each, math.ceil(drawings_per_second / each)))
    return tiers


def told(found: Measured, tiers: Sequence[Tier], drawings_per_second: float, p99_ms: float, cores_each: float) -> str:
    """The calculation, step by step."""
    rate, p99, full = found.fullest(p99_ms)
    lines = [f"measured: {found.source}, {found.cpus} cores"]
    for name, cost in found.costs.items():
        lines.append(
            f"  a drawing costs the {name} {1000 * cost.per_drawing:.2f} core-ms, a replica {cost.per_replica:.2f} cores"
        )
    lines.append(f"  the highest step within {p99_ms:g} ms: {rate:.0f} drawings/s, p99 {p99:.0f} ms,")
    lines.append(f"  {100 * full:.0f} % of the cores in use (generator and others included)")
    lines.append(f"wanted: {drawings_per_second:g} drawings/s with a p99 of {p99_ms:g} ms,")
    lines.append(f"  replicas of {cores_each:g} cores, {SPARE} of each tier to spare")
    for tier in tiers:
        cost = found.costs[tier.name]
        usable, ms = cores_each * full, 1000 * cost.per_drawing
        each = f"({usable:.3f} − {cost.per_replica:.3f}) cores ÷ {ms:.3f} core-ms = {tier.each:.0f}/s each"
        count = f"{drawings_per_second:g} ÷ {tier.each:.0f} = {drawings_per_second / tier.each:.2f}"
        lines.append(f"  {tier.name:12}: {each}; {count} → {tier.busy} + {SPARE} = {tier.replicas} replicas")
    lines.append(f"  together {sum(tier.replicas for tier in tiers) * cores_each:g} cores")
    return "\n".join(lines)


def latest(reports: Path) -> Path:
    """The newest report that has steps.  Raises CannotPlan."""
    for folder in sorted(reports.glob("*/"), reverse=True):
        try:
            summary = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if summary["complete"] and any(row["role"] == STEP for row in summary["rows"]):
                return folder / FILE
        except (OSError, ValueError, KeyError, TypeError):
            continue
    raise CannotPlan(f"there is no complete report with steps under {reports}; `make loadtest` writes one")


def main(arguments: list[str] | None = None) -> int:
    """Print the calculation; 0 done, 1 if the report does not allow it, 2 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.capacity", description=__doc__)
    parser.add_argument("--drawings-per-second", type=float, required=True, metavar="N", help="the load to plan for")
    parser.add_argument("--p99-ms", type=float, default=250.0, metavar="M", help="the latency that 99 %% may not exceed")
    parser.add_argument("--cores", type=float, default=1.0, help="of each replica")
    parser.add_argument("--report", type=Path, help="a summary.json; without it the newest report")
    options = parser.parse_args(arguments)
    if not (0 < options.drawings_per_second < 1e9 and options.p99_ms > 0 and options.cores > 0):
        parser.error("got a number that is not positive; wanted drawings a second, ms and cores above 0")
    try:
        report = options.report or latest(REPORTS)
        found = measured(json.loads(report.read_text(encoding="utf-8")), str(report))
        tiers = plan(found, options.drawings_per_second, options.p99_ms, options.cores)
    except CannotPlan as exc:
        print(f"loadtest.capacity: {exc}", file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        why = exc if isinstance(exc, OSError) else f"{report} is no summary.json of a load test"
        print(f"loadtest.capacity: {why}", file=sys.stderr)
        return 2
    print(told(found, tiers, options.drawings_per_second, options.p99_ms, options.cores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
