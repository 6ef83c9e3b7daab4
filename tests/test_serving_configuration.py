"""The configuration file while it is polled, and flags whose values cannot be meant."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format

from digits import wire
from serving import messages
from serving.grpc_api import read_reload
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


def wait_for_answer(server: Server, label: str, within_s: float = 10) -> Any:
    """The version that a label comes to name, within some time."""
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.version_label = "m", label
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add().size = 1
    until = time.monotonic() + within_s
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


def reload(server: Server, text: str) -> tuple[str, str]:
    """Ask for a config by RPC; the code and the text of its refusal, or OK and nothing."""
    request = messages.ReloadConfigRequest()
    text_format.Parse(text, request.config, descriptor_pool=wire.pool)
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        try:
            call(request.SerializeToString(), timeout=20)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def test_a_refused_reload_leaves_what_was_done_before_the_refusal(
    serve: StartServer, serving_models: Path, tmp_path: Path
) -> None:
    """The order of server_core.cc: list, platforms, labels, models, loggers."""
    base, other = tmp_path / "m", tmp_path / "n"
    for path in (base, other):
        path.mkdir()
        publish(serving_models / "shift" / "1", path, 1)
    plain, labelled = listed(base), listed(base, 'version_labels { key: "one" value: 1 }')
    server = serve(f"--model_base_path={base}", "--model_name=m")
    assert reload(server, labelled) == ("OK", "")
    assert wait_for_answer(server, "one") == 1

    def beside(more: str, config: str = plain) -> str:
        return config[: config.rindex("}")] + f'config {{ name: "n" base_path: "{other}" {more} }} }}'

    wrong_label = listed(base, 'version_labels { key: "nine" value: 9 }')
    unknown = 'model_platform: "onnx"'
    assert reload(server, beside(unknown, wrong_label))[0] == "FAILED_PRECONDITION", "labels come before new platforms"
    assert wait_for_answer(server, "one") == 1
    assert reload(server, labelled) == ("OK", ""), "n was asked for as something else, and is not any more"
    assert reload(server, beside(unknown)) == ("INVALID_ARGUMENT", "Model n requests unsupported platform onnx")
    with pytest.raises(AssertionError):
        wait_for_answer(server, "one", within_s=0)  # its label was left out
    changed = "Illegal to change a model's platform. For model n platform was onnx and new platform requested is tensorflow"
    assert reload(server, beside('model_platform: "tensorflow"')) == ("INVALID_ARGUMENT", changed)
    code, text = reload(server, beside("model_type: OTHER", plain).replace('"n"', '"o"'))
    assert (code, text) == ("INVALID_ARGUMENT", "ModelServerConfig::model_type choice 2 not supported.")
    neither = "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform"
    assert reload(server, beside(""))[1] == f"{neither}, model name is n"
    assert reload(server, plain) == ("OK", ""), "nobody is locked out"
    assert states(server)[1].state == 30

    logging = 'model_platform: "tensorflow" logging_config { sampling_config { sampling_rate: 1 } }'
    assert reload(server, beside(logging)) == ("INVALID_ARGUMENT", "No request-logger-creator provided.")
    request = wire.GetModelStatusRequest()
    request.model_spec.name = "n"
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
        answer = wire.GetModelStatusResponse.FromString(call(request.SerializeToString(), timeout=5))
    assert [one.state for one in answer.model_version_status] == [30], "the models changed all the same"


def test_a_rest_port_that_is_none_costs_only_the_rest_api(serve: StartServer, serving_models: Path) -> None:
    server = serve("--model_name=m", f"--model_base_path={serving_models}/shift", rest_port=70000)
    assert states(server)[6].state == 30
    until = time.monotonic() + 20  # it comes last
    while "Failed to start HTTP Server at localhost:70000" not in server.log.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    assert server.stop() == 0


def test_a_negative_number_of_retries_is_one_try(serving_models: Path) -> None:
    command = [sys.executable, "-m", "serving", f"--port={free_port()}", "--model_name=m", "--max_num_load_retries=-1"]
    command += [f"--model_base_path={serving_models}/shift", "--saved_model_tags=absent"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 255
    assert "Could not find meta graph def matching supplied tags: { absent }" in ended.stdout


def test_a_label_whose_entry_holds_something_unknown_is_set_and_a_metric_is_told_once(
    serve: StartServer, serving_models: Path, tmp_path: Path
) -> None:
    base = tmp_path / "m"
    base.mkdir()
    publish(serving_models / "shift" / "1", base, 1)
    server = serve(f"--model_base_path={base}", "--model_name=m")
    request = messages.ReloadConfigRequest(metric_names=["a", "b", "a"])
    config = request.config.model_config_list.config.add(name="m", base_path=str(base), model_platform="tensorflow")
    entry = b"\x0a\x03new\x10\x01\x2a\x01q"  # new: 1, and a field 5
    config.MergeFromString(b"\x42" + bytes([len(entry)]) + entry)
    assert not config.version_labels, "this library does not find it by itself"
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        answered = messages.ReloadConfigResponse.FromString(call(request.SerializeToString(), timeout=20))
    assert sorted(metric.name for metric in answered.metric) == ["a", "b"]
    assert wait_for_answer(server, "new") == 1


@pytest.mark.parametrize("last_is_odd", [False, True])
def test_of_labels_of_one_name_the_last_counts_whatever_their_entries_hold_beside(last_is_odd: bool) -> None:
    plain, odd = b"\x0a\x03new\x10\x01", b"\x0a\x03new\x10\x02\x2a\x01q"
    model = messages.ModelConfig(name="m", base_path="/m", model_platform="tensorflow")
    model.version_labels["old"] = 3
    data = model.SerializeToString()
    for entry in (plain, odd) if last_is_odd else (odd, plain):
        data += b"\x42" + bytes([len(entry)]) + entry
    listed_once = b"\x0a" + bytes([len(data)]) + data
    config = b"\x0a" + bytes([len(listed_once)]) + listed_once
    request = read_reload(b"\x0a" + bytes([len(config)]) + config)
    (read,) = request.config.model_config_list.config
    assert (read.name, read.base_path, read.model_platform) == ("m", "/m", "tensorflow")
    assert dict(read.version_labels) == {"old": 3, "new": 2 if last_is_odd else 1}
