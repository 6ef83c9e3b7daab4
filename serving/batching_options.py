"""What a BatchingParameters file asks for, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.status import invalid


@dataclass(frozen=True)
class BatchingOptions:
    """BatchingParameters with upstream's defaults."""

    max_batch_size: int = 1000
    batch_timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    split_large_batches: bool = False
    max_execution_batch_size: int = 0

    @property
    def execution_size(self) -> int:
        """Rows of the largest batch that is run."""
        return (self.max_execution_batch_size or self.max_batch_size) if self.split_large_batches else self.max_batch_size

    @classmethod
    def of(cls, message: Any) -> BatchingOptions:
        """Read a BatchingParameters message.  Raises Status for sizes that contradict each other."""
        made = cls(
            max_batch_size=message.max_batch_size.value if message.HasField("max_batch_size") else cls.max_batch_size,
            batch_timeout_s=message.batch_timeout_micros.value / 1e6,
            max_enqueued_batches=(
                message.max_enqueued_batches.value if message.HasField("max_enqueued_batches") else cls.max_enqueued_batches
            ),
            allowed_batch_sizes=tuple(message.allowed_batch_sizes),
            pad_variable_length_inputs=message.pad_variable_length_inputs,
            split_large_batches=message.enable_large_batch_splitting.value,
            max_execution_batch_size=message.max_execution_batch_size.value,
        )
        if made.batch_timeout_s < 0:
            raise invalid(f"batch_timeout_micros must be non-negative; was {message.batch_timeout_micros.value}")
        if made.max_batch_size <= 0:
            raise invalid(f"input_batch_size_limit must be positive; was {made.max_batch_size}")
        sizes = made.allowed_batch_sizes
        if sizes:
            if list(sizes) != sorted(set(sizes)):
                raise invalid("allowed_batch_sizes entries must be monotonically increasing")
            if sizes[-1] != made.execution_size:
                limit = "max_execution_batch_size" if made.split_large_batches else "max_batch_size"
                raise invalid(
                    f"Last entry in allowed_batch_sizes must match {limit}; last entry was {sizes[-1]}; "
                    f"expected {made.execution_size}"
                )
        return made
