"""A whole load test: deployment, ceiling, verification, Locust, report."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest import analysis, deployed, generator, hands, machine, page, summary
from loadtest.kinds import GATEWAY, KINDS, MAIN
from loadtest.profiles import Plan, phases_of
from loadtest.target import NotThere, Target, Verified, verify
from loadtest.thresholds import Thresholds
from loadtest.watch import Watch

if TYPE_CHECKING:
    from local.deployment import Deployment

REPORTS = Path(__file__).with_name("reports")
SPARE_S = 60.0  # beyond the phases themselves: starting, preparing, writing


class Interrupted(Exception):
    """SIGINT or SIGTERM."""


@dataclass
class Options:
    """What the caller chose; see `python -m loadtest --help`."""

    profile: str = "standard"
    host: str = ""
    grpc: str = ""
    rest: str = ""
    kind: str = MAIN
    rate: float = 0.0
    seconds: float = 0.0
    connections: int = 64
    drawings: int = hands.COUNT
    poisson: bool = False
    workers: int = 0
    expect_workers: int = 0
    master_port: int = 5557
    ceiling_seconds: float = 3.0
    reports: Path = REPORTS
    thresholds: Thresholds = field(kw_only=True)


@dataclass
class LoadTest:
    """One run; call run() once."""

    options: Options
    say: Callable[[str], None] = print
    deployment: Deployment | None = None
    watch: Watch = field(default_factory=Watch)
    verified: Verified = field(default_factory=lambda: Verified(0))
    ceiling: dict[str, float] = field(default_factory=dict)
    ending: str = ""

    def run(self) -> int:
        """Run to the end, or until SIGINT or SIGTERM; 0 passed, 1 failed, 130 interrupted.

        Raises NotThere if the target does not answer or our own deployment does not start.
        """
        began = summary.now()
        handlers = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            target = self._target()
            folder = _folder(self.options.reports)
            try:
                self._measure(target, folder)
            except Interrupted:
                self.ending = "interrupted"
            except (generator.Broken, TimeoutError) as exc:
                self.ending = str(exc)
            except NotThere:
                shutil.rmtree(folder)  # there is nothing to report
                raise
            ended = time.time()
            for number in handlers:  # what follows is short; a second Ctrl-C would only lose the report
                signal.signal(number, signal.SIG_IGN)
            stopping = threading.Thread(target=self._stop_deployment)
            self.watch.stop()
            stopping.start()
            passed = self._report(target, folder, began, ended)
            stopping.join()
        except Interrupted:
            self.say("interrupted before anything was measured")
            return 130
        finally:
            for number in handlers:
                signal.signal(number, signal.SIG_IGN)
            self._stop_deployment()
            self.watch.stop()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return 130 if self.ending == "interrupted" else 0 if passed else 1

    def _target(self) -> Target:
        """The doors that were given, or those of a deployment started for the purpose."""
        target = deployed.given(self.options.host, self.options.grpc, self.options.rest)
        if target is not None:
            target.check()
            for door, address in target.doors.items():
                self.watch.add_listener("gateway" if door == GATEWAY else "model server", address)
            return target
        target = deployed.start(self.say, [lambda deployment: setattr(self, "deployment", deployment)])
        assert self.deployment is not None
        for tier in self.deployment.tiers:
            self.watch.add(tier.name, tier.process.pid)
        return target

    def _measure(self, target: Target, folder: Path) -> None:
        o = self.options
        if KINDS[o.kind].door not in target.doors:
            raise NotThere(f"--kind {o.kind!r} needs the address of the {KINDS[o.kind].door} door")
        self.ceiling = generator.ceiling(target, folder, o.drawings, self.say, o.ceiling_seconds) if o.ceiling_seconds else {}
        self.verified = verify(target, hands.prepare(o.drawings))
        self.say(f"{o.drawings} drawings asked before the run: {len(self.verified.dropped)} read as another digit and left out"
                 + (f", {len(self.verified.unsteady)} with changing answers" if self.verified.unsteady else ""))  # fmt: skip
        drop = [*self.verified.dropped, *self.verified.unsteady]
        kinds = tuple(kind.name for kind in KINDS.values() if kind.door in target.doors)
        plan = Plan(o.kind, o.connections, o.seconds or None, o.rate or None, kinds)
        lasts = sum(phase.seconds for phase in phases_of(o.profile, plan))
        settings = {"kind": o.kind, "rate": o.rate, "seconds": o.seconds, "connections": o.connections, "drawings": o.drawings,
                    "drop": ",".join(map(str, drop)), "poisson": int(o.poisson)}  # fmt: skip
        arguments = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        locust = generator.Generator(target, folder, o.profile, arguments, o.workers, o.expect_workers, o.master_port)
        self.say(f"profile {o.profile}: {lasts:.0f} s")
        try:
            locust.start()
            for process in locust.processes:
                self.watch.add("generator", process.pid)
            self.watch.start()
            locust.follow(lasts + SPARE_S, self.say)
        finally:
            locust.stop()

    def _report(self, target: Target, folder: Path, began: str, ended: float) -> bool:
        o = self.options
        run = analysis.read(folder / "measured.jsonl", ended, self.watch.samples)
        own = summary.OURS if self.deployment is not None else "given"
        surroundings: dict[str, Any] = {
            "began": began, "profile": o.profile, "target": ", ".join(target.doors.values()) + f" ({own})",
            "machine": machine.machine(), "versions": machine.versions(),
            "settings": {"profile": o.profile, "steps made of": o.kind, "connections": o.connections,
                         "arrivals": "at random (Poisson)" if o.poisson else "evenly spaced",
                         "rate that shares refer to": f"{o.rate:g}/s" if o.rate else f"{run.probed or 0:.0f}/s (probe)",
                         "generator processes": o.workers or o.expect_workers or 1,
                         "drawings": f"{o.drawings}, PNG, {min(hands.CANVAS_PX)} to {max(hands.CANVAS_PX)} pixels a side"},
        }  # fmt: skip
        processes = o.workers or o.expect_workers or 1
        told = summary.build(
            run, self.verified, o.thresholds, self.ceiling, self.watch.samples, processes, self.ending, surroundings
        )
        before = summary.previous(o.reports, folder, told)
        (folder / summary.FILE).write_text(json.dumps(told, indent=1), encoding="utf-8")
        (folder / "index.html").write_text(page.render(told, before), encoding="utf-8")
        for finding in told["findings"]:
            self.say(
                f"{'kept  ' if finding['passed'] else 'BROKEN'}  {finding['rule']}: {finding['measured']} ({finding['limit']})"
            )
        for note in told["notes"]:
            self.say(note)
        word = "passed" if told["passed"] else "FAILED"
        self.say(f"{word}{f' ({self.ending})' if self.ending else ''}.  {told['headline']}")
        self.say(f"report: {folder / 'index.html'}")
        return bool(told["passed"])

    def _stop_deployment(self) -> None:
        if self.deployment is not None:
            self.deployment.stop()


def _interrupt(*_: object) -> None:
    raise Interrupted


def _folder(reports: Path) -> Path:
    folder = reports / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while folder.exists():
        number += 1
        folder = folder.with_name(folder.name.split(".")[0] + f".{number}")
    folder.mkdir(parents=True)
    return folder
