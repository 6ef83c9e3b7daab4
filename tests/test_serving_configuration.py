"""The configuration file while it is polled, and flags whose values cannot be meant."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from digits import wire
from serving import messages
from tests.conftest import ROOT, Server, StartServer, free_port
from tests.test_serving_swap import publish, states

POLL_S = 1


def write(file: Path, text: str) -> None:
    """Replace the file in one step."""
    scratch = file.with_suffix(".new")
    scratch.write_text(text)
    scratch.replace(file)


def listed(base: Path, *lines: str) -> str:
    """A config of one model, m."""
    inner = " ".join(lines)
    return f'model_config_list {{ config {{ name: "m" base_path: "{base}" model_platform: "tensorflow" {inner} }} }}'


def wait_for_answer(server: Server, label: str) -> Any:
    """The version that a label comes to name, within ten seconds."""
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.version_label = "m", label
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add().size = 1
    until = time.monotonic() + 10
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        while True:
            try:
                return wire.PredictResponse.FromString(call(request.SerializeToString(), timeout=5)).model_spec.version.value
            except grpc.RpcError:
                assert time.monotonic() < until
                time.sleep(0.1)


@pytest.fixture
def polled(serve: StartServer, serving_models: Path, tmp_path: Path) -> tuple[Server, Path, Path]:
    """A server of version 1 by a polled file; the file and the base path."""
    base, file = tmp_path / "model", tmp_path / "models.config"
    base.mkdir()
    publish(serving_models / "shift" / "1", base, 1)
    write(file, listed(base))
    return serve(f"--model_config_file={file}", f"--model_config_file_poll_wait_seconds={POLL_S}"), file, base


def test_a_label_refused_for_its_version_is_taken_once_that_is_there(
    polled: tuple[Server, Path, Path], serving_models: Path
) -> None:
    server, file, base = polled
    write(file, listed(base, 'version_labels { key: "next" value: 2 }'))
    time.sleep(2.5 * POLL_S)
    assert "Request to assign label to version 2" in server.log.read_text()
    publish(serving_models / "shift" / "2", base, 2)
    assert wait_for_answer(server, "next") == 2
    server.stop()


def test_a_file_without_a_list_unloads_nothing(polled: tuple[Server, Path, Path]) -> None:
    server, file, _ = polled
    write(file, "\n")
    time.sleep(2.5 * POLL_S)
    assert states(server)[1].state == 30
    assert "It is only legal to transition from one ModelConfigList to another." in server.log.read_text()
    server.stop()


def test_the_polled_file_wins_over_a_reload_by_rpc(polled: tuple[Server, Path, Path]) -> None:
    server, _, _ = polled
    request = messages.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    with grpc.insecure_channel(server.target) as channel:
        channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")(request.SerializeToString(), timeout=10)
    until = time.monotonic() + 10
    while "was read again" not in server.log.read_text() or states(server)[1].state != 30:
        assert time.monotonic() < until
        time.sleep(0.1)
    server.stop()


def test_a_rest_port_that_is_none_costs_only_the_rest_api(serve: StartServer, serving_models: Path) -> None:
    server = serve("--model_name=m", f"--model_base_path={serving_models}/shift", "--rest_api_port=70000")
    assert states(server)[6].state == 30
    assert "Failed to start HTTP Server at localhost:70000" in server.log.read_text()
    assert server.stop() == 0


def test_a_negative_number_of_retries_is_one_try(serving_models: Path) -> None:
    command = [sys.executable, "-m", "serving", f"--port={free_port()}", "--model_name=m", "--max_num_load_retries=-1"]
    command += [f"--model_base_path={serving_models}/shift", "--saved_model_tags=absent"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 255
    assert "Could not find meta graph def matching supplied tags: { absent }" in ended.stdout
