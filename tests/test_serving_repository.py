"""The manager with versions that load as they are told, and disks that do not do as they should."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving import messages
from serving.configuration import Configuration
from serving.metrics import MAX_NAME, MAX_NAMES, Metrics
from serving.repository import Repository, State
from serving.servable import Servable
from serving.server import _channel_arguments, _make_way
from serving.status import Code, Status
from serving.versions import ModelSource

BAD: set[int] = set()


def load(name: str, version: int, path: Path) -> Servable:
    if version in BAD:
        raise Status(Code.NOT_FOUND, "broken")
    return Servable(name, version, SimpleNamespace(signatures={}, close=lambda: None), None)  # type: ignore[arg-type]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    BAD.clear()
    made = Repository(load, poll_s=0.02, max_retries=0)
    (tmp_path / "1").mkdir()
    made.start()
    made.set_sources([ModelSource("m", tmp_path, None)])
    until(made, 1, State.AVAILABLE)
    yield made
    made.stop()


def until(repository: Repository, version: int, state: State) -> Status:
    """Wait for a version's state; returns its status."""
    end = time.monotonic() + 10
    while True:
        found = repository.statuses("m").get(version)
        if found is not None and found[0] is state:
            return found[1]
        assert time.monotonic() < end, found
        time.sleep(0.01)


def test_the_version_that_serves_stays_when_a_broken_one_is_taken_away(repository: Repository, tmp_path: Path) -> None:
    BAD.add(2)
    (tmp_path / "2").mkdir()
    until(repository, 2, State.END)
    (tmp_path / "2").rmdir()
    for _ in range(100):
        assert repository.is_available("m", 1)
        time.sleep(0.01)
    BAD.clear()
    (tmp_path / "2").mkdir()
    until(repository, 2, State.AVAILABLE)
    until(repository, 1, State.END)
    (tmp_path / "2").rmdir()  # rolled back by hand
    until(repository, 1, State.AVAILABLE)


def test_a_disk_that_refuses_is_told_and_asked_again(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_dir = Path.is_dir

    def refuse(path: Path, **more: Any) -> bool:
        if path == tmp_path / "3":
            raise PermissionError(13, "Permission denied")
        return is_dir(path, **more)

    monkeypatch.setattr("serving.repository.aspired_versions", lambda source: {
        int(child.name): child for child in sorted(tmp_path.iterdir(), key=lambda child: int(child.name))[-1:]
    })  # fmt: skip
    monkeypatch.setattr(Path, "is_dir", refuse)
    (tmp_path / "3").mkdir()
    assert "Permission denied" in until(repository, 3, State.END).text
    assert repository.is_available("m", 1)
    (tmp_path / "4").mkdir()
    until(repository, 4, State.AVAILABLE)


def test_a_look_that_fails_is_not_the_last(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: ModelSource) -> None:
        raise ValueError("embedded null byte")

    with monkeypatch.context() as patched:
        patched.setattr("serving.repository.aspired_versions", fail)
        time.sleep(0.1)
    (tmp_path / "2").mkdir()
    until(repository, 2, State.AVAILABLE)


def test_names_that_are_made_up_do_not_fill_the_memory() -> None:
    metrics = Metrics()
    for number in range(2 * MAX_NAMES):
        metrics.request(f"nobody-{number}", "Predict", "GRPC", Code.NOT_FOUND, 0.0)
    metrics.request("a" * 100_000, "Predict", "GRPC", Code.NOT_FOUND, 0.0)
    metrics.request("somebody", "Predict", "GRPC", Code.OK, 0.001)
    page = metrics.page()
    assert page.count('model_name="nobody-') == MAX_NAMES
    assert f'model_name="",status="NOT_FOUND"}} {MAX_NAMES + 1}' in page
    assert 'model_name="somebody",status="OK"} 1' in page


def test_a_model_keeps_its_name_in_the_metrics_whatever_was_made_up_before() -> None:
    metrics, long_name = Metrics(), "m" * (MAX_NAME + 1)
    repository = SimpleNamespace(set_sources=list, wait_until_decided=lambda names: {})
    resolver: Any = SimpleNamespace(repository=repository, labels={})
    config = messages.ModelServerConfig()
    for name in ("slow", long_name):
        config.model_config_list.config.add(name=name, base_path="/models/any", model_platform="tensorflow")
    Configuration(resolver, metrics, labels_in_advance=False).apply(config)
    for number in range(MAX_NAMES + 1):
        metrics.request(f"nobody-{number}", "Predict", "GRPC", Code.NOT_FOUND, 0.0)
    for name in ("slow", long_name):
        metrics.request(name, "Predict", "GRPC", Code.DEADLINE_EXCEEDED, 1.0)
        assert f'model_name="{name}",status="DEADLINE_EXCEEDED"}} 1' in metrics.page()
    assert 'model_name="",status="NOT_FOUND"} 1\n' in metrics.page()


def test_only_a_socket_makes_way_for_a_socket(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    for other in (tmp_path / "notes", tmp_path):
        with pytest.raises(Status, match="is there and is no socket"):
            _make_way(other)
    assert (tmp_path / "notes").read_text() == "mine"
    _make_way(tmp_path / "nothing")


def test_a_channel_argument_is_a_number_only_if_the_library_takes_it_for_one() -> None:
    found = _channel_arguments("a=5,b=-1,c=99999999999,d=1.5,e=,f=" + "9" * 5000)
    assert found == [("a", 5), ("b", -1), ("c", "99999999999"), ("d", "1.5"), ("e", ""), ("f", "9" * 5000)]
