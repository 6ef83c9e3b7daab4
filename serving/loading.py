"""Loading one version: is there anything to load, and how often is it tried; upstream's words for what fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.servable import Servable
from serving.status import Code, Status

log = logging.getLogger(__name__)

Loader = Callable[[str, int, Path], Servable]
"""Makes a ready Servable of a model's version, or raises Status."""


@dataclass(frozen=True)
class Loads:
    """Loads versions, each tried max_retries times again, retry_interval_s apart."""

    loader: Loader
    max_retries: int
    retry_interval_s: float

    def load(self, name: str, number: int, path: Path, dropped: threading.Event, stopping: threading.Event) -> Servable | Status:
        """The loaded version, or why there is none.  dropped: nobody wants it any more; stopping: the server ends."""
        identity = _identity(name, number)
        for attempt in range(self.max_retries + 1):
            log.info("Loading servable version %s", identity)
            began = time.monotonic()
            made = self._tried(name, number, path, identity)
            if isinstance(made, Servable):
                if dropped.is_set() or stopping.is_set():
                    made.close()
                    return Status(Code.CANCELLED, "Loading of servable cancelled")
                log.info("Successfully loaded servable version %s in %.2f s", identity, time.monotonic() - began)
                return made
            log.error("Loading servable %s failed: %s", identity, made)
            if attempt < self.max_retries:
                if dropped.wait(self.retry_interval_s) or stopping.is_set():
                    break
                log.info("Retrying loading servable %s: retry %d of %d", identity, attempt + 1, self.max_retries)
        return made

    def _tried(self, name: str, number: int, path: Path, identity: str) -> Servable | Status:
        try:
            return self.loader(name, number, path)
        except Status as status:
            return status
        except OSError as exc:
            return Status(Code.FAILED_PRECONDITION, f"{exc.filename}; {exc.strerror}")
        except Exception as exc:
            log.exception("Loading servable %s failed", identity)
            return Status(Code.INTERNAL, f"{type(exc).__name__} while loading")


def refusal(name: str, number: int, path: Path) -> Status | None:
    """Why a version is not even tried: its directory is not there."""
    try:
        if path.is_dir():
            return None
        why = "Not a directory" if path.exists() else "No such file or directory"
    except OSError as exc:
        why = str(exc.strerror)
    text = f"Error while attempting to reserve resources to load servable {_identity(name, number)}: {path}; {why}"
    log.error("%s", text)
    return Status(Code.FAILED_PRECONDITION, text)


def _identity(name: str, number: int) -> str:
    return f"{{name: {name} version: {number}}}"
