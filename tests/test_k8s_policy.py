"""checkov's policies: nothing fails but what is listed here with its reason."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
import yaml

from tests import manifests as m
from tests.conftest import ROOT

RUN_S = 240
REASONS = {
    "CKV_K8S_15": "imagePullPolicy IfNotPresent: a tag is never moved and production adds the digest, so there is nothing "
    "newer to pull; Always would let a registry that is down keep a pod from starting",
    "CKV_K8S_43": "a digest is known once an image was pushed: the release sets it (docs/kubernetes.md), the repository cannot",
}
OF_ONE = {  # a reason that holds for one workload alone
    ("CKV_K8S_8", "loadtest-worker"): "a Locust worker has no port to be asked on; one that loses its master ends by itself",
    ("CKV_K8S_9", "loadtest-worker"): "nothing is sent to a Locust worker, so it need not be ready",
}


CARELESS = "careless"
"""A workload beside the others that may do anything, so that the run shows that it finds something."""


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """What failed in all overlays as (check, name of the object)."""
    own = ROOT / ".venv" / "policy" / "bin" / "checkov"  # where `make test-k8s` installs it
    program = str(own) if own.exists() else shutil.which("checkov")
    if program is None:
        pytest.skip("needs checkov: make test-k8s installs it")
    folder = tmp_path_factory.mktemp("manifests")
    for name in m.OVERLAYS:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(m.overlay(name)))
    careless = json.loads(json.dumps(m.named(m.base(), "Deployment", "webapp")))
    careless["metadata"]["name"] = CARELESS
    careless["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    (folder / f"{CARELESS}.yaml").write_text(yaml.safe_dump(careless))
    done = subprocess.run(
        [program, "--framework", "kubernetes", "--directory", str(folder), "--output", "json", "--quiet", "--skip-download"],
        env={**os.environ, "BC_SKIP_MAPPING": "TRUE"}, cwd=folder, capture_output=True, text=True, timeout=RUN_S, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 300
    return {(one["check_id"], one["resource"].split(".")[2]) for one in report["results"]["failed_checks"]}


def test_nothing_fails_without_a_listed_reason(failed: set[tuple[str, str]]) -> None:
    unexplained = {one for one in failed if one[0] not in REASONS and one not in OF_ONE and one[1] != CARELESS}
    assert not unexplained


def test_every_listed_reason_is_still_needed(failed: set[tuple[str, str]]) -> None:
    assert set(REASONS) <= {check for check, _ in failed}
    assert set(OF_ONE) <= failed


def test_a_pod_that_may_do_anything_is_found(failed: set[tuple[str, str]]) -> None:
    assert ("CKV_K8S_16", CARELESS) in failed
