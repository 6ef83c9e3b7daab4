"""tools/rollout_kubernetes.py moves labels in a cluster: a real model server, and a kubectl that knows one pod that answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from digits.client import PredictClient
from tests import manifests as m
from tests.conftest import MODELS, ROOT, Server, StartServer
from tests.test_k8s_probes import ASK, wait_for_rest
from tools import rollout_kubernetes as tool

KUBECTL = r"""#!/bin/bash
# The cluster's side of the few calls: one pod that answers, whose files are in a folder.
set -eu
[ "$1 $2" = "-n digits" ]; shift 2
echo "$1 ${2:-}" >>"$CLUSTER/calls"
case "$1 $2" in
  "get configmap") exec "$PYTHON" -c 'import json, sys; print(json.dumps({"data": {"models.config": open(sys.argv[1]).read()}}))' "$CLUSTER/models.config" ;;
  "get pods") cat "$CLUSTER/pods.json" ;;
  "patch configmap") exec "$PYTHON" -c 'import json, os, sys; open(sys.argv[1] + ".new", "w").write(json.loads(sys.argv[2])["data"]["models.config"]); os.rename(sys.argv[1] + ".new", sys.argv[1])' "$CLUSTER/models.config" "${@: -1}" ;;
  "annotate pods") ;;
  "exec tfserving-2") echo "error: container not found" >&2; exit 1 ;;
  "exec tfserving-1") while [ "$1" != -- ]; do shift; done; shift; exec "${@/\/etc\/tfserving\/ask.sh/$ASK}" ;;
  *) echo "error: unknown call $*" >&2; exit 1 ;;
esac
"""  # noqa: E501


def pod(name: str, ready: bool = True, **metadata: str) -> m.Object:
    """What the API says of a pod in the phase `Running`, as far as it is read."""
    conditions = [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": str(ready)}]
    return {"metadata": {"name": name, **metadata}, "status": {"phase": "Running", "conditions": conditions}}


@dataclass
class Cluster:
    """The server in the pod, and a folder with what the cluster and the repository say."""

    server: Server
    folder: Path

    @property
    def file(self) -> Path:
        """The copy of k8s/base/models.config."""
        return self.folder / "written-down.config"

    @property
    def environment(self) -> dict[str, str]:
        """What makes `kubectl` mean the script above."""
        return {
            "PATH": f"{self.folder}:{os.environ['PATH']}", "CLUSTER": str(self.folder), "PYTHON": sys.executable,
            "ASK": str(ASK), "REST_PORT": str(self.server.rest_port),
        }  # fmt: skip

    def rollout(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the tool."""
        command = [sys.executable, "tools/rollout_kubernetes.py", *arguments, f"--file={self.file}"]
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False)

    def has(self, *pods: m.Object) -> None:
        """Say which pods there are."""
        whole = self.folder / "pods.new"
        whole.write_text(json.dumps({"items": pods}))
        whole.rename(self.folder / "pods.json")

    def called(self) -> list[str]:
        """What kubectl was asked."""
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture(scope="module")
def cluster(serve: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Versions 1 and 2 on a volume, both labels on 1."""
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    folder = tmp_path_factory.mktemp("cluster")
    for version in (1, 2):
        shutil.copytree(MODELS / "1", folder / "models" / str(version))
    text = (m.BASE / "models.config").read_text().replace("/models/digits", str(folder / "models"))
    (folder / "models.config").write_text(text)
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    server = serve(
        f"--model_config_file={folder / 'models.config'}", "--model_config_file_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models",
    )  # fmt: skip
    wait_for_rest(server)
    made = Cluster(server, folder)
    shutil.copy(m.BASE / "models.config", made.file)
    return made


@pytest.fixture(autouse=True)
def pods(cluster: Cluster) -> None:
    """One that answers, and one that a rollout has replaced."""
    cluster.has(pod("tfserving-1"), pod("tfserving-0", deletionTimestamp="now"))


def version_of(cluster: Cluster, label: str) -> int:
    """The version that answers to a label."""
    import numpy as np

    with PredictClient(cluster.server.target) as client:
        return client.predict(np.zeros((1, 28, 28), np.uint8), 10.0, label=label).version


def test_a_version_that_no_pod_has_changes_nothing(cluster: Cluster) -> None:
    before = (cluster.folder / "models.config").read_text()
    refused = cluster.rollout("promote", "9")
    assert refused.returncode == 1
    assert "version 9 does not answer rightly in tfserving-1, nothing was changed" in refused.stderr
    assert (cluster.folder / "models.config").read_text() == before


def test_a_canary_is_promoted_and_taken_back_in_the_cluster_and_in_the_file(cluster: Cluster) -> None:
    done = cluster.rollout("canary", "2")
    assert done.returncode == 0, done.stderr
    assert (version_of(cluster, "stable"), version_of(cluster, "canary")) == (1, 2)

    done = cluster.rollout("rollback")
    assert done.returncode == 0, done.stderr
    assert "gave up the canary, version 2; stable stays at version 1" in done.stdout
    assert "canary is version 1 in every pod" in done.stdout
    assert (version_of(cluster, "stable"), version_of(cluster, "canary")) == (1, 1)

    done = cluster.rollout("promote", "2")
    assert done.returncode == 0, done.stderr
    assert "stable is version 2 in every pod" in done.stdout
    assert "until they are gone: tfserving-0" in done.stdout
    assert version_of(cluster, "stable") == 2
    assert 'version_labels { key: "stable" value: 2 }' in cluster.file.read_text()
    assert "annotate pods" in cluster.called()  # without it a pod's copy follows within the minute

    done = cluster.rollout("rollback")
    assert done.returncode == 0, done.stderr
    assert version_of(cluster, "stable") == 1
    assert cluster.rollout("show").stdout.strip() == "stable 1, canary 1, previous 2"
    assert 'version_labels { key: "stable" value: 1 }' in cluster.file.read_text()


def test_labels_are_in_the_file_even_if_a_pod_does_not_follow(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.rollout("promote", "2")
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tool, "WAIT_S", 1.0)
    monkeypatch.setattr(tool, "_version", lambda *_: "nothing")
    assert tool.main(["rollback", f"--file={cluster.file}"]) == 1
    assert "the labels are written; after 1 s `stable` is not version 1 everywhere" in capsys.readouterr().err
    assert 'version_labels { key: "stable" value: 1 }' in cluster.file.read_text()  # what the next apply says


def test_a_pod_in_a_crash_loop_does_not_hold_up_a_rollback_but_a_promotion(cluster: Cluster) -> None:
    cluster.rollout("promote", "2")
    cluster.has(pod("tfserving-1"), pod("tfserving-2", ready=False))
    done = cluster.rollout("rollback")
    assert done.returncode == 0, done.stderr
    assert "only the pods that are ready are asked (not ready: tfserving-2)" in done.stderr
    assert "stable is version 1 in every pod that is ready after" in done.stdout
    refused = cluster.rollout("promote", "2")
    assert refused.returncode == 1
    assert "version 2 does not answer rightly in tfserving-2, nothing was changed" in refused.stderr


def test_without_a_ready_pod_a_rollback_goes_on_unverified_and_nothing_else_does(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.rollout("promote", "2")
    cluster.has(pod("tfserving-1", ready=False), pod("tfserving-2", ready=False))
    for action in ("canary", "promote"):
        refused = cluster.rollout(action, "1")
        assert refused.returncode == 1
        assert "is ready in namespace digits (not ready: tfserving-1, tfserving-2), nothing was changed" in refused.stderr
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tool, "WAIT_S", 1.0)
    assert tool.main(["rollback", f"--file={cluster.file}"]) == 1
    warned = capsys.readouterr().err
    assert "not verified: no pod with app.kubernetes.io/name=tfserving is ready" in warned
    assert "the labels are written; after 1 s `stable` is not version 1 everywhere: no pod is ready" in warned
    assert cluster.rollout("show").stdout.startswith("stable 1")
    assert 'version_labels { key: "stable" value: 1 }' in cluster.file.read_text()


def test_rollback_waits_for_pods_that_come_back(cluster: Cluster) -> None:
    cluster.rollout("promote", "2")
    cluster.has(pod("tfserving-1", ready=False))
    with ThreadPoolExecutor(1) as one:
        going = one.submit(cluster.rollout, "rollback")
        time.sleep(3)
        assert not going.done()
        cluster.has(pod("tfserving-1"))
        done = going.result()
    assert done.returncode == 0, done.stderr
    assert "stable is version 1 in every pod after" in done.stdout


def test_a_file_that_cannot_take_the_labels_is_found_before_the_cluster_is_changed(cluster: Cluster) -> None:
    before, kept = (cluster.folder / "models.config").read_text(), cluster.file.read_text()
    cluster.file.write_text("model_config_list {}\n")
    refused = cluster.rollout("canary", "2")
    cluster.file.write_text(kept)
    assert refused.returncode == 1
    assert "found no line" in refused.stderr
    assert (cluster.folder / "models.config").read_text() == before


def test_no_cluster_is_said_in_kubectl_s_words(cluster: Cluster) -> None:
    refused = cluster.rollout("show", "--namespace=elsewhere")
    assert refused.returncode == 1
    assert refused.stderr.startswith("rollout: kubectl get configmap")
