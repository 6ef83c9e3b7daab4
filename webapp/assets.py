"""The page's files, served from memory: compressed once, cached by browsers for good.

Their address holds a digest of them all, so a new release is a new address and nothing stale is ever shown; modules import
each other by relative path and stay within their release.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, abort, request

FOLDER = Path(__file__).parent / "static"
FOR_GOOD = "public, max-age=31536000, immutable"
BRIEFLY = "public, max-age=60"
COMPRESSIBLE = ("text/", "image/svg", "application/manifest+json")
WORTH_IT = 512
"""Bytes below which compressing saves no packet."""

mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("application/manifest+json", ".webmanifest")
mimetypes.add_type("font/woff2", ".woff2")

blueprint = Blueprint("assets", __name__)


@dataclass(frozen=True)
class Asset:
    """One file: as it is, and gzipped where that is smaller."""

    data: bytes
    gzipped: bytes | None
    mimetype: str


@cache
def assets() -> dict[str, Asset]:
    """Every file under static/ by its path there."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.name != "tsconfig.json":
            mimetype = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            data = path.read_bytes()
            found[path.relative_to(FOLDER).as_posix()] = Asset(data, _gzipped(data, mimetype), mimetype)
    return found


def _gzipped(data: bytes, mimetype: str) -> bytes | None:
    if len(data) < WORTH_IT or not mimetype.startswith(COMPRESSIBLE):
        return None
    return gzip.compress(data, 9, mtime=0)


@cache
def release() -> str:
    """A digest of all the files: the changing part of their address."""
    whole = hashlib.sha256()
    for name, asset in assets().items():
        whole.update(f"{name}\0{len(asset.data)}\0".encode() + asset.data)
    return whole.hexdigest()[:12]


def address(name: str) -> str:
    """Where the file is served: for templates.  Raises KeyError for a file that is not there."""
    assets()[name]
    return f"/assets/{release()}/{name}"


@blueprint.get("/assets/<digest>/<path:name>")
def asset(digest: str, name: str) -> Response:
    """One file of the page; another release's address still answers, but is not kept."""
    return respond(name, FOR_GOOD if digest == release() else BRIEFLY)


def respond(name: str, caching: str) -> Response:
    """The file as an answer, in the form that the browser takes; 404 if there is none."""
    found = assets().get(name)
    if found is None:
        abort(404)
    response = Response(found.data, mimetype=found.mimetype)
    response.headers["Cache-Control"] = caching
    tag = hashlib.sha256(found.data).hexdigest()[:16]
    response.set_etag(tag)
    if found.gzipped is not None:
        response.vary.add("Accept-Encoding")
        if request.accept_encodings.quality("gzip") > 0:
            response.set_data(found.gzipped)
            response.headers["Content-Encoding"] = "gzip"
            response.set_etag(tag + "-gzip")  # other bytes, so another strong tag (RFC 9110, 8.8.3.3)
    response.make_conditional(request)
    return response


def compress_page(response: Response) -> Response:
    """Gzip a page's HTML if the browser takes it."""
    if response.mimetype == "text/html" and not response.direct_passthrough and "Content-Encoding" not in response.headers:
        response.vary.add("Accept-Encoding")
        data = response.get_data()
        if len(data) >= WORTH_IT and request.accept_encodings.quality("gzip") > 0:
            response.set_data(gzip.compress(data, 6, mtime=0))
            response.headers["Content-Encoding"] = "gzip"
    return response


def kept_offline() -> list[str]:
    """Addresses of all that the pages show by: what a service worker keeps."""
    return [address(name) for name in assets() if not name.startswith("social") and not name.endswith(".txt")]
