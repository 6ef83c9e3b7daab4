"""`python -m local`: the model server and the gateway together, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from digits.settings import BadSetting, LocalSettings, read
from local.deployment import CannotStart, Deployment


class _Stop(Exception):
    """SIGINT or SIGTERM."""


def main() -> int:
    """Run; 0 after Ctrl-C or SIGTERM, 1 if something cannot start or dies, 2 for a bad setting or argument."""
    parser = argparse.ArgumentParser(
        prog="python -m local", description=__doc__, epilog="Settings are environment variables: README."
    )
    parser.parse_args()
    try:
        settings = read(LocalSettings)
    except BadSetting as exc:
        print(f"local: {exc}", file=sys.stderr)
        return 2

    def stop(*_: object) -> None:
        raise _Stop

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    deployment = Deployment(settings)
    try:
        deployment.start()
        beside = f"model server: gRPC {settings.grpc_port}, REST {settings.rest_port}; Ctrl-C stops both"
        print(f"digits is at {deployment.url}   ({beside})", flush=True)
        while True:
            time.sleep(0.2)
            deployment.check()
    except _Stop:
        return 0
    except CannotStart as exc:
        print(f"local: {exc}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        deployment.stop()


if __name__ == "__main__":
    sys.exit(main())
