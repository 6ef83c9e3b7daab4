"""The probes ask for what the running servers have, and notice what they are there to notice."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest
import yaml

from tests import manifests as m
from tests.conftest import MODELS, ROOT, Server, StartServer, free_port
from webapp import create_app

ASK = m.BASE / "tfserving-ask.sh"
REST_S = 20.0


@pytest.fixture(scope="module")
def pod(serve: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The embedded server with the manifest's own flags; only the paths are this machine's."""
    config = tmp_path_factory.mktemp("config")
    for path in m.BASE.glob("*.config"):
        text = path.read_text(encoding="utf-8").replace("/models/digits", str(MODELS))
        (config / path.name).write_text(text, encoding="utf-8")
    server = next(m.containers(m.named(m.base(), "Deployment", "tfserving")))
    flags = [one.replace("/etc/tfserving-models", str(config)).replace("/etc/tfserving", str(config)) for one in server["args"]]
    server = serve(*flags)
    wait_for_rest(server)
    return server


def wait_for_rest(server: Server) -> None:
    """The REST port opens after gRPC's, which `serve` waits for."""
    until = time.monotonic() + REST_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.rest_port), timeout=1):
            return
        assert time.monotonic() < until, f"the REST port did not open within {REST_S:.0f} s"
        time.sleep(0.05)


def ask(port: int, wanted: str, path: str = "/v1/models/digits") -> bool:
    """Run the probe's script as the kubelet does."""
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    done = subprocess.run(["bash", str(ASK), wanted], env={**os.environ, "REST_PORT": str(port), "MODEL_PATH": path},
                          capture_output=True, text=True, timeout=10, check=False)  # fmt: skip
    return done.returncode == 0


def probes(deployment: str) -> Iterator[tuple[str, m.Object]]:
    """Every probe of a deployment's pods."""
    for container in m.containers(m.named(m.base(), "Deployment", deployment)):
        yield from ((name, container[name]) for name in ("startupProbe", "readinessProbe", "livenessProbe"))


def http_status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as exc:
        return exc.code


def test_every_probe_of_the_model_server_is_met_by_the_running_server(pod: Server) -> None:
    container = next(m.containers(m.named(m.base(), "Deployment", "tfserving")))
    for name, probe in probes("tfserving"):
        if "exec" in probe:
            bash, script, wanted = probe["exec"]["command"]
            assert (bash, script) == ("bash", "/etc/tfserving/ask.sh")
            assert ask(pod.rest_port, wanted, m.variables(container)["MODEL_PATH"]), name
        else:
            assert probe["httpGet"]["port"] == "rest"
            assert http_status(pod.rest + probe["httpGet"]["path"]) == 200, name


def test_the_canary_component_s_readiness_asks_for_the_stable_version(pod: Server) -> None:
    patch = m.documents(m.K8S / "components" / "canary" / "tfserving.yaml")[0]
    path = m.variables(m.pod_of(patch)["spec"]["containers"][0])["MODEL_PATH"]
    assert path.endswith("/labels/stable")
    assert ask(pod.rest_port, "answered", path)


def test_a_pod_without_the_model_or_the_version_is_not_ready(pod: Server) -> None:
    assert not ask(pod.rest_port, "answered", "/v1/models/other")
    assert not ask(pod.rest_port, "answered", "/v1/models/digits/versions/99")
    assert not ask(free_port(), "answered")


class Scripted(BaseHTTPRequestHandler):
    """Answers every request with what the test says."""

    answer: ClassVar[tuple[int, str]] = (200, "")

    def do_POST(self) -> None:
        """One answer."""
        body = self.answer[1].encode()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.answer[0])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.mark.parametrize(("status", "body", "right", "answered"), [
    (200, '{"predictions": [{"digit": 1, "probabilities": []}]}', True, True),
    (200, '{"predictions": [{"probabilities": [], "digit": 1\n}]}', True, True),
    (200, '{"predictions": [{"digit": 7, "probabilities": []}]}', False, True),
    (200, "an answer from somebody else", False, False),
    (503, '{"error": "The batch scheduling queue to which this task was submitted is full"}', False, True),
    (404, '{"error": "Servable not found for request: Latest(digits)"}', False, False),
    (500, '{"error": "broken"}', False, False),
])  # fmt: skip
def test_a_wrong_model_never_starts_and_a_busy_one_stays_ready(status: int, body: str, right: bool, answered: bool) -> None:
    Scripted.answer = (status, body)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        assert (ask(server.server_port, "right"), ask(server.server_port, "answered")) == (right, answered)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_that_accepts_and_says_nothing_fails_by_the_probe_s_time() -> None:
    for name, probe in probes("tfserving"):
        assert 1 <= probe["timeoutSeconds"] <= probe["periodSeconds"] or name == "startupProbe"


def test_liveness_is_patient_and_never_asks_the_other_tier() -> None:
    for deployment, quiet in (("tfserving", "/v1/models/digits"), ("webapp", "/livez")):
        probe = dict(probes(deployment))["livenessProbe"]
        assert probe["httpGet"]["path"] == quiet
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_every_probe_of_the_gateway_is_met_by_the_running_gateway(pod: Server) -> None:
    from digits.settings import WebSettings

    client = create_app(WebSettings(model_target=pod.target)).test_client()
    until = time.monotonic() + 10
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < until, client.get("/readyz").get_data(as_text=True)
        time.sleep(0.1)
    for name, probe in probes("webapp"):
        assert probe["httpGet"]["port"] == "http"
        assert client.get(probe["httpGet"]["path"]).status_code == 200, name


def test_a_gateway_without_a_model_is_alive_and_not_ready() -> None:
    from digits.settings import WebSettings

    client = create_app(WebSettings(model_target=f"127.0.0.1:{free_port()}")).test_client()
    asked = {name: client.get(probe["httpGet"]["path"]).status_code for name, probe in probes("webapp")}
    assert asked == {"startupProbe": 200, "readinessProbe": 503, "livenessProbe": 200}


def test_what_prometheus_is_told_to_scrape_is_there(pod: Server) -> None:
    monitors = m.documents(m.K8S / "components" / "monitoring" / "servicemonitors.yaml")
    (path,) = [one["path"] for one in m.named(monitors, "ServiceMonitor", "tfserving")["spec"]["endpoints"]]
    with urllib.request.urlopen(pod.rest + path, timeout=5) as response:
        assert b":tensorflow:serving:request_count" in response.read()


def test_the_alerts_are_those_of_compose() -> None:
    (ours,) = m.documents(m.K8S / "components" / "monitoring" / "alerts.yaml")
    theirs = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    assert ours["spec"] == theirs, "run `make k8s-alerts`"
    scraped = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {one["job_name"] for one in scraped["scrape_configs"]} - {"prometheus"}
    monitors = m.documents(m.K8S / "components" / "monitoring" / "servicemonitors.yaml")
    assert {one["relabelings"][0]["replacement"] for monitor in monitors for one in monitor["spec"]["endpoints"]} == jobs
