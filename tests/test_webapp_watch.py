"""Which version is asked, while the servers behind the address are not all as far, or one version fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from random import Random
from typing import Any

import numpy as np
import pytest

from digits import contract as c
from digits import errors, wire
from digits.client import PredictClient
from digits.replies import AVAILABLE, Prediction, VersionState
from digits.settings import WebSettings
from webapp.backend import Backend
from webapp.watch import Watch

IMAGE = np.zeros((1, 28, 28), np.uint8)


class Servers(PredictClient):
    """A client at the transport seam, in front of servers of which any may get a call.

    each: a server's versions and labels; wrong: what goes wrong, by version; full: whether whoever is asked to run something
    says that it is full.
    """

    def __init__(self, *each: dict[int | str, int | None]) -> None:
        super().__init__("127.0.0.1:1")
        self.each = list(each)
        self.wrong: dict[int, Exception] = {}
        self.full = False
        self.cards = {"threshold": {"value": 0.9}}
        self._random = Random(1)

    @property
    def _next(self) -> dict[int | str, int | None]:
        if not self.each:
            raise errors.ModelUnavailable("nobody there")
        return self._random.choice(self.each)

    def _found(self, version: int | None, label: str | None) -> int:
        server = self._next
        if self.full:
            raise errors.Overloaded("the queue is full")
        number = server.get(label) if label else version or max(key for key in server if isinstance(key, int))
        if number not in server:
            raise errors.ModelNotFound(f"no {version or label}")
        if number in self.wrong:
            raise self.wrong[number]
        return int(number)

    def versions(self, timeout_s: float) -> list[VersionState]:
        return [VersionState(number, AVAILABLE, "") for number in self._next if isinstance(number, int)]

    def signatures(self, timeout_s: float, version: int | None = None) -> Any:
        if version not in self._next:
            raise errors.ModelNotFound(f"no {version}")
        signature = wire.SignatureDefMap().signature_def[c.SIGNATURE]
        for tensor in (signature.inputs[c.IMAGES], signature.outputs[c.PROBABILITIES], signature.outputs[c.DIGIT]):
            tensor.name = "x"
        return {c.SIGNATURE: signature}

    def about(self, topics: Any, timeout_s: float, version: int | None = None) -> dict[str, str]:
        if version not in self._next:
            raise errors.ModelNotFound(f"no {version}")
        return {c.FINGERPRINT_TOPIC: c.fingerprint(), c.CARD_TOPIC: json.dumps(self.cards), c.MODEL_CARD_TOPIC: ""}

    def predict(
        self, images: Any, timeout_s: float = 5, version: Any = None, label: Any = None, metadata: Any = ()
    ) -> Prediction:
        return Prediction(np.zeros((len(images), 10), np.float32), np.zeros(len(images), np.int64), self._found(version, label))

    def predict_later(self, images: Any, timeout_s: float = 5, version: Any = None, label: Any = None, *_: Any) -> Any:
        answer: Future[Prediction] = Future()
        try:
            answer.set_result(self.predict(images, timeout_s, version, label))
        except errors.DigitsError as exc:
            answer.set_exception(exc)
        return answer


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Backend]]:
    """Makes a backend whose watch looks when it is told to."""
    monkeypatch.setattr(Watch, "_run", lambda self: None)
    made: list[Backend] = []

    def make(servers: Servers, **settings: Any) -> Backend:
        made.append(Backend(WebSettings(**settings), servers))
        made[-1].watch.look()
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def ask(backend: Backend, key: tuple[int | None, str | None] = (None, None)) -> int:
    """The version that answers."""
    return backend.ask(IMAGE, time.monotonic() + 5, key).result(5).version


@pytest.mark.parametrize("others", [[{1: None}], [{1: None}, {1: None}]])
def test_a_version_that_not_every_server_has_yet_troubles_nobody(gateway: Callable[..., Backend], others: list[Any]) -> None:
    servers = Servers({1: None}, *others)
    backend = gateway(servers)
    servers.each[0][2] = None
    for _ in range(30):
        backend.watch.look()
        assert not backend.state.trouble
        assert {ask(backend) for _ in range(5)} <= {1, 2}
    for here in (servers.each, servers.each[:1]):  # the same of one that all have had
        servers.each, everybody = here, servers.each
        for server in here:
            server[2] = None
        backend.watch.look()
        servers.each = everybody
        for server in everybody[1:]:
            server.pop(2, None)
        assert {ask(backend) for _ in range(20)} <= {1, 2}
    for server in servers.each:
        server[2] = None
        server.pop(1, None)
    backend.watch.look()
    assert {ask(backend) for _ in range(5)} == {2}


def test_servers_with_no_version_in_common_answer_who_named_none(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None, 2: None}, {1: None, 2: None})
    backend = gateway(servers)
    del servers.each[0][1], servers.each[1][2]
    answered = set()
    for _ in range(20):
        backend.watch.look()
        answered |= {ask(backend) for _ in range(5)}
    assert answered == {1, 2}
    servers.each = [{1: None}]
    with pytest.raises(errors.ModelNotFound):  # who named one is told the truth
        ask(backend, (2, None))


def test_a_version_that_nobody_has_looked_at_answers_nobody(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None})
    backend = gateway(servers)
    servers.each = [{3: None}]
    backend.watch.look = lambda: None  # type: ignore[method-assign]
    with pytest.raises(errors.ModelUnavailable, match="version 3 was not looked at yet"):
        ask(backend)


def test_who_named_no_version_is_never_told_that_theirs_is_missing(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None})
    backend = gateway(servers)
    servers.wrong = {1: errors.ModelNotFound("unloaded")}
    with pytest.raises(errors.ModelUnavailable, match="unloaded"):
        ask(backend)
    with pytest.raises(errors.ModelNotFound, match="unloaded"):
        ask(backend, (1, None))


def test_a_canary_that_was_unloaded_costs_no_answer(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None, 2: None, "canary": 2})
    backend = gateway(servers, canary_percent=100)
    assert ask(backend) == 2
    servers.each = [{1: None}]
    assert ask(backend) == 1


@pytest.mark.parametrize(
    "error", [errors.ServingError("INTERNAL"), errors.DeadlineExceeded("hangs"), errors.BadModelOutput("NaN")]
)
def test_a_canary_that_fails_is_nobody_elses_trouble(gateway: Callable[..., Backend], error: Exception) -> None:
    servers = Servers({1: None, 2: None, "stable": 1, "canary": 2})
    servers.wrong = {2: error}
    backend = gateway(servers, model_label="stable", canary_percent=50)
    late = isinstance(error, errors.DeadlineExceeded)  # it may only be busy
    assert (backend.state.trouble, list(backend.state.versions), list(backend.state.refused)) == ("", [1], [] if late else [2])
    assert {ask(backend) for _ in range(20)} == {1}

    servers.wrong = {}
    backend.watch.look()
    assert {ask(backend) for _ in range(40)} == {1, 2}
    servers.wrong = {2: error}  # ... and once it was taken: its own share fails, labels are followed, the rest goes on
    servers.each = [{1: None, 2: None, 3: None, "stable": 3, "canary": 2}]
    backend.watch.look()
    assert not backend.state.trouble
    assert backend.usable().number == 3


def test_a_new_version_that_does_not_run_is_refused_and_the_old_goes_on(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None})
    backend = gateway(servers)
    servers.each[0][2] = None
    servers.wrong = {2: errors.ServingError("INTERNAL: no such kernel")}
    backend.watch.look()
    assert backend.state.refused == {2: "INTERNAL: no such kernel"}
    assert ask(backend) == 1
    servers.wrong = {}
    backend.watch.look()
    assert ask(backend) == 2


def test_the_only_version_that_fails_is_trouble(gateway: Callable[..., Backend], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.watch.PROOF_EVERY_S", 0)
    servers = Servers({1: None})
    backend = gateway(servers)
    servers.wrong = {1: errors.ServingError("INTERNAL")}
    backend.watch.look()
    assert backend.state.trouble == "INTERNAL"
    servers.wrong = {}
    backend.watch.look()
    assert not backend.state.trouble


def test_a_first_version_that_is_slow_is_trouble_and_no_other_contract(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None})
    servers.wrong = {1: errors.DeadlineExceeded("slow")}
    backend = gateway(servers)
    assert (backend.state.trouble, backend.state.refused) == ("slow", {})
    with pytest.raises(errors.ModelUnavailable, match="slow"):
        ask(backend)
    servers.wrong = {}
    backend.watch.look()
    assert ask(backend) == 1


def test_a_new_version_is_taken_while_the_servers_queue_is_full(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None})
    backend = gateway(servers)
    servers.each = [{2: None}]
    servers.full = True
    backend.watch.look()
    servers.full = False
    assert ask(backend) == 2


def test_a_server_that_is_full_is_there(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None, "stable": 1})
    backend = gateway(servers, model_label="stable")
    seen = backend.state
    servers.full = True
    for _ in range(3):
        backend.watch.answered_at = -1e9
        backend.watch.look()
        assert (backend.state.trouble, backend.state.labels, backend.state.versions) == ("", seen.labels, seen.versions)
    assert not backend.circuit.open


def test_a_version_that_is_slow_after_the_server_was_away_is_still_asked(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None})
    backend = gateway(servers)
    servers.each = []  # nobody there
    backend.watch.look()
    assert backend.state.trouble
    servers.each = [{1: None}]
    servers.wrong = {1: errors.DeadlineExceeded("slow")}
    backend.watch.look()
    assert list(backend.state.versions) == [1]
    servers.wrong = {1: errors.ContractMismatch("another one came back under that number")}
    backend.watch.look()
    assert list(backend.state.refused) == [1]


def test_what_is_sure_is_judged_by_the_card_of_a_version_that_has_just_left(gateway: Callable[..., Backend]) -> None:
    servers = Servers({1: None, 2: None})
    backend = gateway(servers)
    servers.each = [{2: None}]
    backend.watch.look()
    gone = backend.version(1)
    assert gone is not None
    assert gone.threshold == 0.9
    assert backend.version(9) is None
