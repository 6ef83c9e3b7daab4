"""The error tree: every failure this project names, free of HTTP and of gRPC.

Each stage translates these at its own edge with one table; nothing else carries a status code.
"""

from __future__ import annotations


class DigitsError(Exception):
    """Anything that this project knows how to explain.

    outside: the same for whoever need not know a model server's address, where the message has it.
    """

    def __init__(self, message: str = "", outside: str = "") -> None:
        super().__init__(message)
        self.outside = outside or message


class InputError(DigitsError):
    """The caller sent something that cannot be read as a digit."""


class BadImage(InputError):
    """The bytes claim to be an image and cannot be decoded as one."""


class NotAnImage(BadImage):
    """The bytes are no PNG, JPEG, WebP, BMP or GIF at all."""


class BlankCanvas(InputError):
    """The image holds no ink."""


class UnevenLight(BlankCanvas):
    """The light on the paper varies so much that no ink stands out from it."""


class TooLarge(InputError):
    """The body, the pixel count or the batch is past a stated limit."""


class BadTensor(InputError):
    """A raw tensor has the wrong dtype, shape or length."""


class ServingError(DigitsError):
    """The model server could not answer."""


class ModelUnavailable(ServingError):
    """No model server answers at the address, or it is shutting down."""


class ModelNotFound(ServingError):
    """The server answers but does not have that model, version or label."""


class DeadlineExceeded(ServingError):
    """The answer did not come within the time the caller allowed."""


class Overloaded(ServingError):
    """The server refused because its queue or its threads are full."""


class BadModelOutput(ServingError):
    """The server answered with tensors that break the contract."""


class ArtifactError(DigitsError):
    """A SavedModel version cannot be used."""


class ContractMismatch(ArtifactError):
    """The artifact was made for another contract than this code speaks."""


class IncompleteVersion(ArtifactError):
    """A version directory lacks a file it must have."""


class DataUnavailable(DigitsError):
    """A data set could be neither downloaded nor read."""
