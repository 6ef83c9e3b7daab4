"""Where a run takes place: quick ones in the caller's thread, where nothing can end them before they are through."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from serving.status import Code, Status
from serving.tensorflow_engine import QUICK_S, Pace, TensorFlowEngine, TensorFlowModel
from serving.tensors import FLOAT, DataType, Tensor
from tests.conftest import MODELS


def loaded(path: Path) -> TensorFlowModel:
    model = TensorFlowEngine().load(path, ["serve"])
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
