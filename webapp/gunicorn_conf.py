"""gunicorn's settings for the gateway; the numbers come from digits.settings."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

# one BLAS thread: the arrays are tiny, and threads of its own would fight the workers for the cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # before prometheus_client is imported, which decides then where it counts
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="digits-metrics-")

from digits.settings import WebSettings, read

_settings = read(WebSettings)

wsgi_app = "webapp:create_app()"
bind = [f"{_settings.web_host}:{_settings.web_port}"]
worker_class = "webapp.worker.Worker"
workers = _settings.web_workers
worker_connections = 1000
preload_app = False  # a gRPC channel must not cross a fork
timeout = 30  # a worker that says nothing for so long is replaced
graceful_timeout = 4
accesslog = None
errorlog = "-"
loglevel = "warning"
proc_name = "digits-web"


def on_starting(server: Any) -> None:
    """Forget the gauges of workers before a restart: a container's volume outlives them, and its ids come again."""
    for left in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*.db"):
        left.unlink(missing_ok=True)


def child_exit(server: Any, worker: Any) -> None:
    """A worker has ended: its gauges count no more."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def post_worker_init(worker: Any) -> None:
    """Spare the first visitor what is slow the first time."""
    from webapp.warm import warm

    warm()


def on_exit(server: Any) -> None:
    """Remove the metrics; atexit would run in every worker too, which is forked with its handlers."""
    directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    if directory.name.startswith("digits-metrics-"):  # made above
        shutil.rmtree(directory, ignore_errors=True)
