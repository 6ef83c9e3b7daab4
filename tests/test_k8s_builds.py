"""Every overlay and every sensible combination of components builds, and fits the API of the newest Kubernetes releases."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions

from tests import manifests as m

RELEASES = list(dict.fromkeys(all_versions()))[-3:]
OWN_KINDS = {  # of operators and controllers: not in Kubernetes' own schemas
    "Gateway", "HTTPRoute", "ServiceMonitor", "PrometheusRule", "HealthCheckPolicy", "GCPBackendPolicy",
}  # fmt: skip
SOURCES = [one for one in m.COMPONENTS if one.startswith("model-from-")]
DOORS = ["ingress", "gateway-api"]
REST = [one for one in m.COMPONENTS if one not in (*SOURCES, *DOORS)]
COMBINATIONS = [
    [],
    *([source] for source in SOURCES),
    *(["model-from-image", one] for one in (*DOORS, *REST)),
    *([source, *REST, door] for source in SOURCES for door in DOORS),
]


@cache
def complaint(document: str, release: str) -> str:
    """Why the release's API server would refuse the document (JSON), strictly: unknown fields too."""
    content = json.loads(document)
    try:
        kubernetes_validate.validate(content, release, strict=True)
    except kubernetes_validate.ValidationError as exc:
        return f"{content['kind']} {content['metadata']['name']}: {'.'.join(map(str, exc.path))}: {exc.message}"
    except kubernetes_validate.SchemaNotFoundError:
        return "" if content["kind"] in OWN_KINDS else f"{content['apiVersion']} {content['kind']} is unknown"
    return ""


def complaints(objects: tuple[m.Object, ...]) -> list[str]:
    """What the releases say of all of them."""
    found = {f"{release}: {complaint(json.dumps(one), release)}" for one in objects for release in RELEASES
             if complaint(json.dumps(one), release)}  # fmt: skip
    return sorted(found)


def test_every_file_is_yaml_without_a_repeated_key() -> None:
    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):  # type: ignore[no-untyped-def]
            keys = [self.construct_object(key) for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{node.start_mark}: {keys}"
            return super().construct_mapping(node, deep)

    files = sorted(m.K8S.rglob("*.yaml"))
    assert len(files) > 20
    for path in files:
        assert list(yaml.load_all(path.read_text(encoding="utf-8"), Strict)), path


def test_every_file_is_used() -> None:
    for folder in {path.parent for path in m.K8S.rglob("kustomization.yaml")}:
        said = (folder / "kustomization.yaml").read_text(encoding="utf-8")
        for path in folder.iterdir():
            elsewhere = path.name in ("kustomization.yaml", "prometheus-adapter.yaml") or path.suffix == ".Dockerfile"
            assert elsewhere or path.name in said, f"{path} is in nobody's kustomization"


def test_the_base_as_written_fits_the_newest_releases() -> None:
    assert not complaints(m.base())


@pytest.mark.parametrize("name", m.OVERLAYS)
def test_an_overlay_builds_and_fits_the_newest_releases(name: str) -> None:
    objects = m.overlay(name)
    assert not complaints(objects)
    assert {one["metadata"].get("namespace", "digits") for one in objects} == {"digits"}
    identities = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("components", COMBINATIONS, ids=lambda names: "+".join(names) or "base")
def test_a_combination_of_components_builds_and_fits_the_newest_releases(components: list[str], tmp_path: Path) -> None:
    objects = m.combine(components, tmp_path)
    assert not complaints(objects)
    assert {one["metadata"].get("namespace", "digits") for one in objects} == {"digits"}


def test_a_field_that_does_not_exist_is_found() -> None:
    webapp = json.loads(json.dumps(m.named(m.base(), "Deployment", "webapp")))
    webapp["spec"]["template"]["spec"]["terminationGraceSeconds"] = 30
    assert "terminationGraceSeconds" in "".join(complaints((webapp,)))
