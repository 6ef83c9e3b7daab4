"""Lessons: distorted digits and what the teachers see in them, made once and learnt from by every pupil.

Asking the teachers costs as much as a third of training each; asked once for some epochs' worth of
digits instead of in every epoch of every pupil, three of them cost one pupil five minutes in place of
forty.  The file is a cache beside the pools': a run that is killed makes it up to where it was.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digits.contract import CLASSES
from training import augment, batches, cache, calibrate, data, distil, files, network
from training.augment import Pixels
from training.batches import Fresh, Targets, one_hot
from training.data import Labels, standardise
from training.distil import Teachers
from training.pools import Pools
from training.recipe import Recipe

Part = tuple[NDArray[np.uint8], Labels, NDArray[np.float32]]
"""An epoch of lessons: grey levels uint8 [N, 32, 32], labels [N], the teachers' probabilities [N, 10] or zeros."""

SALT = 7_919
"""Keeps the lessons' random numbers apart from those of the runs that made the teachers."""
ASKED_AT_ONCE = 256


class Lessons:
    """A source of batches whose targets are label and teachers' answer, float32 [B, 20]."""

    def __init__(self, parts: dict[bool, list[Part]], recipe: Recipe, teachers: int, identity: str) -> None:
        self._parts, self._recipe = parts, recipe  # parts by whether they are the gentle ones
        self.teachers: int = teachers
        self.identity: str = identity

    def draw(self, r: np.random.Generator, epoch: int) -> tuple[Pixels, Targets]:
        """Grey levels float32 [B, 32, 32] and targets float32 [B, 20], from a lesson of the epoch's strength."""
        parts = self._parts[self._recipe.settles(epoch)]
        images, labels, answers = parts[r.integers(len(parts))]
        pick = r.integers(0, len(images), self._recipe.batch)
        return images[pick].astype(np.float32), np.concatenate((one_hot(labels[pick]), answers[pick]), axis=1)


def build(
    pools: Pools, recipe: Recipe, statistics: tuple[float, float], teachers: Teachers, seed: int, folder: Path,
    say: Callable[[str], None] = print,
) -> Lessons:  # fmt: skip
    """Make the lessons, or read back those that `folder` (a cache) holds for this request."""
    files.sweep(folder)
    source = Fresh(pools, recipe)
    last = recipe.epochs - 1
    parts: dict[bool, list[Part]] = {False: [], True: []}
    identity = _key(pools, recipe, statistics, teachers, seed)
    began, count = time.monotonic(), recipe.lessons + recipe.settled_lessons
    for number in range(count):
        settled = number >= recipe.lessons
        key, path = f"{identity}/{settled}", folder / f"lesson-{number + 1}.npz"
        arrays = cache.read(path, key)
        if arrays is None:
            arrays = _judged(source, recipe, statistics, teachers, (seed, SALT, number), last if settled else 0)
            cache.write(path, key, **arrays)
        parts[settled].append((arrays["images"], arrays["labels"], arrays["answers"]))
        left_s = (time.monotonic() - began) / (number + 1) * (count - number - 1)
        say(f"lessons: {number + 1} of {count}, {left_s / 60:.1f} min left")
    return Lessons(parts, recipe, len(teachers), identity)


def _key(pools: Pools, recipe: Recipe, statistics: tuple[float, float], teachers: Teachers, seed: int) -> str:
    """Everything that the lessons depend on, code and all."""
    drawn = f"{recipe.distortion}/{recipe.settle_distortion}/{recipe.shares(0)}/{recipe.shares(recipe.epochs - 1)}"
    sizes = f"{recipe.epoch_images}/{recipe.batch}/{statistics}/{recipe.precision}"
    code = cache.digest(augment, batches, calibrate, data, distil, network, sys.modules[Recipe.__module__], sys.modules[__name__])
    return f"{pools.key}/{drawn}/{sizes}/{teachers.sha256}/{teachers.temperature}/{seed}/{code}"


def _judged(
    source: Fresh, recipe: Recipe, statistics: tuple[float, float], teachers: Teachers, seed: tuple[int, ...], epoch: int
) -> dict[str, NDArray[Any]]:
    drawn = [source.labelled(np.random.default_rng((*seed, index)), epoch) for index in range(recipe.steps_per_epoch)]
    images = np.concatenate([np.rint(pixels).astype(np.uint8) for pixels, _, _ in drawn])  # what is kept is what is asked about
    answers = np.zeros((len(images), CLASSES), np.float32)  # a digit drawn by rule is what it is: nobody is asked
    written = np.flatnonzero(np.concatenate([by_hand for _, _, by_hand in drawn]))
    for at in range(0, len(written), ASKED_AT_ONCE):
        pick = written[at : at + ASKED_AT_ONCE]
        answers[pick] = teachers(standardise(images[pick], *statistics))
    return {"images": images, "labels": np.concatenate([labels for _, labels, _ in drawn]), "answers": answers}
