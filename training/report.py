"""What a run is worth: the figures in report.json, the same as pictures in report.html."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from digits import drawings as canvas
from digits.contract import Images28, Probabilities
from digits.provenance import installed
from digits.strokes import synthetic
from training import files
from training.batches import Source
from training.brush import redrawn
from training.calibrate import choose_threshold, fit_temperature, reliability, tempered
from training.data import Labels, Mnist, padded, standardise
from training.fit import Trained
from training.recipe import Recipe

DRAWING_SETTINGS = {
    "brush 12, 80 %": (12, 0.8),
    "brush 20, 80 %": (20, 0.8),
    "brush 28, 80 %": (28, 0.8),
    "brush 20, 40 %": (20, 0.4),
}
USUAL = "brush 20, 80 %"
LIBRARIES = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "scipy", "scikit-image", "pillow")
HELD_SEED = 77_000_001  # drawings that no training pool holds


def write(
    trained: Trained, recipe: Recipe, mnist: Mnist, statistics: tuple[float, float], seed: int, folder: Path,
    drawings: Path | None, source: Source, limit: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure a trained network, write model.keras, report.html, its pictures and report.json into `folder`; returns the report.

    report.json comes last and holds the digest of the model it speaks of.  limit: of a smoke run, whose figures mean nothing.
    Temperature and threshold come from held-out data only: the 5,000 MNIST digits, for the threshold joined by the same redrawn
    with a brush and by drawings nobody trained on.
    """
    from training import page

    model = trained.model
    path = folder / "model.keras"
    with files.whole(path) as scratch:
        model.save(scratch)

    def ask(images: Images28) -> Probabilities:
        x = standardise(padded(images), *statistics)
        return np.asarray(model.predict(x, batch_size=500, verbose=0), np.float32)

    held = ask(mnist.held_images)
    temperature = fit_temperature(held, mnist.held_labels)
    images, labels = _held_out_mix(mnist)
    threshold = choose_threshold(tempered(ask(images), temperature), labels)

    test = tempered(ask(mnist.test_images), temperature)
    pen = _pen_answers(ask, drawings, temperature) if drawings else {}
    everything = np.concatenate([p for p, _ in pen.values()]) if pen else None
    pen_labels = np.concatenate([y for _, y in pen.values()]) if pen else None
    figures = {
        "mnist_test": _accuracy(test, mnist.test_labels),
        "held_out": _accuracy(held, mnist.held_labels),
        "ece_mnist": reliability(test, mnist.test_labels).error,
        "drawings": {name: _accuracy(p, y) for name, (p, y) in pen.items()},
        "ece_drawings": None if everything is None or pen_labels is None else reliability(everything, pen_labels).error,
        "per_class": [_class_row(test, mnist.test_labels, digit) for digit in range(10)],
        "confusion": confusion(test, mnist.test_labels).tolist(),
        "confused_mnist": confused(test, mnist.test_labels),
        "mistakes": mistakes(test, mnist.test_labels),
        "calibration_mnist": asdict(reliability(test, mnist.test_labels)),
        "learning": trained.history,
    }
    if everything is not None and pen_labels is not None:
        figures["confusion_drawings"] = confusion(everything, pen_labels).tolist()
        figures["confused_drawings"] = confused(*pen[USUAL])
        figures["calibration_drawings"] = asdict(reliability(everything, pen_labels))
    report = {
        "figures": figures, "temperature": temperature, "threshold": asdict(threshold),
        "pixels": {"mean": statistics[0], "deviation": statistics[1]}, "data_sha256": mnist.sha256,
        "recipe": asdict(recipe), "seed": seed, "teachers": source.teachers, "source": source.identity,
        "epochs_run": len(trained.history), "drawings_sha256": _digest(drawings) if drawings else None,
        "versions": installed(LIBRARIES) | {"backend": keras.backend.backend()},
        "images": {"train": len(mnist.train_images), "held_out": len(mnist.held_images), "test": len(mnist.test_images)},
        "limit": limit, "git_commit": trained.commit, "model_sha256": _digest(path),
    }  # fmt: skip
    pictures = page.pictures(report, mnist, test, pen)
    for name, picture in pictures.items():
        with files.whole(folder / f"report-{name}.png") as scratch:
            scratch.write_bytes(picture)
    with files.whole(folder / "report.html") as scratch:
        scratch.write_text(page.render(report, mnist, test, pictures))
    with files.whole(folder / "report.json") as scratch:
        scratch.write_text(json.dumps(report, indent=1) + "\n")
    return report


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _held_out_mix(mnist: Mnist) -> tuple[Images28, Labels]:
    drawn, drawn_labels = synthetic(len(mnist.held_images) // 2, HELD_SEED)
    again = redrawn(mnist.held_images[::2], HELD_SEED)
    return (
        np.concatenate((mnist.held_images, again, drawn)),
        np.concatenate((mnist.held_labels, mnist.held_labels[::2], drawn_labels)),
    )


def _pen_answers(ask: Any, path: Path, temperature: float) -> dict[str, tuple[Probabilities, Labels]]:
    pen = canvas.load(path)
    return {
        name: (tempered(ask(canvas.images(pen, brush, size)), temperature), pen.labels)
        for name, (brush, size) in DRAWING_SETTINGS.items()
    }


def _accuracy(p: Probabilities, labels: Labels) -> float:
    return float((p.argmax(axis=1) == labels).mean())


def confusion(p: Probabilities, labels: Labels) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64 [10, 10], rows = truth, columns = answer."""
    return np.bincount(labels.astype(np.int64) * 10 + p.argmax(axis=1), minlength=100).reshape(10, 10)


def confused(p: Probabilities, labels: Labels) -> list[tuple[int, int, int]]:
    """(truth, answer, count) of the mistakes, commonest first."""
    table = confusion(p, labels)
    pairs = [(a, b, int(table[a, b])) for a in range(10) for b in range(10) if a != b and table[a, b]]
    return sorted(pairs, key=lambda pair: -pair[2])


def mistakes(p: Probabilities, labels: Labels) -> list[dict[str, Any]]:
    """Every wrong answer: index, truth, and the two best answers with their probabilities."""
    out = []
    for index in np.flatnonzero(p.argmax(axis=1) != labels):
        first, second = np.argsort(-p[index])[:2]
        out.append({
            "index": int(index), "truth": int(labels[index]),
            "answer": int(first), "confidence": round(float(p[index, first]), 4),
            "second": int(second), "second_confidence": round(float(p[index, second]), 4),
        })  # fmt: skip
    return out


def _class_row(p: Probabilities, labels: Labels, digit: int) -> dict[str, float]:
    said, true = p.argmax(axis=1) == digit, labels == digit
    hits = float((said & true).sum())
    return {"digit": digit, "count": int(true.sum()), "recall": hits / max(true.sum(), 1), "precision": hits / max(said.sum(), 1)}
