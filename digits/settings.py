"""Settings from the environment: one frozen dataclass a stage, one table for code, command line and docs.

A field made with `setting()` is read from `DIGITS_<FIELD>`.  A value that does not parse stops the
process at start and names the variable.  Nothing reads the environment at import.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

PREFIX = "DIGITS_"
T = TypeVar("T")


_ORIGIN = r"\s*(?:\*|null|[a-z][a-z0-9+.-]*://[^\s,/]+/?|)\s*"
_ORIGINS = f"{_ORIGIN}(?:,{_ORIGIN})*"


class BadSetting(Exception):
    """An environment variable holds what it must not."""


def setting(
    default: Any, unit: str, help: str, low: float | None = None, high: float | None = None, pattern: str = ".*"
) -> Any:  # fmt: skip
    """Declare one setting.  low, high: bounds of a number, inclusive; pattern: what a text must match as a whole."""
    return field(default=default, metadata={"unit": unit, "help": help, "low": low, "high": high, "pattern": pattern})


@dataclass(frozen=True)
class LocalSettings:
    """`make run`: both tiers on this machine."""

    web_port: int = setting(8080, "port", "where the page answers", 1, 65535)
    grpc_port: int = setting(8500, "port", "the model server's gRPC API", 1, 65535)
    rest_port: int = setting(8501, "port", "the model server's REST API", 1, 65535)
    model_dir: str = setting("models/digits", "path", "the model's base path, holding its version directories")


@dataclass(frozen=True)
class WebSettings:
    """The gateway."""

    web_host: str = setting("127.0.0.1", "address", "where the gateway listens", pattern=r"\S+")
    web_port: int = setting(8080, "port", "where the gateway listens", 1, 65535)
    web_workers: int = setting(2, "processes", "gunicorn workers: one a core", 1, 64)
    web_threads: int = setting(4, "threads", "for large pictures and pages, in each worker", 1, 64)
    max_waiting: int = setting(64, "requests", "requests in work or waiting in a worker; beyond that, 503 at once", 1, 100_000)
    rpcs_in_flight: int = setting(2, "calls", "calls of the model server at once by a worker; drawings share them", 1, 64)
    read_timeout_s: float = setting(10.0, "s", "time a client may take to send a request, or to fetch its answer", 0.1, 600)
    rate_limit: float = setting(0.0, "requests/s", "requests for an answer by one client's address to a worker; 0 = any", 0)
    cors_origins: str = setting(
        "", "scheme://host:port", "other origins whose pages may ask, with commas between, or *", pattern=_ORIGINS
    )
    access_log: bool = setting(True, "true/false", "a line of JSON on standard output for every request")
    model_target: str = setting(
        "127.0.0.1:8500",
        "host:port",
        "the model server's gRPC API; a name with several addresses is balanced over",
        pattern=r"\S+:\S+",
    )
    model_name: str = setting("digits", "name", "the model to ask", pattern=".+")
    model_label: str = setting("", "label", "the version to ask, e.g. `stable`; empty: the highest that keeps the contract")
    canary_percent: float = setting(0.0, "%", "share of the requests that goes to the version labelled `canary`", 0, 100)
    deadline_ms: int = setting(2000, "ms", "time a request may take altogether", 10, 60_000)
    max_body_bytes: int = setting(8_388_608, "bytes", "largest request body", 1024, 1_073_741_824)
    max_pixels: int = setting(16_000_000, "pixels", "largest image, before decoding", 784, 200_000_000)


def read(kind: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Read a stage's settings from the environment.  Raises BadSetting."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        name = PREFIX + entry.name.upper()
        if name in environ:
            values[entry.name] = _parsed(name, environ[name], entry.default, entry.metadata)
    return kind(**values)


def _parsed(name: str, text: str, default: Any, metadata: Mapping[str, Any]) -> Any:
    if isinstance(default, str):
        if not re.fullmatch(metadata["pattern"], text):
            raise BadSetting(f"{name}: got {text!r}; wanted {metadata['unit']}")
        return text
    if isinstance(default, bool):
        words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
        if text.lower() not in words:
            raise BadSetting(f"{name}: got {text!r}; wanted true or false")
        return words[text.lower()]
    try:
        value = type(default)(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise BadSetting(f"{name}: got {text!r}; wanted {kind} ({metadata['unit']})") from None
    low, high = metadata["low"], metadata["high"]
    at_least, at_most = -math.inf if low is None else low, math.inf if high is None else high
    if not (abs(value) < math.inf and at_least <= value <= at_most):  # so NaN is refused too
        raise BadSetting(f"{name}: got {text}; wanted {_range(low, high)} {metadata['unit']}")
    return value


def _range(low: float | None, high: float | None) -> str:
    """Bounds in words."""
    if low is None:
        return "any finite number of" if high is None else f"at most {high}"
    return f"{low} or more" if high is None else f"{low} to {high}"


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Variable, default, unit and help of every setting, each variable once."""
    seen = set()
    for kind in (LocalSettings, WebSettings):
        for entry in fields(kind):
            name = PREFIX + entry.name.upper()
            if name not in seen:
                seen.add(name)
                yield name, str(entry.default), entry.metadata["unit"], entry.metadata["help"]


def table() -> str:
    """The settings as a Markdown table: what the README shows."""
    lines = ["| variable | default | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| `{name}` | `{default}` | {unit} | {help} |" for name, default, unit, help in rows()]
    return "\n".join(lines)
