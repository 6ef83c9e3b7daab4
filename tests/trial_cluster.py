"""`make test-cluster`: the manifests on a real Kubernetes API server, with its controllers and scheduler.

Not part of `make test`, which would not collect this file by its name.  CONTROL_PLANE names the folder with the binaries;
tools/control_plane.sh builds them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import manifests as m
from tests.conftest import ROOT
from tests.control_plane import PARTS, ControlPlane, control_plane

FOLDER = Path(os.environ.get("CONTROL_PLANE", ROOT / "build" / "control-plane"))
WORKLOADS = ("Deployment", "Job")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that knows the kinds which the overlays use besides Kubernetes's own."""
    missing = [part for part in PARTS if not os.access(FOLDER / part, os.X_OK)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} in {FOLDER}: tools/control_plane.sh builds them")
    with control_plane(FOLDER, tmp_path_factory.mktemp("plane")) as plane:
        for file in sorted((FOLDER / "crds").glob("*.yaml")):
            applied(plane, "--filename", str(file), "--server-side")
        applied(plane, "--filename", "-", stdin=GOOGLE)
        yield plane


def applied(plane: ControlPlane, *arguments: str, stdin: str | None = None) -> list[str]:
    """What `kubectl apply` says, line by line; it must not fail, nor warn."""
    done = plane.kubectl("apply", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "version difference" not in line]
    assert warnings == []
    return done.stdout.splitlines()


@pytest.fixture
def empty(plane: ControlPlane) -> ControlPlane:
    """The control plane without the namespace."""
    gone = plane.kubectl("delete", "namespace", "digits", "--ignore-not-found", "--timeout=60s")
    assert gone.returncode == 0, gone.stderr
    return plane


@pytest.mark.parametrize("name", m.OVERLAYS)
def test_an_overlay_is_admitted_and_its_pods_are_made(empty: ControlPlane, name: str) -> None:
    """Pod Security *restricted* is enforced where pods are made, not where Deployments are applied."""
    folder = str(m.K8S / "overlays" / name)
    objects = m.overlay(name)
    assert len(applied(empty, "--kustomize", folder)) == len(objects)
    again = empty.kubectl("diff", "--kustomize", folder)
    assert (again.returncode, again.stdout) == (0, ""), "applied once more, it would change something"
    least = {one["metadata"]["name"]: one["spec"]["minReplicas"] for one in objects if one["kind"] == "HorizontalPodAutoscaler"}
    wanted = {
        one["metadata"]["name"]: one["spec"].get("replicas", least.get(one["metadata"]["name"], 1))
        for one in objects
        if one["kind"] in WORKLOADS
    }
    until = time.monotonic() + 30
    while (made := pods(empty)) != wanted and time.monotonic() < until:
        time.sleep(0.5)
    assert made == wanted, [one["message"] for one in empty.objects("events") if one["type"] == "Warning"]


def pods(plane: ControlPlane) -> dict[str, int]:
    """How many pods each workload has."""
    made: dict[str, int] = {}
    for pod in plane.objects("pods"):
        (owner,) = pod["metadata"]["ownerReferences"]
        name = owner["name"].rpartition("-")[0] if owner["kind"] == "ReplicaSet" else owner["name"]
        made[name] = made.get(name, 0) + 1
    return made


def test_budgets_and_autoscalers_find_what_they_are_about(empty: ControlPlane) -> None:
    applied(empty, "--kustomize", str(m.K8S / "overlays" / "production"))
    until = time.monotonic() + 30
    while time.monotonic() < until:
        budgets = {one["metadata"]["name"]: one["status"].get("expectedPods") for one in empty.objects("pdb")}
        scaled = [
            {one["type"]: one["status"] for one in scaler["status"].get("conditions", [])}.get("AbleToScale")
            for scaler in empty.objects("hpa")
        ]
        if budgets == {"tfserving": 2, "webapp": 2} and scaled == ["True", "True"]:
            return
        time.sleep(0.5)
    pytest.fail(f"budgets {budgets}, autoscalers {scaled}")


@pytest.mark.parametrize("name", m.COMPONENTS)
def test_a_component_is_admitted_on_the_base(empty: ControlPlane, name: str, tmp_path: Path) -> None:
    built = m.combine([name], tmp_path)
    assert len(applied(empty, "--kustomize", str(tmp_path / name))) == len(built)


GOOGLE = "\n---\n".join(
    f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{ name: {plural}.networking.gke.io }}
spec:
  group: networking.gke.io
  scope: Namespaced
  names: {{ kind: {kind}, plural: {plural} }}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {{ openAPIV3Schema: {{ type: object, x-kubernetes-preserve-unknown-fields: true }} }}
"""
    for kind, plural in (("GCPBackendPolicy", "gcpbackendpolicies"), ("HealthCheckPolicy", "healthcheckpolicies"))
)
"""Stand-ins: Google's own definitions are not published as a module."""
