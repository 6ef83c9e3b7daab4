"""The manifests as a cluster would get them, for the tests of k8s/."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

K8S = ROOT / "k8s"
BASE = K8S / "base"
OVERLAYS = sorted(folder.name for folder in (K8S / "overlays").iterdir())
COMPONENTS = sorted(folder.name for folder in (K8S / "components").iterdir())
BUILD_S = 30

Object = dict[str, Any]


def builder() -> list[str]:
    """The command that builds a kustomization; the test is skipped where there is none."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    pytest.skip("needs kubectl or kustomize to build the manifests")


@cache
def build(folder: Path) -> tuple[Object, ...]:
    """Every object of a kustomization."""
    done = subprocess.run([*builder(), str(folder)], capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, f"{folder} does not build:\n{done.stderr}"
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def overlay(name: str) -> tuple[Object, ...]:
    """Every object of an overlay."""
    return build(K8S / "overlays" / name)


def combine(components: Sequence[str], folder: Path) -> tuple[Object, ...]:
    """Every object of the base with some components; folder: where the kustomization that says so may be written."""
    beside = folder.resolve() / ("-".join(components) or "none")
    beside.mkdir(exist_ok=True)
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(BASE, beside)],
        "components": [os.path.relpath(K8S / "components" / name, beside) for name in components],
    }
    (beside / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return build(beside)


def base() -> tuple[Object, ...]:
    """The base's own objects as they are written, so that they can be looked at without a builder."""
    return tuple(one for name in ("namespace", "tfserving", "webapp") for one in documents(BASE / f"{name}.yaml"))


def documents(path: Path) -> list[Object]:
    """The documents of one YAML file."""
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """Those of the given kinds."""
    return [one for one in objects if one["kind"] in kinds]


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    """The one object of that kind and name."""
    (found,) = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
    return found


def pod_of(workload: Object) -> Object:
    """A workload's pod template."""
    template: Object = workload["spec"]["template"]
    return template


def workloads(objects: Sequence[Object]) -> list[Object]:
    """What makes pods."""
    return of_kind(objects, "Deployment", "Job")


def containers(workload: Object) -> Iterator[Object]:
    """Every container of a workload's pods, those that run first included."""
    spec = pod_of(workload)["spec"]
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def variables(container: Object) -> dict[str, str]:
    """A container's environment."""
    return {one["name"]: one["value"] for one in container.get("env", [])}


def meets(selector: Object, labels: dict[str, str]) -> bool:
    """Whether matchLabels and matchExpressions (In) hold for the labels; an empty selector takes everything."""
    plain = selector.get("matchLabels", {}).items() <= labels.items()
    return plain and all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", []))
