"""A request as it came in, and the refusal of one that cannot be taken."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from webapp import problems
from webapp.problems import Problem, printable

MAX_URL = 4096
MAX_HEADERS = 64
MAX_HEADER_BYTES = 16_384
SHOWN_CHARS = 100
"""Of a header that is refused."""
_HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*")


class Refused(Exception):
    """A request that never becomes one.  reason: under which it is counted as shed."""

    def __init__(self, problem: Problem, detail: str, reason: str = "") -> None:
        super().__init__(detail)
        self.problem, self.detail, self.reason = problem, detail, reason


def too_much_head() -> Refused:
    """Headers without end."""
    return Refused(problems.LONG_HEAD, f"wanted at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES:,} bytes together")


def too_much_waiting() -> Refused:
    """The worker holds as much as it may of requests that it has not answered."""
    return Refused(problems.BUSY, "got more bytes than are kept of requests not yet answered", "bytes")


@dataclass(slots=True, eq=False)
class Request:
    """A request that has come in whole.

    body: as sent; length: what it would have been, if it was too long to be kept.
    """

    method: str = ""
    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    length: int = 0
    keep_alive: bool = True
    version: str = "1.1"
    arrived: float = 0.0

    @property
    def path(self) -> str:
        """As sent, without the query."""
        return self.url.decode("latin-1").partition("?")[0]

    def id_or_new(self) -> str:
        """The caller's request id if it sent a plain one, else a new one."""
        return problems.plain_or_new(dict(self.headers).get(b"x-request-id", b"").decode("latin-1"))

    def check_host(self) -> None:
        """Raise Refused unless it names its host, once, as HTTP/1.1 asks for (RFC 9112, 3.2)."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.version == "1.1") or (hosts and not _HOST.fullmatch(hosts[0])):
            got = f"Host: {_shown(hosts[0])}" if len(hosts) == 1 else f"{len(hosts)} Host headers"
            raise Refused(problems.BAD_REQUEST, f"got {got}; wanted one Host header that names a host")

    def check_protocol(self) -> None:
        """Raise Refused for a version of HTTP that this is not, and for a body packed in more than chunks (RFC 9112, 6.1)."""
        if self.version not in ("1.0", "1.1"):
            raise Refused(problems.OTHER_HTTP, f"got HTTP/{printable(self.version, SHOWN_CHARS)}; wanted 1.1 or 1.0")
        for name, value in self.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                raise Refused(problems.PACKED, f"got Transfer-Encoding: {_shown(value)}; wanted chunked")


def _shown(header: bytes) -> str:
    return printable(header.decode("latin-1"), SHOWN_CHARS)
