"""Batches at their edges, with a model that does as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from digits import wire
from serving import warmup
from serving.batch_tensors import joined
from serving.batching import BatchPool
from serving.batching_options import BatchingOptions
from serving.metrics import Metrics
from serving.runners import BatchingRunner, Slots
from serving.servable import Done, Result
from serving.status import Code, Status
from serving.tensors import FLOAT, NO_HANDLE, RESOURCE, VARIANT, Tensor, handle


class Model:
    """Runs a function of the one input."""

    signatures: Mapping[str, Any] = {}

    def __init__(self, work: Callable[[np.ndarray], np.ndarray]) -> None:  # type: ignore[type-arg]
        self._work = work
        self.sizes: list[int] = []

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_s: float | None) -> list[Tensor]:
        x = feeds["x"].array
        self.sizes.append(len(x))
        return [Tensor(FLOAT, self._work(x))]

    def close(self) -> None:
        """Nothing to close."""


def runner(model: Model, **options: Any) -> BatchingRunner:
    return BatchingRunner(model, BatchingOptions(**options), BatchPool(1), Slots(1), Metrics())


def wait_until(true: Callable[[], bool]) -> None:
    """What a guest has not run itself, another thread does."""
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)


def feed(*rows: float) -> dict[str, Tensor]:
    return {"x": Tensor(FLOAT, np.array(rows, np.float32).reshape(len(rows), 1))}


def test_a_split_request_whose_parts_differ_in_shape_is_answered() -> None:
    results: list[Result] = []
    model = Model(lambda x: np.zeros((len(x), int(x.max()))))
    made = runner(model, max_batch_size=8, split_large_batches=True, max_execution_batch_size=2)
    made.run(feed(1, 1, 3, 3), ["y"], None, results.append)
    wait_until(lambda: len(results) == 1)
    (result,) = results
    assert isinstance(result, Status)
    assert (result.code, model.sizes) == (Code.INTERNAL, [2, 2])
    made.run(feed(2, 2, 2, 2), ["y"], None, results.append)
    wait_until(lambda: len(results) == 2)
    assert isinstance(results[1], list)
    assert results[1][0].array.shape == (4, 2)


@pytest.mark.parametrize(
    ("shape", "code", "text"),
    [
        ((), Code.INVALID_ARGUMENT, "Batching Run() input tensors must have at least one dimension"),
        ((9,), Code.INVALID_ARGUMENT, "Task size 9 is larger than maximum input batch size 4"),
        ((1,), Code.INTERNAL, "Tensor concat operation failed: INTERNAL: Unexpected data type"),
    ],
)
@pytest.mark.parametrize("dtype", [RESOURCE, VARIANT])
def test_what_lives_in_a_session_cannot_be_joined(dtype: int, shape: tuple[int, ...], code: Code, text: str) -> None:
    made = runner(Model(np.copy), max_batch_size=4)
    with pytest.raises(Status) as refused:
        made.run({"x": handle(dtype, NO_HANDLE, shape)}, ["y"], None, lambda _: None)
    assert (refused.value.code, refused.value.text) == (code, text)


@pytest.mark.parametrize("others", [0, 2])
def test_a_request_of_no_rows_is_answered_alone_and_in_company(others: int) -> None:
    """With a size to be padded to; in company it comes last, and what is repeated is the last row there is."""
    answers: dict[int, Result] = {}
    entered, go_on = threading.Event(), threading.Event()

    def work(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        if not entered.is_set():  # the first holds the only slot, so that the others gather
            entered.set()
            assert go_on.wait(10)
        return x + 1

    model = Model(work)
    made = runner(model, max_batch_size=8, allowed_batch_sizes=(4, 8))
    first = threading.Thread(target=made.run, args=(feed(9), ["y"], None, lambda result: answers.update({9: result})))
    first.start()
    assert entered.wait(10)
    if others:
        made.run(feed(*range(others)), ["y"], None, lambda result: answers.update({1: result}))
    made.run(feed(), ["y"], None, lambda result: answers.update({0: result}))
    go_on.set()
    wait_until(lambda: 0 in answers)
    assert model.sizes == [4, 4 if others else 0]
    assert {key: result[0].array.ravel().tolist() for key, result in answers.items() if isinstance(result, list)} == {
        9: [10.0], **({1: [1.0, 2.0]} if others else {}), 0: [],
    }  # fmt: skip


def test_who_cannot_take_an_answer_keeps_it_from_nobody_else() -> None:
    answers: list[Result] = []
    entered, go_on = threading.Event(), threading.Event()

    def work(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        if not entered.is_set():
            entered.set()
            assert go_on.wait(10)
        return x

    def fail(_: Result) -> None:
        raise RuntimeError("gone")

    made = runner(Model(work), max_batch_size=8)
    first = threading.Thread(target=made.run, args=(feed(1), ["y"], None, fail))
    first.start()
    assert entered.wait(10)
    for done in (fail, answers.append):
        made.run(feed(2), ["y"], None, done)
    go_on.set()
    wait_until(lambda: len(answers) == 1)
    made.run(feed(3), ["y"], None, answers.append)
    wait_until(lambda: len(answers) == 2)  # the slot came back


def test_a_full_house_sets_the_clock_once_a_queue_and_wakes_nobody_until_a_slot_is_free() -> None:
    """What falls due meanwhile runs as soon as the slot comes back, all of it together."""
    answers: list[Result] = []
    entered, go_on, answered = threading.Event(), threading.Event(), threading.Event()

    def work(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        if not entered.is_set():
            entered.set()
            assert go_on.wait(10)
        return x

    def done(result: Result) -> None:
        answers.append(result)
        if len(answers) == 101:
            answered.set()

    model, pool = Model(work), BatchPool(1)
    options = BatchingOptions(max_batch_size=200, batch_timeout_s=0.05, max_enqueued_batches=10)
    made = BatchingRunner(model, options, pool, Slots(1), Metrics())
    wakes, wait = [0.0], pool._timer_wake.wait

    def counting(timeout: float | None = None) -> bool:
        woken = wait(timeout)
        wakes.append(time.monotonic())
        return woken

    pool._timer_wake.wait = counting  # type: ignore[method-assign]
    made.run(feed(1), ["y"], None, done)
    assert entered.wait(10)
    for _ in range(100):
        made.run(feed(2), ["y"], None, done)
    assert len(pool._timers) <= 1
    time.sleep(0.3)
    assert len(wakes) < 10
    assert not answers
    go_on.set()
    assert answered.wait(10)
    assert model.sizes == [1, 100]
    assert not pool._timers


def test_a_batch_waits_for_its_timeout_and_one_that_is_full_does_not() -> None:
    times: list[float] = []
    answered = threading.Semaphore(0)

    def done(result: Result) -> None:
        times.append(time.monotonic())
        answered.release()

    model = Model(lambda x: x)
    made = runner(model, max_batch_size=2, batch_timeout_s=0.4)
    for rows, least, most in ((1, 0.4, 5.0), (2, 0.0, 0.3), (1, 0.4, 5.0)):  # the second leaves its clock to the third
        began = time.monotonic()
        for _ in range(rows):
            made.run(feed(1), ["y"], None, done)
        for _ in range(rows):
            assert answered.acquire(timeout=10)
        assert least <= times[-1] - began < most
    assert model.sizes == [1, 2, 1]


def test_warming_up_does_not_wait_for_other_peoples_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that has a slot goes on with whatever comes in."""
    busy = threading.Event()

    class Busy:
        def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], deadline: float | None, done: Done) -> None:
            done([Tensor(FLOAT, np.zeros(1))])
            busy.wait(30)

    answered: list[list[Tensor]] = []
    work = SimpleNamespace(feeds=feed(1), fetches=["y"], answer=answered.append)
    planner: Any = SimpleNamespace(classify=lambda request, servable: work, regress=None, multi_inference=None)
    log = wire.PredictionLog()
    log.classify_log.request.SetInParent()
    warmup._run(SimpleNamespace(runner=Busy()), log, planner)  # type: ignore[arg-type]
    busy.set()
    assert len(answered) == 1


def test_padding_takes_ranks_to_six_and_no_empty_tensor_beside_others() -> None:
    results: list[Result] = []
    made = runner(Model(lambda x: x), max_batch_size=8, pad_variable_length_inputs=True)
    made.run({"x": Tensor(FLOAT, np.zeros((1,) * 7, np.float32))}, ["y"], None, results.append)
    made.run({"x": Tensor(FLOAT, np.zeros((1,) * 6, np.float32))}, ["y"], None, results.append)
    refused, answered = results
    assert isinstance(refused, Status)
    assert (refused.code, refused.text) == (Code.INVALID_ARGUMENT, "Only tensors with rank from 1 to 6 can be padded.")
    assert isinstance(answered, list)

    tensors = [Tensor(FLOAT, np.ones(shape, np.float32)) for shape in ((2, 3), (1, 0))]
    with pytest.raises(Status) as caught:
        joined("x", tensors, 0, True)
    assert (caught.value.code, caught.value.text) == (Code.INVALID_ARGUMENT, "Got empty tensor in batch of non-empty tensors.")
    assert joined("x", [tensors[0], Tensor(FLOAT, np.ones((0, 3), np.float32))], 0, True).array.shape == (2, 3)


def test_the_size_of_a_batch_is_looked_at_before_what_is_to_be_fetched() -> None:
    made = runner(Model(lambda x: x), max_batch_size=1)
    with pytest.raises(Status) as caught:
        made.run(feed(1, 2), [], None, lambda _: None)
    assert caught.value.text == "Task size 2 is larger than maximum input batch size 1"
