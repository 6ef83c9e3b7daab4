"""Where a measurement comes from: machine, versions, revision."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import psutil

import digits
from digits.provenance import installed

LIBRARIES = (
    "locust",
    "gevent",
    "geventhttpclient",
    "grpcio",
    "numpy",
    "pillow",
    "flask",
    "gunicorn",
    "tensorflow-cpu",
    "tensorflow",
)


def machine() -> dict[str, str]:
    """Processor, cores, memory, system, and how busy it was just now."""
    return {
        "processor": _processor(),
        "cores": str(cpus()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load average before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def cpus() -> int:
    """Cores that this process may use."""
    return len(cores())


def cores() -> set[int]:
    """The numbers of those cores."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def busy_s() -> float:
    """Seconds that those cores were not idle, all together, since the machine started."""
    every = psutil.cpu_times(percpu=True)
    mine = [times for number, times in enumerate(every) if number in cores()]
    return float(sum(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0) for times in mine))


def versions() -> dict[str, str]:
    """Of this project and of what does the work, as far as it is installed here."""
    found = {"digits": digits.__version__, "revision": _revision(), "python": platform.python_version()}
    return found | installed(LIBRARIES)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _revision() -> str:
    root = Path(__file__).resolve().parents[1]
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.stdout.strip()
