"""Puts a run's tables, findings and surroundings into one document, and finds the one before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from loadtest.analysis import Row, Run, as_json, knee_of, limit_of, near_ceiling, others_of
from loadtest.machine import cpus
from loadtest.profiles import DOOR, HOLD, PROBE, QUIET, RECOVERY, SPIKE, STEP, WARM
from loadtest.target import Verified
from loadtest.thresholds import Thresholds
from loadtest.verdict import judge
from loadtest.watch import Sample, growth

FILE = "summary.json"
OURS = "started for this run"
FOREIGN = 0.15  # of the machine's cores: more than this taken by others is told


def build(
    run: Run, verified: Verified, limits: Thresholds, ceiling: Mapping[str, float], samples: Sequence[Sample], generators: int,
    ending: str, surroundings: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Everything that the page shows.

    ceiling: requests a second by kind against the stub; ending: why the run was cut short, or nothing;
    surroundings: began, profile, target, machine, versions, settings.
    """
    knee = knee_of(run.rows, limits.knee_p99_ms)
    findings = judge(run, knee, verified, limits)
    saturated = _saturated(run.rows, knee.beyond if knee else None)
    limit = "nothing was measured"
    if saturated is not None:
        at = (
            f"{saturated.offered:.0f} requests/s"
            if saturated.offered is not None
            else f"{saturated.users} users, {saturated.kind}"
        )
        what = limit_of(saturated, ceiling.get(saturated.kind), cpus(), generators)
        met = knee.beyond is not None if knee else saturated.offered is None or not saturated.kept_up
        limit = f"At {at} the limit was {what}." if met else f"Up to {at} no limit was met; nearest: {what}."
    return {
        **surroundings,
        "passed": all(one.passed for one in findings) and not ending,
        "complete": not ending, "ending": ending,
        "headline": _headline(run, knee.row if knee else None, knee is not None, limits),
        "limit": limit,
        "notes": [limit, *_notes(run, verified, ceiling)],
        "findings": [asdict(one) for one in findings],
        "knee": as_json(knee.row) if knee and knee.row else None,
        "rows": [as_json(row) for row in run.rows],
        "probed": run.probed, "failures": run.failures, "ceiling": dict(ceiling), "cpus": cpus(),
        "recovery_s": _recovery(run),
        "memory": growth(samples, run.rows[0].began, samples[-1].at) if run.rows and samples else {},
        "over_time": _over_time(run),
    }  # fmt: skip


def _headline(run: Run, knee: Row | None, stepped: bool, limits: Thresholds) -> str:
    if knee is not None:
        return (f"It answers {knee.drawings:.0f} drawings a second with a p99 of {knee.p99:.0f} ms: "
                f"the knee for a p99 of {limits.knee_p99_ms:g} ms.")  # fmt: skip
    told = [row for row in run.rows if row.role == HOLD] or [row for row in run.rows if row.role != WARM]
    best = max(told, key=lambda row: row.drawings, default=None)
    if best is None:
        return "Nothing was measured after the warm-up."
    if not best.right:
        return "Nothing was answered rightly."
    if stepped:
        return "No step was answered as it was offered: there is no knee to tell."
    p99 = f"{best.p99:.0f}" if best.p99 is not None else "–"
    if best.role == HOLD and best.offered is not None:
        return (f"Of {best.offered:.0f} requests a second that were held ({best.kind}), {best.right:.0f} were answered rightly, "
                f"p99 {p99} ms.")  # fmt: skip
    return f"At most {best.drawings:.0f} drawings a second were answered ({best.role}, {best.kind}), p99 {p99} ms."


def _saturated(rows: Sequence[Row], beyond: Row | None) -> Row | None:
    """The phase that shows the limit: the first step beyond the knee, else the busiest phase of a long kind."""
    if beyond is not None:
        return beyond
    for roles in ((STEP, HOLD, SPIKE), (PROBE, DOOR)):
        found = [row for row in rows if row.role in roles]
        if found:
            return max(found, key=lambda row: row.right)
    return None


def _notes(run: Run, verified: Verified, ceiling: Mapping[str, float]) -> list[str]:
    notes = []
    if verified.asked:
        notes.append(
            f"Before the run every one of {verified.asked} drawings was asked once: {len(verified.dropped)} were read as another "
            f"digit, every time the same, and left out; {len(verified.unsteady)} got changing answers."
        )
    if ceiling:
        told = ", ".join(f"{rate:,.0f}/s ({kind})" for kind, rate in ceiling.items())
        notes.append(f"The generator's own ceiling, against a stub that answers at once: {told}.")
        near = {row.kind: row for row in sorted(run.rows, key=lambda row: row.right)}
        for kind, row in near.items():
            said = near_ceiling(row, ceiling.get(kind))
            if said:
                notes.append(f"{kind}, {row.role}: {said}.")
    foreign = [others_of(row) or 0.0 for row in run.rows]
    if foreign and max(foreign) > FOREIGN * cpus():
        mean = sum(foreign) / len(foreign)
        notes.append(f"Other processes took {mean:.2f} of this machine's {cpus()} cores on average, up to {max(foreign):.2f}: "
                     "on a quiet machine the deployment would take more.")  # fmt: skip
    late = max((row.late_p99 or 0.0 for row in run.rows if row.offered is not None and row.kept_up), default=None)
    if late is not None:
        notes.append(
            f"Where the deployment kept up, 99 % of requests were sent less than {late:.1f} ms after they were due; that "
            "lateness, from a generator short of CPU or of free connections, is part of the latencies."
        )
    return notes


def _recovery(run: Run) -> int | None:
    """Seconds after the spike until a second's p99 is again within twice the quiet one's, or None."""
    quiet = next((row for row in run.rows if row.role == QUIET), None)
    after = next((row for row in run.rows if row.role == RECOVERY), None)
    if quiet is None or after is None or quiet.p99 is None:
        return None
    for second, _, p99 in run.seconds.get(after.number, []):
        if p99 is not None and p99 <= 2 * quiet.p99 + 5:
            return int(second) + 1
    return None


def _over_time(run: Run) -> list[list[Any]]:
    start = run.rows[0].began if run.rows else 0.0
    return sorted(
        [round(row.began - start + second, 1), right, p99]
        for row in run.rows for second, right, p99 in run.seconds.get(row.number, [])
        if second < row.seconds + 1
    )  # fmt: skip


def previous(reports: Path, but: Path, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The latest complete report before this one of the same load on the same target."""
    for folder in sorted(reports.glob("*/"), reverse=True):
        if folder.resolve() == but.resolve():
            continue
        try:
            found: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if _load(found) == _load(summary) and found["complete"] and found["began"] < summary["began"]:
                return found
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _load(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """What two runs must have in common for their figures to be compared; the ports of a deployment of ours do not matter."""
    target, settings = summary["target"], summary["settings"]
    same = (str(settings[name]) for name in ("steps made of", "connections", "arrivals"))
    return summary["profile"], OURS if target.endswith(f"({OURS})") else target, *same


def now() -> str:
    """This moment, for people and for sorting."""
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
