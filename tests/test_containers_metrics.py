"""Dashboards and alerts ask only for what the two tiers expose, and stay in step with their source."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from digits.drawings import draw, png
from digits.settings import LocalSettings
from digits.strokes import handwrite
from local.deployment import Deployment
from tests.conftest import MODELS, ROOT, free_port
from webapp.metrics import Metrics

MONITORING = ROOT / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "digits.json"
ALERTS = MONITORING / "prometheus" / "alerts.yml"
METRIC = re.compile(r"(?<![\w$:])(digits_\w+|:tensorflow:serving:[\w:]+)\b")


def queries() -> dict[str, str]:
    """PromQL by where it stands."""
    found = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        found |= {f"panel {panel['title']} {target['refId']}": target["expr"] for target in panel.get("targets", [])}
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        found |= {rule.get("alert", rule.get("record")): rule["expr"] for rule in group["rules"]}
    return found


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What Prometheus would read at both tiers after a few drawings; the workers' counters lie where the images put them."""
    settings = LocalSettings(free_port(), free_port(), free_port(), str(MODELS))
    counters = str(tmp_path_factory.mktemp("counters"))
    monitoring = f"--monitoring_config_file={ROOT / 'serving' / 'monitoring.config'}"
    deployment = Deployment(
        settings, [monitoring], {"DIGITS_WEB_WORKERS": "1", "DIGITS_RATE_LIMIT": "1", "PROMETHEUS_MULTIPROC_DIR": counters}
    )
    try:
        deployment.start()
        for digit in range(9):  # more than one a second: some are turned away, which is counted too
            body = png(draw(handwrite(digit, np.random.default_rng(digit)), 20.0, 0.6))
            request = urllib.request.Request(f"{deployment.url}/api/predict", body, {"Content-Type": "image/png"})
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(request, timeout=10).close()
        pages = (f"{deployment.url}/metrics", f"http://127.0.0.1:{settings.rest_port}/monitoring/prometheus/metrics")
        yield "".join(urllib.request.urlopen(page, timeout=10).read().decode() for page in pages)
    finally:
        deployment.stop()


def test_dashboard_is_what_its_source_makes() -> None:
    made = subprocess.run([sys.executable, "tools/dashboard.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == DASHBOARD.read_text(), "run: python tools/dashboard.py > monitoring/grafana/dashboards/digits.json"


@pytest.mark.parametrize("files", [False, True])
def test_every_digit_is_counted_from_the_start(files: bool, tmp_path: Path) -> None:
    if files:  # which the client library looks for when it is imported
        code = "from webapp.metrics import Metrics; print(Metrics().text().decode())"
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        text = done.stdout
    else:
        text = Metrics().text().decode()
    assert re.findall(r'^digits_predicted_total\{digit="(\d)"\} 0.0$', text, re.MULTILINE) == list("0123456789")


def test_every_metric_that_is_asked_for_is_exposed(exposed: str) -> None:
    announced = dict(re.findall(r"^# TYPE (\S+) (\w+)$", exposed, re.MULTILINE))
    names = set(announced) | {f"{name}{end}" for name in announced for end in ("_bucket", "_sum", "_count")}
    asked = {name for query in queries().values() for name in METRIC.findall(query)}
    assert len(asked) > 15
    assert sorted(asked - names) == []
    recorded = {rule.get("record") for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    asked_of_rules = {name for query in queries().values() for name in re.findall(r"digits:[\w:]+", query)}
    assert asked_of_rules
    assert asked_of_rules <= recorded


def test_every_label_that_is_asked_for_is_exposed(exposed: str) -> None:
    for place, query in queries().items():
        for name, labels in re.findall(r"(digits_\w+|:tensorflow:serving:[\w:]+)\{([^}]+)\}", query):
            lines = [line for line in exposed.splitlines() if line.startswith(f"{name}{{")]
            for key, operator, value in re.findall(r'(\w+)(=~?|!=)"([^"]*)"', labels):
                shown = set(re.findall(rf'\b{key}="([^"]*)"', "\n".join(lines)))
                assert shown, f"{place}: {name} has no label {key}"
                assert operator != "=" or value in shown, f"{place}: {name} has {key} {sorted(shown)}, never {value}"


def test_every_group_by_a_label_finds_it(exposed: str) -> None:
    for place, query in queries().items():
        for labels, name in re.findall(r"by \(([\w, ]+)\) \((?:\w+\()*(digits_\w+|:tensorflow:serving:[\w:]+)", query):
            lines = "\n".join(line for line in exposed.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
            if lines:  # a counter of what did not happen has no line yet
                for label in labels.split(", "):
                    assert f'{label}="' in lines, f"{place}: {name} has no label {label}"


def test_every_alert_has_a_runbook_entry() -> None:
    text = (ROOT / "docs" / "containers.md").read_text()
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(rules) >= 6
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/containers.md#{rule['alert'].lower()}"
        assert f"#### {rule['alert']}\n" in text
        assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: apt-get install prometheus)")
def test_prometheus_accepts_its_configuration_and_rules_fire_when_they_should(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(MONITORING / "prometheus" / name, tmp_path)
    shutil.copy(ROOT / "tests" / "alerts.test.yml", tmp_path)
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
