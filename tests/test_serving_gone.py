"""Clients that go away while their request is in line: it is not run, over gRPC or REST, and keeps nothing from anybody."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving import flags, rest_server, runners
from serving.batching import BatchPool
from serving.batching_options import BatchingOptions
from serving.grpc_calls import Call, GrpcServer
from serving.http_replies import Reply
from serving.metrics import Metrics
from serving.rest_server import RestServer
from serving.runners import BatchingRunner, DirectRunner, Slots
from serving.servable import Result
from serving.status import Code, Status
from serving.turns import serves
from tests.conftest import free_port
from tests.test_serving_slots import FEED, PATIENCE_S, Model

LONG = 100_000
"""Bytes of a body after which the HTTP library stops reading for a while."""


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def runner(model: Model, batches: bool) -> Any:
    """One slot, which the model's first run holds."""
    if not batches:
        return DirectRunner(model, Slots(1))
    options = BatchingOptions(max_batch_size=1, max_enqueued_batches=100)
    return BatchingRunner(model, options, BatchPool(1), Slots(1), Metrics())


@pytest.mark.parametrize("batches", [False, True])
def test_calls_in_line_whose_client_has_gone_are_not_run(batches: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "HELD_S", 2 * PATIENCE_S)  # so that the slot stays the only one
    model, cancelled = Model(), threading.Semaphore(0)
    made = runner(model, batches)

    def handle(call: Call, data: bytes) -> None:
        def done(result: Result) -> None:
            if isinstance(result, Status):
                cancelled.release()
                call.refuse(result)
            else:
                call.reply(data)

        made.run(FEED, ["y"], None, done)

    server = GrpcServer({"/s/Run": handle}, max_calls=64)
    port = server.add_port("127.0.0.1:0")
    server.start()
    model.go_on[1].set()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        first = channel.unary_unary("/s/Run").future(b"first", timeout=PATIENCE_S)
        assert model.begun[0].wait(PATIENCE_S)
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as other:
            held = [other.unary_unary("/s/Run").future(b"gone") for _ in range(20)]
            wait_for(lambda: server._calls == 21)
            assert not any(one.done() for one in held)
        last = channel.unary_unary("/s/Run").future(b"last", timeout=PATIENCE_S)
        time.sleep(0.3)
        model.go_on[0].set()
        assert (first.result(), last.result()) == (b"first", b"last")
    for _ in range(20):
        assert cancelled.acquire(timeout=PATIENCE_S)
    assert len(model.threads) == 2
    server.stop(1.0)


class Api:
    """Stands where the REST API is: every request is a run."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.handled, self.ended = threading.Semaphore(0), list[Result]()

    def handle(self, method: str, target: bytes, headers: Mapping[str, str], body: bytes, send: Callable[[Reply], None]) -> None:
        def done(result: Result) -> None:
            self.ended.append(result)
            send(Reply(499 if isinstance(result, Status) else 200, b""))

        self.handled.release()
        self._runner.run(FEED, ["y"], None, done)

    @property
    def dropped(self) -> int:
        """Requests that have ended without a run."""
        return sum(isinstance(result, Status) and result.code is Code.CANCELLED for result in self.ended)


@dataclass
class Rest:
    """A REST server whose requests are runs of a model."""

    model: Model
    api: Api
    port: int

    def ask(self, body_bytes: int = 1) -> socket.socket:
        """Send a request and leave its answer to the caller."""
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        client.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % body_bytes)
        if body_bytes >= LONG:
            time.sleep(0.05)  # the server waits for it, and has it in one piece
        client.sendall(b"x" * body_bytes)
        return client


StartRest = Callable[..., Rest]


@pytest.fixture
def start_rest() -> Iterator[StartRest]:
    """Return a function that starts such a server."""
    started: list[tuple[RestServer, Model]] = []

    def start(batches: bool, threads: int = 16) -> Rest:
        port, nothing = free_port(), Any
        given = flags.parse([f"--rest_api_port={port}", "--bind_address=127.0.0.1", f"--rest_api_num_threads={threads}"])
        server = RestServer(nothing, nothing, nothing, given, None)  # type: ignore[arg-type]
        model = Model()
        server._api = api = Api(runner(model, batches))  # type: ignore[assignment]
        server.start()
        started.append((server, model))
        return Rest(model, api, port)

    yield start
    for server, model in started:
        for event in model.go_on:
            event.set()
        server.stop(1.0)


@pytest.mark.parametrize("body_bytes", [1, LONG])
@pytest.mark.parametrize("batches", [False, True])
def test_rest_requests_in_line_whose_client_has_gone_are_not_run(
    start_rest: StartRest, batches: bool, body_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_server, "GONE_AFTER_S", 0.1)
    monkeypatch.setattr(runners, "HELD_S", 2 * PATIENCE_S)  # so that the slot stays the only one
    rest = start_rest(batches)
    rest.model.go_on[1].set()
    with rest.ask(body_bytes) as first:
        assert rest.model.begun[0].wait(PATIENCE_S)
        held = [rest.ask(body_bytes) for _ in range(20)]
        for _ in range(21):
            assert rest.api.handled.acquire(timeout=PATIENCE_S)
        for one in held:
            one.close()
        with rest.ask(body_bytes) as last:
            assert rest.api.handled.acquire(timeout=PATIENCE_S)
            time.sleep(0.3)
            rest.model.go_on[0].set()
            for answered in (first, last):
                assert answered.recv(100).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: rest.api.dropped == 20)
    assert len(rest.model.threads) == 2


def test_a_rest_request_whose_client_has_gone_before_a_thread_was_free_is_not_even_read(
    start_rest: StartRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_server, "GONE_AFTER_S", 0.1)
    rest = start_rest(batches=False, threads=1)
    rest.model.go_on[1].set()
    with rest.ask() as first:
        assert rest.model.begun[0].wait(PATIENCE_S)
        rest.ask().close()
        time.sleep(0.3)
        rest.model.go_on[0].set()
        assert first.recv(100).startswith(b"HTTP/1.1 200 ")
    with rest.ask() as last:
        assert last.recv(100).startswith(b"HTTP/1.1 200 ")
    assert (len(rest.api.ended), len(rest.model.threads)) == (2, 2)


@pytest.mark.parametrize("body_bytes", [1, LONG])
@pytest.mark.parametrize("batches", [False, True])
def test_a_client_that_only_sends_no_more_is_answered(start_rest: StartRest, batches: bool, body_bytes: int) -> None:
    rest = start_rest(batches)
    for event in rest.model.go_on[1:]:
        event.set()
    with rest.ask(body_bytes) as first:
        assert rest.model.begun[0].wait(PATIENCE_S)
        with rest.ask(body_bytes) as second:
            second.sendall(b"GET /again HTTP/1.1\r\n\r\n")
            for one in (first, second):
                one.shutdown(socket.SHUT_WR)
            time.sleep(0.3)
            rest.model.go_on[0].set()
            assert whole(first).count(b"HTTP/1.1 200 ") == 1
            assert whole(second).count(b"HTTP/1.1 200 ") == 2, "the one behind it too"
    with socket.create_connection(("127.0.0.1", rest.port), PATIENCE_S) as half:
        half.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\ncontent-length: 2\r\n\r\nx")
        half.shutdown(socket.SHUT_WR)
        assert not whole(half), "a body that lacks its end is none"


def whole(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    return b"".join(iter(lambda: client.recv(1000), b""))


def test_a_connection_whose_clients_request_was_answered_takes_the_next_one(start_rest: StartRest) -> None:
    rest = start_rest(batches=False)
    for event in rest.model.go_on:
        event.set()
    with rest.ask(LONG) as client:
        for _ in range(3):
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
            client.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % LONG + b"x" * LONG)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_ended_leaves_nothing_to_the_search_for_garbage(start_rest: StartRest) -> None:
    rest = start_rest(batches=False)
    for event in rest.model.go_on:
        event.set()
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            with rest.ask() as client:
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        wait_for(lambda: not any(isinstance(one, HttpToolsProtocol) for one in gc.get_objects()))
    finally:
        gc.enable()


@dataclass
class Caller:
    """turns.Asker"""

    gone: bool = False


def test_who_has_gone_leaves_the_line_while_the_slots_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "HELD_S", 2 * PATIENCE_S)  # so that its turn does not come
    model, results = Model(), list[Result]()
    made = DirectRunner(model, Slots(1))
    threading.Thread(target=made.run, args=(FEED, ["y"], None, lambda _: None)).start()
    assert model.begun[0].wait(PATIENCE_S)
    caller = Caller()
    serves(caller)
    made.run(FEED, ["y"], None, results.append)
    serves(None)
    made.run(FEED, ["y"], None, results.append)
    time.sleep(0.3)
    assert not results
    caller.gone = True
    began = time.monotonic()
    wait_for(lambda: results)
    assert time.monotonic() - began < PATIENCE_S / 2
    (result,) = results
    assert isinstance(result, Status)
    assert result.code is Code.CANCELLED
    for event in model.go_on:
        event.set()
    wait_for(lambda: len(results) == 2)
    assert len(model.threads) == 2
