"""Versions come, go and break while requests keep coming."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from digits import wire
from digits.artifact import WARMUP
from serving.warmup import _masked_crc32c
from tests.conftest import Server, StartServer

CLIENTS, REQUESTS = 16, int(os.environ.get("SWAP_REQUESTS", "4000"))
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def publish(source: Path, base: Path, version: int) -> None:
    """Copy beside the version directory, then rename: a publication."""
    shutil.copytree(source, base / f".{version}")
    (base / f".{version}").rename(base / str(version))


def states(server: Server, model: str = "m") -> dict[int, Any]:
    """ModelVersionStatus by version."""
    request = wire.GetModelStatusRequest()
    request.model_spec.name = model
    with grpc.insecure_channel(server.target) as channel:
        raw = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(request.SerializeToString(), timeout=10)
    return {one.version: one for one in wire.GetModelStatusResponse.FromString(raw).model_version_status}


def wait_for(server: Server, version: int, state: int) -> Any:
    """Wait until a version is in a state (30 AVAILABLE, 50 END); returns its status."""
    until = time.monotonic() + 60
    while True:
        one = states(server).get(version)
        if one is not None and one.state == state:
            return one
        assert time.monotonic() < until, f"version {version} is {one}"
        time.sleep(0.05)


@pytest.fixture
def base(tmp_path: Path, serving_models: Path) -> Path:
    """A base path with version 1."""
    folder = tmp_path / "model"
    folder.mkdir()
    publish(serving_models / "shift" / "1", folder, 1)
    return folder


@pytest.fixture
def server(serve: StartServer, base: Path) -> Iterator[Server]:
    """A server of that base path, without retries."""
    running = serve("--model_name=m", f"--model_base_path={base}", "--max_num_load_retries=0", "--enable_batching")
    yield running
    running.stop()


def question() -> bytes:
    """A PredictRequest for x = 0: the answer is the version's own number."""
    request = wire.PredictRequest()
    request.model_spec.name = "m"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.float_val.append(0.0)
    tensor.tensor_shape.dim.add().size = 1
    return bytes(request.SerializeToString())


def ask(channel: grpc.Channel) -> tuple[int, float]:
    """The version that answered, and its answer."""
    response = wire.PredictResponse.FromString(channel.unary_unary(PREDICT)(question(), timeout=20))
    return response.model_spec.version.value, response.outputs["y"].float_val[0]


def test_no_request_fails_while_five_versions_are_published_and_retired(server: Server, base: Path, serving_models: Path) -> None:
    numbers = itertools.count()
    seen: list[set[int]] = [set() for _ in range(CLIENTS)]
    swapped = threading.Event()

    def client(mine: set[int]) -> int:
        asked = 0
        with grpc.insecure_channel(server.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            while next(numbers) < REQUESTS or not swapped.is_set():
                version, answer = ask(channel)
                assert answer == float(version)
                mine.add(version)
                asked += 1
        return asked

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, mine) for mine in seen]
        try:
            for version in range(2, 7):
                publish(serving_models / "shift" / str(version), base, version)
                wait_for(server, version, 30)
                wait_for(server, version - 1, 50)
        finally:
            swapped.set()
        asked = sum(one.result() for one in clients)
    assert asked >= REQUESTS
    assert set().union(*seen) <= set(range(1, 7))
    assert all(max(mine) == 6 for mine in seen)


def truncated(version: Path, models: Path) -> None:
    """A graph that was cut off in writing."""
    graph = version / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-100])


def without_variables(version: Path, models: Path) -> None:
    """A graph whose weights were not copied."""
    shutil.rmtree(version / "variables")


def other_tags(version: Path, models: Path) -> None:
    """A graph for another device."""
    shutil.copy(models / "tags" / "1" / "saved_model.pb", version)


def failing_warmup(version: Path, models: Path) -> None:
    """A recorded request for a signature that is not there."""
    log = wire.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "absent"
    data = log.SerializeToString()
    length = struct.pack("<Q", len(data))
    record = length + struct.pack("<I", _masked_crc32c(length)) + data + struct.pack("<I", _masked_crc32c(data))
    path = version / WARMUP
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(record)


def empty(version: Path, models: Path) -> None:
    """A directory with nothing in it."""
    shutil.rmtree(version)
    version.mkdir()


def test_a_broken_version_leaves_the_serving_one_alone_and_says_why(server: Server, base: Path, serving_models: Path) -> None:
    cases = (
        (truncated, "OUT_OF_RANGE", "Read less bytes than requested"),
        (without_variables, "NOT_FOUND", "The graph has variables and nothing to restore them from"),
        (other_tags, "NOT_FOUND", "Could not find meta graph def matching supplied tags: { serve }"),
        (failing_warmup, "FAILED_PRECONDITION", 'Serving signature key "absent" not found.'),
        (empty, "NOT_FOUND", "does not appear to contain a SavedModel bundle"),
    )
    codes = wire.message("tensorflow.serving.StatusProto").DESCRIPTOR.fields_by_name["error_code"].enum_type.values_by_number
    with grpc.insecure_channel(server.target) as channel:
        for version, (spoil, code, text) in enumerate(cases, start=2):
            spoilt = base.parent / f"{version}"
            shutil.copytree(serving_models / "shift" / "1", spoilt)
            spoil(spoilt, serving_models)
            spoilt.rename(base / str(version))
            ended = wait_for(server, version, 50)
            assert codes[ended.status.error_code].name == code
            assert text in ended.status.error_message
            assert ended.status.error_message
            assert ask(channel) == (1, 1.0)
        publish(serving_models / "shift" / "6", base, 20)
        wait_for(server, 20, 30)
        assert ask(channel) == (20, 6.0)


def test_a_request_in_flight_finishes_on_the_version_it_began_with(
    serve: StartServer, serving_models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "slow"
    folder.mkdir()
    publish(serving_models / "types" / "1", folder, 1)
    running = serve("--model_name=m", f"--model_base_path={folder}")
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "slow"
    tensor = request.inputs["n"]
    tensor.dtype = 9
    tensor.tensor_shape.dim.add().size = 1
    tensor.int64_val.append(20_000)
    with grpc.insecure_channel(running.target) as channel:
        call = channel.unary_unary(PREDICT)
        call(request.SerializeToString(), timeout=60)
        began = time.monotonic()
        call(request.SerializeToString(), timeout=60)
        turns = int(20_000 * 4.0 / (time.monotonic() - began))  # about four seconds' work
        tensor.int64_val[:] = [turns]
        answer = call.future(request.SerializeToString(), timeout=120)
        time.sleep(0.3)
        publish(serving_models / "shift" / "2", folder, 2)
        wait_for(running, 2, 30)
        response = wire.PredictResponse.FromString(answer.result())
    assert response.model_spec.version.value == 1
    assert list(response.outputs["y"].int64_val) == [turns]
    wait_for(running, 1, 50)
    running.stop()
