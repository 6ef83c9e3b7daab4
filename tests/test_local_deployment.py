"""`python -m local`: both tiers up, watched, and down together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from digits.drawings import draw, png
from digits.strokes import handwrite
from tests.conftest import MODELS, ROOT, free_port


class Local:
    """A running launcher on ports of its own."""

    def __init__(self, folder: Path, **changes: str) -> None:
        self.ports = {name: free_port() for name in ("WEB", "GRPC", "REST")}
        environment = {f"DIGITS_{name}_PORT": str(port) for name, port in self.ports.items()}
        environment |= {"DIGITS_MODEL_DIR": str(MODELS), "DIGITS_WEB_WORKERS": "1", **changes}
        self.url = f"http://127.0.0.1:{environment['DIGITS_WEB_PORT']}"
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            command = [sys.executable, "-m", "local"]
            self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=out, stderr=err)

    def wait_until_announced(self) -> None:
        until = time.monotonic() + 60
        while "digits is at" not in self.out.read_text():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < until, self.err.read_text()
            time.sleep(0.1)

    def tiers(self) -> list[int]:
        """Process ids of everything the launcher started."""
        return _descendants(self.process.pid)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


def _descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(one for child in children for one in _descendants(child))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Local]]:
    running: list[Local] = []
    yield running
    for one in running:
        one.end()


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_answers_once_announced_and_a_signal_leaves_no_process(
    number: signal.Signals, tmp_path: Path, started: list[Local]
) -> None:
    logged = number is signal.SIGINT
    local = Local(tmp_path, DIGITS_WEB_HOST="192.0.2.1", **({"DIGITS_ACCESS_LOG": "true"} if logged else {}))
    started.append(local)
    local.wait_until_announced()
    drawing = png(draw(handwrite(4, np.random.default_rng(1)), 20, 0.8))
    request = urllib.request.Request(f"{local.url}/api/predict", drawing, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=10) as response:
        assert json.load(response)["digit"] == 4
    tiers = local.tiers()
    assert len(tiers) >= 3, "model server, gunicorn, and its worker"
    began = time.monotonic()
    local.process.send_signal(number)
    assert local.process.wait(10) == 0
    assert time.monotonic() - began < 5
    assert not [pid for pid in tiers if alive(pid)]
    assert ('"/api/predict"' in local.out.read_text()) is logged


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
def test_a_taken_port_is_named_with_its_variable(address: str, tmp_path: Path, started: list[Local]) -> None:
    with socket.socket() as holder:
        holder.bind((address, 0))
        holder.listen()
        port = holder.getsockname()[1]
        local = Local(tmp_path, DIGITS_REST_PORT=str(port))
        started.append(local)
        assert local.process.wait(20) == 1
    assert f"port {port} is taken; choose another with DIGITS_REST_PORT" in local.err.read_text()


def test_a_port_of_another_address_is_not_taken(tmp_path: Path, started: list[Local]) -> None:
    port = free_port()
    with socket.socket() as holder:
        holder.bind(("127.0.0.2", port))
        holder.listen()
        started.append(Local(tmp_path, DIGITS_WEB_PORT=str(port)))
        started[0].wait_until_announced()


@pytest.mark.parametrize(("held", "got"), [([], "nothing"), (["digits", "1.0", ".staging-2"], ".staging-2, 1.0, digits")])
def test_a_model_folder_without_a_version_is_said_before_anything_starts(
    held: list[str], got: str, tmp_path: Path, started: list[Local]
) -> None:
    base = tmp_path / "models"
    base.mkdir()
    for name in held:
        (base / name).mkdir()
    started.append(Local(tmp_path, DIGITS_MODEL_DIR=str(base)))
    assert started[0].process.wait(20) == 1
    assert f"there is no version under {base}: got {got}; wanted a folder 1, 2, …" in started[0].err.read_text()


def test_a_missing_model_is_said_before_anything_starts(tmp_path: Path, started: list[Local]) -> None:
    local = Local(tmp_path, DIGITS_MODEL_DIR=str(tmp_path / "nowhere"))
    started.append(local)
    assert local.process.wait(20) == 1
    assert "there is no model under" in local.err.read_text()
    assert "DIGITS_MODEL_DIR" in local.err.read_text()


def test_a_wrong_setting_is_a_usage_error(tmp_path: Path, started: list[Local]) -> None:
    local = Local(tmp_path, DIGITS_WEB_PORT="http")
    started.append(local)
    assert local.process.wait(20) == 2
    assert "DIGITS_WEB_PORT: got 'http'" in local.err.read_text()


@pytest.mark.parametrize("victim", ["model server", "gateway"])
def test_a_tier_that_dies_is_named_and_takes_the_other_with_it(victim: str, tmp_path: Path, started: list[Local]) -> None:
    local = Local(tmp_path)
    started.append(local)
    local.wait_until_announced()
    tiers = local.tiers()
    module = {"model server": "serving", "gateway": "gunicorn"}[victim]
    pid = next(pid for pid in tiers if f"-m\0{module}" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(pid, signal.SIGKILL)
    assert local.process.wait(10) == 1
    assert f"the {victim} ended with exit code -9" in local.err.read_text()
    until = time.monotonic() + 3  # a worker notices within a second that its gunicorn is gone
    while [pid for pid in tiers if alive(pid)] and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in tiers if alive(pid)]


def test_killing_the_launcher_itself_leaves_no_tier_behind(tmp_path: Path, started: list[Local]) -> None:
    local = Local(tmp_path)
    started.append(local)
    local.wait_until_announced()
    tiers = local.tiers()
    local.process.kill()
    local.process.wait()
    until = time.monotonic() + 8
    while [pid for pid in tiers if alive(pid)] and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in tiers if alive(pid)]
