"""`python -m training`: MNIST → model.keras, report.json and report.html."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # 1.4 × the images a second at batch 256 on AVX2

from digits.errors import DataUnavailable
from digits.provenance import git_commit

if TYPE_CHECKING:
    from training.recipe import Recipe


AGAIN_S = 1.0
STOPPED = 128 + signal.SIGINT
"""The exit code after Ctrl-C: 128 + SIGINT, as a shell reports a process that died of it."""


def say(text: str) -> None:
    """Progress goes to stdout at once, also through a pipe."""
    print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Train; 0 done, 1 data missing, a checkpoint or teacher that does not fit, or nowhere to write, 2 usage, STOPPED."""
    parser = _options()
    options = parser.parse_args(arguments)
    if options.seed + options.seeds > 2**32:
        parser.error(f"--seed {options.seed} --seeds {options.seeds}; wanted seeds below {2**32:,}")
    with raised_until_heard() as pressed:
        try:
            from training.distil import NotATeacher
            from training.fit import CannotResume

            try:
                return _train(options)
            except (DataUnavailable, CannotResume, NotATeacher, OSError) as exc:
                if pressed():
                    raise
                print(f"training: {exc}", file=sys.stderr)
                return 1
        except BaseException:
            if not pressed():
                raise
        print("training: stopped; --resume goes on from the last checkpoint, if there is one", file=sys.stderr)
        return STOPPED


@contextmanager
def raised_until_heard() -> Iterator[Callable[[], bool]]:
    """Have Ctrl-C raise KeyboardInterrupt again every second; yields what tells, and so hears, whether it was pressed.

    Once is not enough: of 100 that came while libraries were loaded or functions traced one or two were caught there, and the run
    trained on or failed with something else.
    """
    times = 0

    def interrupt(*_: object) -> None:
        nonlocal times
        times += 1
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        raise KeyboardInterrupt

    def pressed() -> bool:
        if times:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed twice, it means the same
            signal.setitimer(signal.ITIMER_REAL, 0)
        return times > 0

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield pressed  # SIGINT is ignored, as behind nohup, or somebody else's
        return
    alarm = signal.signal(signal.SIGALRM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield pressed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        signal.signal(signal.SIGINT, signal.SIG_IGN if times else before)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, help="MNIST as an .npz; without it Keras downloads it")
    parser.add_argument("--drawings", type=Path, help="file of pen digits to report on (never trained on)")
    parser.add_argument(
        "--out", type=Path, help="folder for checkpoints, model and report: runs/latest, or runs/smoke with --limit"
    )
    parser.add_argument(
        "--network", choices=["lenet5_v2", "residual"], default="lenet5_v2", help="the served network or its teacher"
    )
    parser.add_argument("--epochs", type=_at_least(1), help="instead of the recipe's")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], help="instead of the recipe's")
    parser.add_argument("--limit", type=_at_least(20), metavar="N", help="smoke run: N images of each part, N drawn each epoch")
    parser.add_argument("--seed", type=_at_least(0), default=1, metavar="N", help="of all that is drawn by lot (default: 1)")
    parser.add_argument(
        "--seeds", type=_at_least(1), default=1, metavar="N", help="train N networks, seeds seed … seed+N-1; the first is kept"
    )
    parser.add_argument(
        "--teachers", type=Path, nargs="+", default=[], metavar="KERAS", help="distil these networks' mean answer"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number, not too small and of 32 bits."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value < 2**32:
            raise argparse.ArgumentTypeError(f"{value}; wanted a whole number from {least}")
        return value

    number.__name__ = "whole number"
    return number


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe with the command line's changes; a run of other length keeps its parts' shares."""
    from training.recipe import Recipe

    recipe = Recipe.teacher() if options.network == "residual" else Recipe()
    changes: dict[str, Any] = {}
    if options.epochs is not None:
        recipe = recipe.lasting(options.epochs)
    if options.precision:
        changes["precision"] = options.precision
    if options.limit is not None:
        changes["epoch_images"] = changes["synthetic_images"] = options.limit
    return dataclasses.replace(recipe, **changes)


def _train(options: argparse.Namespace) -> int:
    import keras

    from digits import drawings
    from training import data, files, fit, lessons, pools, report
    from training.batches import Fresh, Source
    from training.distil import Teachers

    out = options.out or Path("runs/smoke" if options.limit else "runs/latest")
    out.mkdir(parents=True, exist_ok=True)
    files.sweep(out)
    commit = git_commit()  # of the code that trains, whatever happens to the checkout meanwhile
    mnist = data.load(options.data)
    if options.drawings:
        drawings.load(options.drawings)  # said now, not after an hour
    if options.limit:
        mnist = mnist.limited(options.limit)
    statistics = data.statistics(mnist.train_images)
    recipe = recipe_of(options)
    sizes = f"{len(mnist.train_images):,} digits to learn from, {len(mnist.held_images):,} held out"
    say(f"{sizes}; Keras {keras.__version__} on {keras.backend.backend()}")
    teachers = Teachers.load(options.teachers, recipe.precision, recipe.teacher_temperature) if options.teachers else None
    pool = pools.build(mnist, recipe.synthetic_images, options.seed, out / "pools.npz", say)
    source: Source = Fresh(pool, recipe)
    if teachers is not None:
        say(f"teachers: {', '.join(map(str, options.teachers))}")
        source = lessons.build(pool, recipe, statistics, teachers, options.seed, out / "lessons", say)
    seeds = range(options.seed, options.seed + options.seeds)
    reports = []
    for seed in seeds:
        folder = out if len(seeds) == 1 else out / f"seed-{seed}"
        say(f"seed {seed} → {folder}")
        trained = fit.train(recipe, mnist, source, statistics, seed, folder, commit, options.resume, say)
        say(f"measuring seed {seed} and writing its report")
        written = report.write(trained, recipe, mnist, statistics, seed, folder, options.drawings, source, options.limit)
        reports.append(written["figures"])
        reached = f"MNIST test {100 * reports[-1]['mnist_test']:.2f} %, held out {100 * reports[-1]['held_out']:.2f} %"
        say(f"seed {seed}: {reached}; {folder}/report.html")
    if len(seeds) > 1:
        _compare_seeds(reports, out, seeds)
    return 0


def _compare_seeds(reports: list[dict[str, Any]], out: Path, seeds: range) -> None:
    """Write seeds.json, and keep the first seed's files in `out`: chosen before anything was known of it."""
    import numpy as np

    from training import files

    figures: dict[str, list[float]] = {"MNIST test": [one["mnist_test"] for one in reports]}
    figures["held out"] = [one["held_out"] for one in reports]
    for name in reports[0]["drawings"]:
        figures[f"pen drawings, {name}"] = [one["drawings"][name] for one in reports]
    summary = {}
    for name, values in figures.items():
        mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
        summary[name] = {"each": values, "mean": mean, "deviation": deviation}
        say(f"{len(seeds)} seeds, {name}: {100 * mean:.3f} ± {100 * deviation:.3f} %")
    with files.whole(out / "seeds.json") as scratch:
        scratch.write_text(json.dumps({"seeds": list(seeds), "figures": summary}, indent=1) + "\n")
    first = out / f"seed-{seeds[0]}"
    for path in [first / "model.keras", *sorted(first.glob("report*"), key=lambda path: path.name == "report.json")]:
        with files.whole(out / path.name) as scratch:
            shutil.copyfile(path, scratch)


if __name__ == "__main__":
    sys.exit(main())
