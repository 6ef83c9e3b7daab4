"""What Kubernetes objects say of each other is true: selectors, ports, names, threads, times, numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from digits.settings import WebSettings, read
from serving import messages, text_config
from serving import server as model_server
from serving.flags import parse
from tests import manifests as m
from tests.conftest import ROOT

CLUSTER_DNS_S = 30
"""How long a cluster's name server may answer with a pod that is gone: CoreDNS keeps an answer for 30 s at most."""


@pytest.fixture(params=["base", *m.OVERLAYS])
def objects(request: pytest.FixtureRequest) -> tuple[m.Object, ...]:
    """The base as written, which needs nothing installed, and every overlay as built."""
    return m.base() if request.param == "base" else m.overlay(request.param)


def cores(text: str) -> float:
    """`500m` and `2` as cores."""
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def mebibytes(text: str) -> float:
    """`512Mi` and `1Gi` as MiB."""
    return float(text[:-2]) * {"Mi": 1, "Gi": 1024}[text[-2:]]


def gateway_s_own_end_s() -> float:
    """How long gunicorn lets its workers finish."""
    said = re.search(r"^graceful_timeout = (\d+)", (ROOT / "webapp" / "gunicorn_conf.py").read_text(encoding="utf-8"), re.M)
    assert said
    return float(said[1])


def seconds_before_end(workload: m.Object) -> int:
    """What preStop waits."""
    return int(m.pod_of(workload)["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"])


def channel_arguments(flags: list[str]) -> dict[str, int]:
    """--grpc_channel_arguments as a table."""
    return {name: int(value) for name, value in (one.split("=") for one in parse(flags).grpc_channel_arguments.split(","))}


# -- names ----------------------------------------------------------------------------------------


def selectors(objects: tuple[m.Object, ...]) -> Iterator[tuple[str, m.Object]]:
    """Every selector that ought to meet some pod."""
    for one in m.of_kind(objects, "Service"):
        yield f"Service {one['metadata']['name']}", {"matchLabels": one["spec"]["selector"]}
    for one in m.of_kind(objects, "Deployment", "PodDisruptionBudget"):
        yield f"{one['kind']} {one['metadata']['name']}", one["spec"]["selector"]
    for one in m.of_kind(objects, "Deployment"):
        for spread in m.pod_of(one)["spec"].get("topologySpreadConstraints", []):
            yield f"spread of {one['metadata']['name']}", spread["labelSelector"]
        for term in m.pod_of(one)["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]:
            yield f"anti-affinity of {one['metadata']['name']}", term["podAffinityTerm"]["labelSelector"]


def test_every_selector_meets_the_pods_it_means(objects: tuple[m.Object, ...]) -> None:
    pods = {one["metadata"]["name"]: m.pod_of(one)["metadata"]["labels"] for one in m.workloads(objects)}
    for whose, selector in selectors(objects):
        met = [name for name, labels in pods.items() if m.meets(selector, labels)]
        name = whose.split()[-1]
        assert met, f"{whose} meets no pod"
        if not whose.startswith("anti-affinity of loadtest"):  # which keeps away from others
            assert name in met, f"{whose} meets {met}"
        assert whose.startswith("anti-affinity") or len(met) == 1, f"{whose} meets {met}"


def test_every_service_s_port_is_a_port_of_its_pods(objects: tuple[m.Object, ...]) -> None:
    for service in m.of_kind(objects, "Service"):
        (workload,) = [one for one in m.workloads(objects)
                       if m.meets({"matchLabels": service["spec"]["selector"]}, m.pod_of(one)["metadata"]["labels"])]  # fmt: skip
        names = {port["name"]: port["containerPort"] for one in m.containers(workload) for port in one.get("ports", [])}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in names
            if service["spec"].get("clusterIP") == "None":  # nothing translates: clients meet the pods' own ports
                assert port["port"] == names[port["targetPort"]]


def test_every_door_and_monitor_names_a_service_s_port(objects: tuple[m.Object, ...]) -> None:
    services = {one["metadata"]["name"]: one for one in m.of_kind(objects, "Service")}
    ports = {name: {port["name"]: port["port"] for port in one["spec"]["ports"]} for name, one in services.items()}
    for ingress in m.of_kind(objects, "Ingress"):
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["port"]["name"] in ports[backend["name"]]
    for route in m.of_kind(objects, "HTTPRoute"):
        for backend in (one for rule in route["spec"]["rules"] for one in rule.get("backendRefs", [])):
            assert backend["port"] in ports[backend["name"]].values()
        (gateway,) = m.of_kind(objects, "Gateway")
        assert route["spec"]["parentRefs"][0]["sectionName"] in {one["name"] for one in gateway["spec"]["listeners"]}
    for monitor in m.of_kind(objects, "ServiceMonitor"):
        (met,) = [name for name, one in services.items() if m.meets(monitor["spec"]["selector"], one["metadata"]["labels"])]
        assert all(one["port"] in ports[met] for one in monitor["spec"]["endpoints"])


def test_gke_s_controller_takes_the_route() -> None:
    for route in m.of_kind(m.overlay("gke"), "HTTPRoute"):
        assert not [rule for rule in route["spec"]["rules"] if "timeouts" in rule]  # it refuses the whole route otherwise
    policy = m.named(m.overlay("gke"), "GCPBackendPolicy", "webapp")
    assert policy["spec"]["default"]["timeoutSec"] > 2


def test_the_gateway_asks_the_headless_name_by_the_dns_resolver(objects: tuple[m.Object, ...]) -> None:
    service = m.named(objects, "Service", "tfserving")
    assert service["spec"]["clusterIP"] == "None"
    (container,) = m.containers(m.named(objects, "Deployment", "webapp"))
    target = m.variables(container)["DIGITS_MODEL_TARGET"]
    (port,) = [one["port"] for one in service["spec"]["ports"] if one["name"] == "grpc"]
    namespace = m.named(objects, "Namespace", "digits")["metadata"]["name"]
    assert target == f"dns:///{service['metadata']['name']}.{namespace}.svc.cluster.local.:{port}"


def test_what_pods_mount_and_read_exists(objects: tuple[m.Object, ...]) -> None:
    claims = {one["metadata"]["name"] for one in m.of_kind(objects, "PersistentVolumeClaim")}
    accounts = {one["metadata"]["name"] for one in m.of_kind(objects, "ServiceAccount")}
    configs = {one["metadata"]["name"] for one in m.of_kind(objects, "ConfigMap")} or {"tfserving", "tfserving-models"}
    for workload in m.workloads(objects):
        spec = m.pod_of(workload)["spec"]
        assert spec["serviceAccountName"] in accounts
        volumes = {one["name"]: one for one in spec["volumes"]}
        for volume in volumes.values():
            assert volume.get("configMap", {}).get("name") in {None, *configs}
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
        for container in m.containers(workload):
            assert {one["name"] for one in container.get("volumeMounts", [])} <= set(volumes)
            assert all(one["configMapRef"]["name"] in configs for one in container.get("envFrom", []))


def test_the_gateway_s_environment_is_settings_that_it_takes(objects: tuple[m.Object, ...]) -> None:
    (container,) = m.containers(m.named(objects, "Deployment", "webapp"))
    environment = m.variables(container)
    known = {f"DIGITS_{name.upper()}" for name in WebSettings.__dataclass_fields__}
    assert set(environment) <= known, set(environment) - known
    settings = read(WebSettings, environment)
    assert settings.web_port == container["ports"][0]["containerPort"]
    assert settings.web_host == "0.0.0.0"  # a pod's address is not known beforehand


# -- one truth with compose -----------------------------------------------------------------------


def test_the_server_s_files_say_what_compose_s_say() -> None:
    for name, kind in (("batching", messages.BatchingParameters), ("monitoring", messages.MonitoringConfig)):
        ours, theirs = (text_config.read(str(folder / f"{name}.config"), kind) for folder in (m.BASE, ROOT / "serving"))
        assert ours == theirs, name
    ours, theirs = (text_config.read(str(folder / "models.config"), messages.ModelServerConfig)
                    for folder in (m.BASE, ROOT / "serving"))  # fmt: skip
    for config in (ours, theirs):  # which version a label names is each deployment's own
        config.model_config_list.config[0].version_labels.clear()
    assert ours == theirs


def test_the_server_s_flags_are_compose_s() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["tfserving"]["command"]
    there = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", one).replace("/config/", "") for one in compose]
    (container,) = m.containers(m.named(m.base(), "Deployment", "tfserving"))
    here = [re.sub(r"/etc/tfserving(-models)?/", "", one) for one in container["args"]]
    assert not parse(here).unknown
    assert sorted(here) == sorted(there)


# -- threads, times, numbers ----------------------------------------------------------------------


def test_threads_are_as_many_as_the_cores_that_the_limit_gives(objects: tuple[m.Object, ...]) -> None:
    server = next(one for one in m.containers(m.named(objects, "Deployment", "tfserving")) if one["name"] == "tfserving")
    flags = parse(server["args"])
    batching = text_config.read(str(m.BASE / "batching.config"), messages.BatchingParameters)
    threads = batching.num_batch_threads.value * flags.tensorflow_intra_op_parallelism
    assert cores(server["resources"]["limits"]["cpu"]) == threads
    (gateway,) = m.containers(m.named(objects, "Deployment", "webapp"))
    settings = read(WebSettings, m.variables(gateway))
    assert cores(gateway["resources"]["limits"]["cpu"]) == settings.web_workers


def test_the_server_takes_the_calls_of_all_gateways_at_once() -> None:
    objects = m.overlay("production")
    (gateway,) = m.containers(m.named(objects, "Deployment", "webapp"))
    settings = read(WebSettings, m.variables(gateway))
    most = m.named(objects, "HorizontalPodAutoscaler", "webapp")["spec"]["maxReplicas"]
    server = next(one for one in m.containers(m.named(objects, "Deployment", "tfserving")) if one["name"] == "tfserving")
    # a worker's calls: one coalesced for the stable version, one for the canary, one of the version watch;
    # two pods is the least there is
    assert most * settings.web_workers * 3 / 2 < parse(server["args"]).grpc_max_threads


def test_every_container_says_what_it_needs_and_may_use(objects: tuple[m.Object, ...]) -> None:
    for workload in m.workloads(objects):
        for container in m.containers(workload):
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert set(requests) == set(limits) == {"cpu", "memory", "ephemeral-storage"}
            assert cores(requests["cpu"]) <= cores(limits["cpu"])
            for resource in ("memory", "ephemeral-storage"):
                assert mebibytes(requests[resource]) <= mebibytes(limits[resource])
        for volume in m.pod_of(workload)["spec"]["volumes"]:
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), volume


def test_a_pod_has_time_to_end_in_order(objects: tuple[m.Object, ...]) -> None:
    gateway, server = (m.named(objects, "Deployment", name) for name in ("webapp", "tfserving"))
    (container,) = m.containers(gateway)
    budget_s = read(WebSettings, m.variables(container)).deadline_ms / 1000
    assert gateway_s_own_end_s() > budget_s
    for workload, own_end_s in ((gateway, gateway_s_own_end_s()), (server, model_server.GRACE_S)):
        grace_s = m.pod_of(workload)["spec"]["terminationGracePeriodSeconds"]
        assert grace_s > seconds_before_end(workload) + own_end_s + budget_s


def test_a_server_outlives_every_connection_to_it(objects: tuple[m.Object, ...]) -> None:
    server = next(one for one in m.containers(m.named(objects, "Deployment", "tfserving")) if one["name"] == "tfserving")
    age_s = channel_arguments(server["args"])["grpc.max_connection_age_ms"] / 1000
    assert age_s <= CLUSTER_DNS_S  # a new pod gets traffic within the minute: one age, one old answer
    last_s = CLUSTER_DNS_S + 1.1 * age_s  # made with the oldest answer; gRPC spreads the age by 10 %
    assert seconds_before_end(m.named(objects, "Deployment", "tfserving")) > last_s


def test_a_rollout_takes_no_capacity_away(objects: tuple[m.Object, ...]) -> None:
    for name in ("webapp", "tfserving"):
        rolling = m.named(objects, "Deployment", name)["spec"]["strategy"]["rollingUpdate"]
        assert rolling["maxUnavailable"] == 0
        assert rolling["maxSurge"] >= 1


def test_a_rollout_that_is_only_slow_is_not_called_failed(objects: tuple[m.Object, ...]) -> None:
    for name in ("webapp", "tfserving"):
        deployment = m.named(objects, "Deployment", name)
        probe = next(one["startupProbe"] for one in m.containers(deployment) if "startupProbe" in one)
        assert deployment["spec"]["progressDeadlineSeconds"] > probe["periodSeconds"] * probe["failureThreshold"]


def test_a_drain_of_a_node_never_waits_for_ever_and_never_takes_the_last_pod(objects: tuple[m.Object, ...]) -> None:
    for budget in m.of_kind(objects, "PodDisruptionBudget"):
        name = budget["metadata"]["name"]
        scalers = [one for one in m.of_kind(objects, "HorizontalPodAutoscaler") if one["metadata"]["name"] == name]
        fewest = scalers[0]["spec"]["minReplicas"] if scalers else m.named(objects, "Deployment", name)["spec"]["replicas"]
        assert 1 <= budget["spec"]["maxUnavailable"] < fewest


def test_an_autoscaler_owns_the_number_of_pods_alone(objects: tuple[m.Object, ...]) -> None:
    for scaler in m.of_kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        deployment = m.named(objects, target["kind"], target["name"])
        assert "replicas" not in deployment["spec"]  # applying the manifests again must not undo what it did
        kinds = {one["type"] for one in scaler["spec"]["metrics"]}
        assert kinds == {"ContainerResource", "Pods"}
        for metric in (one["containerResource"] for one in scaler["spec"]["metrics"] if "containerResource" in one):
            assert metric["container"] in {one["name"] for one in m.containers(deployment)}
        behaviour = scaler["spec"]["behavior"]
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] > behaviour["scaleUp"]["stabilizationWindowSeconds"]


def test_the_request_metrics_of_the_autoscalers_are_made_of_metrics_that_exist() -> None:
    (rules,) = m.documents(m.K8S / "components" / "hpa" / "prometheus-adapter.yaml")
    made = {one["name"]["as"] for one in rules["rules"]["custom"]}
    scalers = m.of_kind(m.documents(m.K8S / "components" / "hpa" / "hpa.yaml"), "HorizontalPodAutoscaler")
    assert {one["pods"]["metric"]["name"] for scaler in scalers for one in scaler["spec"]["metrics"] if "pods" in one} == made
    text = json.dumps(rules)
    assert "digits_requests_total" in text
    assert ":tensorflow:serving:request_count" in text


# -- safety ---------------------------------------------------------------------------------------


def test_the_namespace_admits_restricted_pods_only(objects: tuple[m.Object, ...]) -> None:
    labels = m.named(objects, "Namespace", "digits")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_pod_is_restricted_and_more(objects: tuple[m.Object, ...]) -> None:
    for workload in m.workloads(objects):
        spec = m.pod_of(workload)["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 10000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]} <= {
            "configMap", "emptyDir", "persistentVolumeClaim"
        }  # fmt: skip
        for container in m.containers(workload):
            confined = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert container["securityContext"] == confined


def test_images_have_a_tag_and_a_digest_that_can_be_one() -> None:
    for name in m.OVERLAYS:
        for image in (container["image"] for one in m.workloads(m.overlay(name)) for container in m.containers(one)):
            path, _, digest = image.partition("@")
            repository, _, tag = path.rpartition(":")
            assert re.fullmatch(r"[a-z0-9._/-]+", repository), image
            assert tag not in ("", "latest"), image
            assert not digest or re.fullmatch(r"sha256:[0-9a-f]{64}", digest), image
