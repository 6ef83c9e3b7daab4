"""Locust's entry point: `locust -f loadtest/locustfile.py`, alone, as --master or as --worker.

With --phases a shape drives the phases; without, Locust's own users and page do, in a closed loop
or, with --pace, at a constant rate for all users together.
"""

from __future__ import annotations

import grpc.experimental.gevent

grpc.experimental.gevent.init_gevent()  # before the first channel: else a call stops every user of the process

import logging  # noqa: E402
import re  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from locust import events, runners  # noqa: E402

from loadtest import hands, profiles  # noqa: E402
from loadtest.generator import WORKER_LOST  # noqa: E402
from loadtest.kinds import GATEWAY, GRPC, KINDS, MAIN, REST  # noqa: E402
from loadtest.pace import Beat  # noqa: E402
from loadtest.shape import PHASE_MESSAGE, Log, ProfileShape  # noqa: E402
from loadtest.target import NotThere, Target, verify  # noqa: E402
from loadtest.users import (  # noqa: E402
    MANUAL,
    SHARED,
    GatewayOne,
    GatewaySeveral,
    GrpcBatch,
    GrpcOne,
    PhaseUser,
    RestBatch,
    RestOne,
)

__all__ = ["GatewayOne", "GatewaySeveral", "GrpcBatch", "GrpcOne", "PhaseUser", "RestBatch", "RestOne"]


log = logging.getLogger(__name__)

ASK = "ask"
REFUSAL = re.compile(r"HTTP (429|503)\b|UNAVAILABLE|RESOURCE_EXHAUSTED")
REFUSED_SHARE = 0.3
REPORT_S = 1.0  # Locust's own three seconds would lose too much at an interrupt


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _arguments(parser: Any) -> None:
    add = parser.add_argument_group("digits").add_argument
    add("--phases", default="", choices=["", *profiles.PROFILES], help="phases to run; empty: Locust's own users and run time")
    add("--grpc", default="", metavar="HOST:PORT", help="the model server's gRPC API; empty: its users are left out")
    add("--rest", default="", metavar="URL", help="the model server's REST API; empty: its users are left out")
    add("--kind", default=MAIN, choices=list(KINDS), help="the request that the steps are made of")
    add("--rate", type=float, default=0.0, help="requests a second that shares refer to; 0: a probe finds out")
    add("--pace", type=float, default=0.0, help="without a profile: requests a second; 0: a closed loop")
    add("--poisson", type=int, default=0, help="1: arrivals at random instead of evenly")
    add("--seconds", type=float, default=0.0, help="of each hold or step; 0: the profile's own")
    add("--connections", type=int, default=64, help="users, so requests that may be under way at once")
    add("--drawings", type=int, default=hands.COUNT, help="different drawings")
    add("--drop", default=ASK, help="numbers of drawings to leave out, with commas; 'ask': those that the model misreads")
    add("--measured", default="", help="file for what was measured, a JSON document a line")


@events.init.add_listener  # type: ignore[untyped-decorator]
def _set_up(environment: Any, runner: Any, **_: Any) -> None:
    options = environment.parsed_options
    master, worker = isinstance(runner, runners.MasterRunner), isinstance(runner, runners.WorkerRunner)
    shape = None if worker or not options.phases else _shape(options, runner)
    environment.shape_class = shape
    if not worker:  # a worker has every class; its master, which knows the addresses, says which are spawned
        environment.user_classes = [PhaseUser] if shape else [one for one in MANUAL if one.kind.name in _kinds(options)]

    def count(rows: list[dict[str, Any]]) -> None:
        if shape is not None:
            shape.count(rows)

    def drain() -> None:
        while True:
            gevent.sleep(1)
            count(SHARED.recorder.drain())

    if master:
        if shape is not None:
            environment.events.test_start.add_listener(lambda environment, **_: _keep_workers(environment, runner, shape))
        environment.events.worker_report.add_listener(lambda client_id, data: count(data.pop("cells", [])))
    else:
        # in a thread: a worker that draws for seconds on a busy machine misses its heartbeats, and the master gives it up
        drawings = gevent.get_hub().threadpool.spawn(hands.prepare, options.drawings)
        environment.events.test_start.add_listener(lambda environment, **_: _prepare(environment, drawings.get()))
        runner.register_message(PHASE_MESSAGE, lambda environment, msg, **_: SHARED.begin(Beat(**msg.data)))
        environment.events.test_stopping.add_listener(lambda **_: SHARED.end())
    if worker:
        runners.WORKER_REPORT_INTERVAL = REPORT_S
        environment.events.report_to_master.add_listener(lambda client_id, data: data.update(cells=SHARED.recorder.drain()))
    elif not master:
        gevent.spawn(drain)
        environment.events.quitting.add_listener(lambda **_: count(SHARED.recorder.drain()))


def _keep_workers(environment: Any, runner: Any, shape: ProfileShape) -> None:
    """End the run when a worker is lost: its share of the load is missing from then on."""
    workers = runner.worker_count

    def lost() -> bool:
        if environment.process_exit_code != WORKER_LOST and not shape.ended and runner.worker_count < workers:
            log.error("a worker was lost: %d of %d are left", runner.worker_count, workers)
            environment.process_exit_code = WORKER_LOST
        return bool(environment.process_exit_code == WORKER_LOST)

    def watch() -> None:
        while not lost():
            gevent.sleep(1)
        runner.quit()

    watching = gevent.spawn(watch)
    environment.events.quitting.add_listener(lambda **_: lost() or watching.kill())  # the last worker's leaving quits by itself


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _judge(environment: Any, **_: Any) -> None:
    """A profile goes beyond the knee, where refusals are right: a few of those alone do not make the run a failure."""
    errors = list(environment.stats.errors.values())
    total = environment.stats.total
    few = total.num_failures <= REFUSED_SHARE * total.num_requests
    whole = environment.parsed_options.phases and environment.process_exit_code != WORKER_LOST
    if whole and errors and few and all(REFUSAL.search(str(one.error)) for one in errors):
        environment.process_exit_code = 0


def _shape(options: Any, runner: Any) -> ProfileShape:
    plan = profiles.Plan(options.kind, options.connections, options.seconds or None, options.rate or None, tuple(_kinds(options)))
    log = Log(Path(options.measured)) if options.measured else None
    return ProfileShape(profiles.phases_of(options.phases, plan), log, runner, bool(options.poisson))


def _targets(options: Any) -> dict[str, str]:
    addresses = {GATEWAY: (options.host or "").rstrip("/"), REST: options.rest.rstrip("/"), GRPC: options.grpc}
    return {door: address for door, address in addresses.items() if address}


def _kinds(options: Any) -> list[str]:
    known = _targets(options)
    return [kind.name for kind in KINDS.values() if kind.door in known]


def _prepare(environment: Any, drawings: list[hands.Drawing]) -> None:
    options = environment.parsed_options
    options.host = environment.host or options.host  # a worker has its master's options, but this one comes apart
    SHARED.targets = _targets(options)
    drawings = drawings[: options.drawings]
    dropped = _misread(drawings) if options.drop == ASK else {int(number) for number in options.drop.split(",") if number}
    SHARED.prepare([KINDS[name] for name in _kinds(options)], hands.without(drawings, dropped))
    if not options.phases:
        SHARED.begin(Beat(phase=0, rate=options.pace or None, poisson=bool(options.poisson)))


def _misread(drawings: list[hands.Drawing]) -> set[int]:
    """Numbers of the drawings that the model honestly takes for another digit: no failures of the deployment's."""
    try:
        dropped = set(verify(Target(SHARED.targets), drawings).dropped)
    except NotThere as exc:
        log.error("%s", exc)
        return set()
    log.info("%d of %d drawings are read as another digit, and left out", len(dropped), len(drawings))
    return dropped
