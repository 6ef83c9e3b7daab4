"""Holds a run against its thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.analysis import KEEPS_UP, Knee, Row, Run
from loadtest.kinds import WRONG
from loadtest.profiles import DOOR, HELD, HOLD, QUIET, STEP
from loadtest.target import Verified
from loadtest.thresholds import Thresholds


@dataclass(frozen=True)
class Finding:
    """One threshold: what it says, what was measured, whether it holds."""

    rule: str
    limit: str
    measured: str
    passed: bool


def judge(run: Run, knee: Knee | None, verified: Verified, limits: Thresholds) -> list[Finding]:
    """Every threshold that the run can be held against."""
    answered = sum(row.right * row.seconds for row in run.rows)
    wrong = run.failures.get(WRONG, 0) + len(verified.unsteady)
    findings = [
        Finding("answers", "some", f"{answered:,.0f} right", answered > 0),
        Finding("wrong digits", f"≤ {limits.answers_wrong_digits:.0f}", f"{wrong}", wrong <= limits.answers_wrong_digits),
    ]
    if verified.asked:
        misread = 100 * len(verified.dropped) / verified.asked
        told = f"{len(verified.dropped)} of {verified.asked} ({misread:.1f} %)"
        most = limits.answers_misread_percent
        findings.append(Finding("drawings misread before the run", f"≤ {most:g} %", told, misread <= most))
    quiet = _quiet(run.rows)
    if quiet is not None:
        where = (
            f"at {quiet.offered:.0f} requests/s" if quiet.offered is not None else f"with {quiet.users} users in a closed loop"
        )
        for name, value, most in (("p95", quiet.p95, limits.quiet_p95_ms), ("p99", quiet.p99, limits.quiet_p99_ms)):
            told = "no answer" if value is None else f"{value:.1f} ms"
            findings.append(Finding(f"{name} {where}", f"≤ {most:g} ms", told, value is not None and value <= most))
    borne = _borne(run.rows, knee)
    shares = [(row.kept_up, 100 * row.right / row.offered, row.offered, row.role) for row in borne if row.offered]
    if shares:
        kept_up, percent, rate, role = min(shares)
        told = f"{percent:.1f} % at {rate:.0f} requests/s ({role})"
        findings.append(Finding("answered of what was offered", f"≥ {100 * KEEPS_UP:.0f} %", told, kept_up))
    findings.append(_failures([*borne, *(row for row in run.rows if row.role == DOOR)], limits.below_knee_failures_percent))
    if knee is not None:
        reached = knee.row.drawings if knee.row is not None else 0.0
        least = limits.knee_min_drawings_per_second
        rule = f"drawings/s at the knee (p99 ≤ {limits.knee_p99_ms:g} ms)"
        findings.append(Finding(rule, f"≥ {least:g}", f"{reached:.0f}", reached >= least))
    return findings


def _quiet(rows: Sequence[Row]) -> Row | None:
    for role in (STEP, HOLD, QUIET):
        found = [row for row in rows if row.role == role]
        if found:
            return min(found, key=lambda row: row.offered or 0)
    return None


def _borne(rows: Sequence[Row], knee: Knee | None) -> list[Row]:
    """The phases that the deployment is meant to bear; without a knee there is nothing that may be refused."""
    top = knee.row.offered or 0 if knee is not None and knee.row is not None else math.inf
    return [row for row in rows if row.role in HELD or (row.role == STEP and (row.offered or 0) <= top)]


def _failures(judged: Sequence[Row], most: float) -> Finding:
    sent = sum(row.sent for row in judged)
    failed = sum(sum(row.failures.values()) for row in judged)
    percent = 100 * failed / sent if sent else 100.0
    told = f"{failed:,} of {sent:,} ({percent:.2f} %)" if judged else "none were sent"
    return Finding("failures up to the knee", f"≤ {most:g} %", told, percent <= most or not judged)
