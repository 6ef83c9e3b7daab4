"""What a network is taught by: optimizer, schedule and loss."""

from __future__ import annotations

import keras

from training.distil import Distilled, accuracy
from training.network import built
from training.recipe import Recipe


def compiled(recipe: Recipe, taught: bool) -> keras.Model:
    """Build and compile a fresh network for the recipe, with teachers or without."""
    steps = recipe.epochs * recipe.steps_per_epoch
    warmup = int(recipe.warmup_epochs * recipe.steps_per_epoch)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.peak_rate / 20, warmup_target=recipe.peak_rate, warmup_steps=warmup,
        decay_steps=max(steps - warmup, 1), alpha=recipe.final_rate,
    )  # fmt: skip
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, use_ema=True, ema_momentum=recipe.averaging)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model = built(recipe.network, recipe.precision, recipe.dropout)
    loss = Distilled(recipe.teacher_weight, recipe.teacher_temperature) if taught else "categorical_crossentropy"
    model.compile(optimizer=optimizer, loss=loss, metrics=[accuracy])
    return model
