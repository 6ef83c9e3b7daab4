"""The hall by itself, behind real sockets: what goes wrong in it, what goes to its threads, and what it keeps."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flask import Flask
from PIL import Image

from digits.replies import Prediction
from digits.settings import WebSettings
from tests.gateway import ONE, encoded
from webapp import create_app, http, inputs
from webapp.coalesce import Coalescer
from webapp.hall import Hall
from webapp.http import QUEUED_BYTES, Connection
from webapp.inputs import SMALL_BYTES
from webapp.reading import Reader, Reading

BLANK = encoded(Image.new("RGB", (280, 280), "white"))
MANY = np.full((40, 28, 28), 255, np.uint8).tobytes()
TENSOR = "Content-Type: application/octet-stream"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Model:
    """In the backend's place: answers that everything is a one, at once or when told to."""

    def __init__(self) -> None:
        self.coalescer = Coalescer(lambda batch: Future())
        self.at_once = True
        self.asked: list[tuple[Future[Prediction], int]] = []

    def ask(self, images: np.ndarray, *_: object) -> Future[Prediction]:
        self.asked.append((Future(), len(images)))
        if self.at_once:
            self.answer()
        return self.asked[-1][0]

    def answer(self) -> None:
        for future, rows in self.asked:
            if not future.done():
                future.set_result(Prediction(np.tile(np.eye(10, dtype=np.float32)[1], (rows, 1)), np.ones(rows, np.int64), 1))

    def version(self, _: int) -> None:
        return None

    def usable(self) -> Any:
        return SimpleNamespace(number=1)


class Lobby:
    """A hall, its model and its address."""

    def __init__(self, **settings: Any) -> None:
        self.model = Model()
        self.app: Flask = create_app(WebSettings(access_log=False, **settings), self.model)
        self.hall = Hall(self.app, asyncio.get_running_loop())
        self.port = 0

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Streams]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()

    async def ask(self, sent: bytes) -> tuple[int, dict[str, Any]]:
        async with self.client() as streams:
            return await asked(streams, sent)

    async def rest(self) -> None:
        """Until nothing is in work, and every connection is gone."""
        await until(lambda: self.hall.tick() and not (self.hall.in_work or self.hall._turning or self.hall.connections))


def post(body: bytes, *headers: str, path: str = "/api/predict") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: x", *headers)).encode() + b"\r\n\r\n"


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    body = await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
    return int(head.split()[1]), json.loads(body) if "json" in head else {}


async def asked(streams: Streams, sent: bytes) -> tuple[int, dict[str, Any]]:
    streams[1].write(sent)
    return await answer_of(streams[0])


async def until(true: Callable[[], object]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came true")


def in_a_lobby(scene: Callable[[Lobby], Awaitable[None]], **settings: Any) -> None:
    """Run the scene with a hall; afterwards nothing is in work, nothing is kept, and it still answers."""

    async def play() -> None:
        lobby = Lobby(**settings)
        server = await asyncio.get_running_loop().create_server(lambda: Connection(lobby.hall), "127.0.0.1", 0)
        lobby.port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(30):
            await scene(lobby)
            await lobby.rest()
            assert lobby.hall.buffered == 0
            assert not lobby.model.coalescer._held
        server.close()

    played: Coroutine[Any, Any, None] = play()
    with ThreadPoolExecutor(1) as thread:  # Playwright keeps a loop running in the main one
        thread.submit(asyncio.run, played).result(60)


def broken(*_: Any, **__: Any) -> Any:
    raise ValueError("nobody foresaw this")


@pytest.mark.parametrize(("where", "name", "sent"), [
    (Reader, "refused", post(BLANK, "X-Request-Id: mine")),  # the work itself, in the loop
    (Reader, "note", post(ONE, "X-Request-Id: mine")),  # its end, in the loop
    (Reader, "note", post(MANY, TENSOR, "X-Request-Id: mine")),  # its end, in a thread
    (Flask, "wsgi_app", get("/livez", "X-Request-Id: mine")),
    (Flask, "wsgi_app", get("/docs", "X-Request-Id: mine")),
    (inputs, "is_small", post(ONE, "X-Request-Id: mine")),
    (ThreadPoolExecutor, "submit", get("/docs", "X-Request-Id: mine")),
])  # fmt: skip
def test_an_error_that_nobody_foresaw_is_answered_and_everybody_else_goes_on(
    where: Any, name: str, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(lobby: Lobby) -> None:
        async with lobby.client() as streams:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(where, name, no_thread if name == "submit" else broken)
                for _ in range(2):
                    status, problem = await asked(streams, sent)
                    assert (status, problem["title"], problem["request_id"]) == (500, "Something went wrong", "mine")
                    assert "foresaw" in problem["detail"]
                    assert "nobody foresaw this" not in problem["detail"]
            assert (await asked(streams, post(ONE)))[0] == 200
        counted = (await lobby.ask(get("/metrics")))[0], lobby.app.extensions["metrics"].text().decode()
        assert counted[0] == 200
        assert 'digits_requests_total{endpoint="failed",status="500"} 2.0' in counted[1]

    def no_thread(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    with caplog.at_level(logging.ERROR):
        in_a_lobby(scene)
    told = [record for record in caplog.records if record.getMessage() == "request mine failed"]
    assert len(told) == 2
    assert all(record.exc_info for record in told)


def test_a_long_answer_is_made_off_the_loop_and_counts_as_work_until_it_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    go_on = threading.Event()
    finish = Reading.finish

    def slow(self: Reading) -> Any:
        threads.append(threading.get_ident())
        if len(self._prepared) > 32:
            assert go_on.wait(20)
        return finish(self)

    monkeypatch.setattr(Reading, "finish", slow)

    async def scene(lobby: Lobby) -> None:
        async with lobby.client() as (reader, writer):
            writer.write(post(MANY, TENSOR))
            await until(lambda: threads)
            assert lobby.hall.in_work == 1
            assert (await lobby.ask(post(ONE)))[0] == 200
            lobby.hall.drain()
            assert lobby.hall.in_work == 1
            go_on.set()
            status, answer = await answer_of(reader)
            assert (status, len(answer["results"])) == (200, 40)
            assert await reader.read() == b"", "while draining a connection ends with its answer"
        assert threads[0] != threading.get_ident() == threads[1]

    in_a_lobby(scene)


TWO = bytes([0, 255] * 784)


def test_a_body_is_kept_until_its_request_is_answered_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(lobby: Lobby) -> None:
        hall, model = lobby.hall, lobby.model
        model.at_once = False
        async with lobby.client() as (reader, writer):
            writer.write(post(TWO, TENSOR))
            await until(lambda: model.asked)
            assert hall.buffered == len(TWO)
            async with lobby.client() as (other, wanting):  # there is no room for as much again
                wanting.write(post(TWO, TENSOR))
                status, problem = await answer_of(other)
                assert (status, problem["title"]) == (503, "Busy")
                assert "not yet answered" in problem["detail"]
            await until(lambda: hall.buffered == len(TWO))
            model.answer()
            assert (await answer_of(reader))[0] == 200
            assert hall.buffered == 0
            model.at_once = True
            assert (await asked((reader, writer), post(TWO, TENSOR)))[0] == 200

    monkeypatch.setattr(http, "MAX_BUFFERED", 2 * len(TWO) - 1)
    monkeypatch.setattr(http, "RESERVED", 0)
    in_a_lobby(scene)


def test_small_bodies_find_room_where_large_ones_fill_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(lobby: Lobby) -> None:
        lobby.model.at_once = False
        async with lobby.client() as (_, writer):
            writer.write(post(TWO, TENSOR))
            await until(lambda: lobby.model.asked)
            lobby.model.at_once = True
            async with lobby.client() as (other, wanting):
                wanting.write(post(bytes(SMALL_BYTES + 1), TENSOR))
                assert (await answer_of(other))[0] == 503
            async with lobby.client() as ends:
                assert (await asked(ends, post(TWO, TENSOR)))[0] == 200
            lobby.model.answer()

    monkeypatch.setattr(http, "MAX_BUFFERED", len(TWO))
    in_a_lobby(scene)


def test_a_body_whose_client_has_gone_is_kept_while_it_is_in_work() -> None:
    async def scene(lobby: Lobby) -> None:
        hall, model = lobby.hall, lobby.model
        model.at_once = False
        async with lobby.client() as (_, writer):
            writer.write(post(TWO, TENSOR) * 3 + post(TWO, TENSOR)[:-10])
            await until(lambda: hall.buffered == 4 * len(TWO) - 10 + 2 * QUEUED_BYTES)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        await until(lambda: not hall.connections)
        assert (hall.buffered, hall.in_work) == (len(TWO), 1)
        model.answer()
        await until(lambda: not hall.in_work)

    in_a_lobby(scene)


LONG = b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"


@pytest.mark.parametrize(("settings", "sent", "statuses"), [
    ({}, post(TWO, TENSOR) * 5, [200] * 5),
    ({}, post(TWO, TENSOR, path="/api/predict?top=1") * 2, [200] * 2),
    ({}, post(TWO, "Content-Type: application/json") * 2, [400] * 2),
    ({"rate_limit": 1}, post(TWO, TENSOR) * 3, [200, 429, 429]),
    ({"max_body_bytes": 1024}, post(TWO, TENSOR), [413]),
    ({"max_body_bytes": 1024}, post(b"x") + LONG, [415]),
    ({"max_body_bytes": 1024}, post(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
        + b"300\r\n" + bytes(0x300) + b"\r\n300\r\n" + bytes(0x300), [413]),
    ({}, post(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
        + b"300\r\n" + bytes(0x300) + b"\r\nno length\r\n", [400]),
    ({}, post(TWO, TENSOR) * 2 + b"NONSENSE\r\n\r\n", [200]),
    ({"read_timeout_s": 0.1}, post(TWO, TENSOR) + post(TWO, TENSOR)[:-10], [200, 408]),
    ({}, get("/nowhere") + post(TWO, path="/nowhere"), [404, 404]),
    ({}, post(TWO, "Connection: close"), [415]),
])  # fmt: skip
def test_nothing_is_kept_of_requests_that_were_answered_or_refused(
    settings: dict[str, Any], sent: bytes, statuses: list[int]
) -> None:
    async def scene(lobby: Lobby) -> None:
        async with lobby.client() as (reader, writer):
            writer.write(sent)
            got = []
            for _ in statuses:
                waiting = asyncio.ensure_future(answer_of(reader))
                while not waiting.done():
                    lobby.hall.tick()
                    await asyncio.sleep(0.01)
                got.append(waiting.result()[0])
            assert got == statuses

    in_a_lobby(scene, **settings)


def test_nothing_is_kept_of_requests_for_which_there_was_no_room() -> None:
    async def scene(lobby: Lobby) -> None:
        lobby.model.at_once = False
        async with lobby.client() as (reader, writer):
            writer.write(post(TWO, TENSOR))
            await until(lambda: lobby.model.asked)
            for path in ("/api/predict", "/api/predict?top=1"):
                assert (await lobby.ask(post(TWO, TENSOR, path=path)))[0] == 503
                await until(lambda: lobby.hall.buffered == len(TWO))
            lobby.model.answer()
            assert (await answer_of(reader))[0] == 200

    in_a_lobby(scene, max_waiting=1)


def test_a_request_whose_time_runs_out_is_no_longer_kept() -> None:
    async def scene(lobby: Lobby) -> None:
        lobby.model.at_once = False
        async with lobby.client() as (reader, writer):
            writer.write(post(MANY, TENSOR))
            await until(lambda: lobby.model.asked)
            await asyncio.sleep(0.15)
            lobby.hall.tick()
            assert (await answer_of(reader))[0] == 504
            assert lobby.hall.buffered == 0

    in_a_lobby(scene, deadline_ms=100)
