"""`python -m loadtest [PROFILE]`: measure a deployment, ours or the one that --host names."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from digits.settings import BadSetting
from loadtest import hands, thresholds
from loadtest.kinds import GATEWAY, GRPC, KINDS, MAIN, REST
from loadtest.profiles import PROFILES
from loadtest.run import REPORTS, LoadTest, Options
from loadtest.target import NotThere


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m loadtest", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = out.add_argument
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
        type=_positive,
        default=0.0,
        help="requests a second that the shares of a profile refer to; 0: a probe finds out",
    )
    add("--seconds", type=_positive, default=0.0, help="of each step or hold; 0: the profile's own")
    add("--connections", type=_count, default=64, help="requests that may be under way at once")
    add("--poisson", action="store_true", help="arrivals at random instead of evenly spaced")
    add("--drawings", type=_count, default=hands.COUNT, help="different drawings to send")
    add("--workers", type=int, default=0, help="generator processes on this machine, besides a master; 0: a single one")
    add("--expect-workers", type=int, default=0, help="be the master of so many workers elsewhere, and wait for them")
    add("--master-port", type=_count, default=5557, help="where workers find their master")
    add("--ceiling-seconds", type=_positive, default=3.0, help="for measuring the generator itself; 0: do not")
    add("--thresholds", type=Path, default=thresholds.DEFAULT, help="what the run must keep")
    add("--reports", type=Path, default=REPORTS, help="folder of all reports")
    return out


def _positive(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"got {text}; wanted 0 to 86400")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65_535:
        raise argparse.ArgumentTypeError(f"got {text}; wanted 1 to 65535")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 passed, 1 a threshold broken, 2 no target or a wrong setting, 130 interrupted."""
    given = vars(parser().parse_args(arguments))
    door = next(
        (door for door, value in ((GATEWAY, given["host"]), (GRPC, given["grpc"]), (REST, given["rest"])) if value), GATEWAY
    )
    if not given["kind"]:
        given["kind"] = MAIN if door == GATEWAY else next(kind.name for kind in KINDS.values() if kind.door == door)
    try:
        given["thresholds"] = thresholds.load(given["thresholds"])
        return LoadTest(Options(**given), say=functools.partial(print, flush=True)).run()
    except (NotThere, BadSetting, thresholds.BadThresholds) as exc:
        print(f"loadtest: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
