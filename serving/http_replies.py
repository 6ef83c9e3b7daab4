"""What goes back over HTTP: status codes, pages of the HTTP library's own, error bodies."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.json_writer import error_body
from serving.status import Code, Status

STATUSES = {
    Code.OK: 200, Code.INVALID_ARGUMENT: 400, Code.FAILED_PRECONDITION: 400, Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401, Code.PERMISSION_DENIED: 403, Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409, Code.ABORTED: 409, Code.RESOURCE_EXHAUSTED: 429, Code.CANCELLED: 499,
    Code.UNKNOWN: 500, Code.INTERNAL: 500, Code.DATA_LOSS: 500, Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503, Code.DEADLINE_EXCEEDED: 504,
}  # fmt: skip
PAGES = {400: "Bad Request", 404: "Not Found", 413: "Payload Too Large", 417: "Expectation Failed", 501: "Not Implemented"}


@dataclass
class Reply:
    """What goes back to the HTTP library.  close: end the connection after it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    close: bool = False


def page(status: int) -> Reply:
    """The HTTP library's own page for what is not the API's business."""
    title = PAGES[status]
    body = f"<HTML><HEAD>\n<TITLE>{status} {title}</TITLE>\n</HEAD><BODY>\n<H1>{title}</H1>\n</BODY></HTML>\n"
    return Reply(status, body.encode(), "text/html", close=status in (404, 417))


def failure(status: Status) -> Reply:
    """`{"error": ...}` with the code's HTTP status."""
    return Reply(STATUSES[status.code], error_body(status.text) if status.text else b"")
