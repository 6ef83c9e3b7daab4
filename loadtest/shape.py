"""Drives the phases of a profile through Locust, alone or as the master of workers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from locust import LoadTestShape

from loadtest.measure import Cell, cell_of
from loadtest.profiles import PROBE, SETTLE_S, Phase

PHASE_MESSAGE = "phase"
REST_S = 3.0


class Log:
    """What happened, a JSON document a line, so that a run that is cut short still has its report.

    A file of a run before is written over: two runs in one log would count as one.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, what: str, /, **content: Any) -> None:
        """Write one line and hand it to the system."""
        self._file.write(json.dumps({what: content}) + "\n")
        self._file.flush()


class ProfileShape(LoadTestShape):  # type: ignore[misc]
    """Phase after phase; the probe's answer turns shares into rates."""

    abstract = True  # not to be picked up by itself: the locustfile decides

    def __init__(self, phases: Sequence[Phase], log: Log | None, runner: Any, poisson: bool) -> None:
        super().__init__()
        self.runner = runner
        self._phases, self._log, self._poisson = phases, log, poisson
        self._at, self._until = -1, 0.0
        self._probed: dict[int, Cell] = {}
        self._capacity = 0.0
        self.ended = False
        """Whether nothing is sent any more, because every phase is over or the probe found nothing."""

    def count(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take what was measured: for the log, and for the probe."""
        for row in rows:
            if self._log is not None:
                self._log.write("cell", **row)
            if 0 <= row["phase"] < len(self._phases) and self._phases[row["phase"]].role == PROBE:
                self._probed.setdefault(row["second"], Cell()).add(cell_of(row))

    def tick(self) -> tuple[int, float] | None:
        """Locust asks once a second how many users there are to be; None ends the run.

        All are there from the start; the pace says how many take part and what they ask.
        """
        users = max(phase.users for phase in self._phases)
        if self._at < 0 and self.runner.user_count < users:
            return users, float(users)
        if time.monotonic() >= self._until and not self._advance():
            return None
        return users, float(users)

    def _advance(self) -> bool:
        if self._at >= 0 and self._phases[self._at].role == PROBE:
            self._capacity = self._measured_capacity()
            self._tell("probe", right_per_second=self._capacity)
            if self._capacity == 0:
                self.ended = True
                return False
        if self._at + 1 >= len(self._phases):
            return self._rest()
        self._at += 1
        phase = self._phases[self._at]
        rate = None if phase.closed else phase.rate if phase.rate is not None else (phase.share or 0.0) * self._capacity
        self._until = time.monotonic() + phase.seconds
        self._tell("phase", number=self._at, role=phase.role, kind=phase.kind, seconds=phase.seconds, users=phase.users,
                   rate=rate, share=phase.share, poisson=self._poisson, began=time.time())  # fmt: skip
        workers = max(1, getattr(self.runner, "worker_count", 1))
        self.runner.send_message(PHASE_MESSAGE, {
            "phase": self._at, "kind": phase.kind, "users": math.ceil(phase.users / workers),
            "rate": None if rate is None else rate / workers, "poisson": self._poisson,
        })  # fmt: skip
        return True

    def _rest(self) -> bool:
        """Send nothing more; give late answers, and workers that have yet to report, their time, then end."""
        if self.ended:
            return False
        self.ended = True
        self.runner.send_message(PHASE_MESSAGE, {"phase": len(self._phases), "rate": 0.0})
        self._tell("end", at=time.time())
        self._until = time.monotonic() + REST_S
        return True

    def _measured_capacity(self) -> float:
        """Right answers a second in the middle of the probe."""
        last = max(self._probed, default=0)
        rates = [cell.right for second, cell in self._probed.items() if SETTLE_S <= second < last]
        return float(median(rates)) if rates else 0.0

    def _tell(self, what: str, /, **content: Any) -> None:
        if self._log is not None:
            self._log.write(what, **content)
