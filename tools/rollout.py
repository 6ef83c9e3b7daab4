"""Move the labels `stable` and `canary` between published versions, by editing serving/models.config.

    python tools/rollout.py show
    python tools/rollout.py canary 3      # try version 3 on the canary's share of the drawings
    python tools/rollout.py promote 3     # all drawings; the version left behind is remembered as `previous`
    python tools/rollout.py rollback      # a canary that is tried goes back to `stable`; else `stable` goes back to `previous`

Every published version stays loaded, so a rollback acts at once.  One that gave up a canary leaves `stable` where it is; a second
takes that back as well.  The file is replaced in one step and the server, which reads it again every few seconds, takes it whole
or not at all.  With --server the version is checked before and the answer's version after; a rollback is written even while the
server is down, and says that it was not verified.  `--config -` reads the text from stdin and writes it to stdout, for a
ConfigMap.  0 done, 1 refused or not seen to act, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digits import contract as c
from digits.client import PredictClient
from digits.errors import DigitsError, ModelNotFound, ServingError

CONFIG = Path(__file__).resolve().parents[1] / "serving" / "models.config"
STABLE, CANARY, PREVIOUS = "stable", "canary", "previous"
TIMEOUT_S = 30.0
Labels = dict[str, int]

_LABEL = re.compile(r'^([ \t]*)version_labels \{ key: "([^"]+)" value: (\d+) \}\n', re.MULTILINE)


class Refused(Exception):
    """The move cannot be made; the text says why."""


def labels(config: str) -> Labels:
    """The version that each label names.  Raises Refused for a text without `stable`."""
    found = {name: int(version) for _, name, version in _LABEL.findall(config)}
    if STABLE not in found:
        raise Refused('found no line `version_labels { key: "stable" value: … }` to edit')
    return found


def with_labels(config: str, wanted: Labels) -> str:
    """Return the text with these labels where the old ones stood; all else, comments too, stays."""
    first = _LABEL.search(config)
    if first is None:
        raise Refused('found no line `version_labels { key: "stable" value: … }` to edit')
    lines = "".join(f'{first[1]}version_labels {{ key: "{name}" value: {version} }}\n' for name, version in wanted.items())
    return config[: first.start()] + lines + _LABEL.sub("", config[first.start() :])


def label_of(now: Labels, action: str) -> str:
    """The label that an action is about: a rollback gives up the canary first, where one is tried."""
    tried = now.get(CANARY, now[STABLE]) != now[STABLE]
    return CANARY if action == "canary" or (action == "rollback" and tried) else STABLE


def remark(now: Labels, action: str) -> str:
    """What a rollback that gave up a canary leaves; empty for any other move."""
    if action != "rollback" or label_of(now, action) == STABLE:
        return ""
    further = f"; a second rollback takes it to version {now[PREVIOUS]}" if PREVIOUS in now else ""
    return f"gave up the canary, version {now[CANARY]}; stable stays at version {now[STABLE]}{further}"


def moved(now: Labels, action: str, version: int | None) -> Labels:
    """The labels after canary, promote or rollback.  Raises Refused for a rollback to nowhere."""
    if action == "rollback":
        if label_of(now, action) == CANARY:
            return {**now, CANARY: now[STABLE]}
        if PREVIOUS not in now:
            raise Refused("there is no `previous` version: nothing has been promoted yet")
        version = now[PREVIOUS]
    if version is None:
        raise Refused(f"{action} needs a version")
    if action == "canary":
        return {**now, CANARY: version}
    after = {**now, STABLE: version, CANARY: version}
    if version != now[STABLE]:
        after[PREVIOUS] = now[STABLE]
    return after


def replace(path: Path, text: str) -> None:
    """Put a file in the place of another in one step: a reader sees the old text or the new."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), path.stat().st_mode)
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_available(client: PredictClient, version: int) -> None:
    """Raise Refused unless the server answers for the version."""
    seen = {one.version: one for one in client.versions(TIMEOUT_S)}
    one = seen.get(version)
    if one is None or not one.available:
        known = ", ".join(str(number) for number in sorted(seen) if seen[number].available) or "none"
        why = f" ({one.error})" if one is not None and one.error else ""
        raise Refused(f"version {version} is not available{why}; available: {known}")


def checked(client: PredictClient, action: str, version: int) -> str:
    """What could not be verified, or nothing.  Raises Refused as check_available does; a ServingError unless it is a rollback."""
    try:
        check_available(client, version)
    except ServingError as exc:
        if action != "rollback":
            raise
        return f"not verified: the server does not answer ({exc})"  # it may be down because of what is rolled back
    return ""


def wait_until_served(client: PredictClient, label: str, version: int) -> float:
    """Ask by label until that version answers; returns the seconds it took.  Raises Refused after TIMEOUT_S."""
    paper = np.zeros((1, c.IMAGE_PX, c.IMAGE_PX), np.uint8)
    began, got = time.monotonic(), "no answer"
    while time.monotonic() < began + TIMEOUT_S:
        try:
            answered = client.predict(paper, 2.0, label=label).version
            if answered == version:
                return time.monotonic() - began
            got = f"version {answered}"
        except ModelNotFound:
            got = "no such label"
        except ServingError as exc:
            got = str(exc)
        time.sleep(0.1)
    asked = f"after {TIMEOUT_S:.0f} s `{label}` still gives {got}"
    raise Refused(f"the labels are written; {asked}; does the server run, read this file, and poll it?")


def main(arguments: list[str] | None = None) -> int:
    """Do what the module's docstring says."""
    parser = argparse.ArgumentParser(prog="rollout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["show", "canary", "promote", "rollback"])
    parser.add_argument("version", type=int, nargs="?")
    parser.add_argument("--config", default=str(CONFIG), metavar="FILE", help="the model configuration, or -")
    parser.add_argument("--server", metavar="HOST:PORT", help="its gRPC API: check before, wait after")
    options = parser.parse_args(arguments)
    if (options.version is None) == (options.action in ("canary", "promote")):
        parser.error(f"{options.action} takes {'a' if options.version is None else 'no'} version")
    try:
        return _move(options)
    except (Refused, DigitsError, OSError) as exc:
        print(f"rollout: {exc}", file=sys.stderr)
        return 1


def _move(options: argparse.Namespace) -> int:
    piped = options.config == "-"
    text = sys.stdin.read() if piped else Path(options.config).read_text()
    say = sys.stderr if piped else sys.stdout
    now = labels(text)
    if options.action == "show":
        print(", ".join(f"{name} {version}" for name, version in now.items()), file=say)
        return 0
    after = moved(now, options.action, options.version)
    label = label_of(now, options.action)
    client = PredictClient(options.server) if options.server else None
    warning = checked(client, options.action, after[label]) if client else ""
    if piped:
        sys.stdout.write(with_labels(text, after))
    else:
        replace(Path(options.config), with_labels(text, after))
    print(", ".join(f"{name} {version}" for name, version in after.items()), file=say)
    if said := remark(now, options.action):
        print(said, file=say)
    if warning:
        print(f"rollout: {warning}", file=sys.stderr)
    if client and not piped:
        took_s = wait_until_served(client, label, after[label])
        print(f"{label} answers with version {after[label]} after {took_s:.1f} s", file=say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
