"""A gRPC server on the core library's completion queue.

grpcio's two public servers hand every call from thread to thread: measured on two cores with an
empty handler, `grpc.server` costs 520 µs of CPU a call and `grpc.aio` 230 to 370, this loop 75.
It uses what they themselves are built on, `grpc._cython.cygrpc`, which is not a public API: the
versions are locked, this file alone knows it, and every test of the server goes through it.

Threads take turns (serving.turns): one waits for the next event and works on it where it is; before that takes long, as the
engine's run does, another takes over the waiting.  A reply may be sent from any thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Sockets are read by the thread that waits, not by threads of gRPC's event engine, which hand every read on among themselves: a
# sixth more requests a second at 16 streams.  Read when the library is loaded; a person's own setting wins.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

import grpc
from grpc._cython import cygrpc

from serving import unacknowledged
from serving.status import Code, Status
from serving.turns import Turns, pass_on, serves

# What is started from here gets none of it: a client without the engine is slow to find a server that comes back.
if os.environ["GRPC_EXPERIMENTS"] == "-event_engine_listener":
    del os.environ["GRPC_EXPERIMENTS"]

log = logging.getLogger(__name__)

Handler = Callable[["Call", bytes], None]
"""Gets a call and its request's bytes; must see to it that the call is answered once."""

OUTSTANDING = 64  # calls the library may accept before we look
SPARE_THREADS = 8
LONG_TO_READ = 2**16  # bytes of a request that may keep a thread busy before it reaches the engine
DRAIN_S = 0.2  # for answers on their way, when the last call has been answered
LOOK_S = 0.01
MAX_AWAITED = 4096  # calls whose message has not come: some 15 kB each
MAX_UNSENT, LARGE = 512 * 2**20, 2**16  # bytes of answers that clients have not taken; those of fewer bytes do not count
FOREVER_S = 1e9  # a call without a deadline has one in some hundred years
MAX_DETAILS = 1024  # bytes of error text that upstream lets through ...
CUT = "...TRUNCATED"  # ... before it says so

_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_CORE_CODE = {
    number: getattr(cygrpc.StatusCode, code.name.lower() if code.name != "OK" else "ok") for number, code in _STATUS.items()
}
_NO_FLAGS = 0


def credentials(key: str, certificate: str, clients_ca: str, ask_clients: bool) -> grpc.ServerCredentials:
    """TLS for a port, all in PEM; ask_clients: whether a client must show a certificate that clients_ca has signed."""
    pair = (key.encode(), certificate.encode())
    return grpc.ssl_server_credentials([pair], clients_ca.encode() or None, ask_clients)


class Call:
    """One RPC waiting for its answer (turns.Asker)."""

    __slots__ = ("_core", "_server", "deadline", "gone")

    def __init__(self, core: Any, server: GrpcServer, deadline: float | None) -> None:
        self._core, self._server = core, server
        self.deadline = deadline  # on time.monotonic's clock
        self.gone = False

    def reply(self, data: bytes) -> None:
        """Answer with a serialized message."""
        operations = (
            cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
            cygrpc.SendMessageOperation(data, _NO_FLAGS),
            cygrpc.SendStatusFromServerOperation(None, cygrpc.StatusCode.ok, b"", _NO_FLAGS),
        )
        self._finish(operations, len(data))

    def refuse(self, status: Status, counts: bool = True) -> None:
        """Answer with an error; a text past 1,024 bytes is cut as upstream cuts it.  counts: the server's end waits for it."""
        text = status.text.encode(errors="surrogateescape")
        if len(text) > MAX_DETAILS:
            text = text[:MAX_DETAILS] + CUT.encode()
        self._finish((
            cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
            cygrpc.SendStatusFromServerOperation(None, _CORE_CODE[int(status.code)], text, _NO_FLAGS),
        ), len(text), counts)  # fmt: skip

    def _finish(self, operations: tuple[Any, ...], size: int, counts: bool = True) -> None:
        size = size if size >= LARGE else 0  # the others are not worth a lock
        if counts:
            self._server.finished(size)
        try:
            self._core.start_server_batch(operations, size if counts else None)  # whose end is told by that number
        except ValueError:  # the client has gone
            if counts:
                self._server.sent(size, 1)
            log.debug("a reply found no client")


_REQUEST = object()


class GrpcServer:
    """Serves unary calls.

    handlers: by full method path.  max_calls: calls in work at once; one more is refused with
    RESOURCE_EXHAUSTED, when its message has come and not before.  options: grpc channel arguments.
    """

    def __init__(self, handlers: Mapping[str, Handler], max_calls: int, options: Sequence[tuple[str, Any]] = ()) -> None:
        self._handlers = {path.encode(): handler for path, handler in handlers.items()}
        self._max_calls = max_calls
        self._queue = cygrpc.CompletionQueue()
        self._poll = self._queue.poll
        limits = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
        self._core = cygrpc.Server((*limits, *options), False)
        self._core.register_completion_queue(self._queue)
        self._lock = threading.Lock()
        self._turns = Turns(self._step, lambda: self._calls + self._awaited > 1, SPARE_THREADS)
        self._calls = self._unsent = self._answers = 0  # answers: begun, and not known to be lost
        self._gone_out = 0  # answers; only who waits for events changes it, so it needs no lock
        self._awaited = 0  # calls whose message has not come; only who waits for events changes it, so it needs no lock
        self._draining = False

    def add_port(self, address: str, tls: grpc.ServerCredentials | None = None) -> int:
        """Listen on `host:port` or `unix:path`; returns the port, 0 if it cannot be bound."""
        try:
            if tls is None:
                return int(self._core.add_http2_port(address.encode()))
            return int(self._core.add_http2_port(address.encode(), tls._credentials))
        except RuntimeError:
            return 0

    def start(self) -> None:
        """Begin to answer."""
        self._core.start()
        for _ in range(OUTSTANDING):
            self._core.request_call(self._queue, self._queue, _REQUEST)
        self._turns.start()

    def stop(self, grace_s: float) -> None:
        """Refuse new calls from now on, and let those in work finish for at most `grace_s`.

        What is on its way when the process ends fails as UNAVAILABLE, after which clients ask another server: the kernel closes
        the connections.  To shut the library down would be to answer CANCELLED to it, after which they do not.
        """
        self._draining = True
        until = time.monotonic() + grace_s
        while self._awaited or self._calls or self._answers != self._gone_out:
            if time.monotonic() >= until:
                log.warning("calls were still in work after %.1f s and are cut off", grace_s)
                return
            time.sleep(LOOK_S)
        unacknowledged.wait(until)
        time.sleep(DRAIN_S)

    def finished(self, size: int = 0) -> None:
        """A call is being answered, with so many bytes."""
        with self._lock:
            self._calls -= 1
            self._unsent += size
            self._answers += 1

    def sent(self, size: int, lost: int = 0) -> None:
        """They have gone out, or will never: so many answers are lost."""
        with self._lock:
            self._unsent -= size
            self._answers -= lost

    def _step(self) -> None:
        """Wait for an event and see to it; what that raises, as a message too large for the memory there is, ends no thread."""
        event = self._poll(None)
        tag = event.tag
        if type(tag) is int:
            self._gone_out += 1
            if tag:
                self.sent(tag)
        elif tag is _REQUEST:
            if event.success and event.call is not None:
                self._accept(event)
        elif type(tag) is Call:
            tag.gone = event.batch_operations[0].cancelled()
        elif tag is not None:
            self._handle(event, tag)

    def _accept(self, event: Any) -> None:
        """A new call: ask for its message and for the next call."""
        self._core.request_call(self._queue, self._queue, _REQUEST)
        details = event.call_details
        handler = self._handlers.get(details.method)
        left_s = details.deadline - time.time()
        call = Call(event.call, self, time.monotonic() + left_s if left_s < FOREVER_S else None)
        if handler is None:
            self._refuse(call, Status(Code.UNIMPLEMENTED, ""))
        elif self._draining:
            call.refuse(Status(Code.UNAVAILABLE, "the server is stopping"), counts=False)
        elif self._unsent > MAX_UNSENT:
            self._refuse(call, Status(Code.RESOURCE_EXHAUSTED, "too many answers wait for clients that do not read them"))
        elif self._awaited >= MAX_AWAITED:
            self._refuse(call, Status(Code.RESOURCE_EXHAUSTED, "too many calls have not sent their message"))
        else:
            self._awaited += 1
            event.call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), (handler, call))
            event.call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), call)

    def _refuse(self, call: Call, status: Status) -> None:
        """Refuse a call that does not count yet: its end is counted, so its beginning must be."""
        with self._lock:
            self._calls += 1
        call.refuse(status)

    def _handle(self, event: Any, tag: tuple[Handler, Call]) -> None:
        """Work on a request whose message has come."""
        handler, call = tag
        data = event.batch_operations[0].message() if event.success else None
        if data is None:  # cancelled before the message was there, or the client sends none
            self._awaited -= 1
            if event.success:
                self._refuse(call, Status(Code.INTERNAL, "Couldn't initialize byte buffer reader"))
            return
        with self._lock:
            self._calls += 1
            crowded = self._calls > self._max_calls
        self._awaited -= 1
        if crowded:
            call.refuse(Status(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted"))
            return
        if len(data) >= LONG_TO_READ:
            pass_on()
        serves(call)
        try:
            handler(call, data)
        except Exception:
            log.exception("a handler failed")
            call.refuse(Status(Code.INTERNAL, ""))
        finally:
            serves(None)
