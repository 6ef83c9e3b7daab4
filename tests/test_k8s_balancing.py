"""The gateway over a name with several addresses: servers join and leave under load, and nobody notices.

Embedded servers stand for pods: an address each, one port, a name that resolves to those that are ready, a connection
age.  The times are a tenth of the manifests'; what a cluster adds, it adds around this.
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import MODELS, ROOT, Server, StartServer, free_port
from tests.name_server import Addresses, NameServer
from tests.test_k8s_probes import wait_for_rest

AGE_S = 3.0
SEEN_WITHIN_S = 1.1 * AGE_S + 2
"""gRPC spreads the age by 10 %, asks the name server once a second at most, and has to connect."""
CALLS = 360
CALLS_S = 30.0
BUDGET_S = 8.0
"""Of a request: ample, because a machine that is busy with something else is not what is tested."""
CLIENTS = 4
PAUSE_S = 0.02
EVEN = 0.15
START_S = 40.0
STOP_S = 10.0
PODS = ["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"]
DRAWING = (ROOT / "tests" / "golden" / "mnist-like-3.png").read_bytes()


@dataclass
class Load:
    """Clients that draw one drawing after the other until they are told to stop, each over one connection."""

    port: int
    answered: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._draw) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _draw(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * BUDGET_S)
        while not self._stop.wait(PAUSE_S):
            began = time.monotonic()
            try:
                connection.request("POST", "/api/predict", DRAWING, {"Content-Type": "image/png"})
                response = connection.getresponse()
                text = response.read()
                trouble = "" if response.status == 200 else f"{response.status} {text[:300]!r}"
            except (OSError, http.client.HTTPException) as exc:
                trouble = repr(exc)
                connection.close()
            with self._lock:
                self.answered += not trouble
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                if trouble:
                    self.failures.append(trouble)
        connection.close()


def calls(server: Server) -> int:
    """Predict calls that a server has answered."""
    with urllib.request.urlopen(f"{server.rest}/monitoring/prometheus/metrics", timeout=5) as response:
        found = re.findall(rb'^:tensorflow:serving:request_count\{[^}]*status="OK"\} (\d+)', response.read(), re.M)
    return sum(map(int, found))


def shares(servers: list[Server]) -> list[float]:
    """Each server's share of the next calls, as a multiple of an even one."""
    before = [calls(one) for one in servers]
    made, until = [0], time.monotonic() + CALLS_S
    while sum(made) < CALLS:
        assert time.monotonic() < until, f"too few calls to tell within {CALLS_S:.0f} s: {made}"
        time.sleep(0.5)
        made = [calls(one) - was for one, was in zip(servers, before, strict=True)]
    return [one * len(servers) / sum(made) for one in made]


@pytest.fixture
def pods(serve: StartServer) -> list[Server]:
    """Four embedded servers, started as the manifests start theirs."""
    flags = (
        "--model_name=digits", f"--model_base_path={MODELS}", "--tensorflow_session_parallelism=1", "--enable_batching",
        f"--batching_parameters_file={ROOT / 'serving' / 'batching.config'}",
        f"--monitoring_config_file={ROOT / 'serving' / 'monitoring.config'}",
        f"--grpc_channel_arguments=grpc.max_connection_age_ms={AGE_S * 1000:.0f},grpc.max_connection_age_grace_ms=1000",
    )  # fmt: skip
    with ThreadPoolExecutor(2) as pool:  # two cores load two models at once
        started = list(pool.map(lambda _: serve(*flags), PODS))
    for server in started:
        wait_for_rest(server)
    return started


@pytest.fixture
def addresses(pods: list[Server]) -> Iterator[Addresses]:
    """Every pod under its own address, on one port."""
    with Addresses(free_port()) as made:
        try:
            for address, pod in zip(PODS, pods, strict=True):
                made.add(address, pod.grpc_port)
        except OSError:
            pytest.skip("needs more than one loopback address (127.0.0.11 and so on)")
        yield made


@pytest.fixture
def names() -> Iterator[NameServer]:
    """A name server that knows the first three."""
    with NameServer(PODS[:3]) as made:
        yield made


@pytest.fixture
def gateway(names: NameServer, addresses: Addresses, tmp_path: Path) -> Iterator[int]:
    """The gateway's port; it balances over the name."""
    port = free_port()
    environment = {
        **os.environ, "DIGITS_WEB_PORT": str(port), "DIGITS_WEB_WORKERS": "2", "DIGITS_DEADLINE_MS": f"{BUDGET_S * 1000:.0f}",
        "DIGITS_MODEL_TARGET": f"dns://127.0.0.1:{names.port}/tfserving.digits.test.:{addresses.port}",
    }  # fmt: skip
    log = tmp_path / "gateway.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "python:webapp.gunicorn_conf"],
            cwd=ROOT, env=environment, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        until = time.monotonic() + START_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < until, f"not ready within {START_S:.0f} s:\n{log.read_text(errors='replace')}"
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(STOP_S)


def test_servers_join_and_leave_under_load_and_no_request_fails(
    pods: list[Server], names: NameServer, addresses: Addresses, gateway: int
) -> None:
    first, second, third, new = pods
    with Load(gateway) as load:
        time.sleep(0.5)
        at_first = shares([first, second, third])
        assert calls(new) == 0  # it runs, but the name does not know it yet

        names.addresses = PODS  # a pod becomes ready
        began = time.monotonic()
        while calls(new) == 0:
            assert time.monotonic() < began + SEEN_WITHIN_S, "the new server gets no traffic"
            time.sleep(0.05)
        seen_s = time.monotonic() - began

        names.addresses = PODS[1:]  # another is being deleted: out of the name, and its process is told to end
        assert first.stop() == 0
        addresses.remove(PODS[0])
        time.sleep(SEEN_WITHIN_S)
        in_the_end = shares([second, third, new])
    print(f"\n{load.answered} answers, slowest {load.slowest_s * 1000:.0f} ms; new server after {seen_s:.1f} s; shares "
          f"{[round(one, 2) for one in at_first]}, then {[round(one, 2) for one in in_the_end]}")  # fmt: skip
    assert not load.failures, f"{len(load.failures)} of {load.answered} failed: {load.failures[:3]}"
    assert at_first == pytest.approx([1, 1, 1], abs=EVEN)
    assert in_the_end == pytest.approx([1, 1, 1], abs=EVEN)
