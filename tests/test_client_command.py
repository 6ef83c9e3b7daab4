"""`python -m digits`, by every way to the model."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from digits import PredictClient, digit_image
from digits.__main__ import main
from digits.settings import table
from tests.conftest import Server, free_port
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
            said.append([(Path(one["file"]).name, one["digit"]) for one in json.loads(capsys.readouterr().out)])
    assert said[0] == said[1] == said[2]
    assert [name for name, _ in said[0]] == ["a.png", "b.png"]


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


def test_nothing_to_read_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(tmp_path / "nothing")]) == 2
    assert "no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["predict"])
    assert ended.value.code == 2


def test_the_settings_are_printed_as_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert capsys.readouterr().out.strip() == table()


def test_the_library_reads_a_picture_in_three_lines(digits_server: Server) -> None:
    with PredictClient(digits_server.target) as client:
        prediction = client.predict(digit_image(ONE)[None], timeout_s=10)
    assert prediction.digit[0] == prediction.probabilities[0].argmax()
