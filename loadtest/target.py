"""The deployment under test: is it there, what is it, and does it read our drawings?"""

from __future__ import annotations

import contextlib
import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import grpc

from digits import contract as c
from digits import wire
from digits.client import CHANNEL_OPTIONS
from digits.direct import opener
from loadtest.hands import Drawing
from loadtest.kinds import GATEWAY, GRPC, KINDS, PREDICT_PATH, REST, REST_PATH, bodies, digits_read

ANSWER_S = 5.0
TRIES = 3


class NotThere(Exception):
    """Nothing answers, or not yet; the text says where and why."""


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that nobody listens on just now."""
    with contextlib.ExitStack() as held:  # all together: a port let go may be given again
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass(frozen=True)
class Target:
    """Addresses by door: the gateway's and the REST API's as http://host:port, the gRPC API's as host:port."""

    doors: dict[str, str]

    @property
    def main_door(self) -> str:
        """The door that a person uses, if it is known."""
        return next(door for door in (GATEWAY, GRPC, REST) if door in self.doors)

    def check(self) -> None:
        """Raise NotThere unless every door answers."""
        for door, address in self.doors.items():
            if door == GRPC:
                _check_grpc(address)
            else:
                path = "/readyz" if door == GATEWAY else f"/v1/models/{c.MODEL_NAME}"
                _get(address + path)


@dataclass
class Verified:
    """The answers to every drawing before the run.

    dropped: numbers of drawings that were read as another digit, always the same one; unsteady: drawings
    whose answers differed from one time to the next, which no model does.
    """

    asked: int
    dropped: list[int] = field(default_factory=list)
    unsteady: list[int] = field(default_factory=list)


def verify(target: Target, drawings: list[Drawing]) -> Verified:
    """Ask for every drawing once, for those read wrongly twice more.  Raises NotThere."""
    door = target.main_door
    kind = next(kind for kind in KINDS.values() if kind.door == door and kind.drawings == 1)
    verified = Verified(len(drawings))
    channel = _channel(target.doors[door]) if door == GRPC else None
    try:
        ask = _asker(door, target.doors[door], channel)
        for number, request in enumerate(bodies(kind, drawings)):
            read = [ask(request.body, request.content_type)]
            if read[0] != request.labels[0]:
                read += [ask(request.body, request.content_type) for _ in range(TRIES - 1)]
                (verified.dropped if len(set(read)) == 1 else verified.unsteady).append(number)
    finally:
        if channel is not None:
            channel.close()
    return verified


def _asker(door: str, address: str, channel: grpc.Channel | None) -> Callable[[bytes, str], int]:
    def over_grpc(body: bytes) -> bytes:
        assert channel is not None
        try:
            reply: bytes = channel.unary_unary(wire.PREDICT)(body, timeout=ANSWER_S)
        except grpc.RpcError as exc:
            raise NotThere(f"{address} does not answer a drawing: {exc.code().name}: {exc.details()}") from exc
        return reply

    def over_http(body: bytes, content_type: str) -> bytes:
        url = address + (PREDICT_PATH if door == GATEWAY else REST_PATH)
        return _get(urllib.request.Request(url, body, {"Content-Type": content_type}))

    def ask(body: bytes, content_type: str) -> int:
        reply = over_grpc(body) if door == GRPC else over_http(body, content_type)
        try:
            return digits_read(door, reply)[0]
        except ValueError as exc:
            raise NotThere(f"{address}: {exc}") from exc

    return ask


def _get(request: urllib.request.Request | str) -> bytes:
    url = request if isinstance(request, str) else request.full_url
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        known = False
    if not known:
        raise NotThere(f"got {url!r}; wanted an address like http://127.0.0.1:8080")
    try:
        with opener(url).open(request, timeout=ANSWER_S) as response:
            reply: bytes = response.read()
            return reply
    except urllib.error.HTTPError as exc:
        with exc:
            raise NotThere(f"{url} answers {exc.code}: {exc.read(300).decode(errors='replace')}") from exc
    except http.client.HTTPException as exc:
        raise NotThere(f"no HTTP is spoken at {url}: {type(exc).__name__}") from exc
    except (urllib.error.URLError, OSError, ValueError) as exc:
        raise NotThere(f"nothing answers at {url}: {getattr(exc, 'reason', exc)}") from exc


def _channel(address: str) -> grpc.Channel:
    uri = address if address.startswith(("ipv4:", "ipv6:", "dns:", "unix:")) else f"dns:///{address}"
    return grpc.insecure_channel(uri, options=CHANNEL_OPTIONS)


def _check_grpc(address: str) -> None:
    with _channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_S)
        except grpc.FutureTimeoutError:
            raise NotThere(f"nothing answers gRPC at {address} within {ANSWER_S:.0f} s") from None
