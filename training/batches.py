"""Batches for `fit`: drawn, distorted and (with teachers) judged on the fly, the same for the same seed."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from digits.contract import CLASSES
from training.augment import Augmenter
from training.data import standardise
from training.distil import Teachers
from training.pools import Pools
from training.recipe import Recipe

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """One epoch of augmented batches: float32 [B, 32, 32, 1] and the true labels, one-hot float32 [B, 10].

    With teachers the targets are [B, 20]: beside the labels their mean answer, at the recipe's temperature.
    Every batch is a function of (seed, epoch, index): a resumed run sees what the first would have.
    """

    def __init__(
        self, pools: Pools, recipe: Recipe, statistics: tuple[float, float], seed: int, epoch: int = 0,
        teachers: Teachers | None = None,
    ) -> None:  # fmt: skip
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._pools, self._recipe, self._seed, self._epoch = pools, recipe, seed, epoch
        self._statistics, self._teachers = statistics, teachers
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
        return np.concatenate((truth, self._teachers(x)), axis=1) if self._teachers else truth
