"""`python -m serving`: the embedded model server, with tensorflow_model_server's flags."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading

from serving import flags as command_line
from serving.server import GRACE_S, ModelServer, warn_about_idle
from serving.status import Status

SERVER_VERSION = "2.20.0"  # the TensorFlow Serving release whose behaviour this is


def main(arguments: list[str]) -> int:
    """Serve until SIGINT or SIGTERM.  Returns 0, or 255 for whatever keeps it from starting."""
    try:
        flags = command_line.parse(arguments)
    except command_line.BadValue as bad:
        print(bad, file=sys.stderr)
        print(command_line.usage("python -m serving"), end="")
        return 255
    if flags.unknown:
        help_asked = flags.unknown[0] in ("--help", "-h", "--help=true")
        if not help_asked:
            print(f"unknown argument: {flags.unknown[0]}")
        print(command_line.usage("python -m serving"), end="", flush=True)
        if help_asked:
            return 255
    if flags.version:
        from serving.tensorflow_engine import TensorFlowEngine

        print(f"TensorFlow ModelServer: {SERVER_VERSION}\nTensorFlow Library: {TensorFlowEngine.version()}")
        return 0
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s.%(msecs)03d %(levelname).1s %(name)s: %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )  # fmt: skip
    warn_about_idle(flags)
    ready = asked = False
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)  # whichever thread the kernel hands a signal to

    def leave(*_: object) -> None:
        """First signal: stop in order, or at once while still loading.  Second: now.

        It takes no lock: an Event's may be held by the very thread that this interrupts.
        """
        nonlocal asked
        if asked or not ready:
            os._exit(130 if asked else 0)
        asked = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        server = ModelServer(flags)
        server.start()
    except Status as status:
        print(f"Failed to start server. Error: {status}", flush=True)
        return 255
    gc.freeze()  # what is loaded stays, and a large JSON body must not set off a search for garbage every 700 lists
    gc.set_threshold(50_000, 20, 100)
    ready = True
    while not asked:
        os.read(woken, 1)
    farewell = threading.Thread(target=server.stop, name="stop", daemon=True)
    farewell.start()
    farewell.join(GRACE_S + 1.0)
    if farewell.is_alive():
        logging.getLogger("serving").warning("requests were still in work after %.0f s and are cut off", GRACE_S)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # TensorFlow's and gRPC's own threads need no farewell
