"""NetworkPolicies admit every flow that the compose file has, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests import manifests as m
from tests.conftest import ROOT

WORLD, SCRAPER, DNS = "ingress", "monitoring", "kube-dns"
COMPONENTS = ["model-from-image", "network-policies", "loadtest"]
OUTSIDE = {  # pods of other namespaces: the namespace's labels, the pod's
    WORLD: ({"digits/role": "ingress"}, {}),
    SCRAPER: ({"digits/role": "monitoring"}, {}),
    DNS: ({"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"}),
    "a stranger": ({"kubernetes.io/metadata.name": "elsewhere"}, {"app": "stranger"}),
    "a neighbour of kube-dns": ({"kubernetes.io/metadata.name": "kube-system"}, {"app": "other"}),
}
SOLVER, SOLVER_PORT = "cert-manager's pod", 8089  # which answers Let's Encrypt here while a certificate is made
OURS = {"webapp": "webapp", "tfserving": "tfserving", "locust": "loadtest", "locust-worker": "loadtest-worker"}
"""Compose's services and what runs them here."""


Labels = tuple[dict[str, str], dict[str, str]]
"""A namespace's labels, and those of a pod in it."""


class Flow(NamedTuple):
    """Who opens a connection to whom, on which port."""

    source: str
    target: str
    port: int


@pytest.fixture
def objects(tmp_path: Path) -> tuple[m.Object, ...]:
    """Everything that has flows, with its policies."""
    return m.combine(COMPONENTS, tmp_path)


# -- what the policies say ------------------------------------------------------------------------


def admitted(objects: tuple[m.Object, ...]) -> set[Flow]:
    """Every flow between pods here, and from and to those outside, that both ends' policies let through."""
    inside = {one["metadata"]["name"]: m.pod_of(one)["metadata"]["labels"] for one in m.workloads(objects)}
    inside["a pod without a policy of its own"] = {"app": "new"}
    inside[SOLVER] = {"acme.cert-manager.io/http01-solver": "true"}
    own = m.named(objects, "Namespace", "digits")["metadata"]["labels"]
    everyone = {name: (own, labels) for name, labels in inside.items()} | OUTSIDE
    policies = m.of_kind(objects, "NetworkPolicy")
    ports = {53, 80, 443, 5557, 8080, 8089, 8500, 8501, 9090}
    return {
        Flow(source, target, port)
        for source in everyone for target in everyone for port in ports
        if source != target and (source in inside or target in inside)
        and (source not in inside or lets(policies, "egress", inside[source], everyone[target], port))
        and (target not in inside or lets(policies, "ingress", inside[target], everyone[source], port))
    }  # fmt: skip


def lets(policies: list[m.Object], way: str, labels: dict[str, str], other: Labels, port: int) -> bool:
    """Whether some policy of a pod lets it reach the other (egress) or be reached (ingress); all may, if none is for it."""
    mine = [
        one["spec"]
        for one in policies
        if m.meets(one["spec"]["podSelector"], labels) and way.capitalize() in one["spec"]["policyTypes"]
    ]
    side = "from" if way == "ingress" else "to"
    rules = [rule for spec in mine for rule in spec.get(way, []) if port in {one["port"] for one in rule["ports"]}]
    return not mine or any(is_peer(peer, other) for rule in rules for peer in rule[side])


def is_peer(peer: m.Object, other: Labels) -> bool:
    """Whether a rule's peer means the other; without a namespace's selector it means this namespace."""
    if "ipBlock" in peer:  # addresses outside the cluster
        return False
    namespace, pod = other
    here = namespace.get("pod-security.kubernetes.io/enforce") is not None
    right_namespace = m.meets(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else here
    return right_namespace and m.meets(peer.get("podSelector", {}), pod)


# -- what compose says ----------------------------------------------------------------------------


def needed() -> Iterator[Flow]:
    """The flows of the compose file: published pages, the gateway's target, what Prometheus scrapes, what Locust loads."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    networks = {name: set(one.get("networks", [])) for name, one in services.items()}

    def flow(source: str, target: str, port: int) -> Flow:
        assert networks[source] & networks[target], f"compose gives {source} and {target} no network in common"
        return Flow(OURS.get(source, source), OURS[target], port)

    target, port = services["webapp"]["environment"]["DIGITS_MODEL_TARGET"].rpartition(":-")[2].strip("}").split(":")
    yield flow("webapp", target, int(port))
    yield Flow(WORLD, SOLVER, SOLVER_PORT)  # compose has no certificate
    yield Flow(WORLD, OURS["webapp"], int(services["webapp"]["ports"][0].rpartition(":")[2]))
    for target, port in scraped():
        yield flow("prometheus", target, port)._replace(source=SCRAPER)
    assert "--master-host=locust" in services["locust-worker"]["command"]
    yield flow("locust-worker", "locust", 5557)
    (host,) = [one for one in services["locust"]["command"] if one.startswith("--host=")]
    yield flow("locust-worker", *_host_and_port(host))
    for port in (8500, 8501):  # the model network is there for Locust's users of the model server
        yield flow("locust-worker", "tfserving", port)


def scraped() -> Iterator[tuple[str, int]]:
    """What prometheus.yml scrapes of ours."""
    text = (ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    for job in yaml.safe_load(text)["scrape_configs"]:
        found = [name for one in job.get("static_configs", []) for name in one["targets"]]
        found += [f"{name}:{one['port']}" for one in job.get("dns_sd_configs", []) for name in one["names"]]
        for name in found:
            host, _, port = name.partition(":")
            if host in OURS:
                yield host, int(port)


def _host_and_port(flag: str) -> tuple[str, int]:
    host, _, port = flag.rpartition("//")[2].partition(":")
    return host, int(port)


def test_policies_admit_every_flow_of_the_compose_file_and_no_other(objects: tuple[m.Object, ...]) -> None:
    wanted = set(needed())
    names = {Flow(source, DNS, 53) for source in ("webapp", "loadtest", "loadtest-worker")}
    got = admitted(objects)
    assert wanted - got == set(), "needed, but not admitted"
    assert got - wanted - names == set(), "admitted, but not needed"


def test_without_the_load_test_only_its_flows_are_gone(tmp_path: Path) -> None:
    got = admitted(m.combine(["model-from-image", "network-policies"], tmp_path))
    assert got == {one for one in needed() if "loadtest" not in one.source} | {Flow("webapp", DNS, 53)}


def test_on_gke_names_are_asked_for_at_the_node() -> None:
    cache = {"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "node-local-dns"}
    policies = {one["metadata"]["name"]: one["spec"] for one in m.of_kind(m.overlay("gke"), "NetworkPolicy")}
    for name in ("webapp", "tfserving-to-bucket"):
        (rule,) = [one for one in policies[name]["egress"] if {port["port"] for port in one["ports"]} == {53}]
        assert any(is_peer(peer, cache) for peer in rule["to"]), name
        assert [peer["ipBlock"]["cidr"] for peer in rule["to"] if "ipBlock" in peer] == ["169.254.0.0/16"], name


def test_the_bucket_is_reached_and_the_model_server_reaches_nothing_else(tmp_path: Path) -> None:
    objects = m.combine(["model-from-bucket", "network-policies"], tmp_path)
    (spec,) = [one["spec"] for one in m.of_kind(objects, "NetworkPolicy") if one["metadata"]["name"] == "tfserving-to-bucket"]
    blocks = [(peer["ipBlock"]["cidr"], tuple(port["port"] for port in rule["ports"]))
              for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer]  # fmt: skip
    assert blocks == [("0.0.0.0/0", (443,)), ("169.254.0.0/16", (80, 988))]
    assert not [one for one in admitted(objects) if one.source == "tfserving" and one.target != DNS]
