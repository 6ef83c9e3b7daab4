"""CPU and memory of the processes that take part, sampled from outside the generator."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil

from loadtest.machine import busy_s

PERIOD_S = 0.5
LOOK_FOR_CHILDREN_S = 3.0
LOCAL = {"127.0.0.1", "localhost", "::1", "0.0.0.0"}


@dataclass(frozen=True)
class Sample:
    """A moment.  cores: CPU cores in use since the moment before, by name; memory_mb: resident, by name."""

    at: float
    cores: dict[str, float]
    memory_mb: dict[str, float]


class Watch(threading.Thread):
    """Samples groups of processes until stop(); a group is a process with all its descendants."""

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self._groups: dict[str, list[psutil.Process]] = {}
        self._members: dict[str, dict[int, psutil.Process]] = {}
        self._spent: dict[int, float] = {}
        self._stop_now = threading.Event()
        self.samples: list[Sample] = []

    def add(self, name: str, pid: int) -> None:
        """Watch one more process under a name."""
        try:
            self._groups.setdefault(name, []).append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            return

    def add_listener(self, name: str, url: str) -> None:
        """Watch whatever listens at an address, if that is on this machine and may be seen."""
        parts = urlsplit(url if "//" in url else f"//{url}")
        try:
            if parts.hostname not in LOCAL or parts.port is None:
                return
        except ValueError:  # no port, as in ipv4:a:8500,b:8500
            return
        try:
            found = psutil.net_connections("tcp")
        except psutil.AccessDenied:
            return
        pids = {one.pid for one in found if one.status == psutil.CONN_LISTEN and one.laddr.port == parts.port and one.pid}
        for pid in pids:
            if not pids & {parent.pid for parent in psutil.Process(pid).parents()}:  # the eldest has the others below it
                self.add(name, pid)

    def stop(self) -> None:
        """End the sampling."""
        self._stop_now.set()
        if self.is_alive():
            self.join(2)

    def run(self) -> None:
        """Sample."""
        looked, last, busy = -1e9, time.monotonic(), busy_s()
        while not self._stop_now.wait(PERIOD_S):
            now = time.monotonic()
            if now - looked > LOOK_FOR_CHILDREN_S or set(self._members) != set(self._groups):
                self._find()
                looked = now
            cores, memory = {}, {}
            for name in list(self._members):
                cores[name], memory[name] = self._read(name, now - last)
            before, busy = busy, busy_s()
            cores["machine"] = (busy - before) / (now - last)
            self.samples.append(Sample(time.time(), cores, memory))
            last = now

    def _find(self) -> None:
        for name, roots in list(self._groups.items()):
            members: dict[int, psutil.Process] = {}
            for root in list(roots):
                try:
                    members.update({one.pid: one for one in (root, *root.children(recursive=True))})
                except psutil.NoSuchProcess:
                    continue
            self._members[name] = members

    def _read(self, name: str, seconds: float) -> tuple[float, float]:
        spent = memory = 0.0
        for pid, process in self._members[name].items():
            try:
                times = process.cpu_times()
                memory += process.memory_info().rss / 1e6
            except psutil.NoSuchProcess:
                continue
            used = times.user + times.system
            spent += used - self._spent.get(pid, used)
            self._spent[pid] = used
        return spent / seconds, memory


def means(samples: Sequence[Sample], began: float, ended: float) -> dict[str, float]:
    """Cores by name, on average over a stretch of time."""
    inside = [one for one in samples if began + PERIOD_S <= one.at <= ended]
    names = {name for one in inside for name in one.cores}
    return {name: sum(one.cores.get(name, 0.0) for one in inside) / len(inside) for name in sorted(names)}


def growth(samples: Sequence[Sample], began: float, ended: float) -> dict[str, Any]:
    """Resident MB at the beginning and at the end of a stretch of time, by name."""
    inside = [one for one in samples if began <= one.at <= ended and one.memory_mb]
    if not inside:
        return {}
    return {name: [round(inside[0].memory_mb[name]), round(inside[-1].memory_mb.get(name, 0.0))] for name in inside[0].memory_mb}
