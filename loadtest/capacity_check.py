"""`python -m loadtest.capacity_check`: one, two and four embedded servers behind `round_robin` on this machine.

The capacity page assumes that a drawing costs the same however many servers share the work, and that they share it
evenly.  Both are measured here, and the throughput that follows from them is set beside the measured one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from digits.client import CHANNEL_OPTIONS
from loadtest import analysis
from loadtest.generator import ROOT, START_S, Generator
from loadtest.kinds import GRPC
from loadtest.machine import busy_s
from loadtest.target import Target, free_ports

KIND = "gRPC, 1 drawing"
SERVERS = (1, 2, 4)


@dataclass(frozen=True)
class Check:
    """One measurement.  spent: CPU seconds by server; generator, machine: cores in use."""

    servers: int
    answered: float
    failures: int
    p99: float | None
    spent: list[float]
    answers: float
    generator: float
    machine: float

    @property
    def cost_ms(self) -> float:
        """Core-ms of all servers for one drawing."""
        return 1000 * sum(self.spent) / max(self.answers, 1)

    @property
    def evenness(self) -> float:
        """CPU of the least busy server over that of the busiest."""
        return min(self.spent) / max(*self.spent, 1e-9) if len(self.spent) > 1 else 1.0


def start(count: int) -> tuple[list[subprocess.Popen[bytes]], list[int]]:
    """Start servers on free ports; their batching and threads as in the deployment."""
    free = free_ports(2 * count)
    ports, rest_ports = free[:count], free[count:]
    flags = ["--model_name=digits", f"--model_base_path={ROOT / 'models' / 'digits'}", "--enable_batching",
             f"--batching_parameters_file={ROOT / 'serving' / 'batching.config'}"]  # fmt: skip
    processes = [
        subprocess.Popen([sys.executable, "-m", "serving", f"--port={port}", f"--rest_api_port={rest_port}", *flags],
                         cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for port, rest_port in zip(ports, rest_ports, strict=True)
    ]  # fmt: skip
    return processes, ports


def measure(count: int, seconds: float, users: int) -> Check:
    """Drive `count` servers in a closed loop over one channel that knows all their addresses."""
    processes, ports = start(count)
    generator: Generator | None = None
    try:
        for port in ports:
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
                grpc.channel_ready_future(channel).result(timeout=START_S)
        target = Target({GRPC: "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)})
        with tempfile.TemporaryDirectory() as place:
            flags = ["--kind", KIND, "--seconds", str(seconds), "--connections", str(users), "--drawings", "40"]
            generator = Generator(target, Path(place), "closed", flags)
            generator.start()
            while b'"hold"' not in (generator.log.read_bytes() if generator.log.exists() else b""):
                if generator.processes[0].poll() is not None:
                    raise RuntimeError("the generator ended before its time")
                time.sleep(0.05)
            watched = [psutil.Process(process.pid) for process in (*processes, generator.processes[0])]
            before, began, busy = [_spent(one) for one in watched], time.monotonic(), busy_s()
            time.sleep(seconds)
            took = time.monotonic() - began
            after = [_spent(one) for one in watched]
            busy = (busy_s() - busy) / took
            generator.follow(START_S, lambda _: None)
            hold = analysis.read(generator.log, time.time(), ()).rows[-1]
        spent = [late - early for early, late in zip(before, after, strict=True)]
        return Check(
            count, hold.right, sum(hold.failures.values()), hold.p99, spent[:-1], hold.right * took, spent[-1] / took, busy
        )
    finally:
        if generator is not None:
            generator.stop()
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(6)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def table(checks: list[Check]) -> str:
    """The measurements as a Markdown table, the throughput that the first one's cost predicts beside them."""
    head = ("servers", "answered/s", "predicted/s", "p99 ms", "core-ms a drawing", "least busy ÷ busiest",
            "servers' cores", "generator's", "machine's")  # fmt: skip
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for one in checks:
        cores = one.cost_ms * one.answered / 1000
        predicted = 1000 * cores / checks[0].cost_ms
        p99 = f"{one.p99:.0f}" if one.p99 is not None else "–"
        rows.append(f"| {one.servers} | {one.answered:.0f} | {predicted:.0f} | {p99} | {one.cost_ms:.2f} | {one.evenness:.2f} "
                    f"| {cores:.2f} | {one.generator:.2f} | {one.machine:.2f} |")  # fmt: skip
    return "\n".join(rows)


def main() -> int:
    """Measure and print; 1 if a server gave a wrong answer or none."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.capacity_check", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--users", type=int, default=32, help="calls under way at once")
    options = parser.parse_args()
    checks = []
    for count in SERVERS:
        checks.append(measure(count, options.seconds, options.users))
        print(f"{count} servers: {checks[-1].answered:.0f} drawings/s", flush=True)
    print(table(checks))
    return 1 if any(one.failures or not one.answered for one in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
