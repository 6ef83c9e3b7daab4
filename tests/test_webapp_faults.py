"""The gateway while the rest is not well: a model server killed, stopped and restarted; too many requests; slow clients."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from digits import errors
from digits.client import PredictClient, Prediction
from digits.settings import WebSettings
from tests.conftest import MODELS, ROOT, Server, StartServer, free_port
from tests.gateway import ONE, SEVEN, Gateway, gateway
from webapp import problems
from webapp.circuit import OPENS_AT, Circuit
from webapp.coalesce import Asked, Coalescer
from webapp.rates import Rates

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


def test_a_version_with_another_contract_is_refused_and_the_old_answers_stay(serve: StartServer, tmp_path: Path) -> None:
    models = tmp_path / "digits"
    shutil.copytree(MODELS / "1", models / "1")
    flags = ("--model_name=digits", f"--model_base_path={models}", "--file_system_poll_wait_seconds=1")
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "digits" base_path: "{models}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    server = serve(f"--model_config_file={config}", flags[2])
    with gateway(tmp_path, server.target) as web:
        draft = tmp_path / "draft"
        shutil.copytree(MODELS / "1", draft)
        graph = (draft / "saved_model.pb").read_bytes()
        from digits.contract import fingerprint

        assert fingerprint().encode() in graph
        (draft / "saved_model.pb").write_bytes(graph.replace(fingerprint().encode(), b"0" * 64))
        os.rename(draft, models / "2")
        until = time.monotonic() + 20
        while not (refused := web.ask("/readyz").json.get("refused")):
            assert time.monotonic() < until
            assert web.ask(body=ONE).json["model"]["version"] == 1
            time.sleep(0.1)
        assert "contract" in refused["2"]
        assert web.ask(body=ONE).json["model"]["version"] == 1
        time.sleep(1.5)  # one worker has looked and said so; by now the other has too
        assert web.ask("/api/predict?version=2", ONE).json["title"] == "Model does not fit"
        assert "digits_contract_mismatch 1.0" in web.ask("/metrics").body.decode()


# -- too much, too slow, the end -----------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target, max_waiting=2, web_workers=1) as web:
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: web.ask(body=ONE), range(240)))
        statuses = {answer.status for answer in answers}
        assert statuses == {200, 503}
        refused = next(answer for answer in answers if answer.status == 503)
        assert refused.headers["retry-after"] == "1"
        assert refused.json["title"] == "Busy"
        assert 'digits_shed_total{reason="queue"}' in web.ask("/metrics").body.decode()
        assert web.ask(body=ONE).status == 200


def test_a_client_beyond_its_rate_is_told_429(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target, rate_limit=3, web_workers=1) as web:
        statuses = [web.ask(body=ONE).status for _ in range(12)]
        assert statuses[:3] == [200] * 3
        assert 429 in statuses
        assert web.ask("/livez").status == 200


def test_slow_clients_are_sent_away_and_hold_up_nobody(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target, read_timeout_s=1, web_workers=1) as web:
        slow = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(200)]
        for one in slow:
            one.sendall(b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert web.ask(body=ONE).status == 200
        one = slow[0]
        one.settimeout(6)
        assert one.recv(4096).startswith(b"HTTP/1.1 408 ")
        for one in slow:
            one.close()


NOT_HTTP = [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET /" + b"a" * 9000]


@pytest.mark.parametrize("sent", NOT_HTTP)
def test_what_is_not_http_is_refused_and_closed(digits_server: Server, tmp_path: Path, sent: bytes) -> None:
    with gateway(tmp_path, digits_server.target, web_workers=1) as web, socket.create_connection(("127.0.0.1", web.port)) as raw:
        raw.settimeout(5)
        raw.sendall(sent)
        assert raw.recv(65536).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 414 "))


def test_sigterm_lets_accepted_work_finish_and_takes_no_more(digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target) as web:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            under_way = [pool.submit(web.ask, body=ONE) for _ in range(8)]
            concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED)
            web.process.terminate()
            for one in under_way:
                with suppress(ConnectionRefusedError, ConnectionResetError):  # came after the end
                    assert one.result().status == 200
        assert web.process.wait(6) == 0
        with pytest.raises(ConnectionRefusedError):
            web.ask("/livez")


# -- the parts, with faults at the seam ------------------------------------------------------------------


def answers(rows: int, version: int = 1) -> Prediction:
    return Prediction(np.arange(rows * 10, dtype=np.float32).reshape(rows, 10), np.arange(rows), version)


def asked(rows: int = 1, version: int | None = None) -> Asked:
    return Asked(np.zeros((rows, 28, 28), np.uint8), time.monotonic() + 5, (version, None))


def test_what_comes_while_a_call_is_under_way_shares_the_next_and_everybody_gets_their_own_rows() -> None:
    calls: list[tuple[int, Future[Prediction]]] = []

    def send(batch: list[Asked]) -> Future[Prediction]:
        calls.append((sum(len(one.images) for one in batch), Future()))
        return calls[-1][1]

    coalescer = Coalescer(send, max_rows=6)  # type: ignore[arg-type]
    first, *others = [asked(rows, version) for rows, version in ((1, None), (2, None), (1, 7), (3, None), (4, None))]
    for one in (first, *others):
        coalescer.submit(one)
    assert [rows for rows, _ in calls] == [1]  # at once, alone
    calls[0][1].set_result(answers(1))
    assert [rows for rows, _ in calls] == [1, 5]  # 2 + 3; 4 more would be past 6; version 7 goes by itself
    calls[1][1].set_result(answers(5))
    assert others[0].future.result().digit.tolist() == [0, 1]
    assert others[2].future.result().digit.tolist() == [2, 3, 4]
    assert not others[1].future.done()


def test_beyond_its_room_the_coalescer_refuses() -> None:
    coalescer = Coalescer(lambda batch: Future(), max_waiting=3)
    for _ in range(4):  # one under way, three waiting
        coalescer.submit(asked())
    with pytest.raises(errors.Overloaded):
        coalescer.submit(asked())


def test_a_call_that_fails_fails_those_in_it_and_the_next_goes_on() -> None:
    calls: list[Future[Prediction]] = []
    coalescer = Coalescer(lambda batch: calls.append(Future()) or calls[-1])  # type: ignore[func-returns-value]
    one, other = asked(), asked()
    coalescer.submit(one)
    coalescer.submit(other)
    calls[0].set_exception(errors.ModelUnavailable("gone"))
    assert isinstance(one.future.exception(0), errors.ModelUnavailable)
    calls[1].set_result(answers(1))
    assert other.future.result(0).version == 1


class Flaky(PredictClient):
    """A client at the transport seam: fails as told, then answers."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__("127.0.0.1:1")
        self.failures, self.metadata = failures, []

    def predict_later(self, images: np.ndarray, *rest: object) -> Future[Prediction]:  # type: ignore[override]
        done: Future[Prediction] = Future()
        self.metadata.append(rest[3])
        if self.failures:
            done.set_exception(self.failures.pop(0))
        else:
            done.set_result(answers(len(images)))
        return done


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Exception]], object]:
    from webapp.backend import Backend
    from webapp.watch import State, Version, Watch

    monkeypatch.setattr(Watch, "_run", lambda self: None)
    monkeypatch.setattr(Watch, "look", lambda self: None)

    def make(failures: list[Exception]) -> Backend:
        made = Backend(WebSettings(), Flaky(failures))
        made.watch.state = State({1: Version(1, {"threshold": {"value": 0.9}}, "", {})}, trouble="")
        return made

    return make


@pytest.mark.parametrize("error", [errors.ModelUnavailable("away"), errors.Overloaded("full"), errors.ModelNotFound("unloaded")])
def test_what_may_pass_is_asked_again_within_the_budget(backend: Callable, error: Exception) -> None:  # type: ignore[type-arg]
    made = backend([error])
    future = made.ask(np.zeros((1, 28, 28), np.uint8), time.monotonic() + 2, request_id="r1", traceparent="00-a-b-01")
    assert future.result(2).version == 1
    assert made._client.metadata == [[("x-request-id", "r1"), ("traceparent", "00-a-b-01")]] * 2


def test_a_canary_that_is_refused_gets_no_share(backend: Callable) -> None:  # type: ignore[type-arg]
    made = backend([])
    made._settings = WebSettings(canary_percent=100)
    image = np.zeros((1, 28, 28), np.uint8)
    asked_for: list[object] = []
    made._client.predict_later = lambda images, left, version, *rest: (asked_for.append(version), Future())[1]
    for labelled in (1, 2):
        made.coalescer = Coalescer(made._send)
        made.watch.state = replace(made.watch.state, labels={"canary": labelled}, refused={2: "another contract"})
        made.ask(image, time.monotonic() + 2)
    assert asked_for == [1, 1]


@pytest.mark.parametrize("error", [errors.BadModelOutput("nonsense"), errors.DeadlineExceeded("late"), errors.ServingError("?")])
def test_what_will_not_pass_is_not_asked_again(backend: Callable, error: Exception) -> None:  # type: ignore[type-arg]
    made = backend([error])
    with pytest.raises(type(error)):
        made.ask(np.zeros((1, 28, 28), np.uint8), time.monotonic() + 2).result(2)
    assert len(made._client.metadata) == 1


def test_the_circuit_opens_after_failures_in_a_row_and_any_answer_closes_it() -> None:
    circuit = Circuit()
    for _ in range(OPENS_AT - 1):
        circuit.failed(errors.ModelUnavailable("away"))
    circuit.failed(errors.Overloaded("there, but full"))
    circuit.check()
    for _ in range(OPENS_AT):
        circuit.failed(errors.ModelUnavailable("away"))
    with pytest.raises(errors.ModelUnavailable, match="away"):
        circuit.check()
    circuit.succeeded()
    circuit.check()


def test_a_bucket_fills_again() -> None:
    rates = Rates(2)
    assert [rates.allow("a", 0.0) for _ in range(3)] == [True, True, False]
    assert rates.allow("b", 0.0)
    assert rates.allow("a", 0.6)
    assert not rates.allow("a", 0.6)
