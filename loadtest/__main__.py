"""`python -m loadtest [PROFILE]`: measure a deployment, ours or the one that --host names."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from digits.settings import BadSetting
from loadtest import hands, thresholds
from loadtest.kinds import GATEWAY, GRPC, KINDS, MAIN, REST
from loadtest.profiles import PROFILES
from loadtest.run import REPORTS, LoadTest, Options
from loadtest.target import NotThere

N = TypeVar("N", int, float)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m loadtest", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = out.add_argument
    amount, count = _within(float, "number", 0, 86_400), _within(int, "whole number", 1, 65_535)
    add(
        "profile",
        nargs="?",
        default="standard",
        choices=[name for name in PROFILES if name != "ceiling"],
        help="how the load goes",
    )
    add("--host", default="", metavar="URL", help="the gateway; without any address a deployment is started")
    add("--grpc", default="", metavar="HOST:PORT", help="the model server's gRPC API")
    add("--rest", default="", metavar="URL", help="the model server's REST API")
    add(
        "--kind",
        default="",
        choices=["", *KINDS],
        metavar="KIND",
        help=f"what the steps are made of: {', '.join(map(repr, KINDS))}; '': one drawing a request",
    )
    add(
        "--rate",
        type=amount,
        default=0.0,
        help="requests a second that the shares of a profile refer to; 0: a probe finds out",
    )
    add("--seconds", type=amount, default=0.0, help="of each step or hold; 0: the profile's own")
    add("--connections", type=count, default=64, help="requests that may be under way at once")
    add("--poisson", action="store_true", help="arrivals at random instead of evenly spaced")
    add("--drawings", type=count, default=hands.COUNT, help="different drawings to send")
    workers, some = out.add_mutually_exclusive_group().add_argument, _within(int, "whole number", 0, 1000)
    workers("--workers", type=some, default=0, help="generator processes on this machine, besides a master; 0: a single one")
    workers("--expect-workers", type=some, default=0, help="be the master of so many workers elsewhere, and wait for them")
    add("--master-port", type=count, default=5557, help="where workers find their master")
    add("--ceiling-seconds", type=amount, default=3.0, help="for measuring the generator itself; 0: do not")
    add("--thresholds", type=Path, default=thresholds.DEFAULT, help="what the run must keep")
    add("--reports", type=Path, default=REPORTS, help="folder of all reports")
    return out


def _within(kind: type[N], name: str, low: int, high: int) -> Callable[[str], N]:
    """Read a number within bounds."""

    def number(text: str) -> N:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"got {text}; wanted {low} to {high}")
        return value

    number.__name__ = name  # what argparse calls a text that is none
    return number


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 passed, 1 a threshold broken, 2 no target, a wrong setting or nowhere to write, 130 interrupted."""
    given = vars(parser().parse_args(arguments))
    door = next(
        (door for door, value in ((GATEWAY, given["host"]), (GRPC, given["grpc"]), (REST, given["rest"])) if value), GATEWAY
    )
    if not given["kind"]:
        given["kind"] = MAIN if door == GATEWAY else next(kind.name for kind in KINDS.values() if kind.door == door)
    try:
        given["thresholds"] = thresholds.load(given["thresholds"])
        return LoadTest(Options(**given), say=functools.partial(print, flush=True)).run()
    except (NotThere, BadSetting, thresholds.BadThresholds, OSError) as exc:
        print(f"loadtest: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
