"""One run of the recipe: compile, fit with checkpoints, average the weights, keep the result."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from digits.contract import Images28
from training import augment, batches, cache, data, distil, files, learning, network
from training.batches import Batches, Source
from training.data import Labels, Mnist, padded, standardise
from training.network import rebuilt
from training.recipe import Recipe

HISTORY = "history.json"
CODE = cache.digest(augment, batches, data, distil, learning, network, sys.modules[Recipe.__module__])
"""Of what shapes a run, as it was imported; not of this file, whose words may change."""
History = list[dict[str, float]]


@dataclass(frozen=True)
class Trained:
    """What a run made: the network in float32 with averaged weights, a row of figures an epoch, the commits it ran at."""

    model: keras.Model
    history: History
    commit: str


class CannotResume(Exception):
    """The checkpoint does not belong to this recipe."""


def train(
    recipe: Recipe, mnist: Mnist, source: Source, statistics: tuple[float, float], seed: int, folder: Path, commit: str = "",
    resume: bool = False, say: Callable[[str], None] = print,
) -> Trained:  # fmt: skip
    """Fit one network.  commit: of the code that runs.

    After each epoch `folder` holds checkpoint.keras (weights, optimizer, averages) and
    history.json; with resume=True a killed run goes on from there with the same schedule.
    Raises CannotResume if the checkpoint was made by another recipe, data, seed, teachers or code, or cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files.sweep(folder)
    identity = json.loads(json.dumps({
        "recipe": asdict(recipe), "seed": seed, "source": source.identity,
        "data": mnist.sha256, "images": len(mnist.train_images),
        "code": CODE,
    }))  # fmt: skip
    keras.utils.set_random_seed(seed)
    model = learning.compiled(recipe, taught=source.teachers > 0)
    history, commits = _resumed(model, folder, identity) if resume and (folder / HISTORY).exists() else ([], [])
    done = len(history)
    if done:
        say(f"resuming after epoch {done} of {recipe.epochs}")
    if done < recipe.epochs:
        if commit not in commits:
            commits.append(commit)
        feed = Batches(source, recipe, statistics, seed, epoch=done)
        keeper = _Keeper(recipe, mnist, statistics, folder, {"identity": identity, "commits": commits}, history, feed, seed, say)
        model.fit(feed, epochs=recipe.epochs, initial_epoch=done, verbose=0, callbacks=[keeper], shuffle=False)
    else:  # the run was killed after its last epoch, before the averages were put in place
        model.optimizer.finalize_variable_values(model.trainable_variables)
    # the weights were float32 all along; now the arithmetic is too
    return Trained(rebuilt(model, "float32", recipe.dropout), history, ", ".join(filter(None, commits)))


def _resumed(model: keras.Model, folder: Path, identity: dict[str, Any]) -> tuple[History, list[str]]:
    """Give a freshly compiled model the last checkpoint's weights, moments and averages; returns the epochs behind it, and the
    commits that they ran at.

    Loading the checkpoint whole would lose which variables are kept from decaying, which the optimizer does not write down.
    """
    try:
        saved = json.loads((folder / HISTORY).read_text())
        if saved["identity"] != identity:
            other = "a run of another recipe, data, seed, teachers or code"
            raise CannotResume(f"{folder} holds {other}; choose another --out, or leave --resume out (make train NEW=1)")
        history: History = saved["epochs"]
        commits: list[str] = saved["commits"]
        model.optimizer.build(model.trainable_variables)
        model.load_weights(folder / f"checkpoint-{len(history)}.keras")
    except (BadZipFile, ValueError, KeyError, TypeError, OSError) as exc:
        raise CannotResume(f"{folder} holds no checkpoint that can be read ({exc}); leave --resume out to begin anew") from exc
    return history, commits


class _Keeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports progress and keeps a checkpoint that survives being killed at any moment."""

    def __init__(
        self, recipe: Recipe, mnist: Mnist, statistics: tuple[float, float], folder: Path,
        about: dict[str, Any], history: History, batches: Batches, seed: int, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__()
        self._batches, self._seed = batches, seed
        self._recipe, self._mnist, self._statistics = recipe, mnist, statistics
        self._folder, self._about, self._history, self._say = folder, about, history, say
        self._began = self._spoke = time.monotonic()
        self._first = len(history)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._epoch_began = epoch, time.monotonic()
        self._batches.epoch = epoch
        for layer in self.model.layers:  # dropout's masks are a function of seed and epoch too
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([(self._seed * 10_007 + epoch) % 2**32, 0])

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        now = time.monotonic()
        if now - self._spoke < 20:
            return
        self._spoke = now
        rate = (batch + 1) * self._recipe.batch / (now - self._epoch_began)
        whole = self._recipe.epochs * self._recipe.steps_per_epoch
        left = (whole - self._epoch * self._recipe.steps_per_epoch - batch) * self._recipe.batch / rate
        self._say(
            f"epoch {self._epoch + 1}/{self._recipe.epochs} {100 * batch // self._recipe.steps_per_epoch:3d} %"
            f"  loss {(logs or {}).get('loss', float('nan')):.4f}  {rate:.0f} images/s  {_clock(left)} left"
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs, learnt_s = logs or {}, time.monotonic() - self._epoch_began
        loss, error = measure(self.model, self._mnist.held_images, self._mnist.held_labels, self._statistics)
        row = {
            "epoch": epoch + 1, "loss": float(logs["loss"]), "accuracy": float(logs["accuracy"]),
            "held_loss": loss, "held_accuracy": 1 - error, "seconds": time.monotonic() - self._epoch_began,
        }  # fmt: skip
        self._history.append(row)
        kept = self._folder / f"checkpoint-{epoch + 1}.keras"
        with files.whole(kept) as scratch:
            self.model.save(scratch)
        with files.whole(self._folder / HISTORY) as scratch:  # the file that decides which checkpoint counts
            scratch.write_text(json.dumps({**self._about, "epochs": self._history}, indent=1))
        for old in self._folder.glob("checkpoint-*.keras"):
            if old != kept:
                old.unlink()
        left = (time.monotonic() - self._began) / (epoch + 1 - self._first) * (self._recipe.epochs - epoch - 1)
        rate = self._recipe.steps_per_epoch * self._recipe.batch / learnt_s
        self._say(
            f"epoch {epoch + 1}/{self._recipe.epochs} done  loss {row['loss']:.4f}  held out {100 * (1 - error):.2f} %"
            f" (loss {loss:.4f})  {row['seconds']:.0f} s, {rate:.0f} images/s  {_clock(left)} left"
        )


def measure(model: keras.Model, images: Images28, labels: Labels, statistics: tuple[float, float]) -> tuple[float, float]:
    """Cross-entropy (nats) and error rate on clean images uint8 [N, 28, 28]."""
    p = np.asarray(model.predict(standardise(padded(images), *statistics), batch_size=500, verbose=0))
    right = p[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, 1e-12)).mean()), float((p.argmax(axis=1) != labels).mean())


def _clock(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {int(seconds % 60):02d} s"
