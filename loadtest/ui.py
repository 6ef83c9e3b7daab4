"""`python -m loadtest.ui`: Locust's own page against a deployment, ours or a given one, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from digits.settings import BadSetting
from loadtest import deployed
from loadtest.generator import LOCUSTFILE, ROOT
from loadtest.kinds import GATEWAY, GRPC, REST
from loadtest.target import NotThere, Target

if TYPE_CHECKING:
    from local.deployment import Deployment


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run; 0 after Ctrl-C, 2 if there is no target."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.ui", description=__doc__)
    parser.add_argument("--host", default="", metavar="URL", help="the gateway; without any address a deployment is started")
    parser.add_argument("--grpc", default="", metavar="HOST:PORT", help="the model server's gRPC API")
    parser.add_argument("--rest", default="", metavar="URL", help="the model server's REST API")
    parser.add_argument("--web-port", type=int, default=8089, help="Locust's page")
    options = parser.parse_args()
    running: list[Deployment] = []
    signal.signal(signal.SIGTERM, _stop)
    try:
        target = deployed.given(options.host, options.grpc, options.rest) or deployed.start(print, [running.append])
        return _page(target, options.web_port)
    except (NotThere, BadSetting) as exc:
        print(f"loadtest.ui: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        for deployment in running:
            deployment.stop()


def _page(target: Target, port: int) -> int:
    target.check()
    print(f"Locust's page is at http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    locust = subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--class-picker", "--web-host", "127.0.0.1",
         "--web-port", str(port), "--loglevel", "WARNING", "--host", target.doors.get(GATEWAY, ""),
         "--rest", target.doors.get(REST, ""), "--grpc", target.doors.get(GRPC, "")],
        cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        return locust.wait()
    finally:
        locust.terminate()
        try:
            locust.wait(3)
        except subprocess.TimeoutExpired:
            locust.kill()
            locust.wait()


if __name__ == "__main__":
    sys.exit(main())
