"""What a network is taught by: optimizer, schedule and loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from training.distil import Distilled, accuracy
from training.network import built
from training.recipe import Recipe


@keras.saving.register_keras_serializable("digits")
class Cycles(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Falls along a cosine, rises to a peak of its own and falls again: schedules one after the other.

    steps: how many belong to each but the last.
    """

    def __init__(self, schedules: list[keras.optimizers.schedules.LearningRateSchedule], steps: list[int]) -> None:
        self._schedules = [keras.saving.deserialize_keras_object(one) if isinstance(one, dict) else one for one in schedules]
        self._steps = steps

    def __call__(self, step: Any) -> Any:
        """Rate of a step, counted from 0."""
        rate, begin = self._schedules[0](step), 0
        for schedule, length in zip(self._schedules[1:], self._steps, strict=True):
            begin += length
            rate = ops.where(step < begin, rate, schedule(ops.maximum(step - begin, 0)))
        return rate

    def get_config(self) -> dict[str, Any]:
        """What a checkpoint needs to build it again."""
        return {"schedules": [keras.saving.serialize_keras_object(one) for one in self._schedules], "steps": self._steps}


def schedule(recipe: Recipe) -> Cycles:
    """The learning rate of every step: warm-up and cosine in each of the recipe's cycles."""
    falls, lengths = [], []
    for (first, end), peak in zip(recipe.cycles, (recipe.peak_rate, recipe.restart_rate), strict=False):
        steps, warmup = ((end - first) * recipe.steps_per_epoch, int(recipe.warmup_epochs * recipe.steps_per_epoch))
        falls.append(keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=peak / 20, warmup_target=peak, warmup_steps=warmup,
            decay_steps=max(steps - warmup, 1), alpha=recipe.final_rate,
        ))  # fmt: skip
        lengths.append(steps)
    return Cycles(falls, lengths[:-1])


def compiled(recipe: Recipe, taught: bool) -> keras.Model:
    """Build and compile a fresh network for the recipe, with teachers or without."""
    rate, decay, momentum = schedule(recipe), recipe.weight_decay, recipe.averaging
    optimizer = keras.optimizers.AdamW(rate, weight_decay=decay, use_ema=True, ema_momentum=momentum)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model = built(recipe.network, recipe.precision, recipe.dropout)
    loss = Distilled(recipe.teacher_weight, recipe.teacher_temperature) if taught else "categorical_crossentropy"
    model.compile(optimizer=optimizer, loss=loss, metrics=[accuracy])
    return model
