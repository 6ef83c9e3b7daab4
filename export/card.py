"""What an artifact says of itself: digits.json for programs, README.md for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from digits import __version__
from digits import contract as c
from digits.provenance import git_commit

PEN = """The pen digits below trained nothing: strokes that people wrote on a tablet, under a brush (E. Alpaydin, F. Alimoglu,
"Pen-Based Recognition of Handwritten Digits", UCI, CC BY 4.0). Which skeletons there are was chosen by looking at misread ones.
"""


def card(report: dict[str, Any], signatures: dict[str, Any]) -> dict[str, Any]:
    """digits.json: fingerprint, figures, where the weights came from.

    report: training's report.json.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    return {
        "fingerprint": c.fingerprint(),
        "model": c.MODEL_NAME,
        "network": "LeNet-5 v2, 390,562 parameters",
        "made": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "git_commit": git_commit(),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__, "digits": __version__},
        "signatures": signatures,
        "threshold": report["threshold"],
        "temperature": report["temperature"],
        "data_sha256": report["data_sha256"],
        "drawings_sha256": report.get("drawings_sha256"),
        "training": {
            key: report[key] for key in ("recipe", "seed", "teachers", "epochs_run", "versions", "git_commit") if key in report
        },
        "figures": {name: value for name, value in report["figures"].items() if name != "mistakes"},
    }


def percent(share: float | None) -> str:
    """A share as people read it."""
    return "–" if share is None else f"{100 * share:.2f} %"


def model_card(card: dict[str, Any]) -> str:
    """The model card, in Markdown."""
    figures, threshold = card["figures"], card["threshold"]
    confused = {kind: _mistakes(figures.get(f"confused_{kind}", [])) for kind in ("mnist", "drawings")}
    teachers = card["training"].get("teachers")
    taught = f"\nBeside the labels it learnt from the answers of other networks ({teachers})." if teachers else ""
    drawn = "\n".join(f"| pen drawings, {name} | {percent(value)} |" for name, value in figures.get("drawings", {}).items())
    return f"""# digits: handwritten digits, 0 to 9

LeNet-5 v2, 390,562 parameters, {card["made"][:10]}, commit `{card["git_commit"] or "unknown"}`.

## Intended use
Reading **one** handwritten digit from a small image: drawn on a canvas with mouse, finger or pen, or written on paper and
photographed flat. Not for numbers of several digits, print, letters, or any decision about a person.

## Data
MNIST's 60,000 training digits (55,000 to learn from, 5,000 to decide by), the same digits redrawn with an even brush, and
drawings generated from stroke skeletons of hands that MNIST lacks (a 1 with a flag, a barred 7, an open 4, a curled 9).{taught}
SHA-256 of the MNIST arrays: `{card["data_sha256"]}`.

{PEN if drawn else ""}
## Figures
| measured on | right |
|---|---|
| MNIST test set, 10,000 digits | {percent(figures.get("mnist_test"))} |
| held out from MNIST, 5,000 digits | {percent(figures.get("held_out"))} |
{drawn}

Expected calibration error: MNIST test {percent(figures.get("ece_mnist"))}, drawings {percent(figures.get("ece_drawings"))}
(temperature {card["temperature"]:.3f}, fitted on the held-out digits).

## When it is not sure
Below a confidence of {threshold["value"]} an answer should be shown as unsure. On held-out digits and drawings that marks
{percent(threshold["unsure"])} of all answers: {percent(threshold["caught_wrong"])} of the wrong ones, and
{percent(threshold["doubted_right"])} of the right ones.

## Limits
It always answers with one of ten digits, whatever it is shown; a letter or a face gets a digit too. Strokes thinner than a
twentieth of the digit or thicker than a quarter, digits turned by more than some 20°, and two digits in one image are outside
what it was taught. What it confuses most on MNIST's test set: {confused["mnist"]}; on the drawings, with a brush of 20 px at
80 % of the canvas: {confused["drawings"]}.
"""


def _mistakes(pairs: Sequence[tuple[int, int, int]]) -> str:
    return ", ".join(f"{truth} read as {answer} ({count}×)" for truth, answer, count in pairs[:6]) or "nothing"
