"""A publication is a rename: a server that polls sees a whole version or none."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from digits.errors import ArtifactError

STAGING = ".staging-"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class CannotPublish(ArtifactError):
    """The base path cannot take another version."""


MAX_VERSION = 2**63 - 1
"""A model server's versions are int64."""


def versions(base_path: Path) -> dict[int, Path]:
    """Published versions by number, ascending."""
    return dict(sorted((number, child) for number, child in _numbered(base_path) if child.is_dir()))


def next_version(base_path: Path) -> int:
    """One more than the highest number ever seen there; numbers only grow.  Raises CannotPublish after the last."""
    highest = max((number for number, _ in _numbered(base_path)), default=0)
    if highest == MAX_VERSION:
        raise CannotPublish(f"{base_path} holds {highest}, the highest number that a version can have")
    return highest + 1


def _numbered(base_path: Path) -> list[tuple[int, Path]]:
    """Whatever has a version's name."""
    named = [child for child in base_path.iterdir() if child.name.isdecimal() and child.name.isascii()]
    return [(int(child.name), child) for child in named if int(child.name) <= MAX_VERSION]


@contextmanager
def staging(base_path: Path) -> Iterator[Path]:
    """A folder beside the versions, under a name no server takes for one; gone afterwards.

    A lock on it, which the system lets go of when its holder ends, tells other exports that somebody is at work there.
    Raises CannotPublish for a base path that is missing, read-only or full.
    """
    check(base_path)
    try:
        _sweep(base_path)
        folder = Path(tempfile.mkdtemp(prefix=STAGING, dir=base_path))
        folder.chmod(0o755)
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as exc:
        raise CannotPublish(f"{base_path} cannot be written to: {exc.strerror}") from exc
    try:
        yield folder
    except OSError as exc:
        if exc.errno in NO_ROOM:
            raise CannotPublish(f"{base_path}: {exc.strerror}; nothing was published") from exc
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def check(base_path: Path) -> None:
    """Raises CannotPublish unless the base path is a directory."""
    if not base_path.is_dir():
        raise CannotPublish(f"there is no directory {base_path}; make it first, or check the spelling of --base-path")


def _sweep(base_path: Path) -> None:
    """Remove what a killed export left behind."""
    for left in base_path.glob(f"{STAGING}*"):
        with suppress(OSError):  # somebody is at work there, or was quicker
            lock = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


def publish(folder: Path, base_path: Path) -> Path:
    """Rename a finished version into place, never over another; returns where it is.  Raises CannotPublish."""
    for path in [*sorted(folder.rglob("*"), reverse=True), folder]:  # the name must not reach the disk before the bytes
        _to_disk(path)
    while True:
        target = base_path / str(next_version(base_path))
        try:
            folder.rename(target)  # fails on a version that is there: a directory that is not empty
            _to_disk(base_path)
            return target
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise CannotPublish(f"{target} could not be put in place: {exc.strerror}") from exc


def _to_disk(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
