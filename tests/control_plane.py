"""A Kubernetes control plane on loopback: etcd, API server, controllers and scheduler, without a node.

What the API server admits, fills in and refuses is the real thing; pods are made and stay pending.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import free_port

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
START_S = 60


@dataclass
class ControlPlane:
    """A running one."""

    environment: dict[str, str]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the cluster's administrator."""
        return subprocess.run(
            ["kubectl", *arguments], env=self.environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip

    def objects(self, *kinds: str, namespace: str = "digits") -> list[Any]:
        """Every object of the kinds as the API server has it."""
        got = self.kubectl("--namespace", namespace, "get", ",".join(kinds), "--output", "json")
        assert got.returncode == 0, got.stderr
        found: list[Any] = json.loads(got.stdout)["items"]
        return found


@contextmanager
def control_plane(binaries: Path, folder: Path) -> Iterator[ControlPlane]:
    """Start one from the binaries; its state lives in the folder."""
    client, peer, port = free_port(), free_port(), free_port()
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f"{token},admin,1,system:masters\n")
    subprocess.run(["openssl", "genrsa", "-out", folder / "service-accounts.key", "2048"], check=True, capture_output=True)
    (folder / "kubeconfig").write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "trial",
        "clusters": [{"name": "trial", "cluster": {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "trial", "context": {"cluster": "trial", "user": "admin"}}],
    }))  # fmt: skip
    config = f"--kubeconfig={folder / 'kubeconfig'}"
    key = folder / "service-accounts.key"
    commands = {
        "etcd": [
            f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        ],
        "kube-apiserver": [
            f"--etcd-servers=http://127.0.0.1:{client}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
            f"--secure-port={port}", f"--cert-dir={folder / 'certificates'}", f"--token-auth-file={folder / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
        ],
        "kube-controller-manager": [
            config, "--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials",
            f"--service-account-private-key-file={key}", f"--root-ca-file={folder / 'certificates' / 'apiserver.crt'}",
            f"--secure-port={free_port()}",
        ],
        "kube-scheduler": [config, "--bind-address=127.0.0.1", "--leader-elect=false", f"--secure-port={free_port()}"],
    }  # fmt: skip
    plane = ControlPlane({**os.environ, "KUBECONFIG": str(folder / "kubeconfig")})
    running: list[subprocess.Popen[bytes]] = []
    try:
        for part in PARTS:
            with (folder / f"{part}.log").open("wb") as log:
                running.append(subprocess.Popen([binaries / part, *commands[part]], stdout=log, stderr=log, cwd=folder))
            if part == "kube-apiserver":
                _wait_until_ready(plane, running, folder)
        yield plane
    finally:
        for process in reversed(running):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(plane: ControlPlane, running: list[subprocess.Popen[bytes]], folder: Path) -> None:
    until = time.monotonic() + START_S
    while plane.kubectl("get", "--raw", "/readyz").returncode:
        well = time.monotonic() < until and all(process.poll() is None for process in running)
        assert well, (folder / "kube-apiserver.log").read_text()[-2000:]
        time.sleep(0.5)
