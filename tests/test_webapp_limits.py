"""The gateway with too much to do, with slow clients, and at its end."""

from __future__ import annotations

import concurrent.futures
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.gateway import ONE, gateway


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
