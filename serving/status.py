"""Status: a canonical code and a text, as TensorFlow Serving reports every failure."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """The canonical codes; their numbers are gRPC's and TensorFlow's alike."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Status(Exception):
    """A failure on its way to a caller: raised anywhere in the core, worded by a transport."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.code.name}: {self.text}" if self.text else self.code.name


def invalid(text: str) -> Status:
    """An INVALID_ARGUMENT, by far the commonest."""
    return Status(Code.INVALID_ARGUMENT, text)
