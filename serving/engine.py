"""The engine seam: what runs a model, and all that transports, batching and repository know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serving.tensors import Tensor


@dataclass(frozen=True)
class EngineOptions:
    """How an engine may use the machine.  Threads: 0 = as the engine sees fit."""

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    session_config: Path | None = None


class LoadedModel(Protocol):
    """One loaded version.  Safe to run from several threads at once."""

    signatures: Mapping[str, Any]
    """tensorflow.SignatureDef messages by name: aliases, tensor names, dtypes, defaults."""

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_s: float | None) -> list[Tensor]:
        """Feed tensors by tensor name and return the fetched ones in order.

        Raises Status: a dtype other than the graph's, a shape it cannot use, the timeout.
        """
        ...

    def close(self) -> None:
        """Free everything; nobody runs it any more."""
        ...


class Engine(Protocol):
    """Loads versions."""

    def load(self, path: Path, tags: Sequence[str]) -> LoadedModel:
        """Load the SavedModel at `path` whose tag set is exactly `tags`.  Raises Status."""
        ...
