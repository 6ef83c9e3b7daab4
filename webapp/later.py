"""Answers that come later: a view hands over a future, and no thread waits for it.

Under the gateway's own worker the request's environ holds a slot; the view fills it and returns, and the worker
finishes the response when the future is done.  Under any other WSGI server the view waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flask import Response, request

from digits.errors import DeadlineExceeded
from webapp.wsgi import Answer, serialised

SLOT = "digits.later"


@dataclass(eq=False)
class Slot:
    """What the worker needs to give an answer that comes later.

    finish: makes it when the future is done, whatever became of that; never raises.  deadline: on time.monotonic's clock.
    """

    future: Future[Any] | None = None
    finish: Callable[[], Answer] | None = None
    deadline: float = 0.0


def respond(future: Future[Any] | None, response: Response, finish: Callable[[], None], deadline: float) -> Response:
    """Answer with `response` as soon as the future, if there is one, is done and finish() has filled it in."""
    slot: Slot | None = request.environ.get(SLOT)
    if future is None:
        finish()
        return response
    if slot is None:
        wait([future], max(deadline - time.monotonic(), 0))
        expire(future)
        finish()
        return response

    def finished() -> Answer:
        finish()
        return serialised(response)

    slot.future, slot.finish, slot.deadline = future, finished, deadline
    return response


def expire(future: Future[Any]) -> None:
    """Say that it is too late, unless the answer is there."""
    if not future.done():
        with suppress(InvalidStateError):
            future.set_exception(DeadlineExceeded("the time allowed for this request ran out"))
