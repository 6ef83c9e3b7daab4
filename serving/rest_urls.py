"""The REST API's URLs: matched whole, in any letter case, the query string included."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from serving.status import invalid

_NAME = r"([^/:]+)"
_VERSIONED = rf"(?:/v1/models/{_NAME})(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
INFERENCE = re.compile(rf"{_VERSIONED}:(classify|regress|predict)", re.I)
QUESTION = re.compile(rf"/v1/models(?:/{_NAME})?(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?(/metadata)?", re.I)


# RFC 3986 as libevent reads it
_PLAIN = r"A-Za-z0-9\-._~!$&'()*+,;="
_NAME_OF_HOST, _USER, _PATH, _TAIL = (rf"(?:[{_PLAIN}{also}]|%[0-9A-Fa-f]{{2}})*" for also in ("", ":", ":@/", ":@/?"))
_BEFORE_HOST = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//")
_HOST = re.compile(rf"(?:{_USER}@)?(?:\[[^\]/?#]*\]|{_NAME_OF_HOST})(?::([0-9]*))?(?=[/?#]|\Z)")
_CONFORMING = re.compile(rf"{_PATH}(?:\?{_TAIL})?(?:#{_TAIL})?")
MAX_PORT = 65_535


def matched_path(target: bytes) -> str | None:
    """The part of the target that is matched: no scheme and host, percent signs and query as they are.

    None for a target that is none: it gets libevent's page 400.
    """
    text = target.decode("latin-1")
    if before := _BEFORE_HOST.match(text):
        host = _HOST.match(text, before.end())
        port = (host[1] or "").lstrip("0") if host is not None else ""
        if host is None or len(port) > len(str(MAX_PORT)) or int(port or 0) > MAX_PORT:
            return None
        text = text[host.end() :] or "/"
    return text if _CONFORMING.fullmatch(text) else None


def is_relative(target: bytes) -> bool:
    """Whether a target is well formed but begins with neither a slash nor a scheme."""
    return re.match(rb"[/*]|[^/?#]*:", target) is None and matched_path(target) is not None


def which(found: re.Match[str]) -> tuple[str, int | None, str | None]:
    """Name, version and label of a matched path.  Raises Status for a version beyond 64 bits."""
    digits = found[2] and found[2].lstrip("0")[:20]
    version = int(digits or "0") if found[2] else None
    if version is not None and version >= 2**63:
        raise invalid("")
    return unquoted(found[1] or ""), version, unquoted(found[3]) if found[3] else None


def unquoted(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "surrogateescape")
