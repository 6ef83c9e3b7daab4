"""The thresholds of a run, from one file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

DEFAULT = Path(__file__).with_name("thresholds.toml")


class BadThresholds(Exception):
    """The file is not as it must be; the text says what was got and what was wanted."""


@dataclass(frozen=True)
class Thresholds:
    """Limits by section and name of the file: `quiet_p95_ms` is p95_ms under [quiet]."""

    answers_wrong_digits: float
    answers_misread_percent: float
    quiet_p95_ms: float
    quiet_p99_ms: float
    below_knee_failures_percent: float
    knee_p99_ms: float
    knee_min_drawings_per_second: float


def load(path: Path = DEFAULT) -> Thresholds:
    """Read a file; every limit must be there and nothing else.  Raises BadThresholds."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise BadThresholds(f"{path}: {exc}") from exc
    values: dict[str, float] = {}
    for section, content in document.items():
        if not isinstance(content, dict):
            raise BadThresholds(f"{path}: {section}: got {content!r} outside any section; wanted limits like [quiet] p95_ms")
        for name, value in content.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:  # nor NaN
                raise BadThresholds(f"{path}: [{section}] {name}: got {value!r}; wanted a number, 0 or more")
            values[f"{section}_{name}"] = float(value)
    wanted = {entry.name for entry in fields(Thresholds)}
    if set(values) != wanted:
        raise BadThresholds(f"{path}: missing {sorted(wanted - set(values))}, unknown {sorted(set(values) - wanted)}")
    return Thresholds(**values)
