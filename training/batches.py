"""Batches for `fit`: drawn from the pools and distorted on the fly, or from lessons; the same for the same seed."""

from __future__ import annotations

from typing import Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from digits.contract import CLASSES
from training.augment import Augmenter, Pixels
from training.data import Labels, standardise
from training.pools import Pools
from training.recipe import Recipe

Targets = NDArray[np.float32]


class Source(Protocol):
    """Where a run's digits come from."""

    teachers: int
    """How many answered beside the labels."""
    identity: str
    """Tells this source from any other: a checkpoint belongs to one."""

    def draw(self, r: np.random.Generator, epoch: int) -> tuple[Pixels, Targets]:
        """One batch of an epoch: grey levels float32 [B, 32, 32] and float32 [B, 10] or, with teachers, [B, 20]."""


class Fresh:
    """Digits from the pools, each distorted as nobody saw it before; targets are the labels."""

    teachers: int = 0

    def __init__(self, pools: Pools, recipe: Recipe) -> None:
        self.identity: str = pools.key
        self._pools, self._recipe = pools, recipe
        self._augment = Augmenter(recipe.distortion)
        self._settle = Augmenter(recipe.distortion.scaled(recipe.settle_distortion))

    def draw(self, r: np.random.Generator, epoch: int) -> tuple[Pixels, Targets]:
        """Grey levels float32 [B, 32, 32] and one-hot labels float32 [B, 10]."""
        pixels, labels, _ = self.labelled(r, epoch)
        smooth = self._recipe.label_smoothing
        return pixels, one_hot(labels) * (1 - smooth) + smooth / CLASSES

    def labelled(self, r: np.random.Generator, epoch: int) -> tuple[Pixels, Labels, NDArray[np.bool_]]:
        """Grey levels float32 [B, 32, 32], labels uint8 [B], and whether a person wrote the digit, bool [B]."""
        pools, recipe = self._pools, self._recipe
        counts = r.multinomial(recipe.batch, recipe.shares(epoch))
        picks = [r.integers(0, len(images), count) for images, count in zip(pools.images, counts, strict=True)]
        images = np.concatenate([images[pick] for images, pick in zip(pools.images, picks, strict=True)])
        labels = np.concatenate([labels[pick] for labels, pick in zip(pools.labels, picks, strict=True)])
        augment = self._settle if recipe.settles(epoch) else self._augment
        return augment(images, r), labels, np.arange(len(labels)) < counts[:2].sum()


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """An epoch of batches: standardised float32 [B, 32, 32, 1] and the source's targets.

    epoch: which, from 0; whoever trains sets it, for Keras asks for a batch or two before the first.  Every batch is a function
    of (seed, epoch, index): a resumed run sees what the first would have.
    """

    def __init__(self, source: Source, recipe: Recipe, statistics: tuple[float, float], seed: int, epoch: int = 0) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._source, self._recipe, self._statistics = source, recipe, statistics
        self._seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return self._recipe.steps_per_epoch

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], Targets]:
        pixels, targets = self._source.draw(np.random.default_rng((self._seed, self.epoch, index)), self.epoch)
        return standardise(pixels, *self._statistics), targets


def one_hot(labels: Labels) -> Targets:
    """uint8 [N] → float32 [N, 10]."""
    return np.eye(CLASSES, dtype=np.float32)[labels]
