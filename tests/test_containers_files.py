"""What the container files promise each other: defaults, pins, confinement, the right configuration in the right place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from digits.settings import WebSettings
from serving import flags
from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
# inside the container the gateway asks by the service's name
OTHER_IN_A_CONTAINER = {"DIGITS_MODEL_TARGET"}
# where it listens is the image's affair, and the model's name stands in paths and health checks too
NOT_SET_FROM_OUTSIDE = {"DIGITS_WEB_HOST", "DIGITS_WEB_PORT", "DIGITS_MODEL_NAME"}


def variables() -> dict[str, str]:
    """Every variable of the compose file with its default."""
    found: dict[str, str] = {}
    for name, default in VARIABLE.findall((ROOT / "docker-compose.yml").read_text()):
        assert found.setdefault(name, default) == default, f"{name} has two defaults"
    return found


def test_defaults_in_compose_are_those_of_the_settings_table() -> None:
    known = {f"DIGITS_{entry.name.upper()}": entry.default for entry in fields(WebSettings)}
    passed = SERVICES["webapp"]["environment"]
    assert set(passed) == set(known) - NOT_SET_FROM_OUTSIDE, "a setting in .env would have no effect, or there is none"
    for name in set(passed) - OTHER_IN_A_CONTAINER:
        default = variables()[name]
        assert default == str(known[name]) or float(default) == float(known[name]), name


def test_example_lists_every_variable_with_its_default() -> None:
    example = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for name, default in variables().items():
        if name != "DIGITS_TFSERVING_SCALE":  # shown with the value of the other choice
            assert example.get(name) == default, name
    assert set(example) - set(variables()) == {"COMPOSE_PROFILES"}


def test_embedded_server_is_documented_together_with_other_profiles() -> None:
    known = {name for service in SERVICES.values() for name in service.get("profiles", [])}
    for path in (".env.example", "docs/containers.md"):
        lists = re.findall(r"\bembedded(?:,\w+)+", (ROOT / path).read_text())
        # --profile replaces COMPOSE_PROFILES: with `embedded` there, --profile monitoring is a system without a model server
        assert lists, path
        assert all(set(names.split(",")) <= known for names in lists), path


def test_no_image_is_taken_as_latest() -> None:
    for name, service in SERVICES.items():
        image = VARIABLE.sub(lambda found: found[2], service["image"])
        assert re.search(r":[\w.-]+$", image), name
        assert not image.endswith(":latest"), name


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_confined_limited_and_open_to_this_machine_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["restart"] == ("no" if name == "train" else "unless-stopped")
    assert all(port.startswith("${DIGITS_BIND:-127.0.0.1}:") for port in service.get("ports", []))
    assert "default" not in service["networks"]


def test_embedded_server_differs_from_the_official_one_in_its_image_only() -> None:
    official, embedded = dict(SERVICES["tfserving"]), dict(SERVICES["embedded"])
    networks = embedded.pop("networks")
    assert list(networks) == official.pop("networks")
    assert all(one == {"aliases": ["tfserving"]} for one in networks.values()), "whoever asks tfserving must find it"
    for name in ("image", "scale", "profiles", "build"):
        official.pop(name, None)
        embedded.pop(name, None)
    assert embedded == official


def test_model_servers_flags_are_known_to_it() -> None:
    parsed = flags.parse([VARIABLE.sub(lambda found: found[2], one) for one in SERVICES["tfserving"]["command"]])
    assert parsed.unknown == []
    assert parsed.idle == []
    for flag in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        assert (ROOT / "serving" / Path(getattr(parsed, flag)).name).is_file()
    assert parsed.grpc_max_threads > 4 * 8, "the default of 4 a core would be as good"


def test_entry_point_starts_the_server_with_the_official_images_flags(tmp_path: Path) -> None:
    server = tmp_path / "server"
    server.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    server.chmod(0o755)
    script = (ROOT / "docker" / "tf_serving_entrypoint.sh").read_text().replace("/usr/bin/tensorflow_model_server", str(server))
    done = subprocess.run(
        [sys.executable, "-c", script, "--more=1"],
        env={"MODEL_NAME": "digits", "MODEL_BASE_PATH": "/models"}, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert json.loads(done.stdout) == [
        "--port=8500", "--rest_api_port=8501", "--model_name=digits", "--model_base_path=/models/digits", "--more=1",
    ]  # fmt: skip


@pytest.mark.parametrize(("export", "left"), [(0, []), (1, ["history.json", "seed-0/history.json", "seed-1/history.json"])])
def test_trainer_begins_anew_after_a_publication_and_goes_on_after_none(export: int, left: list[str], tmp_path: Path) -> None:
    out, base = tmp_path / "runs", tmp_path / "models"
    base.mkdir()
    (tmp_path / "training.py").write_text("")  # in the place of the two that are run
    (tmp_path / "export.py").write_text(f"raise SystemExit({export})\n")
    for folder in (out, out / "seed-0", out / "seed-1"):  # --seeds 2, after a run with one
        folder.mkdir()
        (folder / "history.json").write_text("{}")
        (folder / "model.keras").write_text("")
    script = (ROOT / "docker" / "retrain.py").read_text().replace("/runs/latest", str(out)).replace("/models/digits", str(base))
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env={}, check=False, timeout=30)
    assert done.returncode == export
    assert sorted(str(path.relative_to(out)) for path in out.rglob("history.json")) == left
    assert len(list(out.rglob("model.keras"))) == 3


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_dockerfile_installs_by_hash_in_a_stage_that_is_left_behind(path: Path) -> None:
    text = path.read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    assert all(stage.startswith("python:3.12-slim") for stage in stages)
    assert "--require-hashes --no-deps" in stages[0]
    assert "--without-pip" in stages[0]
    final = stages[-1]
    assert "pip install" not in final
    assert "apt-get" not in final
    assert "USER 10001:10001" in final
    assert "HEALTHCHECK" in final
    assert re.search(r'ENTRYPOINT \["', final), "a shell in front would keep signals from the process"
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for one in source.split():
            assert (ROOT / one).exists(), f"{path.name} copies {one}"


def test_build_context_is_closed_but_for_what_is_copied() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    opened = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        one for path in DOCKERFILES for source in re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(), re.MULTILINE)
        for one in source.split()
    }  # fmt: skip
    for one in copied:
        assert any(one == name or one.startswith(f"{name}/") for name in opened), one
    assert opened <= copied | {"docker"}


def test_workflows_pin_every_action_by_commit() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        used = re.findall(r"uses: (\S+)(.*)", path.read_text())
        assert used, path.name
        for action, comment in used:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
            assert re.search(r"# v\d", comment), f"{action}: which release?"


def test_health_check_fails_where_nobody_answers_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-IS", "docker/healthy.py", "http://127.0.0.1:9/readyz"], cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stdout


def test_bill_of_materials_holds_every_package_of_the_lock(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "tools/sbom.py", str(tmp_path)], cwd=ROOT, check=True, capture_output=True, timeout=30)
    for image, lock in (("gateway", "web"), ("serving", "serve"), ("trainer", "train"), ("loadtest", "load")):
        bill = json.loads((tmp_path / f"digits-{image}.cdx.json").read_text())
        pinned = re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", (ROOT / "requirements" / f"{lock}.txt").read_text(), re.MULTILINE)
        assert [(one["name"], one["version"]) for one in bill["components"]] == pinned
        assert all(one["hashes"] for one in bill["components"])
