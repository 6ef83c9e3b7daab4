"""Whole load tests: how they are started and ended, and the stub that they are held against."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, free_port

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


def wait_for_hold(reports: Path) -> None:
    """Wait until the hold has begun."""
    until = time.monotonic() + 40
    while not any(b'"hold"' in log.read_bytes() for log in reports.glob("*/measured.jsonl")) and time.monotonic() < until:
        time.sleep(0.1)


StartStub = Callable[..., tuple[str, str]]


@contextmanager
def stubs() -> Iterator[StartStub]:
    """Yield a function that starts a stub and gives its HTTP and gRPC addresses; all end with the block."""
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

    try:
        yield begin
    finally:
        for process in started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
