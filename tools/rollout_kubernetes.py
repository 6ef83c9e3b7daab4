"""Move the labels `stable` and `canary` in a cluster: what rollout.py does to a file, done to a ConfigMap.

    python tools/rollout_kubernetes.py show
    python tools/rollout_kubernetes.py canary 3      # try version 3 on the canary's share of the drawings
    python tools/rollout_kubernetes.py promote 3     # all drawings
    python tools/rollout_kubernetes.py rollback      # a canary that is tried is given up; else back to what was promoted over

The version is asked for a drawn digit in every pod before anything is changed, and every pod is asked afterwards which
version the label now names.  Between the two the same labels are written into k8s/base/models.config, so that the next
`kubectl apply -k` does not undo them, whatever the pods say.  A rollback asks the pods that are ready, names the others, and
goes on unverified if there is none: a crash loop is what it may have to end.  kubectl's current context says which cluster.
0 done, 1 refused or not seen to act, 2 usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools import rollout
from tools.rollout import Refused

FILE = Path(__file__).resolve().parents[1] / "k8s" / "base" / "models.config"
CONFIG_MAP, KEY = "tfserving-models", "models.config"
PODS = "app.kubernetes.io/name=tfserving"
ASK = "/etc/tfserving/ask.sh"
CALL_S = 30.0
WAIT_S = 120.0


class Pods(NamedTuple):
    """Names of pods in their phase `Running`, which says nothing of whether they answer."""

    ready: list[str]
    unready: list[str]
    """Starting, or in a crash loop."""
    leaving: list[str]
    """Replaced by a rollout: gateways ask them until their connections end."""

    def asked(self, action: str) -> list[str]:
        """Whose answer decides: everybody's, but that a pod which is not ready does not hold up a rollback."""
        return self.ready if action == "rollback" else self.ready + self.unready


class Cluster:
    """The few things that are asked of kubectl.  Every method raises Refused with kubectl's own words."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def config(self) -> str:
        """The model configuration as the cluster has it."""
        found = json.loads(self._run("get", "configmap", CONFIG_MAP, "-o", "json"))
        return str(found["data"][KEY])

    def replace_config(self, text: str) -> None:
        """Put another in its place; a pod's copy follows within the minute."""
        self._run("patch", "configmap", CONFIG_MAP, "--type=merge", "-p", json.dumps({"data": {KEY: text}}))

    def renew_copies(self, text: str) -> None:
        """Have every pod's copy renewed now."""
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._run("annotate", "pods", "-l", PODS, "--overwrite", f"digits/models-config={digest}")

    def pods(self) -> Pods:
        """The model servers whose containers were started."""
        found = json.loads(self._run("get", "pods", "-l", PODS, "--field-selector=status.phase=Running", "-o", "json"))
        pods = Pods([], [], [])
        for one in found["items"]:
            conditions = one.get("status", {}).get("conditions", [])
            ready = any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
            leaving = "deletionTimestamp" in one["metadata"]
            (pods.leaving if leaving else pods.ready if ready else pods.unready).append(one["metadata"]["name"])
        return pods

    def ask(self, pod: str, path: str, wanted: str) -> str:
        """Run the readiness probe's script in a pod; returns what it printed."""
        command = ("env", f"MODEL_PATH=/v1/models/digits/{path}", "bash", ASK, wanted)
        return self._run("exec", pod, "-c", "tfserving", "--", *command).strip()

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                ["kubectl", "-n", self.namespace, *arguments], capture_output=True, text=True, timeout=CALL_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise Refused(f"kubectl {arguments[0]}: {exc}") from exc
        if done.returncode != 0:
            raise Refused(f"kubectl {' '.join(arguments[:2])}: {done.stderr.strip() or done.returncode}")
        return done.stdout


def move(cluster: Cluster, file: Path, action: str, version: int | None) -> None:
    """Check, change the cluster and the file, and wait until every pod has followed.  Raises Refused."""
    text = cluster.config()
    now = rollout.labels(text)
    after, label = rollout.moved(now, action, version), rollout.label_of(now, action)
    changed, kept = rollout.with_labels(text, after), rollout.with_labels(file.read_text(), after)
    check_answers(cluster, action, after[label])
    cluster.replace_config(changed)
    rollout.replace(file, kept)  # before anything else can fail: the next apply would bring back what was there
    if said := rollout.remark(now, action):
        print(said)
    cluster.renew_copies(changed)
    took_s = wait_until_followed(cluster, action, label, after[label])
    pods = cluster.pods()
    print(f"{label} is version {after[label]} in every pod{' that is ready' if pods.unready else ''} after {took_s:.1f} s")
    if pods.leaving:
        print(f"on their way out, and answering as before until they are gone: {', '.join(pods.leaving)}")


def check_answers(cluster: Cluster, action: str, version: int) -> None:
    """Raise Refused unless the version is right about a drawn digit in every pod that is asked."""
    pods = cluster.pods()
    others = f" (not ready: {', '.join(pods.unready)})" if pods.unready else ""
    if not pods.ready:
        why = f"no pod with {PODS} is ready in namespace {cluster.namespace}{others}"
        if action != "rollback":
            raise Refused(f"{why}, nothing was changed")
        print(f"rollout: not verified: {why}", file=sys.stderr)
    elif action == "rollback" and others:
        print(f"rollout: only the pods that are ready are asked{others}", file=sys.stderr)
    for pod in pods.asked(action):
        try:
            cluster.ask(pod, f"versions/{version}", "right")
        except Refused as exc:
            raise Refused(f"version {version} does not answer rightly in {pod}, nothing was changed: {exc}") from exc


def wait_until_followed(cluster: Cluster, action: str, label: str, version: int) -> float:
    """Ask every pod until the label names that version; returns the seconds it took.  Raises Refused after WAIT_S."""
    began, behind = time.monotonic(), ["no pod is ready"]
    while behind and time.monotonic() < began + WAIT_S:
        time.sleep(0.5)
        asked = cluster.pods().asked(action)
        answers = {pod: _version(cluster, pod, label) for pod in asked}
        behind = [f"{pod} says {got}" for pod, got in answers.items() if got != str(version)] if asked else ["no pod is ready"]
    if behind:
        said = ", ".join(behind)
        raise Refused(f"the labels are written; after {WAIT_S:.0f} s `{label}` is not version {version} everywhere: {said}")
    return time.monotonic() - began


def _version(cluster: Cluster, pod: str, label: str) -> str:
    try:
        return cluster.ask(pod, f"labels/{label}", "version")
    except Refused as exc:
        return str(exc)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the module's docstring says."""
    parser = argparse.ArgumentParser(
        prog="rollout_kubernetes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["show", "canary", "promote", "rollback"])
    parser.add_argument("version", type=int, nargs="?")
    parser.add_argument("--namespace", default="digits")
    parser.add_argument("--file", type=Path, default=FILE, help="where the labels are written down for the next apply")
    options = parser.parse_args(arguments)
    if (options.version is None) == (options.action in ("canary", "promote")):
        parser.error(f"{options.action} takes {'a' if options.version is None else 'no'} version")
    cluster = Cluster(options.namespace)
    try:
        if options.action != "show":
            move(cluster, options.file, options.action, options.version)
        print(", ".join(f"{name} {version}" for name, version in rollout.labels(cluster.config()).items()))
    except (Refused, OSError) as exc:
        print(f"rollout: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
