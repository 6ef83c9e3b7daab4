"""Publishing is a rename: whole versions or none, whatever happens."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.publish import STAGING, CannotPublish, next_version, publish, staging, versions
from tests.conftest import ROOT


def test_numbers_only_grow(tmp_path: Path) -> None:
    for name in ("3", "12", "notes", "007x", str(2**63), "٣٤"):
        (tmp_path / name).mkdir()
    assert versions(tmp_path) == {3: tmp_path / "3", 12: tmp_path / "12"}
    assert next_version(tmp_path) == 13
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(CannotPublish, match="the highest number that a version can have"):
        next_version(tmp_path)


def test_a_staged_version_becomes_the_next_number(tmp_path: Path) -> None:
    with staging(tmp_path) as folder:
        (folder / "saved_model.pb").write_bytes(b"graph")
        assert not versions(tmp_path), "nothing that a server would take for a version"
        assert publish(folder, tmp_path) == tmp_path / "1"
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"graph"
    assert [child.name for child in tmp_path.iterdir()] == ["1"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), staging(tmp_path) as folder:
        folder.write_bytes(b"half")
    assert not list(tmp_path.iterdir())


def test_a_number_taken_meanwhile_is_never_overwritten(tmp_path: Path) -> None:
    with staging(tmp_path) as folder:
        (folder / "mine").touch()
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "theirs").touch()
        assert publish(folder, tmp_path) == tmp_path / "2"
    assert (tmp_path / "1" / "theirs").exists()


def test_a_missing_base_path_is_named() -> None:
    with pytest.raises(CannotPublish, match="there is no directory nowhere"), staging(Path("nowhere")):
        pass


def test_a_base_path_that_is_read_only_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)  # root may write anywhere, so the refusal is made up
    with pytest.raises(CannotPublish, match="cannot be written to: Read-only file system"), staging(tmp_path):
        pass


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CannotPublish, match="No space left on device; nothing was published"), staging(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_a_killed_export_is_swept_by_the_next(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from export.publish import staging\n"
        "with staging(Path(sys.argv[1])) as f: (f / 'half').touch(); print('staged', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"staged\n"
    process.kill()
    process.wait()
    process.stdout.close()
    left = list(tmp_path.glob(f"{STAGING}*"))
    assert len(left) == 1
    assert not versions(tmp_path)
    time.sleep(0.05)
    with staging(tmp_path) as mine:
        assert left[0] not in list(tmp_path.iterdir())
        with staging(tmp_path) as another:
            assert mine.is_dir(), "somebody is at work there"
            assert another != mine
