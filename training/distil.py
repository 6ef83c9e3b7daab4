"""Learning from teachers: a network is shown, beside the label, what others see in the same distorted digit.

Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"; that teacher and pupil look at the
very same distortion, for many epochs, is from Beyer et al. 2022, "A good teacher is patient and consistent".
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from digits.contract import CLASSES
from training.calibrate import SMALLEST, tempered
from training.network import NETWORKS, rebuilt


class NotATeacher(Exception):
    """The file does not hold a network of ours."""


class Teachers:
    """A few trained networks that answer as one.

    models: teachers as trained, with softmax; precision: Keras dtype policy they compute in;
    temperature: softens each answer before the mean.
    """

    def __init__(self, models: list[keras.Model], precision: str, temperature: float) -> None:
        self._models = [rebuilt(model, precision) for model in models]
        self.temperature = temperature
        weights = b"".join(weight.tobytes() for model in models for weight in model.get_weights())
        self.sha256 = hashlib.sha256(weights).hexdigest()

    def __len__(self) -> int:
        return len(self._models)

    @classmethod
    def load(cls, paths: list[Path], precision: str, temperature: float) -> Teachers:
        """Read each from the model.keras that training wrote.  Raises NotATeacher."""
        models = []
        for path in paths:
            try:
                models.append(keras.models.load_model(path, compile=False))
            except (OSError, ValueError, KeyError) as exc:  # KeyError: a zip of something else
                raise NotATeacher(f"{path} cannot be read as a Keras model: {exc}") from exc
            if models[-1].name not in NETWORKS:
                raise NotATeacher(f"{path} holds {models[-1].name!r}; wanted one of {', '.join(NETWORKS)}")
        return cls(models, precision, temperature)

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean probabilities float32 [N, 10] for standardised images float32 [N, 32, 32, 1]."""
        answers = [tempered(np.asarray(model.predict_on_batch(x), np.float32), self.temperature) for model in self._models]
        mean: NDArray[np.float32] = np.mean(answers, axis=0, dtype=np.float32)
        return mean


@keras.saving.register_keras_serializable("digits")
class Distilled(keras.losses.Loss):  # type: ignore[misc]
    """(1 - weight) · cross-entropy with the label + weight · T² · cross-entropy at temperature T with the teachers.

    Targets float32 [N, 20]: the label one-hot, then the teachers' probabilities at T; zeros where they
    were not asked, and the label is all.  T² keeps the gradient's size, which falls with T² as the
    probabilities are softened.
    """

    def __init__(self, weight: float, temperature: float, name: str = "distilled", **base: Any) -> None:
        super().__init__(name=name, **base)
        self.weight, self.temperature = weight, temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each image, float32 [N], nats."""
        logits = ops.log(ops.maximum(y_pred, SMALLEST))
        soft = ops.log_softmax(logits / self.temperature)
        label = -ops.sum(y_true[:, :CLASSES] * logits, axis=1)
        taught = -ops.sum(y_true[:, CLASSES:] * soft, axis=1)
        asked = ops.sum(y_true[:, CLASSES:], axis=1)
        return (1 - self.weight * asked) * label + self.weight * self.temperature**2 * taught

    def get_config(self) -> dict[str, Any]:
        """What a checkpoint needs to build it again."""
        return {**super().get_config(), "weight": self.weight, "temperature": self.temperature}


@keras.saving.register_keras_serializable("digits")  # type: ignore[untyped-decorator]
def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Whether each answer is the label's, with or without teachers beside it; float32 [N]."""
    return keras.metrics.categorical_accuracy(y_true[:, :CLASSES], y_pred)
