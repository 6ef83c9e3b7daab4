"""The gateway's own HTTP: what clients do on the wire, and what they must not be able to do."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from digits.settings import WebSettings
from tests.conftest import Server
from tests.gateway import ONE, SEVEN, Gateway, encoded, gateway
from webapp.http import QUEUED_BYTES, Connection
from webapp.inputs import SMALL_BYTES, is_small
from webapp.problems import DETAIL_CHARS, printable


@pytest.fixture(scope="module")
def web(digits_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with gateway(folder, digits_server.target, web_workers=1, read_timeout_s=8) as running:
        yield running


def post(body: bytes, *headers: str, path: str = "/api/predict", version: str = "1.1") -> bytes:
    lines = (f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def told(web: Gateway, sent: bytes, wait_s: float = 1.5, half_close: bool = False) -> tuple[bytes, bool]:
    """What comes back within wait_s, and whether the gateway closed the connection then."""
    got = b""
    with socket.create_connection(("127.0.0.1", web.port)) as raw:
        raw.settimeout(wait_s)
        raw.sendall(sent)
        if half_close:
            raw.shutdown(socket.SHUT_WR)
        try:
            while piece := raw.recv(65536):
                got += piece
        except TimeoutError:
            return got, False
    return got, True


NOT_HTTP = [
    b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET /" + b"a" * 9000,
    b"GET /livez HTTP/1.1\r\n\r\n", b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a/<b>\r\n\r\n", b"GET /livez HTTP/2.0\r\nHost: a\r\n\r\n",
    b"POST /api/predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("sent", NOT_HTTP)
def test_what_is_not_http_is_refused_and_closed(web: Gateway, sent: bytes) -> None:
    got, closed = told(web, sent)
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 414 ", b"HTTP/1.1 501 ", b"HTTP/1.1 505 "))
    assert closed


def test_old_http_needs_no_host_and_a_new_one_may_be_an_address(web: Gateway) -> None:
    assert told(web, b"GET /livez HTTP/1.0\r\n\r\n")[0].startswith(b"HTTP/1.1 200 ")
    for host in (b"[::1]:8080", b"a-b.example:80", b""):
        got, _ = told(web, b"GET /livez HTTP/1.1\r\nConnection: close\r\nHost: " + host + b"\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 "), host


def test_a_form_of_too_many_fields_says_how_many_may_be(web: Gateway) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nAAAA\r\n'
    answer = web.ask(body=part * 1_001 + b"--x--\r\n", content_type="multipart/form-data; boundary=x")
    assert answer.status == 413
    assert "got a form of more fields; wanted at most 1,000" in answer.json["detail"]


def test_a_header_that_never_ends_is_refused_while_it_comes(web: Gateway) -> None:
    for sent in (
        b"GET / HTTP/1.1\r\nA: " + b"b" * 600_000,
        post(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"") + b"0\r\nA: " + b"b" * 600_000,
    ):
        got, closed = told(web, sent)
        assert got.startswith(b"HTTP/1.1 431 ")
        assert closed


def test_an_offer_of_another_protocol_is_passed_over(web: Gateway) -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    got, closed = told(web, post(ONE, *offer) + post(SEVEN, *offer) + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert got.count(b"HTTP/1.1 200 ") == 3
    assert got.index(b'{"digit": 1') < got.index(b'{"digit": 7') < got.index(b'{"status":"alive"}')
    assert not closed


def test_a_client_is_told_to_go_on_only_where_its_body_is_wanted(web: Gateway) -> None:
    expect = "Expect: 100-continue"
    assert told(web, post(ONE, expect))[0].startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert told(web, post(ONE, expect, version="1.0"))[0].startswith(b"HTTP/1.1 200 ")
    huge = b"POST /api/predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    assert told(web, huge, 4)[0].startswith(b"HTTP/1.1 413 ")


def test_what_follows_the_last_chunk_is_no_header(web: Gateway) -> None:
    head = "POST /api/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Request-Id: from-head\r\n\r\n"
    body = f"{len(ONE):x}\r\n".encode() + ONE + b"\r\n0\r\n"
    trailers = b"X-Request-Id: from-trailer\r\nContent-Type: application/octet-stream\r\n\r\n"
    got, _ = told(web, head.encode() + body + trailers)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"x-request-id: from-head\r\n" in got.lower()


def test_answers_that_nobody_fetches_do_not_pile_up(web: Gateway) -> None:
    (worker,) = web.workers()
    style = next(line for line in web.ask("/").body.decode().split('"') if line.endswith("bootstrap.min.css"))
    size = len(web.ask(style).body)

    def resident() -> int:
        return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096

    before = resident()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(20)
        raw.connect(("127.0.0.1", web.port))
        raw.sendall(f"GET {style} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 300)
        time.sleep(1.5)
        assert resident() - before < 30 * size, "a fetched page or so, not three hundred"
        got = 0
        while got < 300 * size:
            got += len(raw.recv(1 << 20))


def test_a_client_that_has_said_all_gets_its_answer_and_the_end(web: Gateway) -> None:
    got, closed = told(web, post(ONE), 5, half_close=True)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert closed


PICTURE, TENSOR = "Content-Type: image/png", "Content-Type: application/octet-stream"
BLANK = encoded(Image.new("RGB", (280, 280), "white"))


@pytest.mark.parametrize(("body", "headers", "status"), [
    (ONE, (PICTURE,), 200), (SEVEN, (), 200), (SEVEN, ("Content-Type: multipart/form-data; boundary=x",), 200),
    (ONE, ("X-Request-Id: abc-1", "traceparent: 00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"), 200),
    (ONE, ("X-Request-Id: <>",), 200),
    (bytes(784 * 3), (TENSOR,), 200), (bytes(783), (TENSOR,), 400), (b"", (TENSOR,), 400),
    (npy(np.zeros((2, 28, 28), np.uint8)), (), 200), (npy(np.zeros((2, 28, 28), np.float32)), (), 400),
    (BLANK, (PICTURE,), 422), (ONE[:500], (PICTURE,), 400),
])  # fmt: skip
def test_the_short_way_and_the_application_give_the_same_answer(
    web: Gateway, body: bytes, headers: tuple[str, ...], status: int
) -> None:
    answers = []
    for path in ("/api/predict", "/api/predict?"):  # a question mark is more than the short way takes
        head, _, text = told(web, post(body, "Connection: close", *headers, path=path))[0].partition(b"\r\n\r\n")
        document = json.loads(text)
        first, *lines = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert first.startswith(f"HTTP/1.1 {status} ")
        assert int(fields.pop("content-length")) == len(text)
        request_id = fields.pop("x-request-id")
        assert request_id == document.pop("request_id")
        document = json.loads(json.dumps(document).replace(request_id, "mine"))  # an image's own error has it too
        assert "time" if document.pop("timing_ms", None) else status != 200
        fields.pop("date")
        answers.append((first, fields, document))
    assert answers[0] == answers[1]


def test_the_short_way_is_counted_and_logged_like_any_other(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target, web_workers=1, access_log=True) as web:
        for path in ("/api/predict", "/api/predict?"):
            for body, headers in ((ONE, (PICTURE, "X-Request-Id: mine")), (BLANK, (PICTURE,))):
                told(web, post(body, "Connection: close", *headers, path=path))
        metrics = web.ask("/metrics").body.decode()
        for status in (200, 422):
            assert f'digits_requests_total{{endpoint="api.predict",status="{status}"}} 2.0' in metrics
        time.sleep(0.2)
        log = [json.loads(line) for line in web.log.read_text().splitlines() if "/api/predict" in line]
    assert [sorted(line) for line in log[:2]] == [sorted(line) for line in log[2:]]
    assert [line["status"] for line in log] == [200, 422, 200, 422]
    assert log[0]["request_id"] == log[2]["request_id"] == "mine"


def test_a_crowd_of_new_clients_is_let_in_at_once(web: Gateway) -> None:
    began = time.monotonic()
    crowd = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(250)]
    for one in crowd:
        one.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    for one in crowd:
        one.settimeout(5)
        assert one.recv(4096).startswith(b"HTTP/1.1 200 ")
    took = time.monotonic() - began
    for one in crowd:
        one.close()
    assert took < 1.5


def test_every_answer_has_one_date(web: Gateway) -> None:
    page = web.ask("/").body.decode()
    style = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    for path in ("/livez", style):
        got, _ = told(web, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert got.partition(b"\r\n\r\n")[0].lower().count(b"\r\ndate: ") == 1


def test_a_long_answer_waits_for_a_client_that_is_slow_to_fetch_it(web: Gateway) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 28, 28), np.uint8)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(20)
        raw.connect(("127.0.0.1", web.port))
        raw.sendall(post(noise.tobytes(), "Content-Type: application/octet-stream", "Connection: close"))
        time.sleep(4)
        got = b""
        while piece := raw.recv(65536):
            got += piece
    assert len(json.loads(got.partition(b"\r\n\r\n")[2])["results"]) == 1024


def test_a_long_row_of_refusals_is_answered_one_by_one_with_every_header(digits_server: Server, tmp_path: Path) -> None:
    origin = "https://friend.example"
    with gateway(tmp_path, digits_server.target, web_workers=1, rate_limit=1, cors_origins=origin) as web:
        workers = web.workers()
        got, _ = told(web, post(b"", f"Origin: {origin}", "X-Request-Id: row-1") * 1500, 3)
        assert got.count(b"HTTP/1.1 429 ") > 1400
        assert got.count(b"HTTP/1.1 ") == 1500
        head, _, body = got[got.rindex(b"HTTP/1.1 429 ") :].decode().partition("\r\n\r\n")
        assert json.loads(body)["request_id"] == "row-1"
        headers = head.lower().split("\r\n")
        wanted = ("x-request-id: row-1", f"access-control-allow-origin: {origin}", "x-content-type-options: nosniff")
        assert set(wanted) < set(headers)
        assert web.workers() == workers
        assert "Traceback" not in web.log.read_text()


class Wire(asyncio.Transport):
    """A transport that takes everything and says nothing."""

    def write(self, data: Any) -> None:
        """Drop it."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nobody knows."""
        return default

    def resume_reading(self) -> None:
        """It never stopped."""

    def can_write_eof(self) -> bool:
        """No."""
        return False


def test_bodies_that_wait_behind_others_count_as_kept() -> None:
    taken: list[Any] = []
    hall: Any = SimpleNamespace(
        settings=WebSettings(), connections=set(), buffered=0, draining=False, take=lambda _, one: taken.append(one)
    )
    connection = Connection(hall)
    connection.connection_made(Wire())
    connection.data_received(post(bytes(100)) + post(bytes(1000)) * 5)
    assert len(taken) == 1
    assert hall.buffered == 100 + 5 * (1000 + QUEUED_BYTES)
    connection.connection_lost(None)
    assert hall.buffered == 100, "the first is in work still"
    connection.answer(taken[0], b"HTTP/1.1 200 OK\r\n", b"")
    assert hall.buffered == 0


@pytest.mark.parametrize(("cut", "answers"), [(0, 2), (40, 3)])
def test_a_client_that_goes_on_asking_does_not_hold_a_worker_that_ends(cut: int, answers: int) -> None:
    """cut: where each of its segments ends within a request; one that was partly in is answered still."""

    async def served() -> tuple[int, bool]:
        taken: list[Any] = []
        wire = Wire()
        hall: Any = SimpleNamespace(settings=WebSettings(), connections=set(), buffered=0, draining=False, date=b"")
        hall.take = lambda connection, request: taken.append(request)
        connection = Connection(hall)
        connection.connection_made(wire)
        more = post(b"more")
        connection.data_received(post(b"a") + post(b"b") + more[:cut])  # the second waits for the first
        hall.draining = True
        connection.close_if_idle()
        for answered in range(20):
            if len(taken) <= answered:
                break
            connection.data_received(more[cut:] + more[:cut])
            connection.answer(taken[answered], b"HTTP/1.1 200 OK\r\n", b"")
            await asyncio.sleep(0)
        return len(taken), connection._closing

    with ThreadPoolExecutor(1) as thread:  # Playwright keeps a loop running in the main one
        assert thread.submit(asyncio.run, served()).result(30) == (answers, True)


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def test_the_event_loop_itself_answers_only_what_is_quick() -> None:
    assert is_small(ONE, "image/png")
    assert is_small(bytes(784), "application/octet-stream")
    large = encoded(Image.new("1", (4000, 4000), 1))
    assert len(large) < 20_000
    assert not is_small(large, "image/png")
    assert not is_small(ONE[:33] + large[8:], "image/png")  # the second header is the one that counts
    megabyte = zlib.compress(bytes(1_000_000), 9)
    for packed in (
        chunk(b"zTXt", b"a\0\0" + megabyte) * 62,
        chunk(b"iTXt", b"a\0\1\0\0\0" + megabyte),
        chunk(b"iCCP", b"a\0\0" + megabyte),
        chunk(b"tEXt", b"a\0") * 4000,  # Pillow looks at each
    ):
        assert len(ONE + packed) < SMALL_BYTES
        assert not is_small(ONE[:33] + packed + ONE[33:], "image/png")
        assert not is_small(ONE[:-12] + packed + ONE[-12:], "image/png")
    assert is_small(ONE[:33] + chunk(b"sRGB", b"\0") + chunk(b"tEXt", b"Software\0zTXt") + ONE[33:], "image/png")
    assert is_small(npy(np.zeros((2, 28, 28), np.uint8)), "")
    assert not is_small(b"\x93NUMPY\x01\x00" + (9900).to_bytes(2, "little") + b"1L," * 3300, "")  # 18 ms in its tokenizer
    for body, kind in ((b'{"image": "iVBO"}', "application/json"), (b"--x", "multipart/form-data"), (ONE[:1] + b"x", "")):
        assert not is_small(body, kind)


def test_what_is_quoted_is_bounded_and_printable() -> None:
    assert printable("a\0b\n") == "a�b�"
    assert printable("x" * 100, 100) == "x" * 100
    assert printable("x" * 101, 100) == "x" * 100 + "…"
    assert len(printable("x" * 10_000)) == DETAIL_CHARS + 1
