"""The gateway's side of the model server: which version is asked, and asking it within the time there is."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from digits import contract as c
from digits.client import PredictClient
from digits.errors import ContractMismatch, DeadlineExceeded, ModelNotFound, ModelUnavailable, Overloaded
from digits.replies import Prediction
from digits.settings import WebSettings
from webapp.circuit import Circuit
from webapp.coalesce import NO_TRACE, Asked, Coalescer, Key, joined
from webapp.metrics import Metrics
from webapp.tracing import Headers
from webapp.watch import State, Version, Watch

log = logging.getLogger(__name__)

PAUSE_S: dict[type[BaseException], float] = {ModelUnavailable: 0.02, Overloaded: 0.1}
"""Before asking again, doubled each time and jittered by half: a moment when nobody is there, longer when it is full."""
ATTEMPTS = 4
CANARY = "canary"
NOT_SEEN = "the model server does not say which versions it has"
NONE_HERE = "the model server has no version that can be asked just now"
IMAGES_A_REQUEST = 32
"""The worker bounds requests; the queue of images has room for as many of this size."""


class Backend:
    """One per worker process: a channel, a watch over versions, and a coalescer in front of them."""

    def __init__(self, settings: WebSettings, client: PredictClient | None = None, metrics: Metrics | None = None) -> None:
        self._settings = settings
        self._client = client or PredictClient(settings.model_target, settings.model_name)
        self.metrics = metrics or Metrics()
        self.circuit = Circuit()
        self.coalescer = Coalescer(self._send, settings.rpcs_in_flight, max_waiting=settings.max_waiting * IMAGES_A_REQUEST)
        self.run: Callable[[Callable[[], None]], object] | None = None
        """Where answers are read: the worker puts its event loop here."""
        labels = tuple(label for label in (settings.model_label, CANARY if settings.canary_percent else "") if label)
        self.watch = Watch(self._client, self.circuit, labels, settings.model_name, self.metrics, settings.model_label)

    def wait(self, timeout_s: float) -> None:
        """Until the model server has been looked at once."""
        self.watch.wait(timeout_s)

    def close(self) -> None:
        """Stop the watch and close the channel."""
        self.watch.stop()
        self._client.close()

    @property
    def state(self) -> State:
        """What the watch last saw."""
        return self.watch.state

    def ask(
        self, images: c.Images28, deadline: float, key: Key = (None, None), request_id: str = "", trace: Headers = NO_TRACE
    ) -> Future[Prediction]:  # fmt: skip
        """Classify uint8 [N, 28, 28], together with whatever else this worker is asked meanwhile.

        deadline: on time.monotonic's clock.  Without version or label the settings choose.  Raises a ServingError or
        ContractMismatch, or the future does.
        """
        version, label = key
        if version is not None and version not in self.state.versions:
            if version in self.state.refused:
                raise ContractMismatch(f"version {version} cannot be used: {self.state.refused[version]}")
            if self.state.trouble:
                raise ModelUnavailable(self.state.trouble, NOT_SEEN)
            raise ModelNotFound(f"version {version} is not being served; there are {sorted(self.state.versions)}")
        free = version is None and label is None
        if free:
            self.usable()
            if self._settings.canary_percent and random.random() * 100 < self._settings.canary_percent:
                canary = self.state.labels.get(CANARY)
                key = (canary if canary in self.state.versions else None, None)
        self.circuit.check()
        try:
            return self.coalescer.submit(Asked(images, deadline, key, request_id, trace, free))
        except Overloaded:
            self.metrics.shed("images")
            raise

    def usable(self) -> Version:
        """The version to ask.  Raises ModelUnavailable or ContractMismatch with the reason."""
        state, label = self.state, self._settings.model_label
        version = state.usual(label)
        if version is not None:
            return version
        if label:
            if state.trouble:
                raise ModelUnavailable(state.trouble, NOT_SEEN)
            raise ModelUnavailable(f"the model server has no usable version labelled {label}")
        if state.refused:
            number, why = max(state.refused.items())
            raise ContractMismatch(f"version {number} cannot be used: {why}")
        raise ModelUnavailable(state.trouble, NOT_SEEN)

    def version(self, number: int) -> Version | None:
        """What is known of a version that answered."""
        return self.state.versions.get(number) or self.watch.checked(number)

    def choice(self, misses: int) -> Key:
        """Whom to ask for a caller who named nobody.

        misses: servers that lacked what was chosen so far.  After two of them it is left to the server, as those behind the
        address have no version in common; unless that could lead to one which is refused.
        """
        if misses > 1 and not self.state.refused:
            return None, self._settings.model_label or None
        return self.usable().number, None

    def _send(self, batch: Sequence[Asked]) -> Future[Prediction]:
        call = _Call(self, batch, self._client)
        self.metrics.batch(len(call.images))
        call.start()
        return call.answer


class _Call:
    """One coalesced Predict, asked again where that can help and time is left."""

    def __init__(self, backend: Backend, batch: Sequence[Asked], client: PredictClient) -> None:
        self.images = joined(batch)
        self.answer: Future[Prediction] = Future()
        self._backend, self._client = backend, client
        self._key, self._free = batch[0].key, batch[0].free
        self._deadline = max(one.deadline for one in batch)
        self._metadata = _metadata(batch)
        self._attempt = self._misses = 0

    def start(self) -> None:
        """Ask once; never raises."""
        self._attempt += 1
        left = self._deadline - time.monotonic()
        try:
            if left <= 0:
                raise DeadlineExceeded("the time allowed ran out before the model server was asked")
            version, label = self._key
            if self._free and (self._misses or version is None):
                version, label = self._backend.choice(self._misses)
            call = self._client.predict_later(self.images, left, version, label, self._metadata, self._backend.run)
        except Exception as exc:
            self.answer.set_exception(exc)
            return
        call.add_done_callback(lambda done: self._answered(done, left))

    def _answered(self, done: Future[Prediction], allowed_s: float) -> None:
        error = done.exception()
        if error is None:
            self._backend.circuit.succeeded()
            self._backend.watch.answered()
            prediction = done.result()
            why = self._backend.state.refused.get(prediction.version)
            if why is not None:  # only a label can lead there
                self.answer.set_exception(ContractMismatch(f"version {prediction.version} cannot be used: {why}"))
            elif self._free and self._backend.version(prediction.version) is None:
                self.answer.set_exception(ModelUnavailable(f"version {prediction.version} was not looked at yet", NONE_HERE))
            else:
                self.answer.set_result(prediction)
            return
        if not isinstance(error, DeadlineExceeded) or allowed_s > self._backend.watch.patience_s:
            self._backend.circuit.failed(error)
        if not self._again(error):
            if self._free and isinstance(error, ModelNotFound):  # the caller asked for no version that could be missing
                error = ModelUnavailable(str(error), NONE_HERE)
            self.answer.set_exception(error)

    def _again(self, error: BaseException) -> bool:
        """Ask once more after a pause, if that may help.  Returns whether it will."""
        left = self._deadline - time.monotonic()
        if self._attempt >= ATTEMPTS or self._backend.circuit.open:
            return False
        if isinstance(error, ModelNotFound) and self._free:  # unloaded since the watch last looked, or not everywhere yet
            self._misses += 1
            work, pause_s = self._look_and_start, 0.0
        elif type(error) in PAUSE_S:
            pause_s = PAUSE_S[type(error)] * 2 ** (self._attempt - 1) * random.uniform(0.5, 1.5)
            work = self.start
        else:
            return False
        if pause_s >= left:
            return False
        timer = threading.Timer(pause_s, work)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no thread can be started
            return False
        self._backend.metrics.retried()
        return True

    def _look_and_start(self) -> None:
        self._backend.watch.look()
        self.start()


def _metadata(batch: Sequence[Asked]) -> list[tuple[str, str]]:
    """Who asks: every request's id, and the trace of the first that has one."""
    out = []
    ids = [one.request_id for one in batch if one.request_id]
    if ids:
        out.append(("x-request-id", ",".join(ids)))
    trace = next((one.trace for one in batch if one.trace.traceparent), NO_TRACE)
    return out + trace.metadata
