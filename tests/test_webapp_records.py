"""The log: lines are whole and none is lost, whoever writes it and however its reader reads."""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from webapp import records
from webapp.records import FLUSH_LINES, Records

COUNTED: Any = SimpleNamespace(request=lambda *_: None)


def note(log: Records, *numbers: int, more: str = "") -> None:
    for number in numbers:
        log.answered("GET", "/livez", "health.livez", 200, 0.001, str(number), {"more": more})


def numbers(written: bytes) -> list[int]:
    assert written.endswith(b"\n")
    return [int(json.loads(line)["request_id"]) for line in written.splitlines()]


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[bytes], int]], list[bytes]]:
    """Lets a function say how many bytes each write takes, and returns the list of what was taken."""

    def to(takes: Callable[[bytes], int]) -> list[bytes]:
        taken: list[bytes] = []

        def write(_: int, data: bytes) -> int:
            taken.append(data[: takes(data)])
            return len(taken[-1])

        monkeypatch.setattr(records.os, "write", write)
        return taken

    return to


def test_two_threads_that_flush_at_once_write_every_line_once(writes: Any) -> None:
    class Slow(list[str]):
        """Between taking lines and forgetting them others get their turn."""

        def __getitem__(self, key: Any) -> Any:
            got = super().__getitem__(key)
            time.sleep(0.02)
            return got

    taken = writes(len)
    log = Records(COUNTED)
    log._lines = Slow()
    note(log, *range(10))
    threads = [threading.Thread(target=log.flush) for _ in range(4)]
    for thread in threads:
        thread.start()
    note(log, *range(10, 20))
    for thread in threads:
        thread.join()
    log.flush()
    assert numbers(b"".join(taken)) == list(range(20))


def test_every_write_is_of_whole_lines_that_a_pipe_keeps_together(writes: Any) -> None:
    taken = writes(len)
    log = Records(COUNTED)
    note(log, *range(FLUSH_LINES), more="x" * 300)
    assert len(taken) > 1
    assert all(len(piece) <= select.PIPE_BUF for piece in taken)
    assert [number for piece in taken for number in numbers(piece)] == list(range(FLUSH_LINES))


def test_a_line_that_is_longer_goes_by_itself(writes: Any) -> None:
    taken = writes(len)
    log = Records(COUNTED)
    note(log, 0)
    note(log, 1, more="x" * 5000)
    note(log, 2)
    log.flush()
    assert [numbers(piece) for piece in taken] == [[0], [1], [2]]


def test_a_write_that_takes_a_part_is_gone_on_with(writes: Any) -> None:
    taken = writes(lambda data: (len(data) + 1) // 2)
    log = Records(COUNTED)
    note(log, *range(50))
    log.flush()
    assert numbers(b"".join(taken)) == list(range(50))


def test_a_write_that_takes_nothing_is_tried_again_at_the_next_flush(writes: Any) -> None:
    taken = writes(lambda data: 0 if len(taken) < 3 else len(data))
    log = Records(COUNTED)
    note(log, 0)
    for flush in range(3):
        log.flush()
        assert len(taken) == flush + 1
    log.flush()
    assert numbers(b"".join(taken)) == [0]


def test_a_full_pipe_that_does_not_block_loses_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    log = Records(COUNTED, file=writing)
    note(log, *range(3000))
    got = b""
    while len(got.splitlines()) < 3000:
        got += os.read(reading, 1 << 20)
        log.flush()
    assert numbers(got) == list(range(3000))
    os.close(reading)
    note(log, 1)
    log.flush()
    assert log._unsent == b"", "nobody reads the log any more"
    os.close(writing)


def test_what_nobody_reads_is_kept_up_to_a_bound(writes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_UNSENT", 10_000)
    full = True
    taken = writes(lambda data: 0 if full else len(data))
    log = Records(COUNTED)
    note(log, *range(1000))
    log.flush()
    full = False
    log.flush()
    written = b"".join(taken)
    assert 9_000 < len(written) <= 10_000
    assert numbers(written) == list(range(len(written.splitlines())))
