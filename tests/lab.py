"""The containers of a trial: images, stand-ins for what cannot be pulled, compose, and the way to kill a process."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

_spec = importlib.util.spec_from_file_location("images", ROOT / "tools" / "images.py")
assert _spec is not None
assert _spec.loader is not None
images = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(images)

TAG = "trial"
TFSERVING, PROMETHEUS = "tensorflow/serving:2.20.0", "prom/prometheus:v3.5.0"

# Debian's package under the paths, the user and the entry point of the official image.
PROMETHEUS_DOCKERFILE = """\
FROM python:3.12-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus wget
RUN mkdir -p /prometheus && chown nobody /prometheus
USER nobody
ENTRYPOINT ["/usr/bin/prometheus"]
"""


def until(true: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask again and again until the answer is true, and return it.  Fails after `seconds`."""
    end, last = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            answer = true()
            if answer:
                return answer
        except (OSError, ValueError, KeyError) as exc:
            last = f": {exc}"
        time.sleep(0.2)
    raise AssertionError(f"after {seconds:.0f} s still not so: {what}{last}")


def fetch(url: str, data: bytes | None = None, content_type: str = "application/x-www-form-urlencoded") -> Any:
    """The JSON at a URL; with data, POSTed.  Raises OSError, also for a status of 400 or more."""
    request = urllib.request.Request(url, data, {"Content-Type": content_type} if data else {})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


@dataclass
class Lab:
    """One compose project with names, ports and model folder of its own."""

    docker: str
    environment: dict[str, str]
    project: str
    folder: Path
    ports: Mapping[str, int]
    made: list[str] = field(default_factory=list)
    revisions: dict[str, set[str]] = field(default_factory=dict)

    def run(self, *arguments: str, timeout_s: float = 600, stdin: str | None = None, cwd: Path = ROOT) -> str:
        """Run a docker command; its stdout.  Fails with its stderr."""
        return self._run([self.docker, *arguments], timeout_s, stdin, cwd)

    def compose(self, *arguments: str, timeout_s: float = 300) -> str:
        """Run a compose command of this project: v2 where there is one, otherwise 1.29."""
        plugin = subprocess.run([self.docker, "compose", "version"], capture_output=True, check=False).returncode == 0
        command = [self.docker, "compose"] if plugin else [str(shutil.which("docker-compose"))]
        profiles = [part for name in ("monitoring", "loadtest", "embedded", "train") for part in ("--profile", name)]
        return self._run([*command, "-p", self.project, *profiles, *arguments], timeout_s, None, ROOT)

    def _run(self, command: list[str], timeout_s: float, stdin: str | None, cwd: Path) -> str:
        done = subprocess.run(
            command, cwd=cwd, env=self.environment, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s
        )
        assert done.returncode == 0, (
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}{done.stdout[-1000:]}"
        )
        return done.stdout

    def url(self, name: str) -> str:
        """Base URL of a published port."""
        return f"http://127.0.0.1:{self.ports[name]}"

    # -- images -------------------------------------------------------------------------------------

    def exists(self, image: str) -> bool:
        """Whether the engine has the image."""
        return subprocess.run([self.docker, "image", "inspect", image], capture_output=True, check=False).returncode == 0

    def build(self) -> None:
        """Build the four images, and stand-ins for those that the engine does not have."""
        for name in images.IMAGES:
            before = images.commit()
            images.build(name, [TAG], quiet=True)
            self.revisions[name] = {before, images.commit()}  # somebody may commit meanwhile
            self.made.append(f"digits-{name}:{TAG}")
        if not self.exists(TFSERVING):
            self.run("tag", f"digits-serving:{TAG}", TFSERVING)
            self.made.append(TFSERVING)
        if not self.exists(PROMETHEUS):
            self.run("build", "-q", "-t", PROMETHEUS, "-", stdin=PROMETHEUS_DOCKERFILE)
            self.made.append(PROMETHEUS)

    def inside(self, image: str, program: str) -> Any:
        """Run a Python program in a fresh container of an image; the JSON it prints."""
        return json.loads(
            self.run(
                "run", "--rm", "--read-only", "--network=none", "--user=0", "--entrypoint=python", image, "-IS", "-c", program
            )
        )

    # -- containers ---------------------------------------------------------------------------------

    def ids(self, service: str | None = None) -> list[str]:
        """Containers of the project, or of one service."""
        filters = [f"--filter=label=com.docker.compose.project={self.project}"]
        if service:
            filters.append(f"--filter=label=com.docker.compose.service={service}")
        return self.run("ps", "-aq", *filters).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        found: dict[str, Any] = json.loads(self.run("inspect", container))[0]
        return found

    def healthy(self, service: str) -> bool:
        """Whether every container of a service runs and, if it has a health check, passes it."""
        states = [self.inspect(one)["State"] for one in self.ids(service)]
        return bool(states) and all(
            state["Running"] and state.get("Health", {"Status": "healthy"})["Status"] == "healthy" for state in states
        )

    def kill(self, container: str) -> None:
        """SIGKILL the container's first process from outside, as the kernel out of memory would.

        `docker kill` would count as wanted, and the restart policy would not act.
        """
        pid = self.inspect(container)["State"]["Pid"]
        program = f"import os; os.kill({pid}, 9)"
        self.run("run", "--rm", "--pid=host", "--user=0", "--entrypoint=python", f"digits-gateway:{TAG}", "-IS", "-c", program)

    def tear_down(self) -> None:
        """Remove containers, networks, volumes and the images made here."""
        try:
            self.compose("down", "-v", "--remove-orphans", "-t", "5")
        finally:
            while self.made:
                self.run("rmi", self.made.pop())


def environment(folder: Path, ports: Mapping[str, int], base: Mapping[str, str]) -> dict[str, str]:
    """The settings of a trial: nothing from a .env, ports and folders of its own."""
    mine = {name: value for name, value in base.items() if not name.startswith(("DIGITS_", "COMPOSE_"))}
    mine |= {f"DIGITS_{name}_PORT": str(port) for name, port in ports.items()}
    cpus = os.cpu_count() or 1
    mine |= {"DIGITS_TFSERVING_CPUS": str(min(cpus, 2)), "DIGITS_WEB_CPUS": str(min(cpus, 2))}
    return mine | {
        "DIGITS_TAG": TAG,
        "DIGITS_MODELS": str(folder / "models"),
        "DIGITS_CONFIG": str(folder / "config"),
    }


def status(url: str) -> int:
    """The HTTP status at a URL; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return int(exc.code)
    except OSError:
        return 0
