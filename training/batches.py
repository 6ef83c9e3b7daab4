"""Batches for `fit`: drawn, distorted and (with teachers) labelled on the fly, the same for the same seed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from digits.contract import CLASSES
from training.augment import Augmenter
from training.data import standardise
from training.pools import Pools
from training.recipe import Recipe

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """One epoch of augmented batches: float32 [B, 32, 32, 1] and targets float32 [B, 10].

    Every batch is a function of (seed, epoch, index): a resumed run sees what the first would have.
    """

    def __init__(
        self, pools: Pools, recipe: Recipe, statistics: tuple[float, float], seed: int, epoch: int = 0,
        teachers: list[keras.Model] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._pools, self._recipe, self._seed, self._epoch = pools, recipe, seed, epoch
        self._statistics, self._teachers = statistics, teachers or []
        self._augment = Augmenter(recipe.distortion)
        self._settle = Augmenter(recipe.distortion.scaled(recipe.settle_distortion))

    def __len__(self) -> int:
        return self._recipe.steps_per_epoch

    def on_epoch_end(self) -> None:
        self._epoch += 1

    def __getitem__(self, index: int) -> Batch:
        recipe = self._recipe
        r = np.random.default_rng((self._seed, self._epoch, index))
        counts = r.multinomial(recipe.batch, recipe.shares(self._epoch))
        picks = [r.integers(0, len(images), count) for images, count in zip(self._pools.images, counts, strict=True)]
        images = np.concatenate([images[pick] for images, pick in zip(self._pools.images, picks, strict=True)])
        labels = np.concatenate([labels[pick] for labels, pick in zip(self._pools.labels, picks, strict=True)])
        augment = self._settle if recipe.settles(self._epoch) else self._augment
        x = standardise(augment(images, r), *self._statistics)
        return x, self._targets(x, labels)

    def _targets(self, x: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.float32]:
        truth = np.eye(CLASSES, dtype=np.float32)[labels]
        smooth = self._recipe.label_smoothing
        truth = truth * (1 - smooth) + smooth / CLASSES
        if not self._teachers:
            return truth
        taught = ensemble(self._teachers, x)
        return self._recipe.teacher_weight * taught + (1 - self._recipe.teacher_weight) * truth


def ensemble(models: list[keras.Model], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the models' probabilities; float32 [N, 10]."""
    answers: list[Any] = [keras.ops.convert_to_numpy(model(x, training=False)) for model in models]
    mean: NDArray[np.float32] = np.mean(answers, axis=0, dtype=np.float32)
    return mean
