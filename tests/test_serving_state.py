"""Which models are held in two sessions, and what a graph keeps between runs."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import tensorflow_engine
from serving.engine import EngineOptions, LoadedModel
from serving.tensorflow_c import library
from serving.tensorflow_engine import TensorFlowEngine, TensorFlowModel
from serving.tensorflow_tensors import from_c, to_c
from serving.tensorflow_twins import Twins
from serving.tensors import FLOAT, STRING, Tensor
from tests.conftest import ROOT

LONG = b"longer than the twenty-two bytes that need no memory of their own"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests/serving_state_models.py writes."""
    out = tmp_path_factory.mktemp("state")
    subprocess.run([sys.executable, "-m", "tests.serving_state_models", str(out)], check=True, capture_output=True, cwd=ROOT)
    return out


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> TensorFlowEngine:
    monkeypatch.setattr(tensorflow_engine, "CPUS", 2)
    return TensorFlowEngine()


@pytest.mark.parametrize(
    ("name", "twice"),
    [
        ("constant_counts", False), ("fed_half", False), ("lots", False), ("queue", False),
        ("tables", True), ("table_tf2", True), ("trunk", True), ("words", True),
    ],
)  # fmt: skip
def test_only_a_model_that_is_the_same_in_both_sessions_gets_two(
    engine: TensorFlowEngine, models: Path, name: str, twice: bool
) -> None:
    assert isinstance(engine.load(models / name, ["serve"]), Twins) is twice


def test_a_constant_in_a_function_is_no_loop_whatever_it_reads_like(models: Path) -> None:
    model = TensorFlowEngine(EngineOptions(intra_op_threads=1)).load(models / "words", ["serve"])
    assert isinstance(model, TensorFlowModel)
    signature = model.signatures["serving_default"]
    feeds, fetches = (tuple(one.name for one in infos.values()) for infos in (signature.inputs, signature.outputs))
    assert model._plan(feeds, fetches)[2] == {}
    assert sum(map(len, model._functions.values())) < 10_000


def test_each_operation_is_read_once_however_many_signatures_depend_on_it(
    engine: TensorFlowEngine, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib, read = engine._lib, list[int]()
    describe = lib.TF_OperationToNodeDef

    def noted(operation: int, *rest: object) -> None:
        read.append(operation)
        describe(operation, *rest)

    monkeypatch.setattr(lib, "TF_OperationToNodeDef", noted)
    engine.load(models / "trunk", ["serve"])
    assert len(read) == len(set(read)) >= 200


def test_strings_that_a_graph_keeps_are_there_later(models: Path) -> None:
    model = TensorFlowEngine().load(models / "queue", ["serve"])
    put, get = model.signatures["put"], model.signatures["get"]
    fed = [LONG, b"", b"\x00short"]
    for one in fed:
        text = {put.inputs["text"].name: Tensor.of(STRING, np.array([one], object), ())}
        assert model.run(text, [put.outputs["y"].name], 5)[0].array.item() == one
    x = {get.inputs["x"].name: Tensor(FLOAT, np.zeros(1, np.float32))}
    assert [model.run(x, [get.outputs["y"].name], 5)[0].array.item() for _ in fed] == fed


@pytest.mark.parametrize("shape", [(), (0,), (2, 1)])
def test_strings_of_any_shape_reach_a_graph_that_keeps_state(shape: tuple[int, ...]) -> None:
    lib = library()
    freed_here: list[tuple[int, int]] = []
    handle = to_c(lib, Tensor.of(STRING, np.full(shape, LONG, object), shape), freed_here, lasting=True)
    got = from_c(lib, handle)
    lib.TF_DeleteTensor(handle)
    assert (got.dims, got.array.ravel().tolist()) == (shape, [LONG] * math.prod(shape))
    assert sum(count for _, count in freed_here) == 0, "TensorFlow frees them"


def after_the_first(engine: TensorFlowEngine, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen between a model's two loads."""
    load, waiting = engine._load, [happens]

    def both(*given: Any) -> TensorFlowModel:
        model = load(*given)
        if waiting:
            waiting.pop()()
        return model

    monkeypatch.setattr(engine, "_load", both)


def shifted(model: LoadedModel) -> float:
    """What the model adds."""
    signature = model.signatures["serving_default"]
    x = {signature.inputs["x"].name: Tensor(FLOAT, np.zeros(1, np.float32))}
    return float(model.run(x, [signature.outputs["y"].name], None)[0].array.item())


def test_a_version_that_goes_after_it_was_loaded_once_serves_from_one_session(
    engine: TensorFlowEngine,
    serving_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    version = Path(shutil.copytree(serving_models / "shift" / "1", tmp_path / "1"))
    after_the_first(engine, monkeypatch, lambda: shutil.rmtree(version))
    model = engine.load(version, ["serve"])
    assert isinstance(model, TensorFlowModel)
    assert shifted(model) == 1
    assert [record.message.partition(", for ")[0] for record in caplog.records] == [f"{version} gets one session instead of two"]


def test_files_that_change_between_the_two_loads_are_read_once(
    engine: TensorFlowEngine, serving_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = Path(shutil.copytree(serving_models / "shift" / "1", tmp_path / "1"))

    def swap() -> None:
        version.rename(tmp_path / "old")
        shutil.copytree(serving_models / "shift" / "2", version)

    after_the_first(engine, monkeypatch, swap)
    model = engine.load(version, ["serve"])
    assert isinstance(model, TensorFlowModel)
    assert shifted(model) == 1


def test_a_link_that_leads_elsewhere_and_back_is_followed_once(
    engine: TensorFlowEngine, serving_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "1"

    def lead(number: int) -> None:
        (tmp_path / "new").symlink_to(serving_models / "shift" / str(number))
        os.replace(tmp_path / "new", link)

    lead(1)
    after_the_first(engine, monkeypatch, lambda: lead(2))
    model = engine.load(link, ["serve"])
    assert isinstance(model, Twins)
    assert [shifted(one) for one in (model._wide, model._narrow)] == [1, 1]
