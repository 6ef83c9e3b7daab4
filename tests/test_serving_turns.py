"""Threads that take turns in waiting for events."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

import grpc
import pytest

from serving.grpc_calls import GrpcServer
from serving.turns import Turns, beside, pass_on
from tests.conftest import ROOT

PATIENCE_S = 10.0
Work = Callable[[], None]


class Events:
    """Works on what is put into a queue; counts who waits for it."""

    def __init__(self, spare: int) -> None:
        self.queue: SimpleQueue[Work] = SimpleQueue()
        self.waiting = 0
        self.most = 0
        self.idents: list[int] = []
        self.crowded = False
        self._lock = threading.Lock()
        self.turns = Turns(self._step, lambda: self.crowded, spare)

    def _step(self) -> None:
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        work = self.queue.get()
        with self._lock:
            self.waiting -= 1
        self.idents.append(threading.get_ident())
        work()

    def put(self, work: Work) -> threading.Event:
        """Returns what is set once the work is done."""
        done = threading.Event()

        def both() -> None:
            work()
            done.set()

        self.queue.put(both)
        return done


def begun(spare: int = 2) -> Events:
    made = Events(spare)
    made.turns.start()  # its threads wait for good, as a server's do
    return made


def nothing() -> None:
    """Short work."""


def test_short_work_stays_with_the_thread_that_waits() -> None:
    made = begun()
    for done in [made.put(nothing) for _ in range(50)]:
        assert done.wait(PATIENCE_S)
    assert len(set(made.idents)) == 1


def test_another_waits_while_work_is_long_and_never_two() -> None:
    go_on = threading.Event()

    def long() -> None:
        pass_on()
        go_on.wait(PATIENCE_S)

    made = begun()
    before = [made.put(long) for _ in range(3)]
    assert made.put(nothing).wait(PATIENCE_S), "nobody waits for events while others work"
    assert len(set(made.idents)) == 4
    assert not any(one.is_set() for one in before)
    go_on.set()
    assert all(one.wait(PATIENCE_S) for one in before)
    for _ in range(20):
        assert made.put(long).wait(PATIENCE_S)
    assert made.most == 1


def test_threads_come_back_for_their_next_turn_and_no_more_than_spare_stay() -> None:
    made = begun(spare=1)
    for _ in range(30):
        assert made.put(pass_on).wait(PATIENCE_S)
    assert len(set(made.idents)) <= 4, made.idents
    gate = threading.Barrier(5)

    def together() -> None:
        pass_on()
        gate.wait(PATIENCE_S)

    crowd = [made.put(together) for _ in range(4)]
    gate.wait(PATIENCE_S)
    assert all(one.wait(PATIENCE_S) for one in crowd)
    assert made.put(nothing).wait(PATIENCE_S)


def test_work_passed_on_twice_wakes_one() -> None:
    def twice() -> None:
        pass_on()
        pass_on()

    made = begun()
    for _ in range(20):
        assert made.put(twice).wait(PATIENCE_S)
    assert made.most == 1


def test_where_no_thread_can_be_started_the_work_is_done_and_the_thread_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun()
    assert made.put(nothing).wait(PATIENCE_S)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(3):
        assert made.put(pass_on).wait(PATIENCE_S)
    assert len(set(made.idents)) == 1
    monkeypatch.undo()


@pytest.mark.parametrize("crowded", [False, True])
def test_work_is_done_here_alone_and_on_another_thread_in_a_crowd(crowded: bool) -> None:
    made = begun()
    made.crowded = crowded
    where: list[int] = []
    for _ in range(20):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            where.append(threading.get_ident())
            done.set()

        assert made.put(lambda work=work: beside(work)).wait(PATIENCE_S)  # type: ignore[misc]
        assert done.wait(PATIENCE_S)
    if crowded:
        assert len(set(made.idents)) == 1
        assert made.idents[0] not in where
    else:
        assert where == made.idents
    assert made.most == 1


def test_in_a_crowd_without_further_threads_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun(spare=0)
    assert made.put(nothing).wait(PATIENCE_S)
    made.crowded = True

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worked = threading.Event()
    assert made.put(lambda: beside(worked.set)).wait(PATIENCE_S)
    assert worked.is_set()


def test_elsewhere_work_is_simply_done() -> None:
    pass_on()
    worked = threading.Event()
    beside(worked.set)
    assert worked.is_set()


def test_work_that_fails_ends_no_thread() -> None:
    made = begun()

    def fail() -> None:
        raise MemoryError

    for crowded in (False, True):
        made.crowded = crowded
        made.queue.put(fail)
        made.queue.put(lambda: beside(fail))
        assert made.put(nothing).wait(PATIENCE_S)
    assert made.most == 1


def test_an_event_that_cannot_be_read_costs_the_server_no_other() -> None:
    server = GrpcServer({"/s/Echo": lambda call, data: call.reply(data)}, max_calls=8)
    port = server.add_port("127.0.0.1:0")
    server.start()
    poll, failed = server._poll, threading.Event()

    def flaky(deadline: float | None) -> object:
        if not failed.is_set():
            failed.set()
            raise MemoryError
        return poll(deadline)

    server._poll = flaky
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo = channel.unary_unary("/s/Echo")
        for _ in range(3):
            assert echo(b"again", timeout=PATIENCE_S) == b"again"
    server.stop(1.0)
    assert failed.is_set()


def test_what_is_started_from_here_inherits_no_setting_of_grpcs() -> None:
    """Gateways that tests start beside an imported server, say."""
    told = subprocess.run(
        [sys.executable, "-c", "import serving.grpc_calls, os; print('GRPC_EXPERIMENTS' in os.environ)"],
        env={name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"},
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told.strip() == "False"
