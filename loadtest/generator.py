"""Starts Locust in processes of its own, follows what it measures, and ends it in time."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from loadtest import analysis
from loadtest.kinds import GATEWAY, GRPC, REST
from loadtest.target import Target, free_ports

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
ROOT = LOCUSTFILE.parents[1]
GIVE_UP_S = 2.5  # to write its report after an interrupt
START_S = 60.0
WORKER_LOST = 3
"""Exit code of a master that ended because a worker was lost."""
TOGETHER_S = 5.0  # within which a worker's end and its master's are one
LAST_WORDS_S = 1.6  # what was measured in a second arrives within the next, from workers a little later


class Broken(Exception):
    """Locust ended by itself before its time; the text holds its last words."""


class Generator:
    """Locust without a page: one process, or a master and its workers.

    folder: where measured.jsonl, locust.html and locust.txt go.
    """

    def __init__(self, target: Target, folder: Path, phases: str, arguments: Sequence[str], workers: int = 0,
                 expect_workers: int = 0, master_port: int = 5557) -> None:  # fmt: skip
        self._folder, self._workers = folder, workers
        self.log = folder / "measured.jsonl"
        host = target.doors.get(GATEWAY, "")
        common = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--loglevel", "WARNING"]
        self._command = [
            *common, "--headless", "--only-summary", "--exit-code-on-error", "0", "--phases", phases, "--host", host,
            "--rest", target.doors.get(REST, ""), "--grpc", target.doors.get(GRPC, ""),
            "--measured", str(self.log), "--html", str(folder / "locust.html"), *arguments,
        ]  # fmt: skip
        drawings = list(arguments[arguments.index("--drawings") :][:2]) if "--drawings" in arguments else []
        self._worker_command = [*common, "--worker", "--master-port", str(master_port), *drawings]
        if workers or expect_workers:
            address = "127.0.0.1" if not expect_workers else "*"
            self._command += ["--master", "--master-bind-host", address, "--master-bind-port", str(master_port),
                              "--expect-workers", str(workers or expect_workers)]  # fmt: skip
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start all processes."""
        self._spawn(self._command)
        for _ in range(self._workers):
            self._spawn(self._worker_command)

    def _spawn(self, command: Sequence[str]) -> None:
        with (self._folder / "locust.txt").open("ab") as out:
            self.processes.append(
                subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,  # Ctrl-C comes from us, once
                )
            )  # fmt: skip

    def follow(self, limit_s: float, say: Callable[[str], None]) -> None:
        """Wait until the run has ended, telling each phase.  Raises Broken, or TimeoutError after limit_s."""
        until, lost, told = time.monotonic() + limit_s, math.inf, 0
        master, *workers = self.processes
        while master.poll() is None:
            now = time.monotonic()
            if now > until:
                raise TimeoutError(f"the run did not end within {limit_s:.0f} s")
            gone = [worker.returncode for worker in workers if worker.poll() is not None]
            if gone and (lost := min(lost, now + TOGETHER_S)) <= now:
                raise Broken(f"a worker was lost: it ended with exit code {gone[0]} before the run did:\n{self._last_words()}")
            time.sleep(0.2)
            told = self._tell(told, say)
        self._tell(told, say, last=True)
        if master.returncode == WORKER_LOST:
            raise Broken("a worker was lost, and with it its share of the load")
        if master.returncode:
            raise Broken(f"Locust ended with exit code {master.returncode}:\n{self._last_words()}")

    def _last_words(self) -> str:
        return (self._folder / "locust.txt").read_text(errors="replace")[-1500:]

    def _tell(self, told: int, say: Callable[[str], None], last: bool = False) -> int:
        if not self.log.exists() or self.log.read_bytes().count(b'{"phase"') <= told + (not last):
            return told
        rows = analysis.read(self.log, time.time(), ()).rows
        quiet = time.time() - LAST_WORDS_S
        done = rows if last else [row for row, after in itertools.pairwise(rows) if after.began < quiet]
        for row in done[told:]:
            say(told_in_words(row))
        return len(done)

    def stop(self) -> None:
        """End every process within GIVE_UP_S and a little."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
        until = time.monotonic() + GIVE_UP_S
        for process in self.processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def told_in_words(row: analysis.Row) -> str:
    """One line about a phase."""
    load = f"{row.offered:7.0f}/s offered" if row.offered is not None else f"{row.users:3d} users, closed"
    late = "    ".join(f"{name} {value:7.1f} ms" if value is not None else f"{name}       –   "
                       for name, value in (("p50", row.p50), ("p95", row.p95), ("p99", row.p99)))  # fmt: skip
    reasons = ", ".join(f"{count} × {reason}" for reason, count in row.failures.items())
    return f"{row.role:8} {row.kind:19} {load:>18}  {row.right:7.0f}/s right  {late}  {reasons}".rstrip()


def ceiling(target: Target, folder: Path, drawings: int, say: Callable[[str], None], seconds: float = 3.0) -> dict[str, float]:
    """Requests a second by kind that one generator process gets answered by a stub that answers at once."""
    port, grpc_port = free_ports(2)
    stub = subprocess.Popen(
        [sys.executable, "-m", "loadtest.stub", "--port", str(port), "--grpc-port", str(grpc_port), "--drawings", str(drawings)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    doors = {GATEWAY: f"http://127.0.0.1:{port}", REST: f"http://127.0.0.1:{port}", GRPC: f"127.0.0.1:{grpc_port}"}
    stand_in = Target({door: address for door, address in doors.items() if door in target.doors})
    generator: Generator | None = None
    try:
        assert stub.stdout is not None
        if stub.stdout.readline() != b"ready\n":
            raise Broken("the stub did not start")
        with tempfile.TemporaryDirectory(dir=folder) as place:
            generator = Generator(stand_in, Path(place), "ceiling", ["--seconds", str(seconds), "--drawings", str(drawings)])
            generator.start()
            generator.follow(START_S, lambda _: None)
            rows = analysis.read(generator.log, time.time(), ()).rows
    finally:
        if generator is not None:
            generator.stop()
        stub.kill()
        stub.wait()
        if stub.stdout is not None:
            stub.stdout.close()
    found = {row.kind: row.right for row in rows}
    say("the generator's own ceiling, against a stub that answers at once: "
        + ", ".join(f"{rate:,.0f}/s ({kind})" for kind, rate in found.items()))  # fmt: skip
    return found
