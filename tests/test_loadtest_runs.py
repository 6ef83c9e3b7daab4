"""Loadtest: whole runs, with Locust, against a stub and against the real deployment."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from digits.settings import LocalSettings
from loadtest.generator import LOCUSTFILE
from local.deployment import Deployment
from tests.conftest import MODELS, ROOT, free_port

# not importorskip: importing Locust would patch the standard library under every other test
pytestmark = pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="needs the load extra")

DELAY_S = 0.05
FEW = ("--drawings", "40")
LAX = """
[answers]
wrong_digits = 0
misread_percent = 10.0
[quiet]
p95_ms = 5000.0
p99_ms = 5000.0
[below_knee]
failures_percent = 0.1
[knee]
p99_ms = 5000.0
min_drawings_per_second = 1.0
"""  # latencies are not what these tests judge, and a busy machine must not fail them


@dataclass
class Finished:
    """A run that has ended."""

    code: int
    output: str
    folder: Path | None
    took_s: float

    @property
    def summary(self) -> dict[str, Any]:
        """The report's figures."""
        assert self.folder is not None, self.output
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return found

    def finding(self, rule: str) -> dict[str, Any]:
        """The finding whose rule begins so."""
        return next(one for one in self.summary["findings"] if one["rule"].startswith(rule))


def start(reports: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `python -m loadtest`."""
    limits = reports.with_suffix(".toml")
    limits.parent.mkdir(exist_ok=True)
    limits.write_text(LAX)
    command = [sys.executable, "-m", "loadtest", *arguments, "--reports", str(reports), "--thresholds", str(limits)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], reports: Path, timeout_s: float = 150) -> Finished:
    """Wait for its end."""
    began = time.monotonic()
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    folders = sorted(reports.glob("*/")) if reports.exists() else []
    return Finished(process.returncode, output, folders[-1] if folders else None, time.monotonic() - began)


def run(reports: Path, *arguments: str) -> Finished:
    """Run `python -m loadtest` to its end."""
    return finish(start(reports, *arguments), reports)


StartStub = Callable[..., tuple[str, str]]


@pytest.fixture
def stub() -> Iterator[StartStub]:
    """Return a function that starts a stub and gives its HTTP and gRPC addresses."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*flags: str) -> tuple[str, str]:
        port, grpc_port = free_port(), free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.stub", "--port", str(port), "--grpc-port", str(grpc_port), *FEW, *flags],
            cwd=ROOT, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}"

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


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


def test_a_master_and_two_workers_measure_together(stub: StartStub, tmp_path: Path) -> None:
    host, _ = stub()
    told = run(
        tmp_path, "steady", "--rate", "80", "--seconds", "6", "--ceiling-seconds", "0", "--host", host, "--workers", "2",
        "--master-port", str(free_port()), *FEW,
    )  # fmt: skip
    assert told.code == 0, told.output
    (hold,) = [row for row in told.summary["rows"] if row["role"] == "hold"]
    assert hold["right"] == pytest.approx(80, rel=0.25)


def test_locust_alone_leaves_out_what_the_model_honestly_misreads(stub: StartStub, tmp_path: Path) -> None:
    """As the cluster's Job runs it: without our master, which would have asked before."""
    host, _ = stub("--drawings", "120", "--misread", "20")
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", host, "--phases", "steady"]
    command += ["--rate", "60", "--seconds", "4", "--html", str(tmp_path / "report.html")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "6 of 120 drawings are read as another digit, and left out" in run.stderr
    assert "gateway, 1 drawing" in (tmp_path / "report.html").read_text()


JUDGE = """
import sys, types
from loadtest.locustfile import _judge
phases, failures, *errors = sys.argv[1:]
said = types.SimpleNamespace
stats = said(errors={text: said(error=text) for text in errors}, total=said(num_failures=int(failures), num_requests=100))
environment = said(stats=stats, parsed_options=said(phases=phases), process_exit_code=1)
_judge(environment)
print(environment.process_exit_code)
"""
BUSY, FULL, WRONG = "HTTP 503 busy", "RESOURCE_EXHAUSTED: full", "wrong digit 3 for 5"


@pytest.mark.parametrize(
    ("phases", "failures", "errors", "code"),
    [
        ("demo", 30, (BUSY, FULL), 0),
        ("demo", 31, (BUSY, FULL), 1),
        ("demo", 2, (BUSY, WRONG), 1),
        ("demo", 1, ("HTTP 500 broken",), 1),
        ("", 2, (BUSY,), 1),
    ],
)  # fmt: skip
def test_only_a_few_refusals_beyond_the_knee_are_forgiven(phases: str, failures: int, errors: tuple[str, ...], code: int) -> None:
    command = [sys.executable, "-c", JUDGE, phases, str(failures), *errors]
    judged = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert judged.stdout == f"{code}\n", judged.stderr


def test_ctrl_c_ends_within_five_seconds_with_the_report_of_what_was_measured(stub: StartStub, tmp_path: Path) -> None:
    host, _ = stub()
    process = start(tmp_path, "steady", "--rate", "50", "--seconds", "60", "--ceiling-seconds", "0", "--host", host, *FEW)
    until = time.monotonic() + 40
    while not any(b'"hold"' in log.read_bytes() for log in tmp_path.glob("*/measured.jsonl")) and time.monotonic() < until:
        time.sleep(0.1)
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
