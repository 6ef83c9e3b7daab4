"""The gateway while the rest is not well: a model server killed, stopped and restarted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from digits import errors
from digits.contract import fingerprint
from digits.settings import LocalSettings
from local.deployment import Deployment
from tests.conftest import MODELS, ROOT, Server, StartServer, free_port
from tests.gateway import ONE, SEVEN, Gateway, gateway
from webapp import problems

FLAGS = ("--model_name=digits", f"--model_base_path={MODELS}")
BUDGET_S = 1.0


def kinds(base: type[errors.DigitsError]) -> list[type[errors.DigitsError]]:
    """The tree of digits.errors; other stages' own branches never reach the gateway."""
    known = [sub for sub in base.__subclasses__() if sub.__module__ == errors.__name__]
    return [base, *(kind for sub in known for kind in kinds(sub))]


@pytest.mark.parametrize("kind", kinds(errors.DigitsError))
def test_every_error_has_a_status_and_a_sentence_of_its_own(kind: type[errors.DigitsError]) -> None:
    assert kind in problems.TABLE
    assert 400 <= problems.TABLE[kind].status <= 504


def test_the_gateway_is_imported_without_tensorflow() -> None:
    heavy = "[name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'keras')]"
    code = f"import sys, webapp, webapp.worker; print({heavy})"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


# -- a model server that goes and comes back -----------------------------------------------------------


class Askers:
    """Threads that ask in a loop and note when, how long and what came back; they tell a one from a seven."""

    def __init__(self, web: Gateway, count: int = 4) -> None:
        self.notes: list[tuple[float, float, int, bool]] = []
        self._wanted = {body: web.ask(body=body).json["probabilities"] for body in (ONE, SEVEN)}
        self._web, self._ending = web, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def __enter__(self) -> Askers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        body = (ONE, SEVEN)[number % 2]
        while not self._ending.is_set():
            began = time.monotonic()
            answer = self._web.ask(body=body)
            took = time.monotonic() - began
            right = answer.status != 200 or np.allclose(answer.json["probabilities"], self._wanted[body], atol=1e-3)
            assert answer.status == 200 or answer.headers["content-type"] == "application/problem+json"
            self.notes.append((began, took, answer.status, right))
            time.sleep(0.05)


def test_a_server_killed_and_restarted_is_told_as_503_and_found_again_within_two_seconds(
    serve: StartServer, tmp_path: Path
) -> None:  # fmt: skip
    server = serve(*FLAGS)
    with gateway(tmp_path, server.target, deadline_ms=int(BUDGET_S * 1000)) as web, Askers(web) as askers:
        workers = web.workers()
        time.sleep(0.5)
        server.process.kill()
        server.process.wait()
        killed = time.monotonic()
        time.sleep(2)
        restarted = time.monotonic()  # from here on it may answer at any time, before `serve` has seen it
        serve(*FLAGS, grpc_port=server.grpc_port, rest_port=server.rest_port)
        returned = time.monotonic()
        time.sleep(3.5)
        assert web.workers() == workers
    notes = askers.notes
    assert all(right for *_, right in notes)
    assert {status for at, _, status, _ in notes if at < killed - 0.1} == {200}
    down = [(took, status) for at, took, status, _ in notes if killed + 0.5 < at < restarted - 0.1]
    assert {status for _, status in down} == {503}
    assert all(took < BUDGET_S + 0.1 for took, _ in down)
    assert {status for at, _, status, _ in notes if at > returned + 2} == {200}


def test_the_gateway_is_ready_only_once_all_its_workers_are(serve: StartServer, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    with gateway(tmp_path, f"127.0.0.1:{ports[0]}", ready=False, web_workers=2) as web:
        time.sleep(4)  # both have looked in vain
        behind = min(web.workers())
        os.kill(behind, signal.SIGSTOP)
        try:
            serve(*FLAGS, grpc_port=ports[0], rest_port=ports[1])
            time.sleep(3)
            assert web.ask(body=ONE).status == 200
            assert "another worker" in web.ask("/readyz").json["why"]
        finally:
            os.kill(behind, signal.SIGCONT)
        web.wait_until_ready()
        assert {web.ask(body=ONE).status for _ in range(40)} == {200}


def test_a_stopped_server_costs_nobody_more_than_the_budget(serve: StartServer, tmp_path: Path) -> None:
    server = serve(*FLAGS)
    with gateway(tmp_path, server.target, deadline_ms=int(BUDGET_S * 1000)) as web, Askers(web) as askers:
        time.sleep(0.3)
        server.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            time.sleep(3)
        finally:
            server.process.send_signal(signal.SIGCONT)
        resumed = time.monotonic()
        time.sleep(3)
    notes = askers.notes
    assert all(right for *_, right in notes)
    during = [(took, status) for at, took, status, _ in notes if stopped + 0.1 < at < resumed - BUDGET_S]
    assert {status for _, status in during} <= {503, 504}
    assert max(took for took, _ in during) < BUDGET_S + 0.25  # 0.1 of it is promised; the rest is this machine's noise
    assert {status for at, _, status, _ in notes if at > resumed + 2} == {200}


def test_a_version_with_another_contract_is_refused_and_the_old_answers_stay(tmp_path: Path) -> None:
    models = tmp_path / "digits"
    shutil.copytree(MODELS / "1", models / "1")
    settings = LocalSettings(free_port(), free_port(), free_port(), str(models))
    deployment = Deployment(settings, ["--file_system_poll_wait_seconds=1"])  # as `make run` starts it
    try:
        deployment.start()
        web = Gateway(deployment.tiers[1].process, settings.web_port, tmp_path / "unused", 2)
        draft = tmp_path / "draft"
        shutil.copytree(MODELS / "1", draft)
        graph = (draft / "saved_model.pb").read_bytes()
        assert fingerprint().encode() in graph
        (draft / "saved_model.pb").write_bytes(graph.replace(fingerprint().encode(), b"0" * 64))
        os.rename(draft, models / "2")
        until = time.monotonic() + 20
        while not (refused := web.ask("/readyz").json.get("refused")):
            assert time.monotonic() < until
            assert web.ask(body=ONE).json["model"]["version"] == 1
            time.sleep(0.1)
        assert "contract" in refused["2"]
        time.sleep(1.5)  # one worker has looked and said so; by now the other has too
        for _ in range(20):
            assert web.ask(body=ONE).json["model"]["version"] == 1
        assert web.ask("/api/predict?version=2", ONE).json["title"] == "Model does not fit"
        assert "digits_contract_mismatch 1.0" in web.ask("/metrics").body.decode()
    finally:
        deployment.stop()


def test_a_restart_forgets_the_gauges_of_the_workers_before(
    digits_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))  # a container's volume, which outlives the container
    left = "from prometheus_client import Gauge; Gauge('digits_in_flight', '', multiprocess_mode='livesum').set(7)"
    subprocess.run([sys.executable, "-c", left], check=True)
    assert list(tmp_path.glob("gauge_livesum_*.db"))
    with gateway(tmp_path, digits_server.target, web_workers=1) as web:
        assert "digits_in_flight 0.0" in web.ask("/metrics").body.decode()
