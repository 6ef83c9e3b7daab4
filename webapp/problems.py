"""Errors → application/problem+json (RFC 9457): one table of statuses and sentences."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from digits import errors
from webapp.inputs import EncodedBody, TooManyImages

log = logging.getLogger(__name__)

DETAIL_CHARS = 300
MIMETYPE = "application/problem+json"
UNFORESEEN = "an error that nobody foresaw; it is in the log under this request_id"


@dataclass(frozen=True)
class Problem:
    """How one kind of error is told: HTTP status, a short title, a sentence for people."""

    status: int
    title: str
    sentence: str
    retry_after_s: int | None = None


TABLE: dict[type[errors.DigitsError], Problem] = {
    errors.DigitsError: Problem(500, "Something went wrong", "Something went wrong here. Please try again."),
    errors.InputError: Problem(400, "Unreadable request", "The request could not be read."),
    errors.BadImage: Problem(400, "Broken image", "The image is broken and cannot be read."),
    errors.NotAnImage: Problem(
        415, "Not an image", "That is not a picture this service can read. Send PNG, JPEG, WebP, BMP or GIF."
    ),
    EncodedBody: Problem(415, "Encoded body", "The body came encoded. Send it as it is."),
    errors.BlankCanvas: Problem(422, "Nothing drawn", "There is no ink in this picture. Try one of a digit on plain paper."),
    errors.UnevenLight: Problem(
        422, "Uneven light", "The light on the paper is too uneven. Photograph it in even light, close to the digit."
    ),
    errors.TooLarge: Problem(413, "Too large", "The picture is too large."),
    TooManyImages: Problem(413, "Too many images", "These are too many pictures for one request. Send fewer at a time."),
    errors.BadTensor: Problem(400, "Wrong tensor", "The tensor has the wrong type, shape or length."),
    errors.ServingError: Problem(502, "Model server error", "The model server gave an error. Please try again.", 1),
    errors.ModelUnavailable: Problem(
        503, "Model unavailable", "The model is not available just now. Please try again in a moment.", 1
    ),
    errors.ModelNotFound: Problem(404, "No such model", "That version of the model is not being served."),
    errors.DeadlineExceeded: Problem(504, "Too slow", "The answer did not come in time. Please try again.", 1),
    errors.Overloaded: Problem(503, "Busy", "Too many drawings at once. Please try again in a moment.", 1),
    errors.BadModelOutput: Problem(502, "Model answers nonsense", "The model gave an answer that makes no sense."),
    errors.ArtifactError: Problem(503, "Model unusable", "The model cannot be used.", 5),
    errors.ContractMismatch: Problem(503, "Model does not fit", "The model that is served does not fit this page.", 5),
    errors.IncompleteVersion: Problem(503, "Model incomplete", "The model that is served is incomplete.", 5),
    errors.DataUnavailable: Problem(500, "Data missing", "Data that should be here is missing."),
}

BUSY = TABLE[errors.Overloaded]
BAD_REQUEST = Problem(400, "Bad request", "That is no request that can be read.")
NOT_FOUND = Problem(404, "Not Found", "There is no such page.")
WRONG_METHOD = Problem(405, "Method Not Allowed", "That page takes other methods.")
TOO_SLOW = Problem(408, "Request too slow", "The request did not come in whole in time.")
LONG_ADDRESS = Problem(414, "Address too long", "The address is too long.")
TOO_MANY = Problem(429, "Too many requests", "That is too fast. Please wait a moment.", 1)
LONG_HEAD = Problem(431, "Headers too large", "The headers are too many or too long.")
PACKED = Problem(501, "Not implemented", "The body is packed in a way that is not known here.")
OTHER_HTTP = Problem(505, "HTTP version not supported", "This is neither HTTP/1.1 nor HTTP/1.0.")
NO_VIEW = (NOT_FOUND, WRONG_METHOD)
"""What Flask says where no view answers."""
AT_THE_DOOR = (BAD_REQUEST, TOO_SLOW, LONG_ADDRESS, TOO_MANY, LONG_HEAD, PACKED, OTHER_HTTP)
"""What is refused before there is a request (`webapp.incoming`)."""


def everything() -> list[Problem]:
    """All problems, by status."""
    return sorted({*TABLE.values(), *NO_VIEW, *AT_THE_DOOR}, key=lambda one: (one.status, one.title))


def name_of(problem: Problem) -> str:
    """The end of its type's address."""
    return problem.title.lower().replace(" ", "-")


def problem_for(error: errors.DigitsError) -> Problem:
    """The nearest entry up the error's class tree."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    raise AssertionError("DigitsError is in the table")


def document(problem: Problem, detail: str, request_id: str) -> dict[str, Any]:
    """The problem document."""
    return {
        "type": "/problems/" + name_of(problem),
        "title": problem.title,
        "status": problem.status,
        "detail": printable(detail),
        "sentence": problem.sentence,
        "request_id": request_id,
    }


def printable(text: str, limit: int = DETAIL_CHARS) -> str:
    """At most `limit` characters of it, none of them a control character."""
    shown = "".join(ch if ch.isprintable() else "�" for ch in text[:limit])
    return shown if len(text) <= limit else shown + "…"


def plain_or_new(sent: str) -> str:
    """The request id that a caller sent, if it is a plain one; else a new one."""
    plain = 0 < len(sent) <= 64 and sent.isascii() and all(ch.isalnum() or ch in "-_." for ch in sent)
    return sent if plain else secrets.token_hex(16)


def request_id() -> str:
    """This request's id, the caller's own if it sent a plain one."""
    if "request_id" not in g:
        g.request_id = plain_or_new(request.headers.get("X-Request-Id", ""))
    return str(g.request_id)


def response(problem: Problem, detail: str, request_id: str) -> Response:
    """The problem as an HTTP response."""
    made = Response(json.dumps(document(problem, detail, request_id)), problem.status, mimetype=MIMETYPE)
    if problem.retry_after_s is not None:
        made.headers["Retry-After"] = str(problem.retry_after_s)
    if problem is TABLE[EncodedBody]:
        made.headers["Accept-Encoding"] = "identity"  # RFC 9110, 12.5.3
    return made


def told(error: BaseException, request_id: str) -> tuple[Problem, str]:
    """The problem for an error, and its detail; one nobody foresaw is logged, and told by id only."""
    if isinstance(error, errors.DigitsError):
        return problem_for(error), error.outside
    log.error("request %s failed", request_id, exc_info=error)
    return TABLE[errors.DigitsError], UNFORESEEN


def why(error: BaseException) -> str:
    """What the log says of an error: of the caller's mistakes the kind only, for their text quotes what was sent."""
    if isinstance(error, errors.InputError | errors.ModelNotFound):
        return problem_for(error).title
    return printable(str(error)) if isinstance(error, errors.DigitsError) else UNFORESEEN


def respond(problem: Problem, detail: str, reason: str = "") -> Response:
    """The problem as the answer to the present request.  reason: for the log."""
    g.why = reason or problem.title
    return response(problem, detail, request_id())


def register(app: Flask) -> None:
    """Answer every error with a problem; an unknown one is logged with its traceback and told by id only."""

    @app.errorhandler(errors.DigitsError)
    def known(error: errors.DigitsError) -> Response:
        return respond(*told(error, request_id()), why(error))

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> Response:
        limit = app.config["MAX_CONTENT_LENGTH"]
        return respond(TABLE[errors.TooLarge], f"got a larger body; wanted at most {limit:,} bytes")

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        problem = next((one for one in NO_VIEW if one.status == error.code), Problem(error.code or 500, error.name, error.name))
        allowed = ", ".join(getattr(error, "valid_methods", None) or ()) if error.code == 405 else ""
        got = f"got {request.method} {request.path[:100]}"
        response = respond(problem, f"{got}; wanted {allowed}" if allowed else got)
        if allowed:
            response.headers["Allow"] = allowed
        return response

    @app.errorhandler(Exception)
    def unknown(error: Exception) -> Response:
        return respond(*told(error, request_id()), why(error))
