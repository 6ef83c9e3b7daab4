"""Every recorded exchange with TensorFlow Serving 2.20.0, replayed against the embedded server."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.replay import Replay

WAITING = ("lifecycle", "lifecycle-config", "reload", "process")  # mostly sleep, so they are replayed beside the others


@pytest.fixture(scope="module")
def recorded(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The transcripts, and the models that their own script makes."""
    transcripts = shared / "spec" / "tfs-transcripts"
    if not transcripts.is_dir():
        pytest.skip("needs the transcripts beside the project (spec/tfs-transcripts)")
    models = tmp_path_factory.mktemp("recorded")
    maker = [sys.executable, str(transcripts / "make_model.py"), str(models)]
    made = subprocess.run(maker, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
    return transcripts, models


def test_every_recorded_answer_is_given_again(recorded: tuple[Path, Path]) -> None:
    names = Replay(*recorded).groups()
    assert set(WAITING) < set(names)
    quick = [name for name in names if name not in WAITING]

    def replay(groups: list[str]) -> Replay:
        run = Replay(*recorded)
        run.run(groups)
        return run

    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(replay, [quick, *([name] for name in WAITING)]))
    assert [difference for run in runs for difference in run.differences] == []
    assert sum(run.steps for run in runs) > 900
