"""gunicorn's worker for the gateway: an event loop that accepts connections and reads requests for the hall."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import suppress

from flask import Flask
from gunicorn.workers.base import Worker as GunicornWorker

from webapp.backend import Backend
from webapp.hall import TICK_S, Hall
from webapp.http import Connection

HEARTBEAT_S = 1.0
FIRST_LOOK_S = 2.0
SHARE_S, SHARE_AT_MOST_S = 0.0003, 0.01
"""A worker leaves new connections to the others for so long for each of its own, and no longer than that."""
SHARE_OF = 8
"""Then it takes one for each so many of its own, and one more: a crowd must not wait for its turns."""


class Worker(GunicornWorker):  # type: ignore[misc]
    """The event loop under gunicorn's arbiter."""

    def init_signals(self) -> None:
        """Leave SIGTERM and its like to the loop."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGABRT, self.handle_abort)
        signal.signal(signal.SIGWINCH, signal.SIG_IGN)

    def run(self) -> None:
        """Serve until told to stop."""
        asyncio.run(self._serve())
        sys.exit(0)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        app: Flask = self.wsgi
        backend: Backend = app.extensions["backend"]
        backend.run = loop.call_soon_threadsafe
        await loop.run_in_executor(None, backend.wait, FIRST_LOOK_S)
        hall = Hall(app, loop)
        ending = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, ending.set)
        loop.add_signal_handler(signal.SIGUSR1, self.log.reopen_files)
        for listener in self.sockets:
            listener.setblocking(False)
            loop.add_reader(listener.fileno(), self._accept, loop, listener.sock, hall)
        beat = 0.0
        while not ending.is_set():
            rest_s = min(hall.tick(), TICK_S)
            if time.monotonic() - beat > HEARTBEAT_S:
                beat = time.monotonic()
                self.notify()
                if os.getppid() != self.ppid:  # gunicorn is gone
                    break
            await _sleep(ending, rest_s)
        app.extensions["draining"] = True
        hall.drain()
        for listener in self.sockets:
            loop.remove_reader(listener.fileno())
            listener.close()
        until = time.monotonic() + self.cfg.graceful_timeout
        while (hall.in_work or hall.connections) and time.monotonic() < until:
            hall.tick()
            self.notify()
            await asyncio.sleep(TICK_S / 5)
        hall.tick()
        backend.close()

    def _accept(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, hall: Hall) -> None:
        """Take connections, after a moment for each that is here already: so the workers share them out evenly."""
        loop.remove_reader(listener.fileno())
        loop.call_later(min(len(hall.connections) * SHARE_S, SHARE_AT_MOST_S), self._accept_now, loop, listener, hall)

    def _accept_now(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, hall: Hall) -> None:
        if hall.draining:
            return
        loop.add_reader(listener.fileno(), self._accept, loop, listener, hall)
        room = self.cfg.worker_connections - len(hall.connections) - len(hall.accepting)
        for _ in range(min(1 + len(hall.connections) // SHARE_OF, room)):
            try:
                sock, _ = listener.accept()
            except OSError:  # another worker was quicker, or the client is gone, or there are no descriptors left
                return
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(loop.connect_accepted_socket(lambda: Connection(hall), sock))
            hall.accepting.add(task)
            task.add_done_callback(hall.accepting.discard)


async def _sleep(ending: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), seconds)
