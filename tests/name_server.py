"""A name server whose answers change, and addresses that stand for pods: what a headless Service is made of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from dnslib import QTYPE, RR, A
from dnslib.server import BaseResolver, DNSLogger, DNSServer

TTL_S = 1


class NameServer(BaseResolver):  # type: ignore[misc]
    """Answers every A question with `addresses`, as they are at that moment."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.asked = 0
        self._server = DNSServer(self, port=0, address="127.0.0.1", logger=DNSLogger(log="-request,-reply,-truncated,-error"))
        self.port: int = self._server.server.server_address[1]

    def resolve(self, request: Any, handler: Any) -> Any:
        """One answer; dnslib calls it."""
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            self.asked += 1
            for address in self.addresses:
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=TTL_S))
        return reply

    def __enter__(self) -> NameServer:
        self._server.start_thread()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._server.stop()
        self._server.server.server_close()


class Addresses:
    """Loopback addresses that all have the same port, each leading to a server's own port, byte by byte.

    Pods have an address each and one port; processes of one machine have one address and a port each.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listeners: dict[str, asyncio.Server] = {}

    def __enter__(self) -> Addresses:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for address in list(self._listeners):
            self.remove(address)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    def add(self, address: str, port: int) -> None:
        """From now on the address leads to the port."""
        self._listeners[address] = self._do(self._listen(address, port))

    def remove(self, address: str) -> None:
        """Nobody listens there any more; connections that are open stay until their server ends them."""
        listener = self._listeners.pop(address)
        self._loop.call_soon_threadsafe(listener.close)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self, address: str, port: int) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, back = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.transport.abort()
                return
            await asyncio.gather(_copy(reader, back), _copy(there, writer))

        return await asyncio.start_server(connected, address, self.port)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
