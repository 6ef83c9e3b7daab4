"""Batches for `fit`: what a source gives, standardised; the same for the same seed."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from training.data import standardise
from training.recipe import Recipe
from training.sources import Source, Targets


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """An epoch of batches: standardised float32 [B, 32, 32, 1] and the source's targets.

    epoch: which, from 0; whoever trains sets it, for Keras asks for a batch or two before the first.  Every batch is a function
    of (seed, epoch, index): a resumed run sees what the first would have.
    """

    def __init__(self, source: Source, recipe: Recipe, statistics: tuple[float, float], seed: int, epoch: int = 0) -> None:
        super().__init__(workers=source.hands, use_multiprocessing=False, max_queue_size=max(8, 2 * source.hands))
        self._source, self._recipe, self._statistics = source, recipe, statistics
        self._seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return self._recipe.steps_per_epoch

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], Targets]:
        pixels, targets = self._source.draw(np.random.default_rng((self._seed, self.epoch, index)), self.epoch)
        return standardise(pixels, *self._statistics), targets
