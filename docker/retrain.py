"""The trainer image's command: train into /runs, then publish under /models/digits; the arguments go to the training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

OUT, BASE_PATH = Path("/runs/latest"), Path("/models/digits")


def step(*arguments: str) -> int:
    """Run a module; a signal to this process reaches it.  Returns its exit code."""
    process = subprocess.Popen([sys.executable, "-m", *arguments])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: process.send_signal(got))
    code = process.wait()
    return code if code >= 0 else 128 - code


if not os.access(BASE_PATH, os.W_OK):  # said before the hours of training, not after
    sys.exit(f"retrain: {BASE_PATH} cannot be written to by user {os.getuid()}; see DIGITS_USER in .env.example")
sys.exit(
    step("training", "--out", str(OUT), "--resume", *sys.argv[1:])
    or step("export", "--model", str(OUT / "model.keras"), "--base-path", str(BASE_PATH))
)
