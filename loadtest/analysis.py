"""From the log of a run to its tables: phases, knee, what was the limit."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtest.kinds import KINDS, UNANSWERED
from loadtest.measure import Cell, cell_of, percentile, total
from loadtest.profiles import HELD, SETTLE_S, STEP
from loadtest.watch import Sample, means

KEEPS_UP = 0.95  # of what was offered
BUSY = 0.9  # of the cores
NEAR_CEILING = 0.8


@dataclass
class Row:
    """One phase as measured, its first second apart.

    offered, right: requests a second (offered None in a closed loop, with random arrivals what came due); drawings: right ones
    a second; p50, p95, p99: ms from when a request was due; late_p99: ms from when one was due until it was sent; cores: by name.
    """

    number: int
    role: str
    kind: str
    users: int
    began: float
    seconds: float
    offered: float | None
    right: float
    drawings: float
    p50: float | None
    p95: float | None
    p99: float | None
    late_p99: float | None
    failures: dict[str, int]
    sent: int
    cores: dict[str, float] = field(default_factory=dict)

    @property
    def failed_percent(self) -> float:
        """Share of those sent that got no right answer."""
        return 100 * sum(self.failures.values()) / self.sent if self.sent else 0.0

    @property
    def kept_up(self) -> bool:
        """Whether nearly all that was due was answered rightly in the same time."""
        return self.offered is None or self.right >= KEEPS_UP * self.offered - 1 / max(self.seconds, 1)


@dataclass
class Run:
    """What the log holds."""

    rows: list[Row]
    probed: float | None
    failures: dict[str, int]
    seconds: dict[int, list[Any]]
    """By phase: second, right answers, p99 of every second, for the picture over time."""


def read(log: Path, ended: float, samples: Sequence[Sample]) -> Run:
    """Read the log of a run that ended (or was stopped) at `ended`, on time.time()'s clock."""
    begun: list[dict[str, Any]] = []
    cells: dict[int, dict[int, Cell]] = {}
    probed = None
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue  # the line that was being written when the process was stopped
        if "phase" in document:
            begun.append(document["phase"])
        elif "end" in document:
            ended = min(ended, document["end"]["at"])
        elif "probe" in document:
            probed = document["probe"]["right_per_second"]
        elif "cell" in document:
            row = document["cell"]
            cells.setdefault(row["phase"], {}).setdefault(row["second"], Cell()).add(cell_of(row))
    rows = []
    for phase, until in zip(begun, [*(after["began"] for after in begun[1:]), ended], strict=False):
        rows.append(_row(phase, min(until - phase["began"], phase["seconds"]), cells.get(phase["number"], {}), samples))
    everything = total(cell for by_second in cells.values() for cell in by_second.values())
    seconds = {number: [[second, one.right, percentile(one.latencies, 0.99)] for second, one in sorted(by_second.items())]
               for number, by_second in cells.items()}  # fmt: skip
    return Run(rows, probed, dict(everything.failures), seconds)


def _row(phase: dict[str, Any], lasted: float, cells: dict[int, Cell], samples: Sequence[Sample]) -> Row:
    settle = SETTLE_S if lasted >= 2 * SETTLE_S else 0
    last = max(math.floor(lasted + 0.05), 1)
    cell = total(one for second, one in cells.items() if settle <= second < last)
    seconds = max(last - settle, 1)
    right = cell.right / seconds
    began = phase["began"]
    offered = (cell.sent + cell.unsent) / seconds if phase["rate"] and phase["poisson"] else phase["rate"]
    if cell.unsent and phase["role"] in HELD:
        cell.failures[UNANSWERED] += cell.unsent
    return Row(
        number=phase["number"], role=phase["role"], kind=phase["kind"], users=phase["users"], began=began, seconds=seconds,
        offered=offered, right=right, drawings=right * KINDS[phase["kind"]].drawings,
        p50=percentile(cell.latencies, 0.5), p95=percentile(cell.latencies, 0.95), p99=percentile(cell.latencies, 0.99),
        late_p99=percentile(cell.late, 0.99), failures=dict(cell.failures), sent=cell.sent,
        cores=means(samples, began + settle, began + last),
    )  # fmt: skip


@dataclass
class Knee:
    """The highest step that kept up within the p99, and the first that did not."""

    row: Row | None
    beyond: Row | None


def knee_of(rows: Sequence[Row], p99_ms: float) -> Knee | None:
    """Find the knee among the steps; None if there are none."""
    steps = sorted((row for row in rows if row.role == STEP), key=lambda row: row.offered or 0)
    if not steps:
        return None
    good = [row for row in steps if row.kept_up and row.p99 is not None and row.p99 <= p99_ms]
    knee = good[-1] if good else None
    beyond = [row for row in steps if knee is None or (row.offered or 0) > (knee.offered or 0)]
    return Knee(knee, beyond[0] if beyond else None)


def limit_of(row: Row, ceiling: float | None, cpus: int, generators: int = 1) -> str:
    """Say what the limit was in a phase, from who was busy.

    ceiling: requests a second that the generator reaches against a stub.
    """
    cores = dict(row.cores)
    machine = cores.pop("machine", None)
    if cores.get("generator", 0.0) >= BUSY * generators:
        return "the generator: its process was busy all the time, so the deployment may take more than was sent"
    near = near_ceiling(row, ceiling)
    if machine is None:
        return near or "not known: nothing could be watched on this machine"
    others = others_of(row) or 0.0
    parts = sorted([*cores.items(), ("other processes", others)], key=lambda part: -part[1])
    told = ", ".join(f"{name} {used:.2f}" for name, used in parts)
    if machine >= BUSY * cpus:
        deployment = [part for part in parts if part[0] in ("gateway", "model server")]
        most = (
            f"the {deployment[0][0]} needed most of what the deployment got" if deployment else "the deployment was not watched"
        )
        return f"this machine's {cpus} cores, all busy ({told}); {most}"
    if len(cores) < 2:
        return near or f"the deployment, which runs elsewhere (this machine: {told} of {cpus} cores)"
    return near or f"no CPU: {told} of {cpus} cores were in use, so requests waited for something else (threads, queues, network)"


def others_of(row: Row) -> float | None:
    """Cores that processes outside the test used in a phase; None if nothing was watched."""
    machine = row.cores.get("machine")
    own = sum(used for name, used in row.cores.items() if name != "machine")
    return None if machine is None else max(machine - own, 0.0)


def near_ceiling(row: Row, ceiling: float | None) -> str | None:
    """Say so if a phase came near to what the generator can send."""
    reached = (row.sent - row.failures.get(UNANSWERED, 0)) / row.seconds
    if ceiling is None or reached < NEAR_CEILING * ceiling:
        return None
    return (f"perhaps the generator: {reached:.0f} requests/s are {100 * reached / ceiling:.0f} % of the {ceiling:.0f} "
            "it sends to a stub that answers at once")  # fmt: skip


def as_json(row: Row) -> dict[str, Any]:
    """A row for the summary."""
    return {**asdict(row), "failed_percent": row.failed_percent, "kept_up": row.kept_up}
