"""Starts the embedded model server and the gateway, watches them, and stops both together."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from digits.direct import opener
from digits.settings import LocalSettings

_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Has the kernel send SIGTERM when the parent vanishes, however it does (Linux's PR_SET_PDEATHSIG), and becomes the command.

A function between fork and exec would do the same, until another thread holds a lock at the fork: then it waits for good.
"""
_VERSION = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
"""A version's folder, as the model server reads names."""
START_S = 60.0
STOP_S = 4.5
BATCHING = Path(__file__).resolve().parents[1] / "serving" / "batching.config"
# all: a new version that does not keep the contract must not unload the one whose answers the gateway keeps to
MODELS = """model_config_list {{ config {{
  name: "digits" base_path: {base} model_platform: "tensorflow" model_version_policy {{ all {{}} }}
}} }}"""


class CannotStart(Exception):
    """A port is taken, or a tier died; the text says which."""


@dataclass
class Tier:
    """One process of the deployment."""

    name: str
    process: subprocess.Popen[bytes]


@dataclass
class Deployment:
    """The two tiers.

    settings: ports and model; server_flags: more flags for the model server; environment: more for
    the gateway's.
    """

    settings: LocalSettings
    server_flags: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    tiers: list[Tier] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where the page answers."""
        return f"http://127.0.0.1:{self.settings.web_port}"

    def start(self) -> None:
        """Start both and wait until a drawing would be answered.  Raises CannotStart."""
        s = self.settings
        if len({s.web_port, s.grpc_port, s.rest_port}) < 3:
            raise CannotStart(f"got ports {s.web_port}, {s.grpc_port} and {s.rest_port}; wanted three different ones")
        for port, variable in (
            (s.web_port, "DIGITS_WEB_PORT"),
            (s.grpc_port, "DIGITS_GRPC_PORT"),
            (s.rest_port, "DIGITS_REST_PORT"),
        ):
            if not _is_free(port):
                raise CannotStart(f"port {port} is taken; choose another with {variable}")
        base = Path(s.model_dir).resolve()
        if not base.is_dir():
            raise CannotStart(f"there is no model under {base}; DIGITS_MODEL_DIR says where to look")
        _check_versions(base)
        self._spawn("model server", [
            "-m", "serving", f"--port={s.grpc_port}", f"--rest_api_port={s.rest_port}", "--bind_address=127.0.0.1",
            "--model_config_file=/dev/stdin",
            "--enable_batching", f"--batching_parameters_file={BATCHING}", "--tensorflow_intra_op_parallelism=1",
            *self.server_flags,
        ], {}, MODELS.format(base=json.dumps(str(base), ensure_ascii=False)))  # fmt: skip
        web = {
            "DIGITS_MODEL_TARGET": f"127.0.0.1:{s.grpc_port}",
            "DIGITS_WEB_HOST": "127.0.0.1",  # as everything here: nothing asks for a password
            "DIGITS_WEB_PORT": str(s.web_port),
            "DIGITS_ACCESS_LOG": os.environ.get("DIGITS_ACCESS_LOG", "false"),  # a terminal is for what goes wrong
            **self.environment,
        }
        self._spawn("gateway", ["-m", "gunicorn", "--config", "python:webapp.gunicorn_conf"], web)
        self._wait_until_ready()

    def _spawn(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], told: str = "") -> None:
        bare = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]  # 15 ms
        launcher = bare if sys.platform == "linux" else []
        process = subprocess.Popen(
            [*launcher, sys.executable, *arguments],
            stdin=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the tiers in order
            cwd=Path(__file__).resolve().parents[1],
        )
        self.tiers.append(Tier(name, process))
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:  # one that died at once is reported by check
            process.stdin.write(told.encode())

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            self.check()
            try:
                with opener(self.url).open(f"{self.url}/readyz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise CannotStart(f"the page did not answer within {START_S:.0f} s")

    def check(self) -> None:
        """Raise CannotStart if a tier has died."""
        for tier in self.tiers:
            code = tier.process.poll()
            if code is not None:
                raise CannotStart(f"the {tier.name} ended with exit code {code}")

    def stop(self) -> None:
        """Stop both within five seconds; the gateway first, so that it does not complain about the other."""
        for tier in reversed(self.tiers):
            _signal(tier.process, signal.SIGTERM)
        until = time.monotonic() + STOP_S
        for tier in self.tiers:
            try:
                tier.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(tier.process, signal.SIGKILL, group=True)
                tier.process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals, group: bool = False) -> None:
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number) if group else process.send_signal(number)


def _check_versions(base: Path) -> None:
    """Raise CannotStart if no version lies there: the model server would wait for the first, but there would be no page."""
    try:
        found = sorted(child.name for child in base.iterdir())
    except OSError as exc:
        raise CannotStart(f"the model's versions cannot be listed: {exc}; DIGITS_MODEL_DIR says where to look") from exc
    if not any(_VERSION.fullmatch(name) and (base / name).is_dir() for name in found):
        got = ", ".join([*found[:5], *(["…"] if found[5:] else [])]) or "nothing"
        raise CannotStart(f"there is no version under {base}: got {got}; wanted a folder 1, 2, …; DIGITS_MODEL_DIR says where")


def _is_free(port: int) -> bool:
    """Whether a tier can bind it where both do."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
