"""`python -m training`: MNIST → model.keras, report.json and report.html."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # 1.4 × the images a second at batch 256 on AVX2

import numpy as np

from digits.errors import DataUnavailable

if TYPE_CHECKING:
    from training.recipe import Recipe


def say(text: str) -> None:
    """Progress goes to stdout at once, also through a pipe."""
    print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Train; 0 done, 1 data missing, or a checkpoint or teacher that does not fit, 2 usage."""
    options = _options().parse_args(arguments)
    from training.distil import NotATeacher
    from training.fit import CannotResume

    try:
        return _train(options)
    except (DataUnavailable, CannotResume, NotATeacher) as exc:
        print(f"training: {exc}", file=sys.stderr)
        return 1


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, help="MNIST as an .npz; without it Keras downloads it")
    parser.add_argument("--drawings", type=Path, help="file of pen digits to report on (never trained on)")
    parser.add_argument("--out", type=Path, default=Path("runs/latest"), help="folder for checkpoints, model and report")
    parser.add_argument(
        "--network", choices=["lenet5_v2", "residual"], default="lenet5_v2", help="the served network or its teacher"
    )
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], help="instead of the recipe's")
    parser.add_argument("--limit", type=int, metavar="N", help="smoke run: N images of each part, N drawn each epoch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="train N networks, seeds seed … seed+N-1; the first is kept"
    )
    parser.add_argument(
        "--teachers", type=Path, nargs="+", default=[], metavar="KERAS", help="distil these networks' mean answer"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    return parser


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe with the command line's changes."""
    from training.recipe import Recipe

    changes: dict[str, Any] = {}
    if options.epochs:
        changes["epochs"] = options.epochs
    if options.precision:
        changes["precision"] = options.precision
    if options.limit:
        changes["epoch_images"] = changes["synthetic_images"] = options.limit
    return dataclasses.replace(Recipe.teacher() if options.network == "residual" else Recipe(), **changes)


def _train(options: argparse.Namespace) -> int:
    import keras

    from training import data, fit, lessons, pools, report
    from training.batches import Fresh, Source
    from training.distil import Teachers

    mnist = data.load(options.data)
    if options.limit:
        mnist = mnist.limited(options.limit)
    statistics = data.statistics(mnist.train_images)
    recipe = recipe_of(options)
    sizes = f"{len(mnist.train_images):,} digits to learn from, {len(mnist.held_images):,} held out"
    say(f"{sizes}; Keras {keras.__version__} on {keras.backend.backend()}")
    pool = pools.build(mnist, recipe.synthetic_images, options.seed, options.out / "pools.npz", say)
    source: Source = Fresh(pool, recipe)
    if options.teachers:
        teachers = Teachers.load(options.teachers, recipe.precision, recipe.teacher_temperature)
        say(f"teachers: {', '.join(map(str, options.teachers))}")
        source = lessons.build(pool, recipe, statistics, teachers, options.seed, options.out / "lessons", say)
    seeds = range(options.seed, options.seed + options.seeds)
    accuracies = []
    for seed in seeds:
        folder = options.out if len(seeds) == 1 else options.out / f"seed-{seed}"
        say(f"seed {seed} → {folder}")
        model, history = fit.train(recipe, mnist, source, statistics, seed, folder, options.resume, say)
        written = report.write(model, history, recipe, mnist, statistics, seed, folder, options.drawings, source.teachers)
        figures = written["figures"]
        accuracies.append(figures["mnist_test"])
        reached = f"MNIST test {100 * accuracies[-1]:.2f} %, held out {100 * figures['held_out']:.2f} %"
        say(f"seed {seed}: {reached}; {folder}/report.html")
    if len(seeds) > 1:
        _compare_seeds(accuracies, options.out, seeds)
    return 0


def _compare_seeds(accuracies: list[float], out: Path, seeds: range) -> None:
    mean, deviation = float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))
    say(f"{len(seeds)} seeds: MNIST test {100 * mean:.3f} ± {100 * deviation:.3f} %")
    summary = {"seeds": list(seeds), "mnist_test": accuracies, "mean": mean, "deviation": deviation}
    (out / "seeds.json").write_text(json.dumps(summary, indent=1) + "\n")
    for name in ("model.keras", "report.json", "report.html"):
        (out / name).write_bytes((out / f"seed-{seeds[0]}" / name).read_bytes())


if __name__ == "__main__":
    sys.exit(main())
