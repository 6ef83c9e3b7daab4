"""The REST API's URLs: matched whole, in any letter case, the query string included."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from serving.status import invalid

_NAME = r"([^/:]+)"
_VERSIONED = rf"(?:/v1/models/{_NAME})(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
INFERENCE = re.compile(rf"{_VERSIONED}:(classify|regress|predict)", re.I)
QUESTION = re.compile(rf"/v1/models(?:/{_NAME})?(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?(/metadata)?", re.I)


_ANY = r"A-Za-z0-9\-._~!$&'()*+,;=:@/"
_PATH, _TAIL = (rf"(?:[{also}]|%[0-9A-Fa-f]{{2}})*" for also in (_ANY, _ANY + "?"))
CONFORMING = re.compile(rf"{_PATH}(?:\?{_TAIL})?(?:#{_TAIL})?")
"""Path, query and fragment of RFC 3986, as libevent reads them: a target of any other form gets its page 400."""


def matched_path(target: bytes) -> str:
    """The part of the target that is matched: no scheme and host, percent signs and query as they are."""
    text = target.decode("latin-1")
    if absolute := re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*", text):
        text = text[absolute.end() :] or "/"
    return text


def which(found: re.Match[str]) -> tuple[str, int | None, str | None]:
    """Name, version and label of a matched path.  Raises Status for a version beyond 64 bits."""
    digits = found[2] and found[2].lstrip("0")[:20]
    version = int(digits or "0") if found[2] else None
    if version is not None and version >= 2**63:
        raise invalid("")
    return unquoted(found[1] or ""), version, unquoted(found[3]) if found[3] else None


def unquoted(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "surrogateescape")
