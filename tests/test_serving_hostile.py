"""Garbage at both ports, requests made to hurt, signals: the server answers or closes, stays small, and goes on."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from digits import wire
from serving.http_replies import page
from serving.rest_server import MAX_BODY
from tests.conftest import Server, StartServer
from tests.test_serving_swap import PREDICT

GIB = 2**30
MORE_MIB = 150
POST_HALF_PLUS_TWO = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: a\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture(scope="module")
def server(serve: StartServer, serving_models: Path) -> Iterator[Server]:
    """One server for all of them: none may spoil it for the next."""
    running = serve(f"--model_config_file={serving_models}/models.config", "--allow_version_labels_for_unavailable_models")
    answers(running)
    yield running
    assert running.stop() == 0
    log = running.log.read_text(errors="replace")
    assert "Traceback" not in log, log[-3000:]


def resident_mib(server: Server) -> float:
    """Resident memory of the server."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc to read a process's memory")
    return float(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def answers(server: Server) -> None:
    """Both ports answer a plain request."""
    body = json.dumps({"instances": [2.0]}).encode()
    with urllib.request.urlopen(f"{server.rest}/v1/models/half_plus_two:predict", body, timeout=20) as reply:
        assert json.load(reply) == {"predictions": [3.0]}
    request = wire.GetModelStatusRequest()
    request.model_spec.name = "half_plus_two"
    with grpc.insecure_channel(server.target) as channel:
        channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(request.SerializeToString(), timeout=20)


def send(port: int, *pieces: bytes, wait_s: float = 0.2) -> bytes:
    """Write pieces to a port and read what comes back within a moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        got = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.settimeout(wait_s)
            while piece := connection.recv(65536):
                got += piece
        except (TimeoutError, ConnectionError):
            pass
        return got


def answer(port: int, *pieces: bytes) -> tuple[int, bytes]:
    """Status and body of the reply to a request that arrives in pieces."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02)
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return response.status, response.read()


@pytest.mark.parametrize("which", ["grpc_port", "rest_port"])
def test_random_bytes_are_no_harm(server: Server, which: str) -> None:
    noise = random.Random(4)
    for size in (1, 9, 24, 100, 5_000, 200_000):
        send(getattr(server, which), noise.randbytes(size))
        send(getattr(server, which), PREFACE, noise.randbytes(size))
    answers(server)


def test_each_protocol_at_the_others_port_is_no_harm(server: Server) -> None:
    for _ in range(20):
        send(server.grpc_port, b"GET /v1/models/half_plus_two HTTP/1.1\r\nHost: a\r\n\r\n", wait_s=0.05)
        assert not send(server.rest_port, PREFACE, b"\0\0\0\4\0\0\0\0\0", wait_s=0.05).startswith(b"HTTP/1.1 200")
    answers(server)


def test_a_declared_gibibyte_costs_nothing_until_it_comes(server: Server) -> None:
    before = resident_mib(server)
    head = f"POST /v1/models/types:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n".encode()
    held = []
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", server.rest_port), timeout=10)
        connection.sendall(head + b'{"instances": [')
        held.append(connection)
    frames = [bytes([0]) + GIB.to_bytes(4, "big") + b"x" * 1000]  # a gRPC message that says it is 1 GiB long
    with grpc.insecure_channel(server.target) as channel:
        raw = channel.unary_unary(PREDICT)
        for frame in frames:
            with pytest.raises(grpc.RpcError):
                raw(frame, timeout=5)
    answers(server)
    assert resident_mib(server) < before + MORE_MIB
    for connection in held:
        connection.close()


def test_a_body_that_says_it_is_too_large_is_refused_unread(server: Server) -> None:
    path = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: a\r\n"
    for more in (b"", b"Expect: 100-continue\r\n"):
        head = path + more + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1)
        assert answer(server.rest_port, head) == (413, page(413).body)
    assert not send(server.rest_port, path + b"Content-Length: %d\r\n\r\n" % MAX_BODY), "as large as may be: it is awaited"


def test_a_tensor_that_claims_more_than_it_brings_costs_nothing(server: Server) -> None:
    before = resident_mib(server)
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "types", "id_float"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.float_val.append(1.0)
    for size in (2**20, 2**20):
        tensor.tensor_shape.dim.add().size = size
    with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    answers(server)
    assert resident_mib(server) < before + MORE_MIB


def test_half_open_and_slow_connections_keep_nobody_waiting(server: Server) -> None:
    before = resident_mib(server)
    held = []
    for at in range(300):
        connection = socket.create_connection(("127.0.0.1", (server.rest_port, server.grpc_port)[at % 2]), timeout=10)
        connection.sendall(b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nX-Slow: " if at % 2 == 0 else PREFACE[:10])
        held.append(connection)
    for connection in held[:100]:
        connection.sendall(b"a")
    began = time.monotonic()
    answers(server)
    assert time.monotonic() - began < 10
    assert resident_mib(server) < before + MORE_MIB
    for connection in held:
        connection.close()


def test_endless_headers_are_cut_off(server: Server) -> None:
    before = resident_mib(server)
    send(server.rest_port, b"GET /v1/models/a HTTP/1.1\r\n", *[b"X-Long: " + b"a" * 60_000 + b"\r\n"] * 200)
    answers(server)
    assert resident_mib(server) < before + MORE_MIB


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("connection", ["Upgrade", "close, Upgrade"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_offer_of_another_protocol_is_passed_over_wherever_it_stands(
    server: Server, framing: str, connection: str, version: str
) -> None:
    """Behind a long cookie, in small letters, cut in two by the network."""
    body = b'{"instances": [2.0]}'
    length = f"Content-Length: {len(body)}"
    if framing == "chunks":
        length, body = "Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    head = "\r\n".join((
        f"POST /v1/models/half_plus_two:predict HTTP/{version}", "Host: a", f"Cookie: a={'b' * 5000}",
        f"Connection: {connection}", "upgrade: h2c", length, "", "",
    )).encode()  # fmt: skip
    at = head.index(b"upgrade") + 3
    for pieces in ((head + body,), (head[:at], head[at:], body)):
        status, got = answer(server.rest_port, *pieces)
        assert (status, json.loads(got)) == (200, {"predictions": [3.0]})


def test_offers_in_a_row_are_answered_in_a_row(server: Server) -> None:
    body = b'{"instances": [2.0]}'
    head = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    one = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert send(server.rest_port, one * 3, wait_s=1).count(b"HTTP/1.1 200 ") == 3


@pytest.mark.parametrize("rest", [b"garbage\r\n\r\n", b"}", POST_HALF_PLUS_TWO + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_whole_requests_before_garbage_are_answered(server: Server, rest: bytes) -> None:
    body = b'{"instances": [2.0]}'
    one = POST_HALF_PLUS_TWO + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for count in (1, 3):
        got = send(server.rest_port, one * count + rest, wait_s=2)
        assert got.count(b'"predictions": [3.0') == count
        assert got.endswith(page(400).body), "and then the connection is closed"


# -- random requests: an answer, never a bug ----------------------------------------------------------------------------------

PIECES = ("1", "-0", "2.5", "1e400", "NaN", "null", "true", '"a"', '{"b64": "AA"}', '{"b64": "*"}', "[]", "{}", "[1, [2]]",
          '{"x": 1}', '{"x": [1], "y": 2}', "[[1], [2, 3]]", '"\\ud800"', "18446744073709551616")  # fmt: skip
SIGNATURES = (
    "",
    "id_float",
    "id_int8",
    "id_string",
    "id_bool",
    "id_half",
    "id_complex64",
    "several",
    "total",
    "matmul",
    "absent",
)
MODELS = ("types", "half_plus_two", "half_plus_two_tf2", "shift", "shift/versions/1", "shift/labels/no", "absent", "a%20b", "")


def random_json(chance: random.Random, depth: int = 0) -> str:
    """A value, mostly near to what a signature takes."""
    if depth > 3 or chance.random() < 0.5:
        return chance.choice(PIECES)
    items = [random_json(chance, depth + 1) for _ in range(chance.randrange(4))]
    if chance.random() < 0.7:
        return f"[{', '.join(items)}]"
    return "{" + ", ".join(f'"{chance.choice("xaytag")}": {item}' for item in items) + "}"


def random_body(chance: random.Random) -> bytes:
    """A REST body, sometimes cut short or with a byte changed."""
    keys = [chance.choice(("instances", "inputs", "examples", "context", "other")) for _ in range(chance.choice((1, 1, 1, 2)))]
    members = [f'"{key}": {random_json(chance)}' for key in keys]
    members.append(f'"signature_name": "{chance.choice(SIGNATURES)}"')
    body = bytearray(("{" + ", ".join(members) + "}").encode())
    if chance.random() < 0.2 and body:
        body[chance.randrange(len(body))] = chance.randrange(256)
    return bytes(body[: chance.randrange(len(body))] if chance.random() < 0.1 else body)


VALUES = {"float_val": 1.5, "int_val": 300, "string_val": b"\xff", "bool_val": True, "int64_val": -1}
DTYPES = (1,) * 12 + (2, 3, 6, 7, 9, 10, 19, 8, 14, 20, 21, 101, 0, 29)  # mostly float


def random_request(chance: random.Random) -> bytes:
    """A PredictRequest of random tensors, sometimes damaged."""
    request = wire.PredictRequest()
    request.model_spec.name = chance.choice(("types", "half_plus_two", "shift", "absent"))
    request.model_spec.signature_name = chance.choice(("", "", "id_float", *SIGNATURES))
    aliases = ["x", *chance.sample(("a", "tag", "rows"), 1)] if chance.random() < 0.1 else [chance.choice("xxxxa")]
    for alias in aliases:
        tensor = request.inputs[alias]
        tensor.dtype = chance.choice(DTYPES)
        for _ in range(chance.randrange(4)):
            tensor.tensor_shape.dim.add().size = chance.choice((0, 1, 2, 3, 1, 2, 3, 7, -1, 2**40))
        for field, value in (
            ("float_val", 1.5),
            ("int_val", 300),
            ("string_val", b"\xff"),
            ("bool_val", True),
            ("int64_val", -1),
        ):
            if chance.random() < 0.4:
                getattr(tensor, field).extend([value] * chance.randrange(5))
        if chance.random() < 0.1:
            tensor.tensor_content = chance.randbytes(chance.choice((4, 8, 5)))
    data = bytearray(request.SerializeToString())
    if chance.random() < 0.2:
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def test_random_rest_requests_get_an_answer_that_is_no_bug(server: Server) -> None:
    chance = random.Random(int(os.environ.get("FUZZ_SEED", "1")))
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    counts: dict[int, int] = {}
    for _ in range(int(os.environ.get("FUZZ", "1500"))):
        verb = chance.choice((":predict", ":predict", ":classify", ":regress", "", "/metadata", ":explain"))
        path = f"/v1/models/{chance.choice(MODELS)}{verb}"
        body = random_body(chance)
        connection.request(chance.choice(("POST", "POST", "POST", "GET", "PUT")), path, body)
        with connection.getresponse() as response:
            answer = response.read()
        assert response.status in (200, 400, 404, 501), (path, body, answer)
        counts[response.status] = counts.get(response.status, 0) + 1
    connection.close()
    assert counts[200] > 20
    assert counts[400] > 200


def test_random_rpcs_get_an_answer_that_is_no_bug(server: Server) -> None:
    chance = random.Random(int(os.environ.get("FUZZ_SEED", "2")))
    counts: dict[Any, int] = {}
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(PREDICT)
        for _ in range(int(os.environ.get("FUZZ", "1500"))):
            data = random_request(chance)
            try:
                call(data, timeout=20)
                code: Any = grpc.StatusCode.OK
            except grpc.RpcError as error:
                code, text = error.code(), error.details()
                undecodable = code is grpc.StatusCode.INTERNAL and not text
                assert undecodable or code.name in (
                    "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED",
                ), (code, text, base64.b64encode(data))  # fmt: skip
            counts[code] = counts.get(code, 0) + 1
    assert counts[grpc.StatusCode.OK] > 20
    assert counts[grpc.StatusCode.INVALID_ARGUMENT] > 200
