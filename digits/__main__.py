"""`python -m digits`: read digits in files, or print the settings."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from digits import cli_output, settings
from digits.cli_sources import STDIN, VIAS, Reading, read_all
from digits.client import LONGEST_S

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
DONE, SOME_NOT = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0: all read and written, 1: some were not, 2: usage."""
    parser = argparse.ArgumentParser(prog="python -m digits", description="Read handwritten digits.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("settings", help="print the settings as a table")
    predict = commands.add_parser("predict", help="read the digit in each picture")
    wanted = "pictures, folders of them, or - for stdin"
    predict.add_argument("paths", nargs="+", type=_path, metavar="FILE-OR-FOLDER", help=wanted)
    predict.add_argument("--via", choices=sorted(VIAS), default="grpc", help="whom to ask (default: the model server by gRPC)")
    predict.add_argument("--address", help="host:port, or the gateway's URL; the default fits `make run`")
    predict.add_argument("--format", choices=sorted(cli_output.FORMATS), default="table", help="of the answers (default: table)")
    predict.add_argument("--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="for each call (default: 10)")
    chosen = parser.parse_args(arguments)
    if sys.stdout is None:
        parser.error("standard output is closed")
    if chosen.command == "settings":
        return DONE if _written(lambda: print(settings.table())) else SOME_NOT
    files = _files(chosen.paths)
    readings: list[Reading] = []
    show = sys.stderr.isatty() and len(files) > 20
    for reading in read_all(files, VIAS[chosen.via](chosen.address, chosen.timeout)):
        readings.append(reading)
        if show:
            print(f"\r{len(readings)} of {len(files)}", end="", file=sys.stderr, flush=True)
    if show:
        print(file=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
    written = _written(lambda: cli_output.FORMATS[chosen.format](readings, sys.stdout))
    return DONE if written and not any(one.error for one in readings) else SOME_NOT


def _written(write: Callable[[], None]) -> bool:
    """Write to standard output; whether it took everything, or whoever reads it has seen enough, as `head` has."""
    try:
        write()
        sys.stdout.flush()
    except OSError as exc:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would be tried again at the exit
        if not isinstance(exc, BrokenPipeError):
            print(f"digits: standard output: {exc}", file=sys.stderr)
            return False
    return True


def _path(text: str) -> Path:
    if not text:  # an unset variable of a script's; to Path it is the current folder, which nobody asked to send
        raise argparse.ArgumentTypeError("got an empty path; wanted a file, a folder, or - for stdin")
    return STDIN if text == "-" else Path(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"got {text}; wanted a time in seconds, above 0 and at most {LONGEST_S:,.0f}")
    return seconds


def _files(paths: Sequence[Path]) -> list[Path]:
    """Every picture, those in folders by name; a path that leads to none as it is, to be told when it is read."""
    files = []
    for path in paths:
        try:
            walk = path.rglob("*") if path.is_dir() else ()
            inside = sorted(one for one in walk if one.suffix.lower() in SUFFIXES and _may_be_read(one))
        except OSError:  # a name that is too long, a folder that may not be looked into
            inside = []
        files += inside or [path]
    return files


def _may_be_read(path: Path) -> bool:
    """Whether it is a file, or a link that leads nowhere, which is told when it is read."""
    return path.is_file() or (path.is_symlink() and not path.exists())


if __name__ == "__main__":
    sys.exit(main())
