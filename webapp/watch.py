"""The version watch: which versions the model server has, and which of them keep the contract."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from digits import contract as c
from digits.artifact import check_fingerprint
from digits.client import PredictClient
from digits.errors import ContractMismatch, DeadlineExceeded, DigitsError, ModelNotFound, ModelUnavailable, Overloaded
from webapp.circuit import Circuit
from webapp.metrics import Metrics

log = logging.getLogger(__name__)

EVERY_S = 0.25
PROOF_EVERY_S = 0.5
"""An idle gateway has a blank sheet read so often, to know that the model server answers."""
PATIENCE_S = 1.0
"""Time one question of the watch's may take."""
BLANK = np.zeros((1, c.IMAGE_PX, c.IMAGE_PX), np.uint8)
REMEMBERED = 32
"""Checked versions kept in mind: of servers that are not all as far, one may answer with a version that another has dropped."""


@dataclass(frozen=True)
class Version:
    """A version whose contract has been checked."""

    number: int
    card: dict[str, Any]
    model_card: str
    signatures: Mapping[str, Any]

    @property
    def threshold(self) -> float:
        """Below this confidence the answer is called unsure."""
        return float(self.card["threshold"]["value"])


@dataclass(frozen=True)
class State:
    """What the watch last saw.

    refused: why a version cannot be used; states: ModelVersionStatus by version; trouble: why nothing was seen or answered.
    """

    versions: Mapping[int, Version] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    states: Mapping[int, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    trouble: str = "the model server has not been asked yet"

    @property
    def current(self) -> Version | None:
        """The highest version that keeps the contract."""
        return self.versions[max(self.versions)] if self.versions else None

    def usual(self, label: str) -> Version | None:
        """Whom a request gets that names no version: the label's, where the settings pin one, or the highest."""
        return self.versions.get(self.labels.get(label, -1)) if label else self.current


class Watch:
    """Looks four times a second, from a thread of its own; its questions also find out that a lost server is back.

    labels: those whose version must be known; pinned: the one of them that requests get, if any.  Behind the address may stand
    several servers that are not all as far: a version that one of them lacks is no trouble, nor is one that fails, or is full.
    """

    patience_s = PATIENCE_S

    def __init__(
        self, client: PredictClient, circuit: Circuit, labels: Sequence[str], model: str, metrics: Metrics, pinned: str = ""
    ) -> None:  # fmt: skip
        self._client, self._circuit, self._labels, self._model, self._metrics = client, circuit, labels, model, metrics
        self._pinned = pinned
        self.state = State()
        self.answered_at = -1e9
        self._checked: dict[int, Version] = {}
        self._anew = False
        self._looking = threading.Lock()
        self._ending = threading.Event()
        self._looked = threading.Event()
        threading.Thread(target=self._run, name="version watch", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()

    def wait(self, timeout_s: float) -> None:
        """Until the first look is over."""
        self._looked.wait(timeout_s)

    def answered(self) -> None:
        """A request was answered: nothing else needs to prove that the server works."""
        self.answered_at = time.monotonic()

    def checked(self, number: int) -> Version | None:
        """A version that kept the contract when it was last looked at, whether it is still there or not."""
        return self._checked.get(number)

    def _run(self) -> None:
        while not self._ending.is_set():
            self.look()
            self._looked.set()
            self._ending.wait(EVERY_S)

    def look(self) -> None:
        """Ask the server which versions there are and check the new ones; never raises."""
        if not self._looking.acquire(blocking=False):
            with self._looking:  # somebody is looking already: wait for what they see
                return
        try:
            self.state = self._look()
            self._circuit.succeeded()
        except Overloaded as exc:  # it is there: what is known of it stays
            self._circuit.failed(exc)
        except ModelNotFound as exc:
            self.state = State(trouble=str(exc))
        except DigitsError as exc:
            self._circuit.failed(exc)
            self.state = replace(self.state, trouble=str(exc))
            self._anew = True  # a server that was away may come back with another version of the same number
        except Exception:
            if not self._ending.is_set():
                log.exception("the version watch failed")
        finally:
            self._metrics.seen(self.state, self._circuit.open)
            self._looking.release()

    def _look(self) -> State:
        seen = self._client.versions(PATIENCE_S)
        versions: dict[int, Version] = {}
        refused: dict[int, str] = {}
        missed = unsettled = False
        late: DigitsError | None = None
        for number in (one.version for one in seen if one.available):
            known = None if self._anew else self.state.versions.get(number)
            try:
                versions[number] = known or self._check(number)
            except ModelNotFound:  # the server that was asked next does not have it yet, or no more
                missed = True
            except ModelUnavailable:
                raise
            except DigitsError as exc:
                if number in self.state.versions and not isinstance(exc, ContractMismatch):  # it was well, and may be again
                    versions[number], unsettled = self.state.versions[number], True
                elif isinstance(exc, DeadlineExceeded | Overloaded):  # it may only be busy: the next look asks again
                    late = exc
                else:
                    refused[number] = exc.outside
                    if number not in self.state.refused:
                        log.error("version %d is refused: %s", number, exc)
        if late is not None and not versions and not refused:
            raise late
        self._anew = unsettled
        if missed and not versions:  # what is left where nobody looked just now goes on
            versions = dict(self.state.versions)
        for number in versions:
            self._checked.pop(number, None)
        self._checked = dict([*self._checked.items(), *versions.items()][-REMEMBERED:])
        trouble = "" if versions or refused else f"{self._client.target} has no version of {self._model} available"
        state = State(versions, refused, {one.version: one.state for one in seen}, self._labelled(), trouble)
        usual = state.usual(self._pinned)
        if usual is not None and (self._circuit.open or time.monotonic() - self.answered_at > PROOF_EVERY_S):
            state = replace(state, trouble=self._proved(usual.number))
        return state

    def _labelled(self) -> dict[str, int]:
        """The version of each label; one that fails or is busy keeps the last, so that requests find out for themselves."""
        labels: dict[str, int] = {}
        for label in self._labels:
            try:
                labels[label] = self._client.predict(BLANK, PATIENCE_S, label=label).version
            except (ModelNotFound, ContractMismatch):
                continue
            except DigitsError:
                if label in self.state.labels:
                    labels[label] = self.state.labels[label]
        return labels

    def _proved(self, number: int) -> str:
        """Have a blank sheet read.  Returns why that version does not answer, empty if it does."""
        try:
            self._client.predict(BLANK, PATIENCE_S, version=number)
            self.answered()
        except (ModelNotFound, Overloaded):  # of another server, or full: the next look asks again
            pass
        except (ModelUnavailable, DeadlineExceeded):
            raise
        except DigitsError as exc:
            return str(exc)
        return ""

    def _check(self, number: int) -> Version:
        """Hold a version against the contract: signature, fingerprint, and whether it runs.  Raises ContractMismatch, or what a
        failing call raises."""
        signatures = self._client.signatures(PATIENCE_S, number)
        signature = signatures.get(c.SIGNATURE)
        if signature is None or c.IMAGES not in signature.inputs or {c.PROBABILITIES, c.DIGIT} - set(signature.outputs):
            raise ContractMismatch(f"signature {c.SIGNATURE} lacks {c.IMAGES}, {c.PROBABILITIES} or {c.DIGIT}")
        texts = self._client.about((c.FINGERPRINT_TOPIC, c.CARD_TOPIC, c.MODEL_CARD_TOPIC), PATIENCE_S, number)
        check_fingerprint(texts[c.FINGERPRINT_TOPIC], f"version {number}")
        try:
            version = Version(number, json.loads(texts[c.CARD_TOPIC]), texts[c.MODEL_CARD_TOPIC], _described(signatures))
            if not 0 < version.threshold < 1:
                raise ValueError(f"a threshold of {version.threshold}")
        except (ValueError, KeyError, TypeError) as exc:
            raise ContractMismatch(f"version {number} has an unreadable card: {exc!r}") from exc
        with suppress(Overloaded):  # then it runs
            self._client.predict(BLANK, PATIENCE_S, version=number)
        return version


_TYPES = {1: "float32", 3: "int32", 4: "uint8", 7: "string", 9: "int64"}


def _described(signatures: Mapping[str, Any]) -> dict[str, Any]:
    """SignatureDef messages as plain data: name → inputs and outputs → "uint8 [N, 28, 28]"."""

    def tensor(info: Any) -> str:
        sizes = ", ".join("N" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim)
        return f"{_TYPES.get(info.dtype, str(info.dtype))} [{sizes}]"

    return {
        name: {
            "inputs": {key: tensor(info) for key, info in sorted(one.inputs.items())},
            "outputs": {key: tensor(info) for key, info in sorted(one.outputs.items())},
        }
        for name, one in sorted(signatures.items())
        if not name.startswith("__")
    }
