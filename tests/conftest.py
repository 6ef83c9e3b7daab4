"""Fixtures that several stages' tests share: the shipped model behind a real server, the data beside the project."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from digits.settings import LocalSettings
from local.deployment import Deployment

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models" / "digits"
START_S = 60.0


def pytest_configure() -> None:
    """Hear SIGINT where it is ignored, as behind nohup or in a script's background: what tests start would ignore it too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A running `python -m serving`."""

    process: subprocess.Popen[bytes]
    grpc_port: int
    rest_port: int
    log: Path

    @property
    def target(self) -> str:
        """host:port of the gRPC API."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def rest(self) -> str:
        """Base URL of the REST API."""
        return f"http://127.0.0.1:{self.rest_port}"

    def stop(self) -> int:
        """SIGTERM, and the exit code; killed after six seconds."""
        self.process.terminate()
        try:
            return self.process.wait(6)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


StartServer = Callable[..., Server]


def start_server(folder: Path, flags: Sequence[str], grpc_port: int | None = None, rest_port: int | None = None) -> Server:
    """Start the embedded server and wait until its ports answer.  folder: where its log goes."""
    ports = grpc_port or free_port(), rest_port or free_port()
    log = folder / f"serving-{ports[0]}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", f"--port={ports[0]}", f"--rest_api_port={ports[1]}", *flags],
            cwd=ROOT,
            stdout=out,
            stderr=out,
        )
    server = Server(process, *ports, log)
    channel = grpc.insecure_channel(server.target)
    ask = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
    until = time.monotonic() + START_S
    try:
        while True:
            try:
                if ports[1] < 2**16:  # REST opens last; a test asks for a port that there is not
                    socket.create_connection(("127.0.0.1", ports[1]), 1).close()
            except OSError:
                assert process.poll() is None, f"the server ended:\n{log.read_text(errors='replace')[-2000:]}"
                assert time.monotonic() < until, f"REST did not open within {START_S:.0f} s"
                time.sleep(0.02)
                continue
            try:  # not channel_ready_future: its thread may look at the channel once more after close()
                ask(b"", timeout=1, wait_for_ready=True)
                return server
            except grpc.RpcError as exc:
                if exc.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
                    return server  # it names no model, and is told so
                assert process.poll() is None, f"the server ended:\n{log.read_text(errors='replace')[-2000:]}"
                assert time.monotonic() < until, f"the server did not answer within {START_S:.0f} s"
    finally:
        channel.close()


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Return a function that starts a server with the given flags; all are stopped at the end."""
    started: list[Server] = []
    tmp_path_factory.getbasetemp()  # made here: two threads that start servers would both make it

    def start(*flags: str, grpc_port: int | None = None, rest_port: int | None = None) -> Server:
        server = start_server(tmp_path_factory.mktemp("serving"), flags, grpc_port, rest_port)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def digits_server(serve: StartServer) -> Server:
    """The shipped model behind the embedded server."""
    return serve("--model_name=digits", f"--model_base_path={MODELS}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data and specifications beside the project; the test is skipped where there is none."""
    folder = Path(os.environ.get("DIGITS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the data beside the project ({folder.name}/ or DIGITS_SHARED)")
    return folder


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the page, served by both tiers."""
    deployment = Deployment(LocalSettings(web_port=free_port(), grpc_port=free_port(), rest_port=free_port()))
    try:
        deployment.start()
        yield deployment.url
    finally:
        deployment.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def serving_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of small SavedModels that tests/serving_models.py writes."""
    out = tmp_path_factory.mktemp("models")
    maker = [sys.executable, str(ROOT / "tests" / "serving_models.py"), str(out)]
    made = subprocess.run(maker, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
    return out
