"""Bytes that the kernel still has for clients: lost if the process ends and a client then sends something more."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import termios
import time
from contextlib import suppress

LOOK_S = 0.001  # short: where refusals go on, a socket is empty for moments only


def wait(until: float) -> None:
    """Wait until every socket of this process has been seen without such bytes once, at most until then (time.monotonic's clock).

    Once, because refusals may go on; what was sent before has then arrived.  Linux; elsewhere it waits for nothing.
    """
    waiting = _sockets()
    while (waiting := {one for one in waiting if _left(one)}) and time.monotonic() < until:
        time.sleep(LOOK_S)


def _sockets() -> set[int]:
    found = set()
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # closed meanwhile
                if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    found.add(int(name))
    return found


def _left(descriptor: int) -> int:
    """Bytes sent and not acknowledged (tcp(7), SIOCOUTQ, which is TIOCOUTQ); 0 for what is not connected."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0
