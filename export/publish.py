"""A publication is a rename: a server that polls sees a whole version or none."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from digits.errors import ArtifactError

STAGING = ".staging-"


class CannotPublish(ArtifactError):
    """The base path cannot take another version."""


def versions(base_path: Path) -> list[int]:
    """Published version numbers, ascending."""
    return sorted(int(child.name) for child in base_path.iterdir() if child.name.isdecimal() and child.is_dir())


def next_version(base_path: Path) -> int:
    """One more than the highest number ever seen there; numbers only grow."""
    found = [int(child.name) for child in base_path.iterdir() if child.name.isdecimal()]
    return max(found, default=0) + 1


@contextmanager
def staging(base_path: Path) -> Iterator[Path]:
    """A folder beside the versions, under a name no server takes for one; gone afterwards.

    Raises CannotPublish for a base path that is missing, read-only or full.
    """
    if not base_path.is_dir():
        raise CannotPublish(f"there is no directory {base_path}; make it first, or check the spelling of --base-path")
    folder = base_path / f"{STAGING}{os.getpid()}"
    try:
        _sweep(base_path)
        folder.mkdir()
    except OSError as exc:
        raise CannotPublish(f"{base_path} cannot be written to: {exc.strerror}") from exc
    try:
        yield folder
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise CannotPublish(f"{base_path}: {exc.strerror}; nothing was published") from exc
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(base_path: Path) -> None:
    """Remove what a killed export left behind."""
    for left in base_path.glob(f"{STAGING}*"):
        pid = left.name.removeprefix(STAGING)
        if not pid.isdecimal() or not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


def publish(folder: Path, base_path: Path) -> Path:
    """Rename a finished version into place, never over another; returns where it is.  Raises CannotPublish."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # the name must not reach the disk before the bytes
    while True:
        target = base_path / str(next_version(base_path))
        try:
            folder.rename(target)  # fails on a version that is there: a directory that is not empty
            return target
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise CannotPublish(f"{target} could not be put in place: {exc.strerror}") from exc
