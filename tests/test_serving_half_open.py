"""Calls whose message has not come, and messages that claim more than they bring."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest

from digits import wire
from serving import grpc_calls, tensor_wire, unacknowledged
from serving.grpc_calls import Call, GrpcServer
from serving.messages import FastTensor
from serving.turns import pass_on

PATIENCE_S = 10.0
PIECE = 2**16


def nothing_until(event: threading.Event) -> Iterator[bytes]:
    """The messages of a client that sends none, and goes at the event."""
    event.wait(PATIENCE_S)
    yield from ()


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


class SlowWire:
    """Passes bytes between one client and a server, those to the client slowly."""

    def __init__(self, server: int, bytes_per_s: float) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._server, self._pace_s = server, PIECE / bytes_per_s
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> SlowWire:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE_S)
        self._listener.close()

    def _run(self) -> None:
        with self._listener.accept()[0] as client, socket.create_connection(("127.0.0.1", self._server)) as server:
            up = threading.Thread(target=self._pass, args=(client, server, 0.0), daemon=True)
            up.start()
            self._pass(server, client, self._pace_s)
            up.join()

    def _pass(self, source: socket.socket, sink: socket.socket, pace_s: float) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                sink.sendall(piece)
                time.sleep(pace_s)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_calls_whose_message_does_not_come_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_calls, "MAX_AWAITED", 3)
    server = GrpcServer({"/s/Echo": lambda call, data: call.reply(data)}, max_calls=2)
    port = server.add_port("127.0.0.1:0")
    server.start()
    never = threading.Event()

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        half_open = [channel.stream_unary("/s/Echo").future(nothing_until(never)) for _ in range(4)]
        wait_for(lambda: any(one.done() for one in half_open))
        assert [one.details() for one in half_open if one.done()] == ["too many calls have not sent their message"]
        for one in half_open:
            one.cancel()
        never.set()
        wait_for(lambda: not server._awaited and not server._calls)
        assert channel.unary_unary("/s/Echo")(b"x", timeout=PATIENCE_S) == b"x"
    server.stop(1.0)


def test_calls_whose_message_has_not_come_do_not_count() -> None:
    go_on, entered, never = threading.Event(), threading.Semaphore(0), threading.Event()

    def wait(call: Call, data: bytes) -> None:
        pass_on()
        entered.release()
        go_on.wait(PATIENCE_S)
        call.reply(data)

    server = GrpcServer({"/s/Echo": lambda call, data: call.reply(data), "/s/Wait": wait}, max_calls=2)
    port = server.add_port("127.0.0.1:0")
    server.start()

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo = channel.unary_unary("/s/Echo")
        half_open = [channel.stream_unary("/s/Echo").future(nothing_until(never)) for _ in range(20)]
        wait_for(lambda: server._awaited == 20)
        assert echo(b"x", timeout=PATIENCE_S) == b"x"
        waiting = [channel.unary_unary("/s/Wait").future(b"y", timeout=PATIENCE_S) for _ in range(2)]
        for _ in waiting:
            assert entered.acquire(timeout=PATIENCE_S)
        with pytest.raises(grpc.RpcError) as caught:
            echo(b"x", timeout=PATIENCE_S)
        assert (caught.value.code().name, caught.value.details()) == ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")
        go_on.set()
        assert [one.result() for one in waiting] == [b"y", b"y"]
        for one in half_open:
            one.cancel()
        never.set()
        wait_for(lambda: not server._awaited and not server._calls)
        assert echo(b"x", timeout=PATIENCE_S) == b"x"
    server.stop(1.0)


@pytest.mark.parametrize(("dtype", "field", "value"), [(3, "int_val", 7), (7, "string_val", b"x"), (1, "float_val", 1.0)])
def test_a_short_message_that_claims_many_elements_keeps_only_its_own_thread(dtype: int, field: str, value: Any) -> None:
    proto = wire.TensorProto(dtype=dtype)
    proto.tensor_shape.dim.add().size = 2**17
    getattr(proto, field).append(value)
    echoed = threading.Event()

    def read(call: Call, data: bytes) -> None:
        tensor = tensor_wire.read(FastTensor.FromString(data))
        echoed.wait(PATIENCE_S)
        call.reply(str(tensor.array.size).encode())

    def echo(call: Call, data: bytes) -> None:
        call.reply(data)
        echoed.set()

    server = GrpcServer({"/s/Read": read, "/s/Echo": echo}, max_calls=8)
    port = server.add_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        large = channel.unary_unary("/s/Read").future(proto.SerializeToString(), timeout=2 * PATIENCE_S)
        time.sleep(0.1)
        assert channel.unary_unary("/s/Echo")(b"x", timeout=PATIENCE_S / 2) == b"x"
        assert large.result() == b"131072"
    server.stop(1.0)


def test_a_call_that_brings_no_message_is_answered_and_holds_nothing() -> None:
    server = GrpcServer({"/s/Echo": lambda call, data: call.reply(data)}, max_calls=2)
    port = server.add_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(5):
            with pytest.raises(grpc.RpcError) as told:
                channel.stream_unary("/s/Echo")(iter([]), timeout=PATIENCE_S)
            assert told.value.code() is grpc.StatusCode.INTERNAL
    began = time.monotonic()
    server.stop(PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S / 2


def test_the_end_waits_for_small_answers_that_a_client_takes_slowly() -> None:
    """Each fewer bytes than count for memory; together more than the connection takes before the client reads."""
    answers, size = 300, 60_000
    server = GrpcServer({"/s/Echo": lambda call, data: call.reply(bytes(size))}, max_calls=answers)
    port = server.add_port("127.0.0.1:0")
    server.start()
    with SlowWire(port, bytes_per_s=8e6) as slow, grpc.insecure_channel(
        f"127.0.0.1:{slow.port}", options=[("grpc.http2.bdp_probe", 0)]
    ) as channel:  # fmt: skip
        calls = [channel.unary_unary("/s/Echo").future(b"x", timeout=60) for _ in range(answers)]
        wait_for(lambda: server._answers == answers)
        assert sum(call.done() for call in calls) < answers
        began = time.monotonic()
        server.stop(30.0)
        assert time.monotonic() - began > 2 * grpc_calls.DRAIN_S
        wait_for(lambda: all(call.done() for call in calls))
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}


def test_the_end_waits_for_bytes_that_the_kernel_still_has() -> None:
    """As long as the client does not take them, and no longer."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        with listener.accept()[0] as server:
            server.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    server.send(bytes(PIECE))
            began = time.monotonic()
            unacknowledged.wait(began + 0.3)
            assert time.monotonic() - began >= 0.3

            def take() -> None:
                with suppress(OSError):
                    while client.recv(PIECE):
                        pass

            taking = threading.Thread(target=take)
            taking.start()
            began = time.monotonic()
            unacknowledged.wait(began + PATIENCE_S)
            assert time.monotonic() - began < PATIENCE_S / 2
        taking.join(PATIENCE_S)
