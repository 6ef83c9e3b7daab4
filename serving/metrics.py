"""Counters and histograms under TensorFlow Serving's names, printed as its Prometheus page prints them."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Set

from serving.status import Code

MAX_NAMES, MAX_NAME = 1000, 256
Labels = tuple[tuple[str, str], ...]
LATENCY_BUCKETS_US = tuple(10 * 1.8**k for k in range(33))
SIZE_BUCKETS = tuple(2.0**k for k in range(20))

REQUEST_COUNT = "/tensorflow/serving/request_count"
REQUEST_LATENCY = "/tensorflow/serving/request_latency"
RUNTIME_LATENCY = "/tensorflow/serving/runtime_latency"
EXAMPLE_COUNTS = "/tensorflow/serving/request_example_counts"
EXAMPLE_TOTAL = "/tensorflow/serving/request_example_count_total"
WARMUP_LATENCY = "/tensorflow/serving/model_warmup_latency"
WARMUP_RECORDS = "/tensorflow/serving/model_warmup_records_read"
QUEUING_LATENCY = "/tensorflow/serving/batching_session/queuing_latency"
RUN_COUNT = "/tensorflow/serving/batching_session/wrapped_run_count"
INPUT_BATCH_SIZE = "/tensorflow/serving/batching_session/input_batch_size"
PROCESSED_BATCH_SIZE = "/tensorflow/serving/batching_session/processed_batch_size"
PADDING_SIZE = "/tensorflow/serving/batching_session/padding_size"


KINDS = {
    REQUEST_COUNT: "counter", REQUEST_LATENCY: "histogram", RUNTIME_LATENCY: "histogram",
    EXAMPLE_COUNTS: "histogram", EXAMPLE_TOTAL: "counter",
    WARMUP_LATENCY: "histogram", WARMUP_RECORDS: "counter",
    QUEUING_LATENCY: "histogram", RUN_COUNT: "counter", INPUT_BATCH_SIZE: "histogram",
    PROCESSED_BATCH_SIZE: "histogram", PADDING_SIZE: "histogram",
    "/tensorflow/serving/request_log_count": "counter",  # request logging, which nothing here does
    "/tensorflow/serving/mlmd_map": "gauge",
}  # fmt: skip
"""Every metric is announced from the start, also before anything was counted."""


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Metrics:
    """Everything that is counted.  Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, int]] = defaultdict(lambda: defaultdict(int))
        self._histograms: dict[str, dict[Labels, _Histogram]] = defaultdict(dict)
        self.models: Set[str] = frozenset()
        """Names of the models in the configuration."""
        self._names: set[str] = set()  # of no model, that requests have asked for in vain

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Increase a counter."""
        with self._lock:
            self._counters[name][tuple(labels.items())] += by

    def observe(self, name: str, value: float, bounds: tuple[float, ...], **labels: str) -> None:
        """Add a value to a histogram."""
        key = tuple(labels.items())
        with self._lock:
            cells = self._histograms[name]
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = _Histogram(bounds)
            cell.add(value)

    def request(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """One finished request; latency is kept of successes only, as upstream does."""
        made_up = code is not Code.OK and model not in self.models
        if made_up and (len(model) > MAX_NAME or self._is_one_too_many(model)):
            model = ""  # whoever makes up names shall not fill the memory
        self.count(REQUEST_COUNT, model_name=model, status=code.name)
        if code is Code.OK:
            self.observe(REQUEST_LATENCY, seconds * 1e6, LATENCY_BUCKETS_US, model_name=model, API=api, entrypoint=entrypoint)

    def _is_one_too_many(self, model: str) -> bool:
        with self._lock:
            if len(self._names) < MAX_NAMES:
                self._names.add(model)
            return model not in self._names

    def runtime(self, model: str, api: str, seconds: float) -> None:
        """From handing tensors to the engine until they are back."""
        self.observe(RUNTIME_LATENCY, seconds * 1e6, LATENCY_BUCKETS_US, model_name=model, API=api, runtime="TF1")

    def batch(self, rows: int, padding: int, waited_s: float) -> None:
        """One batch about to run."""
        self.count(RUN_COUNT)
        self.observe(QUEUING_LATENCY, waited_s * 1e6, LATENCY_BUCKETS_US, thread_pool_name="batch_threads")
        self.observe(INPUT_BATCH_SIZE, rows, SIZE_BUCKETS)
        self.observe(PROCESSED_BATCH_SIZE, rows + padding, SIZE_BUCKETS)
        self.observe(PADDING_SIZE, padding, SIZE_BUCKETS)

    def examples(self, model: str, count: int) -> None:
        """Examples of a MultiInference request."""
        self.count(EXAMPLE_TOTAL, count, model=model)
        self.observe(EXAMPLE_COUNTS, count, SIZE_BUCKETS, model=model)

    def total(self, name: str) -> int:
        """Sum of a counter over all its labels; 0 if there is none of that name."""
        with self._lock:
            return sum(self._counters[name].values()) if name in self._counters else 0

    def page(self) -> str:
        """Return the Prometheus text page."""
        lines: list[str] = []
        with self._lock:
            for name, kind in KINDS.items():
                shown = _prometheus_name(name)
                lines.append(f"# TYPE {shown} {kind}")
                if name in self._counters:
                    lines.extend(f"{shown}{{{_label_text(labels)}}} {value}" for labels, value in self._counters[name].items())
                for labels, cell in self._histograms.get(name, {}).items():
                    lines.extend(_histogram_lines(shown, labels, cell))
        return "\n".join(lines) + "\n"


def _histogram_lines(shown: str, labels: Labels, cell: _Histogram) -> list[str]:
    lines, total = [], 0
    for bound, count in zip((*(f"{b:g}" for b in cell.bounds), "+Inf"), cell.counts, strict=True):
        total += count
        lines.append(f"{shown}_bucket{{{_label_text((*labels, ('le', bound)))}}} {total}")
    lines.append(f"{shown}_sum{{{_label_text(labels)}}} {cell.sum:g}")
    lines.append(f"{shown}_count{{{_label_text(labels)}}} {total}")
    return lines


def _prometheus_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", ":", name)


def _label_text(labels: Labels) -> str:
    return ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
