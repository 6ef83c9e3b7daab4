"""Build the project's four images: `python tools/images.py [--tag TAG] [NAME …]`.

Each is tagged with the version, with the commit and with --tag (default dev), and labelled with both.  Any docker will do,
with BuildKit or without.  0 done, 1 a build failed or there is no engine, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ("gateway", "serving", "trainer", "loadtest")


class NoEngine(Exception):
    """No docker command, or no engine behind it."""


def docker() -> tuple[str, dict[str, str]]:
    """A docker command that reaches its engine, and the environment it builds best in.  Raises NoEngine.

    A client of 23 or later needs the buildx plug-in to use BuildKit; if it has none but an older client lies further down PATH,
    that one is taken, because BuildKit skips the stages that did not change.
    """
    found = [path for folder in os.get_exec_path() if (path := shutil.which("docker", path=folder))]
    if not found:
        raise NoEngine("there is no docker command on PATH")
    for path in found:
        if _runs(path, "buildx", "version") or int(_client_version(path).split(".")[0] or 0) < 23:
            command, environment = path, {"DOCKER_BUILDKIT": "1"}
            break
    else:
        command, environment = found[0], {"DOCKER_BUILDKIT": "0"}
    done = subprocess.run([command, "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        raise NoEngine(f"{command} reaches no engine: {done.stderr.strip() or 'no answer'}")
    return command, {**os.environ, **environment}


def _runs(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _client_version(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\d+[\d.]*)", done.stdout)
    return found[1] if found else "0"


def version() -> str:
    """What `digits.__version__` says."""
    found = re.search(r'^__version__ = "([^"]+)"', (ROOT / "digits" / "__init__.py").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def commit() -> str:
    """The commit built from, with `-changed` behind it if the tree differs; `unknown` outside a repository."""
    done = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=-changed"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def created() -> str:
    """SOURCE_DATE_EPOCH if set, so that a build can be repeated, else now; RFC 3339."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def build(name: str, tags: list[str], quiet: bool = False) -> None:
    """Build one image.  Raises NoEngine or CalledProcessError."""
    command, environment = docker()
    arguments = [command, "build", "-f", f"docker/{name}.Dockerfile", *(["-q"] if quiet else [])]
    for key, value in (("VERSION", version()), ("REVISION", commit()), ("CREATED", created())):
        arguments += ["--build-arg", f"{key}={value}"]
    for tag in tags:
        arguments += ["-t", f"digits-{name}:{tag}"]
    subprocess.run([*arguments, "."], cwd=ROOT, env=environment, check=True)


def main(arguments: list[str] | None = None) -> int:
    """Build the images named, or all."""
    parser = argparse.ArgumentParser(prog="images", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(IMAGES))
    parser.add_argument("--tag", default="dev", help="the tag that docker-compose.yml asks for")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(IMAGES)
    if unknown:
        parser.error(f"got {', '.join(sorted(unknown))}; wanted some of {', '.join(IMAGES)}")
    try:
        for name in options.names or IMAGES:
            print(f"digits-{name}:{options.tag}", flush=True)
            build(name, [options.tag, version(), commit()])
    except NoEngine as exc:
        print(f"images: {exc}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as exc:
        print(f"images: docker build ended with {exc.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
