"""Arrays that take minutes to make, kept in a file for the next run that asks for the same."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from training import files


def read(path: Path, key: str) -> dict[str, NDArray[Any]] | None:
    """The arrays that were written under this key; None if there is no whole file of that key."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in held.files if name != "key"} if str(held["key"]) == key else None
    except (BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError):
        return None


def write(path: Path, key: str, **arrays: NDArray[Any]) -> None:
    """Write the arrays (an .npz), whole or not at all."""
    contents: dict[str, Any] = {"key": key, **arrays}
    with files.whole(path) as scratch:
        np.savez_compressed(scratch, **contents)


def digest(*modules: ModuleType) -> str:
    """Digest of the code that makes the arrays, so that changed code is not answered from an old file."""
    text = b"".join(Path(module.__file__ or "").read_bytes() for module in modules)
    return hashlib.sha256(text).hexdigest()[:16]
