"""Which code made something."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def git_commit() -> str:
    """This checkout's commit, with a plus if it has changes; empty outside a checkout."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    return commit + ("+" if commit and _git("status", "--porcelain") else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=HERE)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
