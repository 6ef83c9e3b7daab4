"""The end of the model server: told to go, it finishes what it has, and what it no longer takes may be asked elsewhere."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest

from digits import tensor, wire
from digits.wire import PREDICT
from tests.conftest import ROOT, StartServer, free_port

PATIENCE_S = 20.0
STOPS = 3
CLIENTS = 8

counting = threading.Lock()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_server_within_five_seconds(serve: StartServer, serving_models: Path, number: int) -> None:
    running = serve("--model_name=m", f"--model_base_path={serving_models}/half_plus_two")
    began = time.monotonic()
    running.process.send_signal(number)
    assert running.process.wait(15) == 0
    assert time.monotonic() - began < 5


def test_a_signal_while_loading_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()  # waits for a version for ever
    command = [sys.executable, "-m", "serving", f"--port={free_port()}", f"--model_base_path={tmp_path}/nothing"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        until = time.monotonic() + 60
        while b"No versions of servable" not in (tmp_path / "log").read_bytes() and time.monotonic() < until:
            time.sleep(0.05)
        began = time.monotonic()
        process.terminate()
        assert process.wait(15) == 0
    assert time.monotonic() - began < 5


def test_a_request_in_work_is_answered_before_the_server_ends(serve: StartServer, serving_models: Path) -> None:
    running = serve("--model_name=types", f"--model_base_path={serving_models}/types")
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "types", "slow"
    number = request.inputs["n"]
    number.dtype = 9
    number.tensor_shape.dim.add().size = 1
    with grpc.insecure_channel(running.target) as channel:
        call = channel.unary_unary(PREDICT)
        for turns in (20_000, 20_000):
            number.int64_val[:] = [turns]
            began = time.monotonic()
            call(request.SerializeToString(), timeout=60)
        number.int64_val[:] = [int(20_000 * 1.0 / (time.monotonic() - began))]  # about a second's work
        answer = call.future(request.SerializeToString(), timeout=60)
        time.sleep(0.2)
        running.process.terminate()
        assert wire.PredictResponse.FromString(answer.result()).outputs["y"].int64_val[0] == number.int64_val[0]
    assert running.process.wait(15) == 0


def ask(target: str, data: bytes, told: Counter[grpc.StatusCode], over: threading.Event) -> None:
    """Ask the same over and over; told: how often which code came."""
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary(PREDICT)
        while not over.is_set():
            try:
                call(data, timeout=PATIENCE_S)
                code = grpc.StatusCode.OK
            except grpc.RpcError as error:
                code = error.code()
            with counting:
                told[code] += 1


def test_clients_of_a_server_that_ends_are_told_that_it_is_unavailable(serve: StartServer, serving_models: Path) -> None:
    """And nothing else, so that they ask another: neither refused calls, nor those on their way when the process ends."""
    request = wire.PredictRequest()
    request.model_spec.name = "m"
    tensor.fill(request.inputs["x"], np.ones(1, np.float32))
    data = request.SerializeToString()
    for _ in range(STOPS):
        running = serve("--model_name=m", f"--model_base_path={serving_models}/half_plus_two")
        told: Counter[grpc.StatusCode] = Counter()
        over = threading.Event()
        clients = [threading.Thread(target=ask, args=(running.target, data, told, over)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        assert running.stop() == 0
        time.sleep(0.05)
        over.set()
        for client in clients:
            client.join()
        assert set(told) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
