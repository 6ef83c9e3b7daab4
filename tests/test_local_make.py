"""The Makefile: whom the load test is aimed at, and that every target is one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT


def would_run(*arguments: str, **environment: str) -> str:
    """What make would run."""
    if not shutil.which("make"):
        pytest.skip("needs make")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # `make test` leaves its own there
    done = subprocess.run(
        ["make", "-n", *arguments], cwd=ROOT, env={**bare, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("target", ["loadtest", "loadtest-ui"])
def test_load_test_is_aimed_by_what_make_is_told_not_by_the_name_that_a_shell_exports(target: str) -> None:
    assert "--host" not in would_run(target, HOST="myhost")
    assert "--host http://10.0.0.7:8080" in would_run(target, HOST="http://10.0.0.7:8080")
    assert "--host http://10.0.0.7:8080" in would_run(target, "HOST=http://10.0.0.7:8080", HOST="myhost")
    assert "--host" not in would_run(target, "HOST=", HOST="myhost")


def test_phony_targets_are_those_that_help_lists() -> None:
    text = (ROOT / "Makefile").read_text()
    named = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()
    assert sorted(named) == sorted(re.findall(r"^([a-z0-9-]+):.*## ", text, re.MULTILINE))
