"""What a worker does once, so that no request has to."""

from __future__ import annotations

import ctypes
import gc
import io
import sys

from PIL import Image

from digits.errors import BlankCanvas
from digits.images import FORMATS
from digits.preprocess import digit_image

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEPT_BYTES = 33_554_432


def warm() -> None:
    """Load Pillow's decoders, keep freed memory, and leave what is loaded out of the search for garbage."""
    keep_memory()
    sheet = Image.new("RGB", (32, 32), "white")
    sheet.paste("black", (10, 4, 14, 28))
    for form in FORMATS:
        out = io.BytesIO()
        sheet.save(out, form)
        try:
            digit_image(out.getvalue())
        except BlankCanvas as exc:
            raise AssertionError(f"{form} does not survive its own decoder") from exc
    gc.collect()
    gc.freeze()  # what is loaded stays: no search for garbage needs to go through it


def keep_memory() -> None:
    """Have glibc reuse memory instead of giving it back to the kernel after every picture.

    A drawing's pixels are large enough for malloc to map them anew each time, and the page faults then take 40 % of the time
    to decode: 0.84 ms a drawing become 0.51.  At most KEPT_BYTES are kept.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(M_TOP_PAD, KEPT_BYTES // 8)
