"""fetch.sh brings whole versions out of the bucket: rclone is a folder here, and may fail halfway."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import manifests as m
from tests.lab import until

FETCH = m.K8S / "components" / "model-from-bucket" / "fetch.sh"
RCLONE = """#!/bin/sh
# lsf lists, copy copies; while the file `broken` is there, copy ends after the first file
set -eu
case $1 in
  lsf) [ "$2" != --dirs-only ] || shift; [ ! -e "$BUCKET/away" ] && ls "$BUCKET/${2#bucket:}" ;;
  copy) mkdir -p "$4"; cp "$BUCKET/${3#bucket:}/saved_model.pb" "$4"
        if [ -e "$BUCKET/broken" ]; then echo "rclone: connection reset" >&2; exit 1; fi
        cp "$BUCKET/${3#bucket:}/fingerprint.pb" "$4" ;;
esac
"""


class Bucket:
    """Versions in a folder, and the volume that they are brought to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.volume, self._programs = folder / "bucket", folder / "volume", folder / "bin"
        self.log = folder / "log"
        for one in (self.folder / "digits", self.volume, self._programs):
            one.mkdir(parents=True)
        for name, text in (("rclone", RCLONE), ("sleep", "#!/bin/sh\nexec /bin/sleep 0.05\n")):  # a minute is long
            (self._programs / name).write_text(text)
            (self._programs / name).chmod(0o755)

    def upload(self, version: str, *names: str) -> None:
        """Put files of a version there."""
        (self.folder / "digits" / version).mkdir(exist_ok=True)
        for name in names:
            (self.folder / "digits" / version / name).write_text(name)

    def start(self, how: str) -> subprocess.Popen[bytes]:
        """Run the script as the containers do."""
        environment = {
            **os.environ, "PATH": f"{self._programs}:{os.environ['PATH']}", "BUCKET": str(self.folder),
            "MODEL_SOURCE": "bucket:digits", "MODEL_FOLDER": str(self.volume),
        }  # fmt: skip
        with self.log.open("wb") as out:
            return subprocess.Popen(["sh", str(FETCH), how], env=environment, stdout=out, stderr=out)

    def once(self) -> int:
        """Its exit code as an init container."""
        return self.start("once").wait(10)

    def served(self) -> list[str]:
        """What a model server would see."""
        return sorted(path.name for path in self.volume.iterdir() if path.name.isdigit())


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    """One whole version, one on its way, and a folder that is none."""
    if not shutil.which("sh"):
        pytest.skip("needs sh")
    made = Bucket(tmp_path)
    made.upload("1", "saved_model.pb", "fingerprint.pb")
    made.upload("2", "saved_model.pb")
    made.upload("old", "saved_model.pb", "fingerprint.pb")
    return made


def test_a_pod_starts_with_every_version_that_is_whole(bucket: Bucket) -> None:
    assert bucket.once() == 0
    assert bucket.served() == ["1"]
    assert sorted(path.name for path in (bucket.volume / "1").iterdir()) == ["fingerprint.pb", "saved_model.pb"]


@pytest.mark.parametrize("fault", ["broken", "away"])
def test_a_pod_does_not_start_without_a_whole_version(bucket: Bucket, fault: str) -> None:
    (bucket.folder / fault).touch()
    assert bucket.once() != 0
    assert bucket.served() == []


def test_a_version_that_came_by_half_is_fetched_again_and_never_seen(bucket: Bucket) -> None:
    assert bucket.once() == 0
    (bucket.folder / "broken").touch()
    bucket.upload("2", "fingerprint.pb")
    watch = bucket.start("always")
    try:
        until(lambda: "trying again" in bucket.log.read_text(), 10, "the failure is said")
        assert "connection reset" in bucket.log.read_text()
        assert bucket.served() == ["1"]
        (bucket.folder / "broken").unlink()
        until(lambda: bucket.served() == ["1", "2"], 10, "the version came")
        assert (bucket.volume / "2" / "fingerprint.pb").exists()
    finally:
        watch.terminate()
        watch.wait(10)
