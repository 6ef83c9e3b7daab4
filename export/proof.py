"""What must hold before a version is published, shown by running the written SavedModel in a fresh process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digits import contract as c
from digits.errors import ArtifactError

REPO = Path(__file__).resolve().parents[1]
GOLDEN = REPO / "tests" / "golden"
KERAS_TOLERANCE = 1e-5
SAME_DIGIT = 0.999
PIXEL_TOLERANCE = 1.0  # mean absolute difference of the 28×28, grey levels of 255

Answers = NDArray[Any]


class ProofFailed(ArtifactError):
    """The artifact does not do what the contract says."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    what: str
    figure: str
    holds: bool


def fresh_answers(
    version_dir: Path, images: c.Images28, drawings: Sequence[bytes], seen: c.Images28, scratch: Path
) -> dict[str, Answers]:  # fmt: skip
    """Load the version in a new interpreter and run its signatures.

    seen: the drawings through `digits.preprocess`.  Raises ProofFailed if it does not load.
    """
    questions, answers = scratch / "questions.npz", scratch / "answers.npz"
    joined, lengths = np.frombuffer(b"".join(drawings), np.uint8), np.array([len(data) for data in drawings])
    np.savez(questions, images=images, seen=seen, drawings=joined, lengths=lengths)
    command = [sys.executable, "-m", "export.fresh", str(version_dir), str(questions), str(answers)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=False)
    if done.returncode:
        raise ProofFailed(f"the SavedModel does not run in a fresh process:\n{done.stderr[-2000:]}")
    with np.load(answers) as file:
        return dict(file)


def golden_drawings(folder: Path = GOLDEN) -> list[tuple[str, bytes, c.Image28]]:
    """Name, image bytes and expected 28×28 of every golden drawing.  Raises ProofFailed if they are not the contract's."""
    if folder == GOLDEN and golden_digest(folder) != c.GOLDEN_SHA256:
        raise ProofFailed(f"the golden drawings in {folder} are not those of the contract (digits.contract.GOLDEN_SHA256)")
    expected = json.loads((folder / "expected.json").read_text())
    names = json.loads((folder / "files.json").read_text())
    return [(name, (folder / name).read_bytes(), _image(expected[name.rpartition(".")[0]])) for name in names]


def golden_digest(folder: Path = GOLDEN) -> str:
    """SHA-256 of all files by name, without the contact sheet."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.name != "sheet.png"):
        data = path.read_bytes()
        whole.update(f"{path.name}\0{len(data)}\0".encode() + data)
    return whole.hexdigest()


def _image(rows: Sequence[str]) -> c.Image28:
    """28 rows of hexadecimal → uint8 [28, 28]."""
    return np.frombuffer(bytes.fromhex("".join(rows)), np.uint8).reshape(c.IMAGE_PX, c.IMAGE_PX)


def examine(
    answers: dict[str, Answers],
    keras_probabilities: c.Probabilities,
    seen: c.Images28,
    golden: Sequence[tuple[str, bytes, c.Image28]],
) -> list[Finding]:
    """Compare a fresh process's answers with Keras, with `digits.preprocess` and with the goldens.

    seen: what `digits.preprocess` made of the drawings; the last of them are the goldens.
    """
    difference = float(np.abs(answers["probabilities"] - keras_probabilities).max())
    count = len(seen) - len(golden)
    apart = float(np.abs(answers["drawn_images"][:count].astype(int) - seen[:count]).mean())
    same = float((answers["drawn_digit"][:count] == answers["seen_digit"][:count]).mean())
    ranked = float((answers["classified"].astype(int) == answers["seen_digit"]).mean())
    told = answers["about"][0].decode()
    wrong = [
        name for index, (name, _, expected) in enumerate(golden, start=count)
        if not np.array_equal(seen[index], expected)
        or np.abs(answers["drawn_images"][index].astype(int) - expected).mean() > PIXEL_TOLERANCE
    ]  # fmt: skip
    return [
        Finding(
            f"same probabilities as Keras on {len(keras_probabilities):,} images",
            f"largest difference {difference:.1e}", difference <= KERAS_TOLERANCE,
        ),
        Finding(
            f"`drawings` agrees with digits.preprocess on {count:,} drawings",
            f"same digit on {100 * same:.2f} %, pixels {apart:.4f}/255 apart", apart <= PIXEL_TOLERANCE and same >= SAME_DIGIT,
        ),
        Finding(
            "`classify` gives the same digits, best first", f"{100 * ranked:.2f} % of {len(seen):,}", ranked == 1.0,
        ),
        Finding("`about` tells the fingerprint", told[:60], told == c.fingerprint()),
        Finding("no rows in, no rows out", f"rows {answers['empty'].tolist()}", not answers["empty"].any()),
        Finding(f"{len(golden)} golden drawings give their 28×28", f"wrong: {', '.join(wrong) or 'none'}", not wrong),
    ]  # fmt: skip
