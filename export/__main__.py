"""`python -m export`: a trained network → the next version of the artifact, proven before it is published."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np

from digits import contract as c
from digits import drawings as canvas
from digits.artifact import CARD, EXTRA, MODEL_CARD, read_card
from digits.errors import DigitsError
from digits.preprocess import digit_image
from digits.strokes import handwrite
from export import publish
from export.proof import Finding, ProofFailed, examine, fresh_answers, golden_drawings

NETWORK = "lenet5_v2"
PROOF_IMAGES = 1_000
MARGIN, DRAWN_MARGIN = 0.001, 0.003
"""A new version may be this much worse than the one it replaces: on held-out digits, on each set of drawings."""
NEEDED = ("pixels", "temperature", "threshold", "figures", "data_sha256", "model_sha256")
"""Of report.json."""


def main(arguments: list[str] | None = None) -> int:
    """Export; 0 done, 1 a proof failed or the base path refused, 2 usage."""
    options = _options().parse_args(arguments)
    try:
        return _export(options)
    except DigitsError as exc:
        print(f"export: {exc}", file=sys.stderr)
        return 1


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument(
        "--model", type=Path, default=Path("runs/latest/model.keras"), help="Keras model; report.json lies beside it"
    )
    parser.add_argument("--base-path", type=Path, default=Path("models/digits"), help="where the numbered versions lie")
    parser.add_argument("--drawings", type=Path, help="file of pen digits to prove on; otherwise handwriting made up on the spot")
    parser.add_argument("--dry-run", action="store_true", help="show everything, publish nothing")
    parser.add_argument(
        "--force", action="store_true", help="publish though it is worse than the current version, or from a smoke run"
    )
    parser.add_argument("--no-timing", action="store_true", help="leave out the comparison with a plain model.export")
    return parser


def _export(options: argparse.Namespace) -> int:
    import tensorflow as tf

    from export import card as cards
    from export import signatures, warmup
    from export.network_graph import Network

    base_path = options.base_path.resolve()
    model, report = _trained(options.model, options.force)
    mean, deviation, temperature = report["pixels"]["mean"], report["pixels"]["deviation"], report["temperature"]
    network = Network.of(model, mean, deviation, temperature)

    golden = golden_drawings()
    drawings = [*_drawings(options.drawings), *(data for _, data, _ in golden)]
    seen = np.stack([digit_image(data) for data in drawings])
    publish.check(base_path)
    with _scratch() if options.dry_run else publish.staging(base_path) as folder:
        data = cards.card(report, _signature_table())
        texts = {
            c.FINGERPRINT_TOPIC: c.fingerprint(),
            c.CARD_TOPIC: json.dumps(data, indent=1, ensure_ascii=False),
            c.MODEL_CARD_TOPIC: cards.model_card(data),
        }
        print(f"{'trying' if options.dry_run else 'writing'} {base_path}/{publish.next_version(base_path)}")
        try:
            signatures.save(signatures.Module(network, texts), folder)
            (folder / EXTRA).mkdir(exist_ok=True)
            (folder / CARD).write_text(texts[c.CARD_TOPIC] + "\n")
            (folder / MODEL_CARD).write_text(texts[c.MODEL_CARD_TOPIC])
            warmup.write(folder, drawings[: max(warmup.BATCHES)], seen[: max(warmup.BATCHES)])
        except tf.errors.OpError as exc:  # a full disk, in TensorFlow's words
            raise publish.CannotPublish(f"{folder.parent} cannot be written to: {exc.message}; nothing was published") from exc

        wanted = _keras_probabilities(model, seen[:PROOF_IMAGES], mean, deviation, temperature)
        with _scratch() as scratch:
            answers = fresh_answers(folder, seen[:PROOF_IMAGES], drawings, seen, scratch)
            findings = [*examine(answers, wanted, seen, golden), _not_worse(data, base_path, options.force)]
            if not options.no_timing:
                from export.timing import compare

                print(compare(model, folder, scratch, mean, deviation))
        for finding in findings:
            print(f"{'ok  ' if finding.holds else 'FAIL'} {finding.what}: {finding.figure}")
        if not all(finding.holds for finding in findings):
            raise ProofFailed("nothing was published")
        if options.dry_run:
            print("dry run: nothing was published")
            return 0
        print(f"published {publish.publish(folder, base_path)}")
    return 0


def _trained(path: Path, force: bool) -> tuple[Any, dict[str, Any]]:
    """The Keras model and the report that speaks of it.  Raises ProofFailed."""
    import keras

    report_path = path.with_name("report.json")
    for needed in (path, report_path):
        if not needed.is_file():
            raise ProofFailed(f"there is no {needed}; train first (python -m training), or name the model with --model")
    try:
        report = json.loads(report_path.read_text())
        missing = [name for name in NEEDED if name not in report]
    except (ValueError, TypeError) as exc:
        raise ProofFailed(f"{report_path} cannot be read: {exc}") from exc
    if missing:
        raise ProofFailed(f"{report_path} lacks {', '.join(missing)}; train again")
    if report["model_sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
        raise ProofFailed(f"{report_path} speaks of another model than {path}: a run was killed between writing the two")
    if report.get("limit") and not force:
        raise ProofFailed(f"{path} is from a smoke run of {report['limit']} images; --force publishes it all the same")
    try:
        model = keras.models.load_model(path)
    except (BadZipFile, OSError, ValueError) as exc:
        raise ProofFailed(f"{path} cannot be read as a Keras model: {exc}") from exc
    if model.name != NETWORK:
        raise ProofFailed(f"{path} holds the network {model.name}; wanted {NETWORK}, the one that is served")
    return model, report


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that has nothing to do with the base path.  Raises CannotPublish where it cannot be written to."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as exc:  # it tries several, and keeps why to itself
        raise publish.CannotPublish(f"temporary files can be written nowhere: {exc.strerror}; nothing was published") from exc
    try:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
    except OSError as exc:
        if exc.errno not in publish.NO_ROOM:
            raise
        where = f"{tempfile.gettempdir()}, where temporary files are written"
        raise publish.CannotPublish(f"{where}: {exc.strerror}; nothing was published") from exc


def _drawings(path: Path | None) -> list[bytes]:
    """A thousand drawings on a canvas: people's if there is a file of them, else handwriting made up."""
    r = np.random.default_rng(2020)
    if path is not None:
        pen = canvas.load(path)
        chosen = r.choice(len(pen.labels), min(PROOF_IMAGES, len(pen.labels)), replace=False)
        strokes: list[Any] = [pen.strokes[i] for i in chosen]
    else:
        strokes = [handwrite(i % 10, r) for i in range(PROOF_IMAGES)]
    return [canvas.png(canvas.draw(one, float(r.uniform(12, 28)), float(r.uniform(0.4, 0.85)))) for one in strokes]


def _keras_probabilities(model: Any, images: c.Images28, mean: float, deviation: float, temperature: float) -> c.Probabilities:
    edge = (c.NETWORK_PX - c.IMAGE_PX) // 2
    x = np.pad(images, ((0, 0), (edge, edge), (edge, edge))).astype(np.float32)
    p = np.asarray(model.predict(((x - mean) / deviation)[..., None], verbose=0), np.float64) ** (1 / temperature)
    tempered: c.Probabilities = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    return tempered


def _signature_table() -> dict[str, Any]:
    return {
        c.SIGNATURE: {
            "inputs": {c.IMAGES: "uint8 [N, 28, 28]"},
            "outputs": {c.PROBABILITIES: "float32 [N, 10]", c.DIGIT: "int64 [N]"},
        },
        c.DRAWINGS_SIGNATURE: {
            "inputs": {c.IMAGE_BYTES: "string [N]"},
            "outputs": {c.PROBABILITIES: "float32 [N, 10]", c.DIGIT: "int64 [N]", c.IMAGES: "uint8 [N, 28, 28]"},
        },
        c.CLASSIFY_SIGNATURE: {
            "inputs": {"inputs": "string [N], tf.Example with images: 784 bytes"},
            "outputs": {"classes": "string [N, 10], best first", "scores": "float32 [N, 10]"},
        },
        c.ABOUT_SIGNATURE: {"inputs": {c.TOPIC: "string [N]"}, "outputs": {c.TEXT: "string [N]"}},
    }


def _not_worse(card: dict[str, Any], base_path: Path, force: bool) -> Finding:
    """Compare with the newest version whose figures can be read: held-out digits, and the drawings that both know."""
    what = "not worse than the current version"
    for number, path in reversed(publish.versions(base_path).items()):
        try:
            whole = read_card(path)
            old = whole["figures"]
            compared = [("held-out digits", card["figures"]["held_out"], float(old["held_out"]), MARGIN)]
            drawn, before = card["figures"].get("drawings", {}), old.get("drawings", {})
            known = [one.get("drawings_sha256") for one in (card, whole)]  # cards before this was kept say nothing
            same = None in known or known[0] == known[1]
            compared += [
                (f"drawings, {name}", drawn[name], float(before[name]), DRAWN_MARGIN) for name in drawn if same and name in before
            ]
            left = "" if not before or (drawn and same) else "; drawings not compared: they are of another file, or not measured"
        except (DigitsError, KeyError, TypeError, ValueError) as exc:
            print(f"version {number} is passed over: {exc!r}")
            continue
        worse = any(new < was - margin for _, new, was, margin in compared)
        figure = f"against version {number}: " + "; ".join(
            f"{name} {100 * new:.2f} % for {100 * was:.2f} (margin {100 * margin:.1f})" for name, new, was, margin in compared
        )
        return Finding(what, figure + left + (", forced" if worse and force else ""), force or not worse)
    return Finding(what, "there is none", True)


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    if code == 0:
        print(f"{time.monotonic() - began:.0f} s")
    sys.exit(code)
