"""Files that are there whole or not at all, whenever a run is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WRITING = ".writing-"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a name to write under, which becomes `path` if all went well and is gone if not.

    Raises OSError naming the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{WRITING}{os.getpid()}-{path.name}")
    try:
        yield scratch
        scratch.replace(path)
    except OSError as exc:
        if exc.filename is not None:
            raise
        raise OSError(f"{path} could not be written: {exc}") from exc  # as of numpy, on a full disk
    finally:
        scratch.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what a killed run was writing there."""
    for left in folder.glob(f"{WRITING}*"):
        left.unlink(missing_ok=True)
