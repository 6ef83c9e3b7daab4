"""`python -IS healthy.py URL [TEXT]`: 0 if URL answers 2xx with TEXT in it, 1 if not.  A health check without curl or shell.

$NAME in the URL stands for the environment variable.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_S = 4.0


def main(url: str, text: str = "") -> int:
    """Ask once and say why not."""
    parts = urlsplit(os.path.expandvars(url))
    try:
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        body = answer.read(65536).decode(errors="replace")
    except (OSError, HTTPException) as exc:
        print(f"{url}: {exc}")
        return 1
    if 200 <= answer.status < 300 and text in body:
        return 0
    print(f"{url}: {answer.status} {body[:200]}")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
