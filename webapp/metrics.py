"""What Prometheus is told, added up over gunicorn's workers.

Where PROMETHEUS_MULTIPROC_DIR is set (gunicorn_conf does), each worker counts in files of its own there and any of them
can answer /metrics for all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from digits import contract as c

if TYPE_CHECKING:
    from webapp.watch import State

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 1024)
CONFIDENCES = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)


class Metrics:
    """Every metric of the gateway, and how each is counted."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        at: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("digits_requests", "Answers by endpoint and status", ["endpoint", "status"], **at)
        self._seconds = Histogram(
            "digits_request_seconds", "From the request's last byte to its answer", ["endpoint"], buckets=SECONDS, **at
        )
        self._stage = Histogram(
            "digits_stage_seconds", "Time in decode, preprocess, queue and predict", ["stage"], buckets=STAGE_SECONDS, **at
        )
        self._in_flight = Gauge("digits_in_flight", "Requests in work", multiprocess_mode="livesum", **at)
        self._shed = Counter("digits_shed", "Requests refused for want of room, by reason", ["reason"], **at)
        self._retries = Counter("digits_rpc_retries", "Calls of the model server that were repeated", **at)
        self._circuit = Gauge("digits_circuit_open", "1 while requests fail at once", multiprocess_mode="livemax", **at)
        self._batch = Histogram("digits_batch_images", "Images in one call of the model server", buckets=IMAGES, **at)
        self._confidence = Histogram("digits_confidence", "Confidence in the answer", buckets=CONFIDENCES, **at)
        self._predicted = Counter("digits_predicted", "Answers by digit", ["digit"], **at)
        self._unsure = Counter("digits_unsure", "Answers below the model's threshold, or about no single digit", **at)
        self._version = Gauge(
            "digits_model_version", "1 for each version that may be asked", ["version"], multiprocess_mode="livemax", **at
        )
        self._answers = Counter("digits_answers", "Answers by the version that gave them", ["version", "label"], **at)
        self._mismatch = Gauge(
            "digits_contract_mismatch", "Versions served that break the contract, or fail", multiprocess_mode="livemax", **at
        )
        self._ready = Gauge("digits_ready", "1 while every worker would answer a drawing", multiprocess_mode="livemin", **at)
        self._shown: set[int] = set()
        # labels() takes longer than counting: the children are looked up once
        self._requests_of = lru_cache(256)(self._requests.labels)
        self._seconds_of = lru_cache(64)(self._seconds.labels)
        self._stage_of = lru_cache(8)(self._stage.labels)
        self._predicted_of = lru_cache(16)(self._predicted.labels)
        for digit in range(c.CLASSES):  # nobody drew it: 0 % of the drawings, where no series would be left out of DigitsDriftMix
            self._predicted_of(str(digit))
        self._answers_of = lru_cache(64)(self._answers.labels)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """An answer was given."""
        self._requests_of(endpoint, str(status)).inc()
        self._seconds_of(endpoint).observe(seconds)

    def stages(self, ms: Mapping[str, float]) -> None:
        """Where a request's time went, in milliseconds."""
        for stage, value in ms.items():
            self._stage_of(stage).observe(value / 1000)

    def answer(self, digit: int, confidence: float, sure: bool) -> None:
        """An image was read."""
        self._predicted_of(str(digit)).inc()
        self._confidence.observe(confidence)
        if not sure:
            self._unsure.inc()

    def answered(self, version: int, label: str, images: int) -> None:
        """A version read so many images."""
        self._answers_of(str(version), label).inc(images)

    def in_flight(self, requests: int) -> None:
        """Requests in work in this process just now."""
        self._in_flight.set(requests)

    def shed(self, reason: str) -> None:
        """A request was refused without being looked at."""
        self._shed.labels(reason).inc()

    def retried(self) -> None:
        """A call is made again."""
        self._retries.inc()

    def batch(self, images: int) -> None:
        """A call is made."""
        self._batch.observe(images)

    def seen(self, state: State, circuit_open: bool) -> None:
        """What the version watch found."""
        self._circuit.set(circuit_open)
        self._ready.set(not state.trouble and not circuit_open and bool(state.versions))
        self._mismatch.set(len(state.refused))
        for number in self._shown - set(state.versions):
            self._version.labels(str(number)).set(0)
        for number in state.versions:
            self._version.labels(str(number)).set(1)
        self._shown = set(state.versions)

    def everybody_ready(self) -> bool:
        """Whether every worker's last look at the model server found it well."""
        if DIRECTORY not in os.environ:
            return True
        files = Path(os.environ[DIRECTORY]).glob("gauge_livemin_*.db")
        gauges = MultiProcessCollector.merge([str(file) for file in files])  # type: ignore[no-untyped-call]
        return all(sample.value for gauge in gauges for sample in gauge.samples)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        if DIRECTORY not in os.environ:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)
