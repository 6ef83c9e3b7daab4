"""Training as a user runs it, on a handful of digits; and being killed in the middle of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from digits.strokes import synthetic
from tests.conftest import ROOT

pytest.importorskip("keras")


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive in MNIST's layout, of made-up handwriting: 5,600 training digits and 200 to test."""
    images, labels = synthetic(500, seed=9)
    many = np.resize(np.arange(300), 5_600)
    path = tmp_path_factory.mktemp("data") / "mnist.npz"
    np.savez(path, x_train=images[many], y_train=labels[many], x_test=images[300:], y_test=labels[300:])
    return path


STOPPED = "training: stopped; --resume goes on from the last checkpoint, if there is one\n"
ENDED = (128 + signal.SIGINT, -signal.SIGINT)


def command(data: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "training", "--data", str(data), "--out", str(out), "--limit", "256", *more]


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that has learnt nothing yet."""
    from training.network import residual

    path = tmp_path_factory.mktemp("teacher") / "model.keras"
    residual().save(path)
    return path


def test_a_killed_run_resumes_after_its_last_epoch_and_reports(small_mnist: Path, teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = command(small_mnist, out, "--epochs", "3", "--teachers", str(teacher))
    first = subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("epoch 1/3 done"):
            break
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    saved = json.loads((out / "history.json").read_text())
    assert 1 <= len(saved["epochs"]) < 3

    again = subprocess.run([*asked, "--resume"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert again.returncode == 0, again.stderr[-2000:]
    assert f"resuming after epoch {len(saved['epochs'])} of 3" in again.stdout
    history = json.loads((out / "history.json").read_text())
    assert [row["epoch"] for row in history["epochs"]] == [1, 2, 3]
    assert history["identity"] == saved["identity"]

    report = json.loads((out / "report.json").read_text())
    assert report["epochs_run"] == 3
    assert report["teachers"] == 1
    assert len(report["figures"]["confusion"]) == 10
    assert 0.5 <= report["threshold"]["value"] <= 0.99
    page = (out / "report.html").read_text()
    assert "Every mistake on the test set" in page
    assert "http" not in page.replace("http://www.w3.org", ""), "self-contained"
    assert (out / "model.keras").stat().st_size > 1_000_000


def test_a_resumed_run_ends_where_the_whole_one_does(tmp_path: Path) -> None:
    """Weights, moments, averages, dropout's masks, what decays and which epoch is drawn: all as if nothing had happened."""
    from training.batches import Fresh, Pixels, Targets
    from training.data import Mnist
    from training.fit import CannotResume, train
    from training.pools import Pools
    from training.recipe import Recipe

    class Noting(Fresh):
        """Keeps the epochs it was asked for."""

        def draw(self, r: np.random.Generator, epoch: int) -> tuple[Pixels, Targets]:
            asked.append(epoch)
            return super().draw(r, epoch)

    class Killed(Exception):
        pass

    def kill(text: str) -> None:
        if text.startswith("epoch 1/3 done"):
            raise Killed

    images, labels = synthetic(64, seed=1)
    mnist = Mnist(images, labels, images, labels, images, labels, "")
    recipe = Recipe(epochs=3, restart=2, settle_epochs=1, epoch_images=64, batch=32, precision="float32")
    asked: list[int] = []
    source = Noting(Pools((images,) * 3, (labels,) * 3), recipe)
    whole = train(recipe, mnist, source, (33.0, 78.0), 1, tmp_path / "whole", "a", say=lambda _: None)
    assert asked[-6:] == [0, 0, 1, 1, 2, 2], "after whatever Keras looks at first"
    with pytest.raises(Killed):
        train(recipe, mnist, source, (33.0, 78.0), 1, tmp_path / "part", "a", say=kill)
    again = train(recipe, mnist, source, (33.0, 78.0), 1, tmp_path / "part", "b", resume=True, say=lambda _: None)
    assert (whole.commit, again.commit) == ("a", "a, b"), "the commits that trained"
    once_more = train(recipe, mnist, source, (33.0, 78.0), 1, tmp_path / "part", "c", resume=True, say=lambda _: None)
    assert once_more.commit == "a, b", "nothing was left to train"
    assert asked[-4:] == [1, 1, 2, 2]
    assert [row["epoch"] for row in again.history] == [1, 2, 3]
    for mine, same in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.allclose(mine, same, atol=1e-6)

    for damaged in ("checkpoint-3.keras", "history.json"):
        path = tmp_path / "part" / damaged
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(CannotResume, match="holds no checkpoint that can be read"):
            train(recipe, mnist, source, (33.0, 78.0), 1, tmp_path / "part", resume=True, say=lambda _: None)


def test_ctrl_c_ends_a_run_in_one_line_however_often_it_is_pressed(small_mnist: Path, tmp_path: Path) -> None:
    for pressed in (1, 2):  # while everything is still being imported ...
        early = subprocess.Popen(command(small_mnist, tmp_path / "early"), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while "tensorflow" not in Path(f"/proc/{early.pid}/maps").read_text():
            assert time.monotonic() < until
            time.sleep(0.02)
        for _ in range(pressed):
            early.send_signal(signal.SIGINT)
            time.sleep(0.02)
        _, said = early.communicate(timeout=30)
        assert said == STOPPED
        assert early.returncode in ENDED

        asked = command(small_mnist, tmp_path / str(pressed), "--epochs", "3")
        asked[asked.index("--limit") + 1] = "5000"
        run = subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("redrawing"):  # ... and when the workers are there, and have work
                break
        for _ in range(pressed):
            os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to everybody
            time.sleep(0.02)
        _, said = run.communicate(timeout=30)
        assert said == STOPPED
        assert run.returncode in ENDED


@pytest.mark.parametrize("instead", ["time.sleep(60)", "raise RuntimeError", "raise OSError"])
def test_ctrl_c_is_heard_though_a_library_catches_it(tmp_path: Path, instead: str) -> None:
    code = f"""
import signal, sys, time
from training import data
from training.__main__ import main

def load(path):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        pass
    {instead}

data.load = load
sys.exit(main(["--out", {str(tmp_path)!r}]))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert run.stderr == STOPPED
    assert run.returncode in ENDED


def test_a_checkpoint_of_another_recipe_is_not_resumed(tmp_path: Path) -> None:
    from training.batches import Fresh
    from training.data import Mnist
    from training.fit import CannotResume, train
    from training.pools import Pools
    from training.recipe import Recipe

    images, labels = synthetic(4, seed=1)
    mnist = Mnist(images, labels, images, labels, images, labels, "")
    (tmp_path / "history.json").write_text('{"identity": {"seed": 1}, "epochs": []}')
    source = Fresh(Pools((images,) * 3, (labels,) * 3), Recipe())
    with pytest.raises(CannotResume, match=r"holds a run of another recipe, data, seed, teachers or code; .*NEW=1"):
        train(Recipe(), mnist, source, (33.0, 78.0), 1, tmp_path, resume=True)


def test_what_is_no_teacher_is_refused_before_anything_is_trained(small_mnist: Path, tmp_path: Path) -> None:
    text = tmp_path / "model.keras"
    text.write_text("hardly")
    run = subprocess.run(
        command(small_mnist, tmp_path, "--teachers", str(text)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 1
    assert f"{text} cannot be read as a Keras model" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(("data", "complaint"), [("nowhere.npz", "there is no file"), ("pyproject.toml", "is no MNIST archive")])
def test_data_that_cannot_be_read_is_explained(data: str, complaint: str, tmp_path: Path) -> None:
    began = time.monotonic()
    run = subprocess.run(command(Path(data), tmp_path), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 1
    assert complaint in run.stderr
    assert "Traceback" not in run.stderr
    assert time.monotonic() - began < 100
