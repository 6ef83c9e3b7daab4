"""Loadtest: its command lines, without any server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, free_port

IN_THE_IMAGE = """
import runpy, sys
from pathlib import Path
sys.path[:] = [sys.argv.pop(1), *(folder for folder in sys.path if not (Path(folder) / "local").is_dir())]
runpy.run_module("loadtest", run_name="__main__", alter_sys=True)
"""


def test_a_given_target_is_tested_with_the_packages_of_the_image_only(tmp_path: Path) -> None:
    for package in ("digits", "loadtest"):
        (tmp_path / package).symlink_to(ROOT / package)

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", IN_THE_IMAGE, str(tmp_path), *flags]
        return subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False, timeout=60)

    given = run("--host", f"http://127.0.0.1:{free_port()}")
    assert (given.returncode, given.stderr.count("\n")) == (2, 1), given.stderr
    assert given.stderr.startswith("loadtest: nothing answers at http://127.0.0.1:")
    assert run().stderr == "loadtest: without an address a deployment is started here, and there is no package 'local'\n"
