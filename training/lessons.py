"""Lessons: distorted digits and what the teachers see in them, made once and learnt from by every pupil.

Asking the teachers costs as much as a third of training each; asked once for some epochs' worth of
digits instead of in every epoch of every pupil, three of them cost one pupil five minutes in place of
forty.  The files are a cache beside the pools': a run that is killed makes them up to where it was.
They stay on disk, 64 MB for each epoch's worth, and are read from there as they are drawn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from digits.contract import CLASSES, NETWORK_PX
from training import augment, cache, data, distil, files, sources
from training.augment import Pixels
from training.data import Labels, standardise
from training.distil import Teachers
from training.recipe import Recipe
from training.sources import Targets, one_hot

LESSON = np.dtype([
    ("image", np.uint8, (NETWORK_PX, NETWORK_PX)),
    ("label", np.uint8),
    ("answer", np.float32, (CLASSES,)),  # the teachers' probabilities, or zeros where they were not asked
])  # fmt: skip
Part = NDArray[np.void]
"""An epoch's worth of lessons, LESSON [N]."""

SALT = 7_919
"""Keeps the lessons' random numbers apart from those of the runs that made the teachers."""
ASKED_AT_ONCE = 512


class Distorted(Protocol):
    """Where the digits come from that the teachers are asked about."""

    identity: str
    hands: int

    def labelled(self, r: np.random.Generator, epoch: int) -> tuple[Pixels, Labels, NDArray[np.bool_]]:
        """Grey levels float32 [B, 32, 32], labels uint8 [B], and whether a person wrote the digit, bool [B]."""


class Lessons:
    """A source of batches whose targets are label and teachers' answer, float32 [B, 20]."""

    hands: int = 1  # there is nothing to do but to read them

    def __init__(self, parts: dict[bool, list[Part]], recipe: Recipe, teachers: int, identity: str) -> None:
        self._parts, self._recipe = parts, recipe  # parts by whether they are the gentle ones
        self.teachers: int = teachers
        self.identity: str = identity

    def draw(self, r: np.random.Generator, epoch: int) -> tuple[Pixels, Targets]:
        """Grey levels float32 [B, 32, 32] and targets float32 [B, 20], from a lesson of the epoch's strength."""
        parts = self._parts[self._recipe.settles(epoch)]
        part = parts[r.integers(len(parts))]
        learnt = part[r.integers(0, len(part), self._recipe.batch)]
        return learnt["image"].astype(np.float32), np.concatenate((one_hot(learnt["label"]), learnt["answer"]), axis=1)


def build(
    source: Distorted, recipe: Recipe, statistics: tuple[float, float], teachers: Teachers, seed: int, folder: Path,
    say: Callable[[str], None] = print,
) -> Lessons:  # fmt: skip
    """Make the lessons, or take those that `folder` (a cache) holds for this request.

    The next lesson's digits are distorted while the teachers answer about one's.
    """
    files.sweep(folder)
    identity = _key(source, recipe, statistics, teachers, seed)
    count = recipe.lessons + recipe.settled_lessons
    keys = {folder / f"lesson-{number + 1}.npy": f"{identity}/{number >= recipe.lessons}" for number in range(count)}
    missing = [number for number, (path, key) in enumerate(keys.items()) if cache.mapped(path, key) is None]
    epochs = [recipe.epochs - 1 if number >= recipe.lessons else 0 for number in range(count)]
    began = time.monotonic()
    with ThreadPoolExecutor(1) as ahead:
        drawn = [ahead.submit(_distorted, source, recipe, (seed, SALT, number), epochs[number]) for number in missing[:1]]
        for done, (number, following) in enumerate(zip(missing, [*missing[1:], None], strict=False), start=1):
            lesson, written = drawn.pop().result()
            if following is not None:
                drawn.append(ahead.submit(_distorted, source, recipe, (seed, SALT, following), epochs[following]))
            _judge(lesson, written, teachers, statistics)
            path, key = list(keys.items())[number]
            cache.write_mapped(path, key, lesson)
            left_s = (time.monotonic() - began) / done * (len(missing) - done)
            say(f"lessons: {number + 1} of {count}, {left_s / 60:.1f} min left")
    parts: dict[bool, list[Part]] = {False: [], True: []}
    for number, (path, key) in enumerate(keys.items()):
        part = cache.mapped(path, key)
        assert part is not None
        parts[number >= recipe.lessons].append(part)
    return Lessons(parts, recipe, len(teachers), identity)


def _key(source: Distorted, recipe: Recipe, statistics: tuple[float, float], teachers: Teachers, seed: int) -> str:
    """Everything that the lessons depend on, code and all."""
    drawn = f"{recipe.distortion}/{recipe.settle_distortion}/{recipe.shares(0)}/{recipe.shares(recipe.epochs - 1)}"
    sizes = f"{recipe.epoch_images}/{recipe.batch}/{statistics}/{recipe.precision}"
    code = cache.digest(augment, sources, data, distil, sys.modules[__name__])
    return f"{source.identity}/{drawn}/{sizes}/{teachers.sha256}/{teachers.temperature}/{seed}/{code}"


def _distorted(source: Distorted, recipe: Recipe, seed: tuple[int, ...], epoch: int) -> tuple[Part, NDArray[np.intp]]:
    """Lessons [N] without answers, and which of them people wrote: a digit drawn by rule is what it is, nobody is asked."""

    def batch(index: int) -> tuple[Pixels, Labels, NDArray[np.bool_]]:
        return source.labelled(np.random.default_rng((*seed, index)), epoch)

    lesson: Part = np.zeros(recipe.steps_per_epoch * recipe.batch, LESSON)
    written = np.zeros(len(lesson), bool)
    with ThreadPoolExecutor(source.hands) as hands:
        for index, (pixels, labels, by_hand) in enumerate(hands.map(batch, range(recipe.steps_per_epoch))):
            some = slice(index * recipe.batch, (index + 1) * recipe.batch)
            lesson["image"][some], lesson["label"][some], written[some] = np.rint(pixels), labels, by_hand
    return lesson, np.flatnonzero(written)


def _judge(lesson: Part, written: NDArray[np.intp], teachers: Teachers, statistics: tuple[float, float]) -> None:
    """Ask the teachers about those digits, as they are kept, and put their answers beside them."""
    for at in range(0, len(written), ASKED_AT_ONCE):
        pick = written[at : at + ASKED_AT_ONCE]
        always = np.resize(pick, ASKED_AT_ONCE)  # some back ends compile anew for every number of images
        lesson["answer"][pick] = teachers(standardise(lesson["image"][always], *statistics))[: len(pick)]
