"""Loadtest: whole runs, with Locust, against a stub and against the real deployment."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from digits.settings import LocalSettings
from local.deployment import Deployment
from tests.conftest import MODELS, free_port
from tests.loadruns import FEW, StartStub, finish, run, start, stubs, wait_for_hold

# not importorskip: importing Locust would patch the standard library under every other test
pytestmark = pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="needs the load extra")

DELAY_S = 0.05


@pytest.fixture
def stub() -> Iterator[StartStub]:
    """Return a function that starts a stub and gives its HTTP and gRPC addresses."""
    with stubs() as begin:
        yield begin


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """The address of a whole deployment's gateway."""
    settings = LocalSettings(web_port=free_port(), grpc_port=free_port(), rest_port=free_port(), model_dir=str(MODELS))
    deployment = Deployment(settings)
    try:
        deployment.start()
        yield deployment.url
    finally:
        deployment.stop()


@pytest.fixture
def slowed(gateway: str) -> Iterator[str]:
    """The same gateway behind a proxy that holds back everything on its way there for 50 ms."""
    port = free_port()
    loop = asyncio.new_event_loop()
    host, _, upstream = gateway.removeprefix("http://").partition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
        try:
            while data := await reader.read(65536):
                if delay_s:
                    await asyncio.sleep(delay_s)  # a request fits one read, so it is held back once
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(upstream))
        await asyncio.gather(pump(reader, back, DELAY_S), pump(there, writer, 0.0))

    async def serve() -> None:
        nonlocal stopped
        stopped = asyncio.Event()
        async with await asyncio.start_server(accept, "127.0.0.1", port, limit=1 << 20):
            ready.set()
            await stopped.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    stopped: asyncio.Event | None = None
    ready = threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(5)
    yield f"http://127.0.0.1:{port}"
    assert stopped is not None
    loop.call_soon_threadsafe(stopped.set)
    thread.join(5)
    loop.close()


LOW: Sequence[str] = ("steady", "--rate", "12", "--seconds", "6", "--ceiling-seconds", "0")


def test_fifty_milliseconds_more_are_shown_within_five(gateway: str, slowed: str, tmp_path: Path) -> None:
    added: list[float] = []
    for attempt in range(3):  # a median of seventy on a busy machine may stray once, a wrong clock strays always
        hosts = {"plain": gateway, "slow": slowed}  # one after the other: two generators would hold each other up
        ended = {name: run(tmp_path / f"{name}{attempt}", *LOW, "--host", host) for name, host in hosts.items()}
        holds = {name: next(row for row in one.summary["rows"] if row["role"] == "hold") for name, one in ended.items()}
        assert all(hold["offered"] == 12 for hold in holds.values())
        added.append(holds["slow"]["p50"] - holds["plain"]["p50"])
        if abs(added[-1] - 1000 * DELAY_S) <= 5:
            break
    assert added[-1] == pytest.approx(1000 * DELAY_S, abs=5), added
    plain = ended["plain"]
    assert plain.finding("wrong digits")["passed"], plain.output
    assert holds["plain"]["right"] == pytest.approx(12, abs=0.5), plain.output
    assert (plain.folder / "locust.html").stat().st_size > 10_000  # type: ignore[operator]
    assert "gateway" in holds["plain"]["cores"]  # found by the port that it listens on


def test_one_wrong_digit_in_a_hundred_fails_the_run(stub: StartStub, tmp_path: Path) -> None:
    host, _ = stub("--wrong-every", "100")
    told = run(tmp_path, "steady", "--rate", "150", "--seconds", "4", "--ceiling-seconds", "0", "--host", host, *FEW)
    assert told.code == 1
    assert not told.finding("wrong digits")["passed"]
    (hold,) = [row for row in told.summary["rows"] if row["role"] == "hold"]
    assert hold["failed_percent"] == pytest.approx(1.0, abs=0.5)


def test_a_server_that_stops_answering_before_the_end_fails_the_run(stub: StartStub, tmp_path: Path) -> None:
    host, _ = stub()
    process = start(tmp_path, "steady", "--rate", "50", "--seconds", "10", "--ceiling-seconds", "0", "--host", host, *FEW)
    wait_for_hold(tmp_path)
    time.sleep(7)
    (hung,) = [one for one in psutil.Process().children() if "loadtest.stub" in one.cmdline()]
    hung.suspend()
    told = finish(process, tmp_path)
    assert told.code == 1, told.output
    assert not told.finding("answered of what was offered")["passed"]
    assert not told.finding("failures")["passed"]
    (hold,) = [row for row in told.summary["rows"] if row["role"] == "hold"]
    assert hold["right"] * hold["seconds"] + hold["failures"]["no answer before the end"] == pytest.approx(450, abs=2)


def test_a_run_as_fast_as_the_generator_itself_says_so(stub: StartStub, tmp_path: Path) -> None:
    host, address = stub()
    told = run(tmp_path, "doors", "--seconds", "3", "--ceiling-seconds", "2", "--host", host, "--grpc", address, *FEW)
    assert told.code == 0, told.output
    assert told.output.startswith("the generator's own ceiling")
    assert set(told.summary["ceiling"]) == {"gateway, 1 drawing", "gRPC, 1 drawing"}
    assert any("the generator: " in note and "to a stub that answers at once" in note for note in told.summary["notes"])
    assert {row["kind"] for row in told.summary["rows"] if row["right"] > 0} == {
        "gateway, 1 drawing", "gateway, 8 drawings", "gRPC, 1 drawing", "gRPC, 64 drawings",
    }  # fmt: skip
    page = (told.folder / "index.html").read_text()  # type: ignore[operator]
    assert "<script" not in page
    assert "src=" not in page


def test_ctrl_c_ends_within_five_seconds_with_the_report_of_what_was_measured(stub: StartStub, tmp_path: Path) -> None:
    host, _ = stub()
    process = start(tmp_path, "steady", "--rate", "50", "--seconds", "60", "--ceiling-seconds", "0", "--host", host, *FEW)
    wait_for_hold(tmp_path)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    told = finish(process, tmp_path)
    assert told.took_s < 5
    assert told.code == 130
    assert not told.summary["complete"]
    (hold,) = [row for row in told.summary["rows"] if row["role"] == "hold"]
    assert 25 <= hold["right"] <= 51
    assert "cut short" in (told.folder / "index.html").read_text()  # type: ignore[operator]


def test_ctrl_c_during_the_start_ends_at_once(tmp_path: Path, stub: StartStub) -> None:
    host, _ = stub()
    process = start(tmp_path, "--host", host, *FEW)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    told = finish(process, tmp_path)
    assert told.took_s < 5
    assert told.code in (130, -signal.SIGINT)  # before the handler is there, Python's own end


def test_a_target_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    told = run(tmp_path, "--host", f"http://127.0.0.1:{free_port()}")
    assert told.code == 2
    assert told.took_s < 5
    assert "nothing answers at http://127.0.0.1:" in told.output
    assert told.folder is None
