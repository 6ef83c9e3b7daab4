"""Locust's users.  Bodies are prepared before the run; every answer is held against its labels."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
from locust import FastHttpUser, constant, task

from digits import wire
from digits.client import CHANNEL_OPTIONS
from loadtest.hands import Drawing
from loadtest.kinds import (
    GATEWAY,
    GRPC,
    KINDS,
    PREDICT_PATH,
    REST_PATH,
    UNANSWERED,
    UNREADABLE,
    WRONG,
    Kind,
    Prepared,
    bodies,
    digits_read,
)
from loadtest.measure import Recorder
from loadtest.pace import Beat, Pace, Slot

TIMEOUT_S = 10.0


class WrongDigit(Exception):
    """The deployment read another digit than was drawn."""


@dataclass
class Shared:
    """What all users of this process share.

    targets: address by door; prepared: requests by kind; waiting: slots of the requests under way.
    """

    pace: Pace = field(default_factory=Pace)
    recorder: Recorder = field(default_factory=Recorder)
    targets: dict[str, str] = field(default_factory=dict)
    prepared: dict[str, list[Prepared]] = field(default_factory=dict)
    waiting: set[Slot] = field(default_factory=set)
    turn: Any = field(default_factory=itertools.count)
    numbers: Any = field(default_factory=itertools.count)
    _channel: grpc.Channel | None = None

    def prepare(self, kinds: Sequence[Kind], drawings: list[Drawing]) -> None:
        """Make every request's body."""
        self.prepared = {kind.name: bodies(kind, drawings) for kind in kinds}

    def next(self, kind: Kind) -> Prepared:
        """Return the next request of a kind, all in turn."""
        requests = self.prepared[kind.name]
        number: int = next(self.turn)
        return requests[number % len(requests)]

    def call(self) -> Any:
        """Return the model server's Predict, bytes out and bytes in, over the one channel; `ipv4:a,b` balances over several."""
        if self._channel is None:
            target = self.targets[GRPC]
            uri = target if target.startswith(("ipv4:", "ipv6:", "dns:", "unix:")) else f"dns:///{target}"
            self._channel = grpc.insecure_channel(uri, options=CHANNEL_OPTIONS)
        return self._channel.unary_unary(wire.PREDICT)

    def begin(self, beat: Beat) -> None:
        """Begin a phase; what the one before did not get to is counted too."""
        self.recorder.leave(*self.pace.left())
        self.pace.set(beat)

    def take(self, user: int) -> Slot:
        """Wait until the next request is due."""
        slot = self.pace.take(user)
        self.waiting.add(slot)
        return slot

    def record(self, slot: Slot, started: float, ended: float, failure: str | None) -> float:
        """Count one request; return its latency in ms from when it was due."""
        latency_ms = (ended - min(slot.due, started)) * 1000
        late_ms = max(started - slot.due, 0.0) * 1000
        if slot in self.waiting:  # else the end has counted it
            self.waiting.remove(slot)
            self.recorder.add(slot.beat.phase, slot.second, latency_ms, late_ms, failure)
        return latency_ms

    def end(self) -> None:
        """After the last phase and its rest: whatever has no answer yet has failed.  A run that was cut short judges nothing."""
        while self.pace.resting and self.waiting:
            slot = self.waiting.pop()
            self.recorder.add(slot.beat.phase, slot.second, 0.0, None, UNANSWERED)


SHARED = Shared()


def judge(kind: Kind, reply: bytes, labels: Sequence[int]) -> tuple[str | None, Exception | None]:
    """Hold an answer against its labels; the reason and the details if it is wrong."""
    try:
        got = digits_read(kind.door, reply)
    except ValueError as exc:
        return UNREADABLE, exc
    if got == list(labels):
        return None, None
    return WRONG, WrongDigit(f"{WRONG}: got {got[0]}, wanted {labels[0]}" if len(labels) == 1 else f"{WRONG} among {len(labels)}")


class DrawingUser(FastHttpUser):  # type: ignore[misc]
    """Sends drawings when the pace says so.  kind: what it asks; None = what the phase asks."""

    abstract = True
    kind: ClassVar[Kind | None] = None
    host = "http://in-the-targets.invalid"  # Locust wants one; every request has its whole address
    wait_time = constant(0)  # the pace says when
    network_timeout = connection_timeout = TIMEOUT_S
    max_retries = 0

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._number = next(SHARED.numbers)
        self._call = SHARED.call() if GRPC in SHARED.targets else None

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """Send one request when it is due and check its answer."""
        slot = SHARED.take(self._number)
        kind = self.kind or KINDS[slot.beat.kind]
        request = SHARED.next(kind)
        if kind.door == GRPC:
            self._ask_grpc(kind, slot, request)
        else:
            self._ask_http(kind, slot, request)

    def _ask_http(self, kind: Kind, slot: Slot, request: Prepared) -> None:
        url = SHARED.targets[kind.door] + (PREDICT_PATH if kind.door == GATEWAY else REST_PATH)
        started = time.perf_counter()
        with self.client.post(
            url, data=request.body, headers={"Content-Type": request.content_type}, name=kind.name, catch_response=True
        ) as response:
            ended = time.perf_counter()
            if response.status_code == 200:
                failure, details = judge(kind, response.content, request.labels)
            else:
                trouble = (
                    f"HTTP {response.status_code}" if response.status_code else f"no answer: {type(response.error).__name__}"
                )
                failure, details = trouble, Exception(trouble)
            if details is None:
                response.success()
            else:
                response.failure(str(details))
            response.request_meta["response_time"] = SHARED.record(slot, started, ended, failure)

    def _ask_grpc(self, kind: Kind, slot: Slot, request: Prepared) -> None:
        assert self._call is not None
        started, wall, reply = time.perf_counter(), time.time(), b""
        failure: str | None
        details: Exception | None
        try:
            reply = self._call(request.body, timeout=TIMEOUT_S)
        except grpc.RpcError as exc:
            ended = time.perf_counter()
            failure, details = f"gRPC {exc.code().name}", exc
        else:
            ended = time.perf_counter()
            failure, details = judge(kind, reply, request.labels)
        self.environment.events.request.fire(
            request_type="gRPC", name=kind.name, response_time=SHARED.record(slot, started, ended, failure),
            response_length=len(reply), exception=details, context={}, start_time=wall, url=None, response=None,
        )  # fmt: skip


class GatewayOne(DrawingUser):
    """One PNG to the gateway."""

    kind = KINDS["gateway, 1 drawing"]


class GatewaySeveral(DrawingUser):
    """Eight PNGs in one request to the gateway."""

    kind = KINDS["gateway, 8 drawings"]


class RestOne(DrawingUser):
    """One tensor to the model server's REST API."""

    kind = KINDS["REST, 1 drawing"]


class RestBatch(DrawingUser):
    """Thirty-two tensors in one request to the REST API."""

    kind = KINDS["REST, 32 drawings"]


class GrpcOne(DrawingUser):
    """One tensor to the model server's gRPC API."""

    kind = KINDS["gRPC, 1 drawing"]


class GrpcBatch(DrawingUser):
    """Sixty-four tensors in one call of the gRPC API."""

    kind = KINDS["gRPC, 64 drawings"]


class PhaseUser(DrawingUser):
    """Whatever the phase asks for."""


MANUAL = (GatewayOne, GatewaySeveral, RestOne, RestBatch, GrpcOne, GrpcBatch)
