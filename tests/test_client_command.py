"""`python -m digits`, by every way to the model."""

from __future__ import annotations

import csv
import http.server
import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from digits import PredictClient, digit_image
from digits.__main__ import main
from digits.curves import line
from digits.drawings import draw, png
from digits.errors import BadTensor
from digits.settings import table
from digits.strokes import handwrite
from tests.conftest import MODELS, ROOT, Server, StartServer, free_port
from tests.gateway import ONE, SEVEN, gateway


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    (made / "more").mkdir(parents=True)
    (made / "a.png").write_bytes(ONE)
    (made / "more" / "b.png").write_bytes(SEVEN)
    (made / "notes.txt").write_text("no picture")
    return made


def test_grpc_rest_and_the_gateway_say_the_same(
    folder: Path, digits_server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    said = []
    with gateway(tmp_path, digits_server.target) as web:
        for via, address in (("grpc", digits_server.target), ("rest", digits_server.rest), ("gateway", f"127.0.0.1:{web.port}")):
            assert main(["predict", str(folder), "--via", via, "--address", address, "--format", "json"]) == 0
            told = json.loads(capsys.readouterr().out)
            said.append([(Path(one["file"]).name, one["digit"], one["sure"], one["note"]) for one in told])
    assert said[0] == said[1] == said[2]
    assert [name for name, *_ in said[0]] == ["a.png", "b.png"]


def test_what_is_unsure_or_no_single_digit_is_said(
    digits_server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    pair = [line((0.2, 0.2), (0.2, 0.8)), line((0.6, 0.2), (0.6, 0.8))]
    unclear = handwrite(1, np.random.default_rng(57))  # a 1 that might be a 2
    for name, strokes in (("pair", pair), ("unclear", unclear)):
        (tmp_path / f"{name}.png").write_bytes(png(draw(strokes, 20, 0.7)))
    with gateway(tmp_path, digits_server.target) as web:
        addresses = {"grpc": digits_server.target, "rest": digits_server.rest, "gateway": f"127.0.0.1:{web.port}"}
        for via, address in addresses.items():
            said = {}
            for form in ("table", "csv", "json"):
                files = [str(tmp_path / "pair.png"), str(tmp_path / "unclear.png")]
                assert main(["predict", *files, "--via", via, "--address", address, "--format", form]) == 0
                said[form] = capsys.readouterr().out
            rows = list(csv.DictReader(io.StringIO(said["csv"])))
            assert rows[1]["sure"] == "false", via
            assert "not sure" in said["table"].splitlines()[1]
            told = json.loads(said["json"])
            assert told[1]["sure"] is False
            if via == "gateway":
                assert (told[0]["sure"], told[0]["note"], rows[0]["note"]) == (False, "abreast", "abreast")
                assert "no single digit: abreast" in said["table"].splitlines()[0]
            else:
                assert (told[0]["note"], rows[0]["note"]) == ("", "")


def test_one_bad_file_is_told_fails_alone_and_sets_the_exit_code(
    folder: Path, digits_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    (folder / "bad.png").write_bytes(b"nonsense")
    for form in ("csv", "table"):
        assert main(["predict", str(folder), "--address", digits_server.target, "--format", form]) == 1
        out = capsys.readouterr().out
        if form == "csv":
            rows = list(csv.DictReader(io.StringIO(out)))
            assert [bool(row["error"]) for row in rows] == [False, True, False]
            assert sum(float(rows[0][f"p{digit}"]) for digit in range(10)) == pytest.approx(1, abs=1e-4)
        else:
            assert "no image" in out


def test_without_a_server_every_file_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for via in ("grpc", "rest", "gateway"):
        address = f"127.0.0.1:{free_port()}"
        assert main(["predict", str(folder), "--via", via, "--address", address, "--timeout", "1"]) == 1
        assert address in capsys.readouterr().out


@pytest.mark.parametrize("said", [b"[1]", b'{"outputs": {"probabilities": []}}', b"nonsense"])
def test_a_stranger_at_the_address_is_told_not_a_traceback(
    folder: Path, said: bytes, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if said == b"nonsense":
                self.wfile.write(b"\0\0\x12\4\0")  # as gRPC's port begins
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for via in ("rest", "gateway"):
            address = f"127.0.0.1:{server.server_port}"
            assert main(["predict", str(folder), "--via", via, "--address", address]) == 1
            assert capsys.readouterr().out.count(address) == 2
        server.shutdown()


@pytest.mark.parametrize("via", ["rest", "gateway"])
@pytest.mark.parametrize("address", ["no host:x", "http://[::1", "://"])
def test_what_is_no_address_is_told_not_a_traceback(
    via: str, address: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert main(["predict", str(folder / "a.png"), "--via", via, "--address", address]) == 1
    said = capsys.readouterr().out
    assert str(folder / "a.png") in said
    assert "/v1/models/digits:predict: " in said if via == "rest" else "/api/predict: " in said
    assert "without probabilities" not in said  # nobody answered


def test_who_is_told_to_come_again_later_does(folder: Path, digits_server: Server, tmp_path: Path) -> None:
    with gateway(tmp_path, digits_server.target, rate_limit=1, web_workers=1) as web:
        files = [str(folder / "a.png")] * 3
        assert main(["predict", *files, "--via", "gateway", "--address", f"127.0.0.1:{web.port}"]) == 0
        assert main(["predict", *files, "--via", "gateway", "--address", f"127.0.0.1:{web.port}", "--timeout", "0.5"]) == 1


@pytest.mark.parametrize(
    ("status", "again", "asked"), [(503, "0", 2), (429, "1", 2), (503, "soon", 1), (503, "²", 1), (504, "1", 1)]
)
def test_only_who_is_told_a_time_comes_again(
    folder: Path, status: int, again: str, asked: int, capsys: pytest.CaptureFixture[str]
) -> None:
    times: list[float] = []

    class Busy(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            times.append(time.monotonic())
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Retry-After", again.encode().decode("latin-1"))
            self.end_headers()
            self.wfile.write(b'{"detail": "not now"}')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        assert main(["predict", str(folder / "a.png"), "--via", "gateway", "--address", address, "--timeout", "1.9"]) == 1
        server.shutdown()
    assert "not now" in capsys.readouterr().out
    assert len(times) == asked
    assert all(second - first >= 1 for first, second in itertools.pairwise(times))


def test_a_pipe_is_read_as_a_file_is_and_named_as_it_was_asked_for(folder: Path, digits_server: Server) -> None:
    command = [sys.executable, "-m", "digits", "predict", "-", "--format", "csv", "--address", digits_server.target]
    with subprocess.Popen(["cat", folder / "a.png"], stdout=subprocess.PIPE) as cat:
        done = subprocess.run(command, stdin=cat.stdout, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [row["file"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["-"]


def test_standard_input_that_is_closed_is_told_so() -> None:
    command = [sys.executable, "-m", "digits", "predict", "-", "--format", "json"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert json.loads(done.stdout) == [{"file": "-", "error": "standard input is closed"}]
    assert (done.returncode, done.stderr) == (1, "")


def test_what_a_folder_holds_and_nobody_can_read_is_told(
    folder: Path, digits_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    (folder / "gone.png").symlink_to(folder / "nothing")
    assert main(["predict", str(folder), "--address", digits_server.target]) == 1
    assert "No such file" in capsys.readouterr().out
    assert main(["predict", str(folder / "a.png"), "a" * 5000, "--address", digits_server.target]) == 1


def test_every_path_that_cannot_be_read_has_a_row_whether_others_can_or_not(
    folder: Path, digits_server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    gone, long, empty, good = str(tmp_path / "gone.png"), "a" * 5000, str(tmp_path / "empty"), str(folder / "a.png")
    wrong = {gone: "No such file", long: "name too long", empty: "no pictures in this folder"}
    for paths in ([gone], [long], [empty], [gone, good, long, empty]):
        assert main(["predict", *paths, "--format", "json", "--address", digits_server.target]) == 1
        told = json.loads(capsys.readouterr().out)
        assert [row["file"] for row in told] == paths
        for row in told:
            assert wrong[row["file"]] in row["error"] if row["file"] in wrong else row["digit"] == 1


def test_names_that_are_no_text_and_readers_that_leave_do_no_harm(folder: Path, digits_server: Server) -> None:
    os.rename(bytes(folder / "a.png"), bytes(folder) + b"/\xff.png")
    command = [sys.executable, "-m", "digits", "predict", str(folder), "--address", digits_server.target]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, cwd=ROOT, env=strict, capture_output=True, text=True, check=True)
    assert "\\udcff.png" in done.stdout
    (folder / "a\x1b[31m\nb.png").write_bytes((folder / "more" / "b.png").read_bytes())
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "a�[31m�b.png" in done.stdout, "a terminal is not told what to do"
    reading, writing = os.pipe()
    os.close(reading)
    left = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=True)
    os.close(writing)
    assert left.stderr == ""


@pytest.mark.parametrize("arguments", [["settings"], ["predict", "nothing"]])
def test_an_output_that_takes_no_more_is_no_traceback(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "digits", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "digits: standard output: [Errno 28] No space left on device\n"
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    done = subprocess.run(closed, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "python -m digits: error: standard output is closed")


def test_who_has_seen_enough_of_the_settings_may_leave() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "digits", "settings"]
    left = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=True)
    os.close(writing)
    assert left.stderr == b""


def test_nothing_to_read_and_no_sane_time_are_usage_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for paths in ([], [""], [str(tmp_path), ""]):  # an empty one is not the current folder
        with pytest.raises(SystemExit) as ended:
            main(["predict", *paths])
        assert ended.value.code == 2
    for seconds in ("0", "-1", "nan", "soon", "inf", "1e300"):
        with pytest.raises(SystemExit) as ended:
            main(["predict", str(tmp_path), "--timeout", seconds])
        assert ended.value.code == 2


def test_the_settings_are_printed_as_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert capsys.readouterr().out.strip() == table()


def test_the_library_reads_a_picture_in_three_lines(digits_server: Server) -> None:
    with PredictClient(digits_server.target) as client:
        prediction = client.predict(digit_image(ONE)[None], timeout_s=10)
    assert prediction.digit[0] == prediction.probabilities[0].argmax()


def test_the_library_takes_more_images_than_the_server_does_at_once(serve: StartServer) -> None:
    batching = ROOT / "serving" / "batching.config"
    flags = ("--model_name=digits", f"--model_base_path={MODELS}", "--enable_batching")
    server = serve(*flags, f"--batching_parameters_file={batching}")
    one, seven = digit_image(ONE), digit_image(SEVEN)
    with PredictClient(server.target) as client:
        prediction = client.predict(np.stack([one] * 100 + [seven] * 50), timeout_s=10)
        assert prediction.digit.tolist() == [1] * 100 + [7] * 50
        assert prediction.probabilities.shape == (150, 10)
        with pytest.raises(BadTensor):
            client.predict(np.zeros((0, 28, 28), np.uint8))
