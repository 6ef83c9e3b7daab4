"""The gateway with too much to do, with slow clients, and at its end."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Server
from tests.gateway import ONE, encoded, gateway


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target, max_waiting=2, web_workers=1) as web:
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: web.ask(body=ONE), range(240)))
        statuses = {answer.status for answer in answers}
        assert statuses == {200, 503}
        refused = next(answer for answer in answers if answer.status == 503)
        assert refused.headers["retry-after"] == "1"
        assert refused.json["title"] == "Busy"
        assert 'digits_shed_total{reason="queue"}' in web.ask("/metrics").body.decode()
        assert web.ask(body=ONE).status == 200


def test_a_client_beyond_its_rate_is_told_429(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target, rate_limit=3, web_workers=1) as web:
        statuses = [web.ask(body=ONE).status for _ in range(12)]
        assert statuses[:3] == [200] * 3
        assert 429 in statuses
        for path in ("/api/predict", "//api/predict", "/api/%70redict?top=1"):
            assert 429 in [web.ask(path, body=ONE).status for _ in range(8)], path
        assert web.ask("/livez").status == 200


def test_slow_clients_are_sent_away_and_hold_up_nobody(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target, read_timeout_s=1, web_workers=1) as web:
        slow = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(200)]
        for one in slow:
            one.sendall(b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert web.ask(body=ONE).status == 200
        one = slow[0]
        one.settimeout(6)
        assert one.recv(4096).startswith(b"HTTP/1.1 408 ")
        for one in slow:
            one.close()


def test_sigterm_lets_accepted_work_finish_and_takes_no_more(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target) as web:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            under_way = [pool.submit(web.ask, body=ONE) for _ in range(8)]
            concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED)
            web.process.terminate()
            for one in under_way:
                with suppress(ConnectionRefusedError, ConnectionResetError):  # came after the end
                    assert one.result().status == 200
        assert web.process.wait(6) == 0
        with pytest.raises(ConnectionRefusedError):
            web.ask("/livez")


def test_a_worker_that_ends_takes_nothing_of_the_others_along(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target) as web:
        gone = min(web.workers())
        os.kill(gone, signal.SIGTERM)
        until = time.monotonic() + 20
        while gone in web.workers() or len(web.workers()) < web.wanted:
            assert time.monotonic() < until
            time.sleep(0.05)
        web.wait_until_ready()
        for _ in range(8):
            assert web.ask("/metrics").status == 200
            assert web.ask(body=ONE).status == 200
        assert "Traceback" not in web.log.read_text()


@pytest.fixture(scope="module")
def pictures() -> bytes:
    """A list of pictures that take long to read."""
    large = base64.b64encode(encoded(Image.new("L", (4000, 4000), 255))).decode()
    return json.dumps([large] * 24).encode()


def test_the_budget_counts_reading_and_health_waits_for_nobody(digits_server: Server, tmp_path: Path, pictures: bytes) -> None:
    with gateway(tmp_path, digits_server.target, web_workers=1, deadline_ms=500, max_waiting=1, web_threads=1) as web:
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            late = pool.submit(web.ask, body=pictures, content_type="application/json")
            time.sleep(0.3)
            asked = time.monotonic()
            assert web.ask("/livez").status == 200
            assert web.ask("/readyz").status == 200
            assert time.monotonic() - asked < 0.5 or late.done()
            answer = late.result()
        assert (answer.status, answer.json["title"]) == (504, "Too slow")
        assert "while the pictures were read" in answer.json["detail"]
        assert time.monotonic() - began < 3, "half a second, and the picture that was being read"


def test_a_request_half_sent_at_the_end_is_still_answered(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target, web_workers=1) as web, socket.create_connection(("127.0.0.1", web.port)) as raw:
        raw.settimeout(10)
        sent = f"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ONE)}\r\n\r\n".encode() + ONE
        raw.sendall(sent[:-20])
        time.sleep(0.3)
        web.process.terminate()
        time.sleep(0.5)
        raw.sendall(sent[-20:])
        assert raw.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert web.process.wait(6) == 0
