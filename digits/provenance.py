"""Which code made something, and with which libraries."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent


def git_commit() -> str:
    """This checkout's commit, with a plus if it has changes; empty outside a checkout."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    return commit + ("+" if commit and _git("status", "--porcelain") else "")


def installed(names: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are here."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=HERE)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
