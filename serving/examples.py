"""Classify, Regress and MultiInference: tf.Examples in, labels and scores or values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from serving import messages, predict
from serving.status import Code, Status, invalid
from serving.tensors import FLOAT, STRING, Tensor, constant_name

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"


def serialized(given: Any) -> Tensor:
    """Input message → string [N] of serialized Examples; with a context, its bytes come first in each.

    A feature in both is then the example's: the later field of a protobuf map wins.  Raises Status.
    """
    kind = given.WhichOneof("kind") if given is not None else None
    examples: Sequence[Any] = getattr(given, kind).examples if kind else ()
    if not examples:
        raise invalid("Input is empty.")
    before = given.example_list_with_context.context.SerializeToString() if kind == "example_list_with_context" else b""
    array = np.empty(len(examples), object)
    array[:] = [before + example.SerializeToString() for example in examples]
    return Tensor(STRING, array)


class Task(Protocol):
    """One signature to evaluate on the examples."""

    feed: str
    fetches: list[str]

    def message(self, results: Any) -> Any:
        """Make the protobuf message of what `result` returned."""
        ...

    def result(self, outputs: dict[str, Tensor], examples: int) -> Any:
        """Turn output tensors (by tensor name) into rows of (label, score), or values."""
        ...


def _shape(tensor: Tensor) -> str:
    return f"[{','.join(map(str, tensor.dims))}]"


@dataclass
class ClassificationTask:
    """Labels and scores, either of which a model may leave out."""

    feed: str
    fetches: list[str]
    classes: str | None
    scores: str | None

    @classmethod
    def of(cls, signature: Any, check_method: bool) -> ClassificationTask:
        """Check a signature for Classify.  Raises Status."""
        _check_method(signature, CLASSIFY_METHOD, "classification", check_method)
        if len(signature.inputs) != 1:
            raise invalid("Expected one input Tensor.")
        if len(signature.outputs) not in (1, 2):
            raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
        if "inputs" not in signature.inputs:
            raise invalid(f"No classification inputs found in SignatureDef: {_dump(signature)}")
        named = {alias: signature.outputs[alias].name for alias in ("classes", "scores") if alias in signature.outputs}
        if not named:
            raise invalid(
                'Expected classification signature outputs to contain at least one of "classes" or "scores". '
                f"Signature was: {_dump(signature)}"
            )
        return cls(signature.inputs["inputs"].name, list(named.values()), named.get("classes"), named.get("scores"))

    def result(self, outputs: dict[str, Tensor], examples: int) -> Any:
        """Rows of (label, score): one row per example, one pair per column.  Raises Status."""
        classes = outputs[self.classes] if self.classes else None
        scores = outputs[self.scores] if self.scores and self.scores != self.classes else None  # as upstream's `else if`
        for tensor, name, dtype in ((classes, "classes", STRING), (scores, "scores", FLOAT)):
            if tensor is None:
                continue
            if tensor.array.ndim != 2:
                raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(tensor)}")
            if tensor.dtype != dtype:
                wanted = constant_name(dtype)
                raise invalid(f"Expected {name} Tensor of {wanted}. Got: {constant_name(tensor.dtype)}")
            if len(tensor.array) != examples:
                raise invalid(f"Expected {name} output batch size of {examples}. Got: {len(tensor.array)}")
        if classes is not None and scores is not None and classes.array.shape[1] != scores.array.shape[1]:
            raise invalid(
                f"Tensors class and score should match in dim_size(1). Got {classes.array.shape[1]} vs. {scores.array.shape[1]}"
            )
        columns = (classes or scores).array.shape[1]  # type: ignore[union-attr]
        labels = classes.array.tolist() if classes is not None else [[b""] * columns] * examples
        values = scores.array.tolist() if scores is not None else [[0.0] * columns] * examples
        return [list(zip(*row, strict=True)) for row in zip(labels, values, strict=True)]

    @staticmethod
    def message(rows: list[list[tuple[bytes, float]]]) -> Any:
        """Rows of (label, score) → ClassificationResult; a label that is not UTF-8 is patched up."""
        result = messages.ClassificationResult()
        for row in rows:
            into = result.classifications.add()
            for label, score in row:
                into.classes.add(label=label.decode("utf-8", "replace"), score=score)
        return result


@dataclass
class RegressionTask:
    """One value per example."""

    feed: str
    fetches: list[str]

    @classmethod
    def of(cls, signature: Any, check_method: bool) -> RegressionTask:
        """Check a signature for Regress.  Raises Status."""
        _check_method(signature, REGRESS_METHOD, "regression", check_method)
        if len(signature.inputs) != 1:
            raise invalid("Expected one input Tensor.")
        if len(signature.outputs) != 1:
            raise invalid("Expected one output Tensor.")
        if "inputs" not in signature.inputs:
            raise invalid(f"No regression inputs found in SignatureDef: {_dump(signature)}")
        if "outputs" not in signature.outputs:
            raise invalid(f"No regression outputs found in SignatureDef: {_dump(signature)}")
        return cls(signature.inputs["inputs"].name, [signature.outputs["outputs"].name])

    def result(self, outputs: dict[str, Tensor], examples: int) -> Any:
        """One value per example.  Raises Status."""
        tensor = outputs[self.fetches[0]]
        shape = tensor.array.shape
        if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
            raise invalid(f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(tensor)}")
        if shape[0] != examples:
            raise invalid(f"Input batch size did not match output batch size: {examples} vs. {shape[0]}")
        if tensor.dtype != FLOAT:
            raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {constant_name(tensor.dtype)}")
        values: list[float] = tensor.array.ravel().tolist()
        return values

    @staticmethod
    def message(values: list[float]) -> Any:
        """Values → RegressionResult."""
        result = messages.RegressionResult()
        for value in values:
            result.regressions.add(value=value)
        return result


def _check_method(signature: Any, wanted: str, what: str, check_method: bool) -> None:
    if check_method and signature.method_name != wanted:
        raise invalid(f"Expected {what} signature method_name to be {wanted}. Was: {signature.method_name}")


def _dump(signature: Any) -> str:
    return str(signature)


def signature_for(signatures: Any, name: str) -> Any:
    """The SignatureDef that Classify and Regress would use."""
    if name not in signatures:
        raise invalid(f"No signature was found with the name: {name}")
    return signatures[name]


def multi_tasks(request: Any, signatures: Any, check_method: bool) -> list[Task]:
    """Check a MultiInferenceRequest's tasks against a version's signatures.  Raises Status."""
    tasks: list[Task] = []
    seen: set[str] = set()
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or predict.DEFAULT_SIGNATURE
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if name not in signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY_METHOD:
            tasks.append(ClassificationTask.of(signatures[name], check_method))
        elif task.method_name == REGRESS_METHOD:
            tasks.append(RegressionTask.of(signatures[name], check_method))
        else:
            raise Status(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
    return tasks
