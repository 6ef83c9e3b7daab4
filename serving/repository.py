"""Which versions should be loaded and which are: polling, the manager, states.

A poll turns the version directories under each base path into the set of aspired versions; the
manager moves towards it one action at a time, loading a new version before it unloads the old.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from serving import loading
from serving.servable import Servable
from serving.status import Code, Status
from serving.versions import ModelSource, aspired_versions

log = logging.getLogger(__name__)

MANAGER_PERIOD_S = 0.1
OK = Status(Code.OK, "")


class State(IntEnum):
    """ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class _Version:
    number: int
    path: Path
    aspired: bool = True
    state: State = State.START
    servable: Servable | None = None
    busy: bool = False  # a thread is loading or unloading it
    dropped: threading.Event = field(default_factory=threading.Event)


class Repository:
    """Loads, swaps and unloads versions; answers which are available.

    loader: makes a ready Servable of a version (session, batching, warmup) or raises Status; max_retries, retry_interval_s: of
    one that fails.  poll_s: 0 = look once, negative = never.
    """

    def __init__(
        self, loader: loading.Loader, poll_s: float = 1.0, max_retries: int = 5, retry_interval_s: float = 60.0,
    ) -> None:  # fmt: skip
        self._loads, self._poll_s = loading.Loads(loader, max(0, max_retries), max(0.0, retry_interval_s)), poll_s
        self._sources: dict[str, ModelSource] = {}
        self._versions: dict[str, dict[int, _Version]] = {}
        self._pending: dict[str, dict[int, Path]] = {}
        self._status: dict[str, dict[int, tuple[State, Status]]] = {}
        self._available: dict[str, dict[int, Servable]] = {}  # replaced whole, so readers need no lock
        self._latest: dict[str, Servable] = {}
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._poll_now = threading.Event()
        self._threads: list[threading.Thread] = []
        self._polled_once = False

    # -- what requests ask ------------------------------------------------------------------------

    def find(self, name: str, version: int | None) -> Servable | None:
        """Hold the version asked for, or the highest available; release() it afterwards."""
        while True:
            servable = self._latest.get(name) if version is None else self._available.get(name, {}).get(version)
            if servable is None or servable.acquire():
                return servable

    def statuses(self, name: str) -> Mapping[int, tuple[State, Status]]:
        """State and error of every version ever seen, highest first."""
        with self._lock:
            return dict(sorted(self._status.get(name, {}).items(), reverse=True))

    def is_available(self, name: str, version: int) -> bool:
        """Whether requests for the version would be answered now."""
        return version in self._available.get(name, {})

    # -- what the configuration says --------------------------------------------------------------

    def set_sources(self, sources: Iterable[ModelSource]) -> None:
        """Replace the models to serve; a model left out is unloaded."""
        with self._lock:
            new = {source.name: source for source in sources}
            for name in self._sources:
                if name not in new:
                    self._pending[name] = {}
            self._sources = new
        if self._poll_s > 0 or not self._polled_once:
            self._poll_now.set()

    def wait_until_decided(self, names: Iterable[str]) -> dict[str, tuple[int, Status]]:
        """Wait until each model has a version that is available or has failed for good.

        Returns the failed ones: name → (version, why).
        """
        failed: dict[str, tuple[int, Status]] = {}
        with self._changed:
            for name in names:
                while not self._stop.is_set():
                    decided = [
                        (number, state, status) for number, (state, status) in self.statuses(name).items()
                        if state is State.AVAILABLE or (state is State.END and number in self._versions.get(name, {}))
                    ]  # fmt: skip
                    if decided:
                        number, state, status = decided[0]
                        if state is State.END:
                            failed[name] = number, status
                        break
                    self._changed.wait(0.5)
        return failed

    # -- threads ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to poll and to act."""
        for target, name in ((self._poll_loop, "source"), (self._manage_loop, "manager")):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop polling, refuse every model, wait for requests in flight, free the sessions."""
        self._stop.set()
        self._poll_now.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        with self._lock:
            left = [version for versions in self._versions.values() for version in versions.values()]
            self._available, self._latest = {}, {}
        for version in left:
            version.dropped.set()
            if version.servable is not None and not version.busy:
                version.servable.close()

    def _poll_loop(self) -> None:
        if self._poll_s < 0:
            return
        self._poll_now.wait()
        while not self._stop.is_set():
            self._poll_now.clear()
            try:
                self.poll()
            except Exception:  # one bad look must not be the last
                log.exception("the base paths could not be looked at")
            if self._poll_s == 0:
                return
            self._poll_now.wait(self._poll_s)

    def poll(self) -> None:
        """Look at every base path once; one that is missing spoils the whole look."""
        with self._lock:
            sources = list(self._sources.values())
        aspired: dict[str, dict[int, Path]] = {}
        for source in sources:
            try:
                aspired[source.name] = aspired_versions(source)
            except OSError:
                log.error(
                    "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path %s for "
                    "servable %s with error NOT_FOUND: %s not found", source.base_path, source.name, source.base_path,
                )  # fmt: skip
                return
        with self._changed:
            self._polled_once = self._polled_once or bool(sources)
            for name, versions in aspired.items():
                if self._sources.get(name) is not None:
                    self._pending[name] = versions
            self._changed.notify_all()

    def _manage_loop(self) -> None:
        while not self._stop.is_set():
            with self._changed:
                try:
                    for name in list(self._pending):
                        self._aspire(name)
                    acted = self._act()
                except Exception:  # one bad step must not be the last
                    log.exception("the versions could not be moved on")
                    acted = False
                self._changed.wait(0.001 if acted else MANAGER_PERIOD_S)

    def _aspire(self, name: str) -> None:
        """Take in a poll's result, unless it wants back a version that is on its way out."""
        wanted = self._pending[name]
        held = self._versions.setdefault(name, {})
        for number, version in held.items():  # wanted again before its turn to go came: it stays
            if number in wanted and version.state is State.AVAILABLE and not version.busy:
                version.aspired = True
        if any(number in wanted and not version.aspired for number, version in held.items()):
            self._sweep(name)
            return  # and nothing else goes meanwhile: it may be all that serves
        del self._pending[name]
        for number, version in held.items():
            if number not in wanted and version.aspired:
                version.aspired = False
                version.dropped.set()
        for number, path in wanted.items():
            if number not in held:
                held[number] = _Version(number, path)
                self._set(name, held[number], State.START)
        self._sweep(name)

    def _sweep(self, name: str) -> None:
        """Forget unwanted versions that hold nothing."""
        held = self._versions[name]
        for number, version in list(held.items()):
            if not version.aspired and not version.busy and version.state in (State.START, State.END):
                if version.state is State.START:
                    self._set(name, version, State.END)
                del held[number]

    def _act(self) -> bool:
        """Take one step: an unload if any is due, else a load."""
        for name, held in self._versions.items():
            self._sweep(name)
            serving = [v for v in held.values() if v.state is State.AVAILABLE and not v.busy]
            unwanted = sorted((v for v in serving if not v.aspired), key=lambda v: v.number)
            nothing_wanted = not any(v.aspired for v in held.values())
            if unwanted and (nothing_wanted or len(unwanted) > 1 or any(v.aspired for v in serving)):
                self._unload(name, unwanted[0])
                return True
        for name, held in self._versions.items():
            fresh = [v for v in held.values() if v.aspired and v.state is State.START and not v.busy]
            if fresh:
                self._start_load(name, max(fresh, key=lambda v: v.number))
                return True
        return False

    def _start_load(self, name: str, version: _Version) -> None:
        refusal = loading.refusal(name, version.number, version.path)
        if refusal is not None:
            self._set(name, version, State.END, refusal)
            return
        version.busy = True
        self._set(name, version, State.LOADING)
        threading.Thread(target=self._load, args=(name, version), name=f"load {name}", daemon=True).start()

    def _load(self, name: str, version: _Version) -> None:
        made = self._loads.load(name, version.number, version.path, version.dropped, self._stop)
        with self._changed:
            version.busy = False
            if isinstance(made, Status):
                self._set(name, version, State.END, made)
                return
            version.servable = made
            self._publish(name, version.number, made)
            self._set(name, version, State.AVAILABLE)

    def _unload(self, name: str, version: _Version) -> None:
        version.busy = True
        self._publish(name, version.number, None)
        self._set(name, version, State.UNLOADING)
        threading.Thread(target=self._finish_unload, args=(name, version), name=f"unload {name}", daemon=True).start()

    def _finish_unload(self, name: str, version: _Version) -> None:
        assert version.servable is not None
        version.servable.close()
        log.info("Done unloading servable version {name: %s version: %d}", name, version.number)
        with self._changed:
            version.servable, version.busy = None, False
            self._set(name, version, State.END)

    def _publish(self, name: str, number: int, servable: Servable | None) -> None:
        """Swap in a new map of what is available."""
        versions = dict(self._available.get(name, {}))
        if servable is None:
            versions.pop(number, None)
        else:
            versions[number] = servable
        self._available = {**self._available, name: versions}
        latest = {**self._latest}
        latest.pop(name, None)
        if versions:
            latest[name] = versions[max(versions)]
        self._latest = latest

    def _set(self, name: str, version: _Version, state: State, status: Status = OK) -> None:
        version.state = state
        self._status.setdefault(name, {})[version.number] = state, status
        self._changed.notify_all()
