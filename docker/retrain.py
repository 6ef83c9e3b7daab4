"""The trainer image's command: train into /runs, then publish under /models/digits.

The arguments go to the training, and --force to the export.  A run that was cut off goes on the next time; one that was
published does not: the next time begins anew.
"""

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


if not os.access(BASE_PATH, os.W_OK):  # said before an hour of training, not after
    sys.exit(f"retrain: {BASE_PATH} cannot be written to by user {os.getuid()}; see DIGITS_USER in .env.example")
force = [argument for argument in sys.argv[1:] if argument == "--force"]
code = step("training", "--out", str(OUT), "--resume", *(argument for argument in sys.argv[1:] if argument != "--force"))
if code:
    if code == 1:  # refused, not stopped
        print("retrain: if training cannot go on from what is there, remove the volume `runs`", file=sys.stderr)
    sys.exit(code)
code = step("export", "--model", str(OUT / "model.keras"), "--base-path", str(BASE_PATH), *force)
if not code:
    for history in OUT.glob("**/history.json"):  # with --seeds each network's lies in a folder of its own
        history.unlink()
sys.exit(code)
