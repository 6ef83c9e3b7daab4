"""What TensorFlow Serving's own end-to-end suite (tensorflow_model_server_test.py, the 26 tests for a CPU) asks of a server.

Own tests of the same questions, against `python -m serving`.  Calls that tests/conformance makes are not repeated here: this
file has the ones about flags, files, sockets and other kinds of SavedModel.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest

from digits import wire
from tests.conftest import ROOT, Server, StartServer, free_port

MODEL = '  config: {{ name: "{name}", base_path: "{path}", model_platform: "tensorflow" }}\n'
LIST = "model_config_list: {{\n{models}}}\n"


def predict(address: str, model: str, shape: tuple[int, ...] = (1,), signature: str = "", timeout: float | None = 10.0) -> Any:
    """Send 2.0 as `x` and return the response."""
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.float_val.append(2.0)
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        return wire.PredictResponse.FromString(call(request.SerializeToString(), timeout=timeout))


def value(response: Any) -> float:
    """The one number of output `y`."""
    (number,) = response.outputs["y"].float_val
    return float(number)


@pytest.fixture(scope="module")
def many(serve: StartServer, serving_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """One server with everything on: a socket, batching, health, monitoring, channel arguments."""
    folder = tmp_path_factory.mktemp("many")
    names = ("half_plus_two", "half_plus_three", "half_plus_two_tf2", "functions", "checkpoint", "keras")
    models = "".join(MODEL.format(name=name, path=serving_models / name) for name in names)
    (folder / "models.config").write_text(LIST.format(models=models))
    (folder / "batching.config").write_text("max_batch_size { value: 128 }\nbatch_timeout_micros { value: 0 }\n")
    (folder / "monitoring.config").write_text('prometheus_config: { enable: true, path: "/monitoring/prometheus/metrics" }\n')
    return serve(
        f"--model_config_file={folder}/models.config",
        f"--grpc_socket_path={folder}/grpc.sock",
        "--enable_batching",
        f"--batching_parameters_file={folder}/batching.config",
        f"--monitoring_config_file={folder}/monitoring.config",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
        "--enable_grpc_healthcheck_service",
        "--rest_api_timeout_in_ms=5000",
    )


@pytest.mark.parametrize(
    ("model", "signature", "shape", "want"),
    [
        ("half_plus_two", "", (1,), 3.0),
        ("half_plus_two", "serving_default", (1, 1), 3.0),
        ("half_plus_three", "", (1,), 4.0),
        ("half_plus_two_tf2", "", (1,), 3.0),
        ("functions", "", (1,), 1.0),
        ("functions", "custom_signature_key", (1,), 2.0),
        ("checkpoint", "", (1,), 12.0),
        ("keras", "", (1, 1), 2.0),
    ],
)
def test_every_kind_of_saved_model_is_served(many: Server, model: str, signature: str, shape: Any, want: float) -> None:
    response = predict(many.target, model, shape, signature)
    assert value(response) == want
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (model, 123, signature or "serving_default")


def test_a_call_without_a_deadline_is_answered(many: Server, serve: StartServer, serving_models: Path) -> None:
    alone = serve("--model_name=half_plus_two", f"--model_base_path={serving_models}/half_plus_two")
    assert value(predict(alone.target, "half_plus_two", timeout=None)) == 3.0
    assert value(predict(many.target, "half_plus_two", timeout=None)) == 3.0
    alone.stop()


def test_a_unix_socket_answers_too_and_a_stale_one_is_no_hindrance(
    many: Server, serve: StartServer, serving_models: Path, tmp_path: Path
) -> None:
    path = tmp_path / "grpc.sock"
    flags = ("--model_name=m", f"--model_base_path={serving_models}/half_plus_two", f"--grpc_socket_path={path}")
    first = serve(*flags)
    first.process.kill()  # leaves the socket's file behind
    first.process.wait()
    assert path.exists()
    second = serve(*flags)
    assert value(predict(f"unix:{path}", "m")) == 3.0
    assert second.stop() == 0
    assert not path.exists()


def test_prometheus_names_its_metrics(many: Server) -> None:
    predict(many.target, "half_plus_two")
    with urllib.request.urlopen(f"{many.rest}/monitoring/prometheus/metrics", timeout=10) as answer:
        page = answer.read().decode()
    assert "# TYPE :tensorflow:serving:request_count counter" in page
    assert '{model_name="half_plus_two",status="OK"}' in page


@pytest.mark.parametrize(("service", "code"), [("", 1), ("ModelService", 1), ("PredictionService", 1), ("half_plus_two", None)])
def test_health_is_told_of_the_services_by_their_short_names(many: Server, service: str, code: int | None) -> None:
    request = bytes([0x0A, len(service)]) + service.encode()
    with grpc.insecure_channel(many.target) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")
        if code is None:
            with pytest.raises(grpc.RpcError, match="service name unknown"):
                call(request, timeout=10)
        else:
            assert call(request, timeout=10) == bytes([0x08, code])


def test_a_config_file_is_read_again_only_if_asked_for(serve: StartServer, serving_models: Path, tmp_path: Path) -> None:
    names = ("half_plus_two", "half_plus_three")
    text = [LIST.format(models=MODEL.format(name=name, path=serving_models / name)) for name in names]
    servers = []
    for period in (0, 1):
        config = tmp_path / f"models-{period}.config"
        config.write_text(text[0])
        servers.append(serve(f"--model_config_file={config}", f"--model_config_file_poll_wait_seconds={period}"))
        assert value(predict(servers[-1].target, "half_plus_two")) == 3.0
        config.write_text(text[1])
    until = time.monotonic() + 20
    while True:
        try:
            assert value(predict(servers[1].target, "half_plus_three")) == 4.0
            break
        except grpc.RpcError:
            assert time.monotonic() < until, "the new config was not taken"
            time.sleep(0.1)
    assert value(predict(servers[0].target, "half_plus_two")) == 3.0
    for server in servers:
        server.stop()


def start_up(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    command = [sys.executable, "-m", "serving", f"--port={free_port()}", *flags]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_a_malformed_config_file_ends_the_start_and_says_where(tmp_path: Path) -> None:
    config = tmp_path / "bad.config"
    config.write_text("improperly formatted file")
    ended = start_up(tmp_path, f"--model_config_file={config}")
    assert ended.returncode == 255
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:" in ended.stderr
    assert ended.stdout.endswith(f"Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: '{config}'\n")


def test_a_model_without_variables_ends_the_start_when_it_is_the_only_one(serving_models: Path, tmp_path: Path) -> None:
    version = tmp_path / "bad" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes((serving_models / "half_plus_two/00000123/saved_model.pb").read_bytes())
    ended = start_up(tmp_path, f"--model_base_path={tmp_path}/bad", "--max_num_load_retries=0")
    assert ended.returncode == 255
    assert "1 servable(s) did not become available: {{{name: default version: 1} due to error: " in ended.stdout


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("experimental { disable_thread_spinning: true } allow_soft_placement: true", None, ""),
        ("intra_op_parallelism_threads: 1 inter_op_parallelism_threads: 1", None, ""),
        ("no_such_field: 1", 255, "Error parsing text-format tensorflow.ConfigProto: 1:"),
    ],
)
def test_a_session_config_file_is_honoured_without_tensorflows_python(
    serve: StartServer, serving_models: Path, tmp_path: Path, text: str, code: int | None, says: str
) -> None:
    config = tmp_path / "session.config"
    config.write_text(text)
    flags = (f"--model_base_path={serving_models}/half_plus_two", f"--tensorflow_session_config_file={config}")
    if code is None:
        server = serve(*flags)
        assert value(predict(server.target, "default")) == 3.0
        server.stop()
    else:
        ended = start_up(tmp_path, *flags)
        assert ended.returncode == code
        assert says in ended.stderr


def test_the_official_images_entry_point_is_understood(serve: StartServer, serving_models: Path) -> None:
    model = ("--model_name=half_plus_two", f"--model_base_path={serving_models}/half_plus_two")
    server = serve(*model, "--tensorflow_intra_op_parallelism=1")
    body = json.dumps({"instances": [2.0, 3.0, 4.0]}).encode()
    with urllib.request.urlopen(f"{server.rest}/v1/models/half_plus_two:predict", body, timeout=10) as answer:
        assert json.load(answer) == {"predictions": [3.0, 3.5, 4.0]}
    server.stop()
