"""`python -m export` on a trained network, as a user runs it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from digits import contract as c
from digits.client import PredictClient
from digits.strokes import synthetic
from export.__main__ import _not_worse, main
from tests.conftest import MODELS, ROOT, StartServer

keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights and settled norms, and the shipped model's report beside it."""
    from training.network import lenet5_v2

    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(1)
    network = lenet5_v2()
    r = np.random.default_rng(2)
    for layer in network.layers:
        if layer.name.startswith("batchnorm"):
            gamma, beta, _, variance = layer.get_weights()
            spread = [
                r.uniform(0.5, 2, gamma.shape),
                *(r.normal(0, 0.3, beta.shape) for _ in range(2)),
                r.uniform(0.5, 2, variance.shape),
            ]
            layer.set_weights(spread)
    network.save(folder / "model.keras")
    card = json.loads((MODELS / "1" / "assets.extra" / "digits.json").read_text())
    report = {name: card[name] for name in ("threshold", "temperature", "data_sha256", "figures")}
    report |= card["training"] | {"pixels": {"mean": 25.5, "deviation": 70.25}}
    report["model_sha256"] = hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()
    (folder / "report.json").write_text(json.dumps(report))
    return folder / "model.keras"


def export(model: Path, base: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export", "--model", str(model), "--base-path", str(base), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)


def test_a_version_is_proven_published_and_served(trained: Path, tmp_path: Path, serve: StartServer) -> None:
    run = export(trained, tmp_path, "--no-timing", "--force")
    assert run.returncode == 0, run.stderr[-2000:] + run.stdout
    assert "same probabilities as Keras on 1,000 images" in run.stdout
    assert "ok   no rows in, no rows out" in run.stdout
    assert "FAIL" not in run.stdout
    assert [child.name for child in tmp_path.iterdir()] == ["1"]
    assert oct((tmp_path / "1").stat().st_mode & 0o777) == "0o755", "other users serve it"

    server = serve("--model_name=digits", f"--model_base_path={tmp_path}", "--enable_model_warmup=true")
    images = synthetic(40, seed=11)[0]
    network = keras.models.load_model(trained)
    x = (np.pad(images, ((0, 0), (2, 2), (2, 2))).astype(np.float32) - 25.5) / 70.25
    card = json.loads((tmp_path / "1" / "assets.extra" / "digits.json").read_text())
    logits = np.log(network.predict(x[..., None], verbose=0)) / card["temperature"]
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    with PredictClient(server.target) as client:
        assert np.abs(client.predict(images, 10).probabilities - wanted).max() < 1e-5
        assert client.about([c.FINGERPRINT_TOPIC], 10)[c.FINGERPRINT_TOPIC] == c.fingerprint() == card["fingerprint"]
        signatures = client.signatures(10)
    assert set(signatures) >= {"serving_default", "drawings", "classify", "about"}
    assert list(signatures["serving_default"].inputs) == ["images"]
    assert sorted(signatures["serving_default"].outputs) == ["digit", "probabilities"]
    assert sorted(signatures["drawings"].outputs) == ["digit", "images", "probabilities"]
    assert signatures["classify"].method_name == "tensorflow/serving/classify"
    for size, fits in (((16_384, 2), True), ((16_385, 2), False), ((4_001, 4_000), False)):
        status, answer = ask_drawings(server.rest, size)
        assert status == (200 if fits else 400), answer
        assert not fits or answer["predictions"][0]["probabilities"] == pytest.approx([0.1] * 10), "of a blank nothing is sure"
        assert fits or "wanted an image of at most 16000000 pixels and 16384 a side; got height and width" in answer["error"]


def ask_drawings(rest: str, size: tuple[int, int]) -> tuple[int, Any]:
    """A blank sheet of so many pixels, to the artifact's own `drawings` over REST."""
    out = io.BytesIO()
    Image.new("L", size, 255).save(out, "PNG")
    row = {"image_bytes": {"b64": base64.b64encode(out.getvalue()).decode()}}
    body = json.dumps({"signature_name": "drawings", "instances": [row]}).encode()
    try:
        with urllib.request.urlopen(f"{rest}/v1/models/digits:predict", body, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def test_a_teacher_is_not_what_is_served(trained: Path, tmp_path: Path) -> None:
    from training.network import residual

    residual().save(tmp_path / "model.keras")
    report_of(trained, tmp_path / "model.keras")
    run = export(tmp_path / "model.keras", tmp_path / "base")
    assert run.returncode == 1
    assert "holds the network residual; wanted lenet5_v2" in run.stderr
    assert not (tmp_path / "base").exists()


def report_of(trained: Path, model: Path, **changes: Any) -> None:
    """Put the report of another network beside one, as if it spoke of that."""
    report = json.loads(trained.with_name("report.json").read_text())
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    model.with_name("report.json").write_text(json.dumps(report | {"model_sha256": digest} | changes))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("swapped", "speaks of another model than"),
        ("limit", "is from a smoke run of 256 images"),
        ("report cut", "report.json cannot be read"),
        ("report empty", "report.json lacks pixels, temperature, threshold, figures, data_sha256, model_sha256; train again"),
        ("model cut", "model.keras cannot be read as a Keras model"),
    ],
)
def test_what_a_killed_or_limited_run_left_is_refused(
    damage: str, complaint: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.keras"
    model.write_bytes(trained.read_bytes()[:5_000] if damage == "model cut" else trained.read_bytes())
    report_of(trained, model, **({"limit": 256} if damage == "limit" else {}))
    report = tmp_path / "report.json"
    if damage == "swapped":
        report.write_bytes(report.read_bytes().replace(json.loads(report.read_text())["model_sha256"].encode(), b"0" * 64))
    elif damage.startswith("report"):
        report.write_text("{}" if damage == "report empty" else report.read_text()[:100])
    (tmp_path / "base").mkdir()
    assert main(["--model", str(model), "--base-path", str(tmp_path / "base")]) == 1
    assert complaint in capsys.readouterr().err
    assert not list((tmp_path / "base").iterdir())


def test_a_disk_that_fills_up_under_tensorflow_is_explained(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from export import signatures

    def full(*_: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(signatures, "save", full)
    assert main(["--model", str(trained), "--base-path", str(tmp_path)]) == 1
    assert f"{tmp_path} cannot be written to: No space left on device; nothing was published" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_newest_readable_version_is_the_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = json.loads((MODELS / "1" / "assets.extra" / "digits.json").read_text())
    for number, contents in (("2", json.dumps(card)), ("007", "{}"), ("8", None)):
        extra = tmp_path / number / "assets.extra"
        extra.mkdir(parents=True)
        if contents is not None:
            (extra / "digits.json").write_text(contents)
    assert _not_worse(card, tmp_path, force=False).holds
    assert "version 8 is passed over" in (said := capsys.readouterr().out)
    assert "version 7 is passed over" in said
    name = next(iter(card["figures"]["drawings"]))
    drawings = card["figures"]["drawings"] | {name: card["figures"]["drawings"][name] - 0.004}
    worse = card | {"figures": card["figures"] | {"drawings": drawings}}
    found = _not_worse(worse, tmp_path, force=False)
    assert not found.holds
    assert found.figure.startswith("against version 2: held-out digits")
    assert _not_worse(worse, tmp_path, force=True).figure.endswith(", forced")
    assert card["drawings_sha256"], "the shipped card says which file"
    left_out = "; drawings not compared: they are of another file, or not measured"
    others = _not_worse(worse | {"drawings_sha256": "of another file"}, tmp_path, force=False)
    assert (others.holds, others.figure.endswith(left_out)) == (True, True), "figures of two files are not compared"
    assert not _not_worse(worse | {"drawings_sha256": None}, tmp_path, force=False).holds, "an older report does not say which"
    bare = _not_worse(card | {"figures": card["figures"] | {"drawings": {}}}, tmp_path, force=False)
    assert bare.figure.endswith(left_out)


def test_a_model_without_its_report_is_refused(tmp_path: Path) -> None:
    run = export(tmp_path / "model.keras", tmp_path)
    assert run.returncode == 1
    assert "train first (python -m training), or name the model with --model" in run.stderr
    assert "Traceback" not in run.stderr
