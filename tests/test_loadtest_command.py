"""Loadtest: its command lines and what they refuse."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import grpc
import pytest

from digits import wire
from loadtest import __main__, bench, bench_gateway, bench_serving, capacity, capacity_check, hands, kinds, stub, target, ui
from tests.conftest import ROOT, free_port

IN_THE_IMAGE = """
import runpy, sys
from pathlib import Path
sys.path[:] = [sys.argv.pop(1), *(folder for folder in sys.path if not (Path(folder) / "local").is_dir())]
runpy.run_module("loadtest", run_name="__main__", alter_sys=True)
"""


def ends(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """Run `python -m loadtest`; return the one line that it ends with."""
    assert __main__.main([*flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999", "http://[::1", "http://", "127.0.0.1"])
def test_what_is_no_address_is_told_in_one_line(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--host", "--rest"):
        assert "wanted an address like http://" in ends(capsys, flag, address)


def test_a_port_that_speaks_no_http_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert f"at http://127.0.0.1:{port}/readyz" in ends(capsys, "--host", f"http://127.0.0.1:{port}")
    finally:
        server.stop(None).wait()


class Odd(BaseHTTPRequestHandler):
    """Is ready, and answers every drawing with nothing that holds a digit."""

    def do_GET(self) -> None:
        """Answer both."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "14")
        self.end_headers()
        self.wfile.write(b'{"results":[]}')

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Keep still."""


@pytest.fixture
def odd() -> Iterator[str]:
    """The address of an odd gateway."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_answers_without_digits_and_reports_that_are_no_folder_are_told_in_one_line(
    odd: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--host", odd, "--ceiling-seconds", "0", "--drawings", "1", "--reports")
    assert f"loadtest: {odd}" in ends(capsys, *flags, str(tmp_path))
    file = tmp_path / "file"
    file.touch()
    assert str(file) in ends(capsys, *flags, str(file))


def test_an_answer_over_grpc_without_digits_is_told_too() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    service, method = wire.PREDICT[1:].split("/")
    handler = grpc.unary_unary_rpc_method_handler(lambda *_: b"not a message")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with pytest.raises(target.NotThere, match=f"{address}: no digits in the answer"):
            target.verify(target.Target({kinds.GRPC: address}), hands.prepare(1))
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--workers", "-1"), "got -1; wanted 0 to 1000"),
        (("--workers", "2", "--expect-workers", "2"), "not allowed with argument"),
        (("--connections", "many"), "invalid whole number value: 'many'"),
        (("--rate", "nan"), "got nan; wanted 0 to 86400"),
        (("--seconds", "long"), "invalid number value: 'long'"),
    ],
)
def test_wrong_numbers_are_told_in_words(flags: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.main([*flags])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_wrong_setting_of_the_page_is_told_in_one_line() -> None:
    environment = {**os.environ, "DIGITS_WEB_PORT": "abc"}
    command = [sys.executable, "-m", "loadtest.ui"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr == "loadtest.ui: DIGITS_WEB_PORT: got 'abc'; wanted a whole number (port)\n"


@pytest.mark.parametrize("module", [__main__, bench, bench_gateway, bench_serving, capacity, capacity_check, stub, ui])
def test_every_option_says_what_it_is(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[argparse.ArgumentParser] = []

    def parse_args(parser: argparse.ArgumentParser, *_: object) -> None:
        parsed.append(parser)
        raise KeyboardInterrupt

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    with pytest.raises(KeyboardInterrupt):
        module.main()
    assert [one.dest for one in parsed[0]._actions if not one.help] == []


def test_free_ports_are_different_ones() -> None:
    ports = target.free_ports(500)
    assert len({*ports}) == 500


def test_a_given_target_is_tested_with_the_packages_of_the_image_only(tmp_path: Path) -> None:
    for package in ("digits", "loadtest"):
        (tmp_path / package).symlink_to(ROOT / package)

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", IN_THE_IMAGE, str(tmp_path), *flags]
        return subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False, timeout=60)

    given = run("--host", f"http://127.0.0.1:{free_port()}")
    assert (given.returncode, given.stderr.count("\n")) == (2, 1), given.stderr
    assert given.stderr.startswith("loadtest: nothing answers at http://127.0.0.1:")
    assert run().stderr == "loadtest: without an address a deployment is started here, and there is no package 'local'\n"
