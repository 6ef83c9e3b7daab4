"""The client path's parts, each with faults at its seam."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from digits import errors
from digits.client import PredictClient
from digits.replies import Prediction, VersionState
from digits.settings import WebSettings
from webapp.circuit import OPENS_AT, Circuit
from webapp.coalesce import Asked, Coalescer
from webapp.rates import Rates
from webapp.tracing import Headers


def answers(rows: int, version: int = 1) -> Prediction:
    return Prediction(np.arange(rows * 10, dtype=np.float32).reshape(rows, 10), np.arange(rows), version)


def asked(rows: int = 1, version: int | None = None) -> Asked:
    return Asked(np.zeros((rows, 28, 28), np.uint8), time.monotonic() + 5, (version, None))


def test_what_comes_while_a_call_is_under_way_shares_the_next_and_everybody_gets_their_own_rows() -> None:
    calls: list[tuple[int, Future[Prediction]]] = []

    def send(batch: list[Asked]) -> Future[Prediction]:
        calls.append((sum(len(one.images) for one in batch), Future()))
        return calls[-1][1]

    coalescer = Coalescer(send, max_rows=6)  # type: ignore[arg-type]
    first, *others = [asked(rows, version) for rows, version in ((1, None), (2, None), (1, 7), (3, None), (4, None))]
    for one in (first, *others):
        coalescer.submit(one)
    assert [rows for rows, _ in calls] == [1]  # at once, alone
    calls[0][1].set_result(answers(1))
    assert [rows for rows, _ in calls] == [1, 5]  # 2 + 3; 4 more would be past 6; version 7 goes by itself
    calls[1][1].set_result(answers(5))
    assert others[0].future.result().digit.tolist() == [0, 1]
    assert others[2].future.result().digit.tolist() == [2, 3, 4]
    assert not others[1].future.done()


def test_beyond_its_room_the_coalescer_refuses() -> None:
    coalescer = Coalescer(lambda batch: Future(), max_waiting=3)
    for _ in range(4):  # one under way, three waiting
        coalescer.submit(asked())
    with pytest.raises(errors.Overloaded):
        coalescer.submit(asked())


def test_a_call_that_fails_fails_those_in_it_and_the_next_goes_on() -> None:
    calls: list[Future[Prediction]] = []
    coalescer = Coalescer(lambda batch: calls.append(Future()) or calls[-1])  # type: ignore[func-returns-value]
    one, other = asked(), asked()
    coalescer.submit(one)
    coalescer.submit(other)
    calls[0].set_exception(errors.ModelUnavailable("gone"))
    assert isinstance(one.future.exception(0), errors.ModelUnavailable)
    calls[1].set_result(answers(1))
    assert other.future.result(0).version == 1


def test_calls_that_fail_at_once_leave_nobody_waiting_however_many_they_are() -> None:
    held: Future[Prediction] = Future()
    calls = iter([held])

    def send(batch: list[Asked]) -> Future[Prediction]:
        if (first := next(calls, None)) is not None:
            return first
        raise errors.ModelUnavailable("nobody there")

    coalescer = Coalescer(send, max_rows=1)  # type: ignore[arg-type]
    everybody = [asked() for _ in range(2000)]
    for one in everybody:
        coalescer.submit(one)
    held.set_exception(errors.ModelUnavailable("gone"))
    assert all(one.future.done() for one in everybody)
    assert coalescer.waiting == 0
    last = asked()
    coalescer.submit(last)
    assert isinstance(last.future.exception(0), errors.ModelUnavailable), "a call is free again"


class Flaky(PredictClient):
    """A client at the transport seam: fails as told, then answers."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__("127.0.0.1:1")
        self.failures, self.metadata = failures, []

    def predict_later(self, images: np.ndarray, *rest: object) -> Future[Prediction]:  # type: ignore[override]
        done: Future[Prediction] = Future()
        self.metadata.append(rest[3])
        if self.failures:
            done.set_exception(self.failures.pop(0))
        else:
            done.set_result(answers(len(images)))
        return done


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Exception]], object]:
    from webapp.backend import Backend
    from webapp.watch import State, Version, Watch

    monkeypatch.setattr(Watch, "_run", lambda self: None)
    monkeypatch.setattr(Watch, "look", lambda self: None)

    def make(failures: list[Exception]) -> Backend:
        made = Backend(WebSettings(), Flaky(failures))
        made.watch.state = State({1: Version(1, {"threshold": {"value": 0.9}}, "", {})}, trouble="")
        return made

    return make


@pytest.mark.parametrize("error", [errors.ModelUnavailable("away"), errors.Overloaded("full"), errors.ModelNotFound("unloaded")])
def test_what_may_pass_is_asked_again_within_the_budget(backend: Callable, error: Exception) -> None:  # type: ignore[type-arg]
    made = backend([error])
    future = made.ask(np.zeros((1, 28, 28), np.uint8), time.monotonic() + 2, request_id="r1", trace=Headers("00-a-b-01", "s=1"))
    assert future.result(2).version == 1
    assert made._client.metadata == [[("x-request-id", "r1"), ("traceparent", "00-a-b-01"), ("tracestate", "s=1")]] * 2


def test_a_retry_without_a_thread_is_an_answer(backend: Callable, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[type-arg]
    made = backend([errors.Overloaded("full")])

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Timer, "start", no_more)
        with pytest.raises(errors.Overloaded):
            made.ask(np.zeros((1, 28, 28), np.uint8), time.monotonic() + 2).result(1)
    assert made.ask(np.zeros((1, 28, 28), np.uint8), time.monotonic() + 2).result(1).version == 1


def test_a_canary_that_is_refused_gets_no_share(backend: Callable) -> None:  # type: ignore[type-arg]
    made = backend([])
    made._settings = WebSettings(canary_percent=100)
    image = np.zeros((1, 28, 28), np.uint8)
    asked_for: list[object] = []
    made._client.predict_later = lambda images, left, version, *rest: (asked_for.append(version), Future())[1]
    for labelled in (1, 2):
        made.coalescer = Coalescer(made._send)
        made.watch.state = replace(made.watch.state, labels={"canary": labelled}, refused={2: "another contract"})
        made.ask(image, time.monotonic() + 2)
    assert asked_for == [1, 1]


@pytest.mark.parametrize(
    "error",
    [
        errors.BadModelOutput("nonsense"),
        errors.DeadlineExceeded("late"),
        errors.ServingError("?"),
    ],
)
def test_what_will_not_pass_is_not_asked_again(backend: Callable, error: Exception) -> None:  # type: ignore[type-arg]
    made = backend([error])
    with pytest.raises(type(error)):
        made.ask(np.zeros((1, 28, 28), np.uint8), time.monotonic() + 2).result(2)
    assert len(made._client.metadata) == 1


def test_the_circuit_opens_after_failures_in_a_row_and_any_answer_closes_it() -> None:
    circuit = Circuit()
    for _ in range(OPENS_AT - 1):
        circuit.failed(errors.ModelUnavailable("away"))
    circuit.failed(errors.Overloaded("there, but full"))
    circuit.check()
    for _ in range(OPENS_AT):
        circuit.failed(errors.ModelUnavailable("away"))
    with pytest.raises(errors.ModelUnavailable, match="away"):
        circuit.check()
    circuit.succeeded()
    circuit.check()


def test_a_bucket_fills_again() -> None:
    rates = Rates(2)
    assert [rates.allow("a", 0.0) for _ in range(3)] == [True, True, False]
    assert rates.allow("b", 0.0)
    assert rates.allow("a", 0.6)
    assert not rates.allow("a", 0.6)


def test_a_slow_rate_says_when_the_next_is_allowed() -> None:
    assert [Rates(per_second).refusal.problem.retry_after_s for per_second in (0, 50, 1, 0.3, 0.2)] == [1, 1, 1, 4, 5]


def test_a_version_asked_for_while_the_server_is_away_is_not_said_to_be_unknown(backend: Callable) -> None:  # type: ignore[type-arg]
    made = backend([])
    made.watch.state = replace(made.watch.state, versions={}, trouble="nobody there")
    with pytest.raises(errors.ModelUnavailable, match="nobody there"):
        made.ask(np.zeros((1, 28, 28), np.uint8), time.monotonic() + 2, (1, None))


def test_a_version_is_checked_again_after_the_server_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another one of the same number."""
    from webapp.metrics import Metrics
    from webapp.watch import Version, Watch

    class Server:
        target = "x"
        away = False

        def versions(self, _: float) -> list[VersionState]:
            if self.away:
                raise errors.ModelUnavailable("away")
            return [VersionState(1, 30, "")]

        def predict(self, *_: object, **__: object) -> Prediction:
            return answers(1)

    checked: list[int] = []

    def check(self: Watch, number: int) -> Version:
        checked.append(number)
        return Version(number, {"threshold": {"value": 0.9}}, str(len(checked)), {})

    monkeypatch.setattr(Watch, "_run", lambda self: None)
    monkeypatch.setattr(Watch, "_check", check)
    server = Server()
    watch = Watch(server, Circuit(), (), "digits", Metrics())  # type: ignore[arg-type]
    for away in (False, False, True, False, False):
        server.away = away
        watch.look()
    assert checked == [1, 1], "once, and once after it was away"
    assert watch.state.versions[1].model_card == "2"
