"""Loadtest: several generators, and Locust without our master."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from loadtest.generator import LOCUSTFILE
from tests.conftest import ROOT, free_port
from tests.loadruns import FEW, StartStub, finish, run, start, stubs, wait_for_hold

# not importorskip: importing Locust would patch the standard library under every other test
pytestmark = pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="needs the load extra")


@pytest.fixture
def stub() -> Iterator[StartStub]:
    """Return a function that starts a stub and gives its HTTP and gRPC addresses."""
    with stubs() as begin:
        yield begin


def test_a_master_and_two_workers_measure_together(stub: StartStub, tmp_path: Path) -> None:
    host, _ = stub()
    told = run(
        tmp_path, "steady", "--rate", "80", "--seconds", "6", "--ceiling-seconds", "0", "--host", host, "--workers", "2",
        "--master-port", str(free_port()), *FEW,
    )  # fmt: skip
    assert told.code == 0, told.output
    (hold,) = [row for row in told.summary["rows"] if row["role"] == "hold"]
    assert hold["right"] == pytest.approx(80, rel=0.25)


def test_a_lost_worker_ends_the_run_at_once_and_is_told(stub: StartStub, tmp_path: Path) -> None:
    host, _ = stub()
    process = start(
        tmp_path, "steady", "--rate", "80", "--seconds", "60", "--ceiling-seconds", "0", "--host", host, "--workers", "2",
        "--master-port", str(free_port()), *FEW,
    )  # fmt: skip
    wait_for_hold(tmp_path)
    next(one for one in psutil.Process(process.pid).children() if "--worker" in one.cmdline()).kill()
    told = finish(process, tmp_path)
    assert told.code == 1
    assert told.took_s < 20  # of sixty
    assert "a worker was lost" in told.summary["ending"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_lost_worker_elsewhere_ends_the_run_too(workers: int, stub: StartStub, tmp_path: Path) -> None:
    """Its master only hears nothing more of it."""
    host, _ = stub()
    port = str(free_port())
    flags = "--seconds", "60", "--ceiling-seconds", "0", "--expect-workers", str(workers), "--master-port", port
    process = start(tmp_path, "steady", "--rate", "80", "--host", host, *flags, *FEW)
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--worker", "--master-port", port, *FEW]
    generators = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(workers)]
    try:
        wait_for_hold(tmp_path)
        generators[0].kill()
        told = finish(process, tmp_path)
        assert told.code == 1
        assert told.took_s < 20  # of sixty
        assert told.summary["ending"].startswith("a worker was lost")
        for one in generators[1:]:
            one.wait(5)  # the master has told them
    finally:
        for one in generators:
            one.kill()
            one.wait()


def test_locust_alone_leaves_out_what_the_model_honestly_misreads(stub: StartStub, tmp_path: Path) -> None:
    """As the cluster's Job runs it: without our master, which would have asked before."""
    host, _ = stub("--drawings", "120", "--misread", "20")
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", host, "--phases", "steady"]
    measured = tmp_path / "measured.jsonl"
    measured.write_text('{"of": "the run before"}\n')  # the Job's volume keeps it
    command += ["--rate", "60", "--seconds", "4", "--html", str(tmp_path / "report.html"), "--measured", str(measured)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "6 of 120 drawings are read as another digit, and left out" in run.stderr
    assert "gateway, 1 drawing" in (tmp_path / "report.html").read_text()
    assert measured.read_text().startswith('{"phase"')


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
