"""Where a run takes place: on how many cores; quick ones in the caller's thread, where nothing can end them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import tensorflow_engine, tensorflow_twins
from serving.engine import EngineOptions
from serving.pace import QUICK_S, Pace
from serving.status import Code, Status
from serving.tensorflow_engine import TensorFlowEngine, TensorFlowModel
from serving.tensorflow_twins import ALONE_S, LONG_S, Twins
from serving.tensors import FLOAT, DataType, Tensor
from tests.conftest import MODELS


def loaded(path: Path) -> TensorFlowModel:
    model = TensorFlowEngine(EngineOptions(intra_op_threads=2)).load(path, ["serve"])
    assert isinstance(model, TensorFlowModel)
    return model


def test_a_run_is_quick_once_runs_of_its_size_were() -> None:
    pace = Pace()
    assert not pace.is_quick(None), "nothing is known yet"
    pace.took(0.001)
    assert pace.is_quick(None)
    assert pace.is_quick(0.01)
    assert not pace.is_quick(0.009), "it must fit ten times into what is left"
    pace.took(2 * QUICK_S)
    assert not pace.is_quick(None)
    for _ in range(100):
        pace.took(0.001)
    assert pace.is_quick(None), "a slow one is forgotten"


def test_a_loop_is_ended_in_time_after_any_number_of_quick_runs(serving_models: Path) -> None:
    model = loaded(serving_models / "types" / "1")
    signature = model.signatures["slow"]
    feed, fetch = signature.inputs["n"].name, signature.outputs["y"].name

    def run(turns: int) -> list[Tensor]:
        return model.run({feed: Tensor(DataType["DT_INT64"].number, np.array([turns]))}, [fetch], 0.5)

    for _ in range(20):
        assert run(3)[0].array.tolist() == [3]
    began = time.monotonic()
    with pytest.raises(Status) as raised:
        run(10**12)
    assert raised.value.code == Code.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 5


def test_loops_are_found_in_functions_too_and_only_where_they_are() -> None:
    model = loaded(MODELS / "1")
    found = {}
    for name in ("serving_default", "drawings"):
        signature = model.signatures[name]
        feeds = tuple(one.name for one in signature.inputs.values())
        found[name] = model._plan(feeds, tuple(one.name for one in signature.outputs.values()))[2]
    assert found == {"serving_default": {}, "drawings": None}


def test_another_size_is_tried_in_the_pool_first(serving_models: Path) -> None:
    model = loaded(serving_models / "types" / "1")
    signature = model.signatures["total"]
    feed, fetch = signature.inputs["a"].name, signature.outputs["sum"].name
    for size in (4, 4, 5, 4000):
        assert model.run({feed: Tensor(FLOAT, np.ones(size, np.float32))}, [fetch], None)[0].array == size
    paces = model._plan((feed,), (fetch,))[2]
    assert paces is not None
    assert sorted(paces) == [5, 14]


@pytest.mark.parametrize(
    ("name", "twice"),
    [
        ("half_plus_two/00000123", True), ("half_plus_two_tf2/00000123", True), ("types/1", True), ("keras/00000123", True),
        ("counting/00000123", False), ("count_tf2/00000123", False), ("count_ref/00000123", False), ("chance/00000123", False),
    ],
)  # fmt: skip
def test_a_model_that_keeps_nothing_is_loaded_twice_and_no_other(
    serving_models: Path, monkeypatch: pytest.MonkeyPatch, name: str, twice: bool
) -> None:
    monkeypatch.setattr(tensorflow_engine, "CPUS", 2)
    assert isinstance(TensorFlowEngine().load(serving_models / name, ["serve"]), Twins) is twice
    told = TensorFlowEngine(EngineOptions(intra_op_threads=1)).load(serving_models / name, ["serve"])
    assert isinstance(told, TensorFlowModel), "whoever says how many threads an operation has gets them"


def test_a_large_model_is_loaded_once(serving_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorflow_engine, "CPUS", 2)
    monkeypatch.setattr(tensorflow_twins, "TWIN_BYTES", 1000)
    assert isinstance(TensorFlowEngine().load(serving_models / "types" / "1", ["serve"]), TensorFlowModel)


def test_what_links_lead_to_is_counted(serving_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorflow_engine, "CPUS", 2)
    version = tmp_path / "1"
    shutil.copytree(serving_models / "half_plus_two" / "00000123", version)
    shutil.move(version / "variables", tmp_path / "elsewhere")
    (version / "variables").symlink_to(tmp_path / "elsewhere")
    assert isinstance(TensorFlowEngine().load(version, ["serve"]), Twins)
    (tmp_path / "elsewhere" / "nowhere").symlink_to(tmp_path / "nothing")
    assert isinstance(TensorFlowEngine().load(version, ["serve"]), TensorFlowModel)
    (tmp_path / "elsewhere" / "nowhere").unlink()
    with (tmp_path / "elsewhere" / "more").open("wb") as file:
        file.truncate(tensorflow_twins.TWIN_BYTES)
    assert isinstance(TensorFlowEngine().load(version, ["serve"]), TensorFlowModel)


def test_both_sessions_give_the_same_answer() -> None:
    one, two = (TensorFlowEngine(EngineOptions(intra_op_threads=n)).load(MODELS / "1", ["serve"]) for n in (1, 2))
    signature = one.signatures["serving_default"]
    feed, fetch = signature.inputs["images"].name, signature.outputs["probabilities"].name
    images = np.random.default_rng(0).integers(0, 256, (48, 28, 28), np.uint8)
    answers = [model.run({feed: Tensor(DataType["DT_UINT8"].number, images)}, [fetch], None)[0].array for model in (one, two)]
    assert np.abs(answers[0] - answers[1]).max() < 1e-5


class Clock:
    """Goes only when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(tensorflow_twins.time, "perf_counter", made)
    return made


class Timed:
    """A session whose runs take a given time."""

    signatures: Mapping[str, Any] = {}

    def __init__(self, clock: Clock) -> None:
        self.seconds, self.runs, self.closed, self._clock = 0.0, 0, False, clock

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_s: float | None) -> list[Tensor]:
        self.runs += 1
        self._clock.now += self.seconds
        return []

    def close(self) -> None:
        self.closed = True


def feed(rows: int) -> dict[str, Tensor]:
    return {"x": Tensor(FLOAT, np.zeros(rows, np.float32))}


@pytest.fixture
def crowd() -> Iterator[None]:
    """Another model's run, which does not end."""
    inside, go_on = threading.Event(), threading.Event()
    waiting = Timed(Clock())
    waiting.run = lambda *_: (inside.set(), go_on.wait(10), [])[-1]  # type: ignore[method-assign,assign,return-value]
    other = threading.Thread(target=Twins(waiting, waiting).run, args=(feed(1), ["y"], None))
    other.start()
    inside.wait(10)
    yield
    go_on.set()
    other.join(10)


def test_short_runs_have_one_thread_and_a_sizes_first_run_prepares_both_sessions(clock: Clock) -> None:
    wide, narrow = Timed(clock), Timed(clock)
    both = Twins(wide, narrow)
    for _ in range(3):
        both.run(feed(1), ["y"], None)
    assert (wide.runs, narrow.runs) == (0, 3)
    narrow.seconds = 2 * ALONE_S
    both.run(feed(100), ["y"], None)
    assert (wide.runs, narrow.runs) == (1, 4)
    wide.seconds = 1.5 * ALONE_S
    for _ in range(3):
        both.run(feed(100), ["y"], None)
    assert (wide.runs, narrow.runs) == (4, 4), "alone they have all cores"
    both.close()
    assert wide.closed
    assert narrow.closed


@pytest.mark.parametrize(("seconds", "wide_runs"), [(0.5 * ALONE_S, 0), (1.5 * ALONE_S, 1), (2 * LONG_S, 4)])
def test_beside_others_only_long_runs_have_all_cores(clock: Clock, crowd: None, seconds: float, wide_runs: int) -> None:
    wide, narrow = Timed(clock), Timed(clock)
    both = Twins(wide, narrow)
    wide.seconds = narrow.seconds = seconds
    for _ in range(4):
        both.run(feed(1), ["y"], None)
    assert wide.runs == wide_runs


def test_preparing_the_other_session_costs_nobody_an_answer(clock: Clock) -> None:
    def late(*_: object) -> list[Tensor]:
        raise Status(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")

    wide, narrow = Timed(clock), Timed(clock)
    narrow.seconds, wide.run = 2 * LONG_S, late  # type: ignore[method-assign,assign]
    assert Twins(wide, narrow).run(feed(1), ["y"], 0.1) == []


def test_a_hiccup_makes_no_run_long_for_good(clock: Clock) -> None:
    wide, narrow = Timed(clock), Timed(clock)
    both = Twins(wide, narrow)
    both.run(feed(1), ["y"], None)
    narrow.seconds = 1.8 * ALONE_S
    both.run(feed(1), ["y"], None)
    narrow.seconds = 0.0
    both.run(feed(1), ["y"], None)
    assert wide.runs == 1
    both.run(feed(1), ["y"], None)
    assert (wide.runs, narrow.runs) == (1, 3)


@pytest.mark.parametrize("deadline_s", [0.5, 0.8 * LONG_S, 0.4 * ALONE_S])
def test_a_run_that_only_all_cores_end_in_time_has_them_from_the_second_try_on(
    clock: Clock, crowd: None, deadline_s: float
) -> None:
    def late(*_: object) -> list[Tensor]:
        clock.now += deadline_s
        raise Status(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")

    wide, narrow = Timed(clock), Timed(clock)
    wide.seconds, narrow.run = 0.6 * deadline_s, late  # type: ignore[method-assign,assign]
    both = Twins(wide, narrow)
    with pytest.raises(Status):
        both.run(feed(1), ["y"], deadline_s)
    for _ in range(3):
        assert both.run(feed(1), ["y"], deadline_s) == []
    assert wide.runs == 3
