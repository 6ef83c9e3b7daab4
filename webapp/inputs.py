"""Request → what to classify: images as bytes, or a tensor.  What the bytes are counts more than what the header says."""

from __future__ import annotations

import base64
import binascii
import io
import math
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any

import numpy as np
from flask import Request, json
from werkzeug.exceptions import RequestEntityTooLarge

from digits import contract as c
from digits.errors import BadImage, BadTensor, InputError, NotAnImage, TooLarge

MAX_ITEMS, MAX_TENSORS = 64, 1024
PIXELS = c.IMAGE_PX * c.IMAGE_PX
NPY = b"\x93NUMPY"
PNG = b"\x89PNG"
SMALL_PIXELS = 512 * 512
SMALL_BYTES = 65_536
MAX_CHUNKS = 32
PACKED = (b"zTXt", b"iTXt", b"iCCP")
"""Chunks of a PNG that Pillow inflates, up to 1 MB each."""
NPY_HEADER = 256
"""numpy.save writes 118 bytes; reading 10,000 of the worst takes 18 ms."""
FEW_BYTES = 32 * PIXELS
TENSORS = "application/octet-stream"
BODY = "digits.body"
_JSON_WORDS = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
_MAGIC = (PNG, b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")


class EncodedBody(InputError):
    """Content-Encoding says that the body is not as it is."""


class TooManyImages(TooLarge):
    """One request holds more images than it may."""


@dataclass(frozen=True)
class Submission:
    """images: encoded pictures, or failures of their own; tensor: uint8 [N, 28, 28] instead.

    many: the caller sent a list and gets a list.
    """

    images: list[bytes | InputError]
    tensor: c.Images28 | None = None
    many: bool = False


@dataclass(frozen=True)
class Options:
    """top: how many of the best digits to list; key: version or label to ask."""

    top: int | None = None
    key: tuple[int | None, str | None] = (None, None)


NO_OPTIONS = Options()


def read(request: Request) -> Submission:
    """Find out what was sent.  Raises an InputError."""
    encoding = request.headers.get("Content-Encoding", "")
    if {one.strip().lower() for one in encoding.split(",")} - {"", "identity"}:
        raise EncodedBody(f"got Content-Encoding: {encoding[:40]}; wanted the body as it is")
    at_hand: bytes = request.environ.get(BODY, b"")
    if request.mimetype == "multipart/form-data" and not at_hand.startswith(_MAGIC):  # a form begins with its boundary
        return _multipart(request)
    data = _body(request)
    plain = bare(data, request.mimetype)
    if plain is not None:
        return plain
    if request.is_json or data.lstrip()[:1] in (b"{", b"["):
        return _json(data)
    if not data:
        raise NotAnImage("got an empty body; wanted an image, a form with `image`, JSON with `image`, or a tensor")
    return Submission([data])


def bare(data: bytes, mimetype: str) -> Submission | None:
    """A body that is one picture, or a tensor, and nothing around it; None for any other.  Raises an InputError."""
    if data.startswith(_MAGIC):
        return Submission([data])
    if data.startswith(NPY):
        return Submission([], _npy(data), many=True)
    return Submission([], _raw(data), many=True) if mimetype == TENSORS and not _is_json(data) else None


def _is_json(data: bytes) -> bool:
    """Whether bytes that may be a tensor are JSON: a digit's corners are paper."""
    return data.lstrip()[:1] in (b"{", b"[") and data.rstrip()[-1:] in (b"}", b"]")


def is_small(body: bytes, content_type: str) -> bool:
    """Whether answering takes about a millisecond: a canvas's PNG, or a few tensors."""
    if len(body) > SMALL_BYTES:
        return False
    if body.startswith(PNG):
        width, height = int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")
        return width * height <= SMALL_PIXELS and _has_quick_chunks(body)
    if body.startswith(NPY):
        return int.from_bytes(body[8:10], "little") <= NPY_HEADER
    return content_type.startswith(TENSORS) and not body.startswith(_MAGIC) and not _is_json(body)


def _has_quick_chunks(png: bytes) -> bool:
    """Whether a PNG's chunks are few, none of them packed, and its first the only header: a second would count instead."""
    at = 8
    for place in range(MAX_CHUNKS):
        kind = png[at + 4 : at + 8]
        if kind in (b"IEND", b""):
            return True
        if kind in PACKED or (kind == b"IHDR") != (place == 0):
            return False
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return False


def is_many(body: bytes) -> bool:
    """Whether what is said of a body may be long: more than some 32 images, each of which takes 0.02 to 0.5 ms to tell of."""
    return len(body) > FEW_BYTES and not body.startswith(_MAGIC)


def _body(request: Request) -> bytes:
    """The body, which our own worker has at hand already.  Raises TooLarge."""
    limit = request.max_content_length
    if limit is not None and (request.content_length or 0) > limit:
        raise _too_large(request)
    at_hand: bytes | None = request.environ.get(BODY)
    return request.get_data(cache=False) if at_hand is None else at_hand


def _too_large(request: Request) -> TooLarge:
    return TooLarge(f"got a larger body; wanted at most {request.max_content_length:,} bytes")


def options(request: Request) -> Options:
    """What the address asks for: ?top=, ?version=, ?label=.  Raises InputError."""
    if not request.query_string:
        return NO_OPTIONS
    for name in ("top", "version", "label"):
        if len(request.args.getlist(name)) > 1:
            raise InputError(f"got {name} more than once; wanted it once")
    top = _number(request.args.get("top"), "top", 1, c.CLASSES)
    version = _number(request.args.get("version"), "version", 1, 2**63 - 1)
    label = request.args.get("label")
    if label is not None and not (0 < len(label) <= 64 and label.isprintable()):
        raise InputError("got a label that is empty or too long; wanted 1 to 64 characters")
    if version is not None and label is not None:
        raise InputError("got both a version and a label; wanted one of them")
    return Options(top, (version, label))


def _number(text: str | None, name: str, low: int, high: int) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and low <= int(text) <= high):
        raise InputError(f"got {name}={text[:20]}; wanted a whole number of {low} to {high}")
    return int(text)


def _multipart(request: Request) -> Submission:
    try:
        files = [file for name in ("image", "images") for file in request.files.getlist(name)]
    except RequestEntityTooLarge:
        if (request.content_length or 0) > (request.max_content_length or math.inf):
            raise _too_large(request) from None
        raise TooManyImages(f"got a form of more fields; wanted at most {request.max_form_parts:,}") from None
    texts = [text for name in ("image", "images") for text in request.form.getlist(name)]
    if not files and not texts:
        raise NotAnImage(f"got a form with {_names([*request.files, *request.form])}; wanted a field `image`")
    if files and texts:
        raise InputError("got pictures both as files and as text, whose order a form does not tell; wanted one of them")
    if all(name in request.files or name in request.form for name in ("image", "images")):
        raise InputError("got pictures both in `image` and in `images`, whose order a form does not tell; wanted one of them")
    images: list[bytes | InputError] = [file.read() for file in files]
    images += [_decoded(text) for text in texts]
    return _bounded(images, many=len(images) > 1 or "images" in request.files or "images" in request.form)


def _json(data: bytes) -> Submission:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        where = f": {exc.msg} at character {exc.pos}" if isinstance(exc, JSONDecodeError) else ""
        raise InputError(f"the body is not valid JSON{where}") from None
    several = isinstance(document, dict) and document.get("images") is not None
    if isinstance(document, dict) and "image" in document and not (several and document["image"] is None):
        if several:
            raise InputError("got JSON with both `image` and `images`; wanted one of them")
        return _bounded([_decoded(document["image"])], many=False)
    listed = document.get("images") if isinstance(document, dict) else document
    if listed == []:
        raise InputError(f"got an empty list of images; wanted 1 to {MAX_ITEMS}")
    if not isinstance(listed, list):
        raise InputError('got JSON without images; wanted {"image": "data:image/png;base64,…"} or {"images": […]}')
    return _bounded(
        [_decoded(item["image"] if isinstance(item, dict) and "image" in item else item) for item in listed], many=True
    )


def _bounded(images: list[bytes | InputError], many: bool) -> Submission:
    if len(images) > MAX_ITEMS:
        raise TooManyImages(f"got {len(images)} images in one request; wanted at most {MAX_ITEMS}")
    return Submission(images, many=many)


def _decoded(value: Any) -> bytes | InputError:
    """A data URL, or bare base64; a broken one is that image's own failure."""
    if not isinstance(value, str):
        return NotAnImage(f"got {_JSON_WORDS.get(type(value), 'something')}; wanted a data URL as text")
    head, comma, body = value.partition(",")
    if comma and head[:5].lower() == "data:":
        if not head.lower().endswith(";base64"):
            return NotAnImage("got a data URL that is not base64; wanted data:image/png;base64,…")
    elif value[:5].lower() == "data:":
        return BadImage("got a data URL without data")
    else:
        body = value
    if body.lstrip().startswith(("http:", "https:", "file:", "ftp:")):
        return NotAnImage("got the address of an image; addresses are never fetched, send the image itself")
    packed = "".join(body.split()).rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)  # padding is often left out
    except (binascii.Error, ValueError):
        return BadImage("the image's base64 is broken")


def _raw(data: bytes) -> c.Images28:
    if not data or len(data) % PIXELS:
        raise BadTensor(f"got {len(data)} bytes; wanted a multiple of {PIXELS}: uint8 [N, 28, 28]")
    return _limited(np.frombuffer(data, np.uint8).reshape(-1, c.IMAGE_PX, c.IMAGE_PX))


def _npy(data: bytes) -> c.Images28:
    file = io.BytesIO(data)
    try:
        array = np.load(file, allow_pickle=False)
    except Exception:  # its header is Python, so anything may be raised; numpy's words are for its caller
        raise BadTensor("the .npy file cannot be read; wanted one array, uint8 [N, 28, 28], as numpy.save writes it") from None
    if file.read(1):
        raise BadTensor("got more than one array in a .npy file; wanted one, uint8 [N, 28, 28]")
    if array.ndim == 2:
        array = array[np.newaxis]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[1:] != (c.IMAGE_PX, c.IMAGE_PX) or not len(array):
        raise BadTensor(f"got {array.dtype} {list(array.shape)}; wanted uint8 [N, 28, 28]")
    return _limited(array)


def _limited(images: c.Images28) -> c.Images28:
    if len(images) > MAX_TENSORS:
        raise TooManyImages(f"got {len(images)} images in one request; wanted at most {MAX_TENSORS}")
    return images


def _names(names: list[str | None]) -> str:
    return ", ".join(sorted(name or "a part without a name" for name in names)[:5]) or "no fields"
