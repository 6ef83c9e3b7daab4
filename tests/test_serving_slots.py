"""Who runs what is in line: no guest, nobody past its deadline, and one more where all slots wait for each other."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from digits import wire
from serving import runners
from serving.batching import BatchPool
from serving.batching_options import BatchingOptions
from serving.flags import CPUS
from serving.metrics import Metrics
from serving.runners import BatchingRunner, DirectRunner, Slots
from serving.servable import Result
from serving.server import RUNS_PER_CPU
from serving.status import Code, Status
from serving.tensors import FLOAT, Tensor
from tests.conftest import Server, StartServer
from tests.test_serving_swap import PREDICT

PATIENCE_S = 10.0
FEED = {"x": Tensor(FLOAT, np.zeros(1, np.float32))}


class Model:
    """The first run begins and waits; the later ones say who does them, and wait too."""

    signatures: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.begun, self.go_on = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
        self.threads: list[int] = []

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_s: float | None) -> list[Tensor]:
        at = min(len(self.threads), 1)
        self.threads.append(threading.get_ident())
        self.begun[at].set()
        assert self.go_on[at].wait(PATIENCE_S)
        return [feeds["x"]]

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("batches", [False, True])
def test_a_guest_does_its_own_work_and_leaves_the_line_to_another_thread(batches: bool) -> None:
    model, answered = Model(), threading.Semaphore(0)
    made: Any = DirectRunner(model, Slots(1))
    if batches:
        made = BatchingRunner(model, BatchingOptions(max_batch_size=1), BatchPool(1), Slots(1), Metrics())

    def ask() -> None:
        made.run(FEED, ["y"], None, lambda _: answered.release())

    guest = threading.Thread(target=ask)
    guest.start()
    assert model.begun[0].wait(PATIENCE_S)
    ask()
    ask()
    model.go_on[0].set()
    assert model.begun[1].wait(PATIENCE_S)
    guest.join(PATIENCE_S)
    assert not guest.is_alive(), "it was kept for other people's work"
    model.go_on[1].set()
    for _ in range(3):
        assert answered.acquire(timeout=PATIENCE_S)
    assert model.threads[0] != model.threads[1] == model.threads[2]


def test_one_more_is_let_in_while_all_who_have_a_slot_wait_and_the_room_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "HELD_S", 0.2)
    slots, go_on, worked = Slots(2), threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        assert go_on.wait(PATIENCE_S)
        worked.release()

    threads = [threading.Thread(target=slots.run, args=(wait,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    while slots._running < 2:
        time.sleep(0.002)
    slots.run(wait)  # for two more that block there is room as well, in time
    slots.run(wait)
    for _ in range(20):  # and for whoever follows
        slots.run(worked.release)
    for _ in range(20):
        assert worked.acquire(timeout=PATIENCE_S)
    began = time.monotonic()
    slots.run(worked.release)
    assert worked.acquire(timeout=PATIENCE_S)
    assert time.monotonic() - began < 0.15, "the room that was found stays as long as it is needed"
    go_on.set()
    for _ in range(4):
        assert worked.acquire(timeout=PATIENCE_S)
    until = time.monotonic() + PATIENCE_S
    while slots._running:
        assert time.monotonic() < until
        time.sleep(0.002)
    assert slots._allowed == 2


def test_runs_that_end_let_nobody_in_beyond_the_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "HELD_S", 0.5)
    slots, worked = Slots(2), threading.Semaphore(0)
    lock, running, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1
        worked.release()

    for _ in range(30):
        threading.Thread(target=slots.run, args=(work,)).start()
    for _ in range(30):
        assert worked.acquire(timeout=PATIENCE_S)
    assert most == 2


def test_no_more_than_the_most_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "HELD_S", 0.05)
    slots, go_on, begun = Slots(1, most=2), threading.Event(), list[None]()

    def wait() -> None:
        begun.append(None)
        assert go_on.wait(PATIENCE_S)

    for _ in range(4):
        threading.Thread(target=slots.run, args=(wait,)).start()
    time.sleep(0.8)
    assert len(begun) == 2
    go_on.set()


def test_long_runs_that_compute_are_not_taken_for_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "HELD_S", 0.1)
    slots, at_once, most, ended = Slots(1), list[None](), list[int](), threading.Semaphore(0)

    def compute() -> None:
        at_once.append(None)
        most.append(len(at_once))
        until = time.thread_time() + 0.6
        while time.thread_time() < until:
            pass
        at_once.pop()
        ended.release()

    for _ in range(3):
        threading.Thread(target=slots.run, args=(compute,)).start()
    for _ in range(3):
        assert ended.acquire(timeout=PATIENCE_S)
    assert most == [1, 1, 1]


def test_whoever_is_in_line_past_the_deadline_is_told_while_the_slots_are_held() -> None:
    model, results = Model(), []
    made = DirectRunner(model, Slots(1))
    answered = threading.Event()

    def done(result: Result) -> None:
        results.append(result)
        answered.set()

    threading.Thread(target=made.run, args=(FEED, ["y"], None, lambda _: None)).start()
    assert model.begun[0].wait(PATIENCE_S)
    began = time.monotonic()
    made.run(FEED, ["y"], began + 0.3, done)
    assert answered.wait(PATIENCE_S)
    assert 0.3 <= time.monotonic() - began < 0.9
    (result,) = results
    assert isinstance(result, Status)
    assert result.code is Code.DEADLINE_EXCEEDED
    assert len(model.threads) == 1
    model.go_on[0].set()


# -- over sockets -------------------------------------------------------------------------------------------------------------


def slow(turns: int) -> bytes:
    """A request for so many turns of a loop."""
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "types", "slow"
    tensor = request.inputs["n"]
    tensor.dtype = 9
    tensor.tensor_shape.dim.add().size = 1
    tensor.int64_val.append(turns)
    return bytes(request.SerializeToString())


def posted(server: Server, model: str, body: Any, timeout_s: float = PATIENCE_S) -> int:
    """Status of a REST prediction."""
    try:
        url = f"{server.rest}/v1/models/{model}:predict"
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=timeout_s) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def turns_in(call: Callable[..., Any], seconds: float) -> int:
    """How many turns of the loop take about so long on this machine at this moment."""
    call(slow(20_000), timeout=60)
    began = time.monotonic()
    call(slow(20_000), timeout=60)
    return int(20_000 * seconds / (time.monotonic() - began))


def test_grpcs_work_does_not_keep_the_threads_that_rest_has(serve: StartServer, serving_models: Path) -> None:
    server = serve("--model_name=types", f"--model_base_path={serving_models}/types", "--rest_api_num_threads=1")
    over = threading.Event()
    with grpc.insecure_channel(server.target) as channel, ThreadPoolExecutor(16) as pool:
        call = channel.unary_unary(PREDICT)
        turns = turns_in(call, 0.1)

        def load() -> None:
            while not over.is_set():
                call(slow(turns), timeout=60)

        try:
            body = {"signature_name": "slow", "inputs": [turns * 8]}
            first = pool.submit(posted, server, "types", body, 60)
            time.sleep(0.2)
            for _ in range(12):
                pool.submit(load)
            assert first.result() == 200
            for _ in range(3):
                with urllib.request.urlopen(f"{server.rest}/v1/models/types", timeout=PATIENCE_S) as reply:
                    assert reply.status == 200
        finally:
            over.set()


def test_rests_timeout_holds_in_line(serve: StartServer, serving_models: Path) -> None:
    server = serve("--model_name=types", f"--model_base_path={serving_models}/types", "--rest_api_timeout_in_ms=400")
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(PREDICT)
        endless = slow(turns_in(call, 60.0))
        held = [call.future(endless, timeout=4) for _ in range(RUNS_PER_CPU * CPUS)]
        time.sleep(0.3)
        began = time.monotonic()
        assert posted(server, "types", {"instances": [1.0]}) == 504
        assert time.monotonic() - began < 3
        assert not any(one.done() for one in held)


def test_calls_that_wait_for_another_hold_all_slots_and_the_server_goes_on(serve: StartServer, tmp_path: Path) -> None:
    import tensorflow as tf

    from tests.serving_models import signature, tf1
    from tests.serving_models import write as write_model

    def build() -> Mapping[str, Any]:
        queue = tf1.FIFOQueue(100, [tf.float32], shapes=[[]])
        x = tf1.placeholder(tf.float32, [], name="x")
        with tf.control_dependencies([queue.enqueue(x)]):
            put = tf.identity(x, name="put")
        return {"put": signature({"x": x}, {"y": put}), "get": signature({"x": x}, {"y": queue.dequeue() + 0.0 * x})}

    write_model(tmp_path / "queue" / "1", build)
    server = serve("--model_name=queue", f"--model_base_path={tmp_path}/queue")

    def request(signature_name: str) -> bytes:
        made = wire.PredictRequest()
        made.model_spec.name, made.model_spec.signature_name = "queue", signature_name
        made.inputs["x"].dtype = 1
        made.inputs["x"].float_val.append(5.0)
        return bytes(made.SerializeToString())

    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(PREDICT)
        gets = [call.future(request("get"), timeout=60) for _ in range(RUNS_PER_CPU * CPUS + 1)]
        time.sleep(0.3)
        for _ in gets:
            call(request("put"), timeout=20)
        for get in gets:
            assert list(wire.PredictResponse.FromString(get.result()).outputs["y"].float_val) == [5.0]
