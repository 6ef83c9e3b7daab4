"""A model in two sessions: all cores for long runs and for those that are alone, one thread for the others.

TensorFlow fixes a session's threads when it makes it.  With two for each operation a small network spends more on waking them
than on its sums: two callers get 4,060 runs of one digit a second, and 8,110 with one thread each; of batches of 8 1,061 and
1,331.  From 24 on it makes no difference to the two, and a batch of 32 that is alone takes 3.7 ms instead of 6.2.

Where Eigen shares one long sum out among threads, the two may differ in the last bits of a float32.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.engine import LoadedModel
from serving.flags import CPUS
from serving.status import Status
from serving.tensors import Tensor

ALONE_S = 0.002
"""A run so long on one thread gains more from a second core that idles than waking its thread costs."""
LONG_S = 0.004
"""Beside one so long, waking it costs nothing that one would notice."""
TRY_BOTH_S = 0.5
"""A size's first run is done by both, so that each has prepared its operations for it; not where that would be felt."""
TWIN_BYTES = 2**25
"""A SavedModel of no more than this on the disk may be in memory twice."""
MAX_FOLDERS = 1000


Stamp = frozenset[tuple[str, int, int, int]]
"""Of every file its path, its inode, its mtime in ns and its size in bytes."""


def stamp_if_small(path: Path) -> Stamp | None:
    """Tells a SavedModel from what it was before, if there are at most TWIN_BYTES below, wherever links lead.

    None if there are more, or if links lead nowhere or in circles.
    """
    size, found = 0, []
    for folders, (folder, _, files) in enumerate(os.walk(path, followlinks=True)):
        try:
            stats = [(file, (Path(folder) / file).stat()) for file in files]
        except OSError:
            return None
        size += sum(stat.st_size for _, stat in stats)
        if size > TWIN_BYTES or folders > MAX_FOLDERS:
            return None
        found += [(f"{folder}/{file}", stat.st_ino, stat.st_mtime_ns, stat.st_size) for file, stat in stats]
    return frozenset(found)


class _Runs:
    """Those under way in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def __enter__(self) -> bool:
        """Whether this is the only one."""
        with self._lock:
            self._count += 1
            return self._count == 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1


_runs = _Runs()


class Twins:
    """Both sessions as one (engine.LoadedModel).  The model must leave nothing behind that its next run would see."""

    def __init__(self, wide: LoadedModel, narrow: LoadedModel) -> None:
        self.signatures: Mapping[str, Any] = wide.signatures
        self._wide, self._narrow = wide, narrow
        self._took: dict[tuple[tuple[str, ...], int], float] = {}

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_s: float | None) -> list[Tensor]:
        """Run the graph once.  Raises Status as either session does."""
        # as long as others of within a factor of two of the same size
        kind = (tuple(sorted(fetches)), sum(tensor.array.nbytes for tensor in feeds.values()).bit_length())
        with _runs as alone:
            expected, began = self._took.get(kind), time.perf_counter()
            if expected is not None and (expected > (ALONE_S if alone else LONG_S) or _is_late(expected, timeout_s)):
                outputs = self._wide.run(feeds, fetches, timeout_s)
                # had it been one hiccup that made the other long, this tells
                self._took[kind] = min(expected, CPUS * (time.perf_counter() - began))
                return outputs
            try:
                outputs = self._narrow.run(feeds, fetches, timeout_s)
            except Status:
                # if its deadline ended it, it would have taken longer: where only all cores are quick enough, the next has them,
                # however short both times are
                self._took[kind] = max(expected or 0.0, time.perf_counter() - began)
                raise
            took = self._took[kind] = time.perf_counter() - began
            if expected is None and ALONE_S < took < TRY_BOTH_S and (timeout_s is None or took < timeout_s / 4):
                with suppress(Status):  # there is an answer already
                    self._wide.run(feeds, fetches, None if timeout_s is None else (timeout_s - took) / 2)
            return outputs

    def close(self) -> None:
        """Close both."""
        self._narrow.close()
        self._wide.close()


def _is_late(expected_s: float, timeout_s: float | None) -> bool:
    return timeout_s is not None and expected_s >= timeout_s
