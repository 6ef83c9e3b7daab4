"""`python -m loadtest.bench`: every comparison bench in one table, each figure beside that of the run before.

A bench is a module `loadtest/bench_<name>.py` that, run with `--json FILE`, writes a list of figures:
{"name": "REST, 32 drawings", "value": 412.0, "unit": "drawings/s", "better": "higher"}; better is "higher" or "lower".
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from loadtest.generator import ROOT
from loadtest.machine import machine, versions
from loadtest.run import REPORTS

FOLDER = REPORTS / "bench"
SLOWER = 0.10
"""A figure worse by more than this share than in the run before is called slower: about what a busy machine varies."""
LIMIT_S = 900.0
WITH_PEERS = ("bench_gateway",)


class BenchFailed(Exception):
    """A bench ended badly or wrote something else than figures; the text says which and what."""


@dataclass(frozen=True)
class Figure:
    """One measured figure of a bench."""

    bench: str
    name: str
    value: float
    unit: str
    better: str

    def worse_than(self, before: float) -> float:
        """By what share this is worse than before; negative if it is better, infinite if nothing is left of it."""
        if before <= 0:
            return 0.0
        if self.better == "lower":
            return self.value / before - 1
        return before / self.value - 1 if self.value > 0 else math.inf


def benches() -> list[str]:
    """The names of all benches."""
    return sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))


def run(name: str, flags: Sequence[str] = ()) -> list[Figure]:
    """Run one bench and read its figures.  Raises BenchFailed."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "figures.json"
        command = [sys.executable, "-m", f"loadtest.{name}", "--json", str(out), *flags]
        try:
            code = subprocess.run(command, cwd=ROOT, timeout=LIMIT_S, check=False).returncode
        except subprocess.TimeoutExpired as exc:
            raise BenchFailed(f"{name} did not end within {LIMIT_S:.0f} s") from exc
        if code:
            raise BenchFailed(f"{name} ended with exit code {code}")
        try:
            return figures(name, json.loads(out.read_text(encoding="utf-8")))
        except (OSError, ValueError) as exc:
            raise BenchFailed(f"{name} wrote no figures: {exc}") from exc


def figures(bench: str, document: object) -> list[Figure]:
    """Read a bench's figures.  Raises BenchFailed."""
    try:
        if not isinstance(document, list) or not document:
            raise TypeError("no list")
        read = [Figure(bench, str(one["name"]), float(one["value"]), str(one["unit"]), str(one["better"])) for one in document]
        if any(one.better not in ("higher", "lower") for one in read):
            raise ValueError("better")
    except (KeyError, TypeError, ValueError) as exc:
        raise BenchFailed(
            f"{bench}: got {str(document)[:120]}; wanted a list of name, value, unit, better (higher or lower)"
        ) from exc
    return read


def table(now: Sequence[Figure], before: Mapping[tuple[str, str], float]) -> str:
    """All figures as Markdown, beside those of the run before."""
    rows = ["| bench | figure | now | before | |", "|---|---|---|---|---|"]
    for one in now:
        then = before.get((one.bench, one.name))
        told, mark = "–", ""
        if then is not None:
            told, worse = f"{then:,.4g}", one.worse_than(then)
            mark = (
                "**nothing is left**"
                if worse == math.inf
                else f"**slower by {100 * worse:.0f} %**"
                if worse > SLOWER
                else f"quicker by {-100 * worse:.0f} %"
                if worse < -SLOWER
                else "="
            )
        rows.append(f"| {one.bench.removeprefix('bench_')} | {one.name} | {one.value:,.4g} {one.unit} | {told} | {mark} |")
    return "\n".join(rows)


def previous(folder: Path) -> dict[tuple[str, str], float]:
    """The newest figures in a folder, by bench and name: a run may have been of one bench only."""
    newest: dict[tuple[str, str], float] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            newest |= {(one["bench"], one["name"]): float(one["value"]) for one in document["figures"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return newest


def main(arguments: list[str] | None = None) -> int:
    """Run, print, save; 1 if a bench failed or, with --strict, if a figure is slower than before; 2 if there is no bench."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="benches to run; all without any")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the runs are kept")
    parser.add_argument(
        "--peers", help="Python of the environment with the `peers` extra, for the benches that compare with others"
    )
    parser.add_argument(
        "--strict", action="store_true", help=f"fail if a figure is more than {100 * SLOWER:.0f} %% slower than before"
    )
    options = parser.parse_args(arguments)
    chosen = [f"bench_{name.removeprefix('bench_')}" for name in options.names] or benches()
    if not chosen or set(chosen) - set(benches()):
        print(f"loadtest.bench: got {chosen}; there are {benches()}", file=sys.stderr)
        return 2
    now: list[Figure] = []
    failed = []
    for name in chosen:
        print(f"— {name}", flush=True)
        try:
            now += run(name, ["--peers", options.peers] if options.peers and name in WITH_PEERS else [])
        except BenchFailed as exc:
            failed.append(str(exc))
    before = previous(options.folder)
    print(table(now, before))
    for why in failed:
        print(f"loadtest.bench: {why}", file=sys.stderr)
    if now:
        options.folder.mkdir(parents=True, exist_ok=True)
        path = options.folder / f"{datetime.now():%Y-%m-%d_%H-%M-%S}.json"
        document = {"machine": machine(), "versions": versions(), "figures": [asdict(one) for one in now]}
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        print(f"saved: {path}")
    slower = [one for one in now if (then := before.get((one.bench, one.name))) and one.worse_than(then) > SLOWER]
    return 1 if failed or (options.strict and slower) else 0


if __name__ == "__main__":
    sys.exit(main())
