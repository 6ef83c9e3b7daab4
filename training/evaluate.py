"""`python -m training.evaluate models/digits/1`: what an exported version is worth, beside a baseline.

Measured through the artifact: raw uint8 in, the SavedModel's own probabilities out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from digits import contract as c
from digits import drawings as canvas
from digits.artifact import read_card
from digits.errors import DigitsError, IncompleteVersion
from training.calibrate import reliability
from training.corruptions import CORRUPTIONS
from training.data import Labels, load

SIZES = (0.8, 0.4)
BRUSHES_PX = (12, 20, 28)
BATCH = 500

Ask = Callable[[c.Images28], c.Probabilities]
Row = tuple[str, float, float]
"""What was measured, share of right answers, expected calibration error."""


def main(arguments: list[str] | None = None) -> int:
    """Measure; 0 done, 1 data or artifact missing, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("version", type=Path, help="version directory, such as models/digits/1")
    parser.add_argument("--baseline", type=Path, help="another version directory, to compare with")
    parser.add_argument("--data", type=Path, help="MNIST as an .npz; without it Keras downloads it")
    parser.add_argument("--drawings", type=Path, help="file of pen digits")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args(arguments)
    if options.json and not options.json.parent.is_dir():  # said now, not after it is measured
        parser.error(f"--json {options.json}: there is no folder {options.json.parent}")
    try:
        asked = {path: artifact(path) for path in (options.version, options.baseline) if path}
        measured: dict[str, list[Row]] = {str(path): [] for path in asked}
        for name, images, labels in _sets(options.data, options.drawings):
            print(f"measuring on {name}", file=sys.stderr, flush=True)
            for path, ask in asked.items():
                measured[str(path)].append(measure(name, ask, images, labels))
    except DigitsError as exc:
        print(f"training.evaluate: {exc}", file=sys.stderr)
        return 1
    print(table(measured[str(options.version)], measured.get(str(options.baseline), [])))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")
    return 0


def artifact(version_dir: Path) -> Ask:
    """Return a function that asks a SavedModel.  Raises IncompleteVersion."""
    import keras

    read_card(version_dir)
    try:
        layer = keras.layers.TFSMLayer(str(version_dir), call_endpoint=c.SIGNATURE)
    except (OSError, ValueError) as exc:
        raise IncompleteVersion(f"{version_dir} cannot be loaded: {exc}") from exc

    def ask(images: c.Images28) -> c.Probabilities:
        parts = [layer(images[at : at + BATCH])[c.PROBABILITIES] for at in range(0, len(images), BATCH)]
        return np.concatenate([np.asarray(part, np.float32) for part in parts])

    return ask


def _sets(data: Path | None, drawings: Path | None) -> Iterator[tuple[str, c.Images28, Labels]]:
    """Name, images and labels of everything that is measured."""
    mnist = load(data)
    yield "MNIST test set", mnist.test_images, mnist.test_labels
    for name, corrupt in CORRUPTIONS.items():
        yield f"MNIST test set, {name}", corrupt(mnist.test_images), mnist.test_labels
    if drawings is None:
        return
    pen = canvas.load(drawings)
    for size in SIZES:
        for brush in BRUSHES_PX:
            yield f"pen drawings, brush {brush}, {100 * size:.0f} % of the canvas", canvas.images(pen, brush, size), pen.labels


def measure(name: str, ask: Ask, images: c.Images28, labels: Labels) -> Row:
    """One row: the share of images uint8 [N, 28, 28] that are read right, and the calibration error."""
    p = ask(images)
    return name, float((p.argmax(axis=1) == labels).mean()), float(reliability(p, labels).error)


def table(rows: list[Row], baseline: list[Row]) -> str:
    """The figures as text, with the baseline's and the difference where there is one."""
    known = {name: right for name, right, _ in baseline}
    width = max(len(name) for name, *_ in rows)
    head = f"{'':{width}}  {'right':>8}  {'ECE':>7}"
    lines = [head + ("  baseline  difference" if baseline else "")]
    for name, right, error in rows:
        line = f"{name:{width}}  {100 * right:>6.2f} %  {100 * error:>5.2f} %"
        if name in known:
            line += f"  {100 * known[name]:>6.2f} %  {100 * (right - known[name]):>+8.2f}"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
