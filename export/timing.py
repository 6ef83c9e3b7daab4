"""The exported graph timed beside a plain `model.export` of the same weights, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from digits import contract as c

BATCHES = (1, 32)
ROUNDS = 60


def compare(model: Any, version_dir: Path, scratch: Path, mean: float, deviation: float) -> str:
    """A table of milliseconds a call, medians of alternating rounds."""
    plain_dir = scratch / "plain"
    model.export(str(plain_dir), verbose=False)
    plain = tf.saved_model.load(str(plain_dir)).signatures[c.SIGNATURE]
    ours = tf.saved_model.load(str(version_dir)).signatures[c.SIGNATURE]
    (plain_input,) = plain.structured_input_signature[1]
    lines = [f"{'batch':>5}  {'this graph':>12}  {'model.export':>12}  ratio"]
    r = np.random.default_rng(0)
    for batch in BATCHES:
        pixels = r.integers(0, 256, (batch, c.IMAGE_PX, c.IMAGE_PX), np.uint8)
        ready = tf.constant(r.normal(size=(batch, c.NETWORK_PX, c.NETWORK_PX, 1)).astype(np.float32))
        raw = tf.constant(pixels)
        calls: tuple[Callable[[], Any], ...] = (
            partial(ours, **{c.IMAGES: raw}),
            partial(plain, **{plain_input: ready}),
        )
        times: tuple[list[float], list[float]] = ([], [])
        for index in range(ROUNDS + 5):
            for call, into in zip(calls, times, strict=True):
                began = time.perf_counter()
                call()
                if index >= 5:
                    into.append(time.perf_counter() - began)
        a, b = (float(np.median(t)) * 1000 for t in times)
        lines.append(f"{batch:>5}  {a:>9.2f} ms  {b:>9.2f} ms  {b / a:.2f}")
    return "\n".join(lines)
