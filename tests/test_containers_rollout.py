"""tools/rollout.py: labels move in the text, in the file, and at a running server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from digits.client import PredictClient
from tests.conftest import MODELS, ROOT, Server, StartServer, free_port
from tools import rollout as tool

CONFIG = ROOT / "serving" / "models.config"


def rollout(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the tool as `make promote` does."""
    return subprocess.run(
        [sys.executable, "tools/rollout.py", *arguments],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the shipped configuration."""
    return Path(shutil.copy(CONFIG, tmp_path / "models.config"))


def shown(config: Path) -> str:
    return rollout("show", "--config", str(config)).stdout.strip()


def test_shipped_configuration_points_both_labels_at_one_version(config: Path) -> None:
    assert shown(config) == "stable 1, canary 1"


def test_promotion_remembers_what_it_replaced_and_rollback_goes_there(config: Path) -> None:
    assert rollout("canary", "2", "--config", str(config)).returncode == 0
    assert shown(config) == "stable 1, canary 2"
    rollout("promote", "2", "--config", str(config))
    assert shown(config) == "stable 2, canary 2, previous 1"
    rollout("promote", "2", "--config", str(config))
    assert shown(config) == "stable 2, canary 2, previous 1"  # said twice, it is still the way back
    rollout("rollback", "--config", str(config))
    assert shown(config) == "stable 1, canary 1, previous 2"


def test_rollback_gives_up_the_canary_first_and_stable_only_when_asked_again(config: Path) -> None:
    rollout("promote", "2", "--config", str(config))
    rollout("canary", "3", "--config", str(config))
    done = rollout("rollback", "--config", str(config))
    assert shown(config) == "stable 2, canary 2, previous 1"
    assert "gave up the canary, version 3; stable stays at version 2; a second rollback takes it to version 1" in done.stdout
    assert "gave up" not in rollout("rollback", "--config", str(config)).stdout
    assert shown(config) == "stable 1, canary 1, previous 2"


def test_first_canary_ever_can_be_given_up(config: Path) -> None:
    rollout("canary", "2", "--config", str(config))
    done = rollout("rollback", "--config", str(config))
    assert (done.returncode, shown(config)) == (0, "stable 1, canary 1")
    assert done.stdout.endswith("stable stays at version 1\n")  # there is no second way back to speak of
    assert rollout("rollback", "--config", str(config)).returncode == 1


def test_moving_a_label_leaves_every_other_line_as_it_was(config: Path) -> None:
    before = config.read_text().splitlines()
    rollout("promote", "7", "--config", str(config))
    after = config.read_text().splitlines()
    assert [line for line in after if "version_labels {" not in line] == [
        line for line in before if "version_labels {" not in line
    ]


def test_file_is_replaced_whole_and_keeps_its_permissions(config: Path) -> None:
    config.chmod(0o644)
    inode = config.stat().st_ino
    rollout("promote", "7", "--config", str(config))
    assert config.stat().st_ino != inode
    assert config.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in config.parent.iterdir()] == ["models.config"]


def test_text_goes_through_a_pipe_for_a_config_map() -> None:
    done = rollout("promote", "2", "--config", "-", text=CONFIG.read_text())
    assert done.returncode == 0
    assert 'version_labels { key: "stable" value: 2 }' in done.stdout
    assert rollout("show", "--config", "-", text=done.stdout).stderr.strip() == "stable 2, canary 2, previous 1"


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["rollback"], 1, "nothing has been promoted yet"),
        (["promote"], 2, "promote takes a version"),
        (["rollback", "3"], 2, "rollback takes no version"),
        (["promote", "2", "--server", "127.0.0.1:9"], 1, "127.0.0.1:9"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(config: Path, arguments: list[str], code: int, why: str) -> None:
    before = config.read_text()
    done = rollout(*arguments, "--config", str(config))
    assert done.returncode == code
    assert why in done.stderr
    assert config.read_text() == before


def test_file_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.config").write_text("model_config_list {}\n")
    done = rollout("promote", "2", "--config", str(tmp_path / "empty.config"))
    assert done.returncode == 1
    assert "found no line" in done.stderr


def published_twice(folder: Path) -> tuple[Path, list[str]]:
    """A copy of the shipped configuration over versions 1 and 2, and the flags of a server that polls it."""
    base = folder / "models" / "digits"
    for version in (1, 2):
        shutil.copytree(MODELS / "1", base / str(version))
    config = folder / "models.config"
    config.write_text(CONFIG.read_text().replace("/models/digits", str(base)))
    return config, [
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models",
    ]


@pytest.fixture
def two_versions(serve: StartServer, tmp_path: Path) -> tuple[Server, Path]:
    """A server with versions 1 and 2 that polls a copy of the shipped configuration."""
    config, flags = published_twice(tmp_path)
    server = serve(*flags)
    until = time.monotonic() + 20
    with PredictClient(server.target) as client:  # it answers as soon as it has one of them
        while sum(one.available for one in client.versions(5.0)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
    return server, config


def test_running_server_follows_promotion_and_rollback(two_versions: tuple[Server, Path]) -> None:
    server, config = two_versions
    where = ("--config", str(config), "--server", server.target)
    done = rollout("promote", "2", *where)
    assert done.returncode == 0, done.stderr
    assert "stable answers with version 2" in done.stdout
    done = rollout("rollback", *where)
    assert done.returncode == 0, done.stderr
    assert "stable answers with version 1" in done.stdout


def test_version_that_the_server_does_not_have_is_not_promoted(two_versions: tuple[Server, Path]) -> None:
    server, config = two_versions
    done = rollout("promote", "3", "--config", str(config), "--server", server.target)
    assert done.returncode == 1
    assert "version 3 is not available; available: 1, 2" in done.stderr
    assert shown(config) == "stable 1, canary 1"
    with PredictClient(server.target) as client:
        assert [one.version for one in client.versions(5.0)] == [2, 1]


def test_rollback_is_written_while_the_server_is_down_and_seen_when_it_is_back(serve: StartServer, tmp_path: Path) -> None:
    config, flags = published_twice(tmp_path)
    rollout("promote", "2", "--config", str(config))
    port = free_port()
    command = [sys.executable, "tools/rollout.py", "rollback", "--config", str(config), "--server", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as going:
        until = time.monotonic() + 20
        while 'key: "stable" value: 2' in config.read_text() and going.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert shown(config) == "stable 1, canary 1, previous 2"
        serve(*flags, grpc_port=port)
        said, warned = going.communicate(timeout=60)
    assert going.returncode == 0, warned
    assert "not verified: the server does not answer" in warned
    assert re.search(r"stable answers with version 1 after \d", said)


def test_rollback_that_nobody_reads_stays_written_and_is_not_called_done(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "TIMEOUT_S", 1.0)
    rollout("promote", "2", "--config", str(config))
    assert tool.main(["rollback", "--config", str(config), "--server", f"127.0.0.1:{free_port()}"]) == 1
    assert "not verified: the server does not answer" in (warned := capsys.readouterr().err)
    assert "the labels are written; after 1 s `stable` still gives" in warned
    assert shown(config) == "stable 1, canary 1, previous 2"
