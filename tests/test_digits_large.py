"""Pictures of many pixels: read right, and in bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from digits import images
from digits.images import decode
from digits.preprocess import KEPT_PX, _overlaps, overlaps
from tests.conftest import ROOT


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "1", "I;16"])
@pytest.mark.parametrize("size", [(2100, 2049), (3000, 31), (31, 5000)])
def test_averaging_by_strips_is_averaging_the_whole(mode: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], len(mode) if mode.isupper() else 1), np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
        whole = Image.fromarray(noise[..., 0])
    else:
        picture = Image.fromarray(noise[..., 0] if noise.shape[2] == 1 else noise).convert(mode)
        whole = picture.convert("L") if mode == "1" else picture
    factor = max(size) // images.WORKING_PX
    expected = whole.reduce((min(factor, size[0]), min(factor, size[1])))
    assert np.array_equal(np.asarray(decode(encoded(picture))), np.asarray(expected))


def test_large_pictures_are_decoded_one_at_a_time_and_small_ones_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, loaded = 0, 0, images._loaded
    small_came_through = threading.Event()

    def noting(image: Image.Image) -> Image.Image:
        nonlocal at_once, most
        if image.width * image.height <= images.LARGE_PIXELS:
            small_came_through.set()
            return loaded(image)
        at_once += 1
        most = max(most, at_once)
        assert small_came_through.wait(30)
        made = loaded(image)
        at_once -= 1
        return made

    monkeypatch.setattr(images, "_loaded", noting)
    large = encoded(Image.new("L", (1500, 1500), 255), "JPEG")
    small = encoded(Image.new("L", (100, 100), 255), "JPEG")
    with ThreadPoolExecutor(4) as threads:
        waiting: list[Any] = [threads.submit(decode, large) for _ in range(3)]
        assert threads.submit(decode, small).result(30)
        assert all(one.result(30) for one in waiting)
    assert most == 1


def test_four_of_sixteen_megapixels_at_once_take_a_quarter_of_a_gigabyte(tmp_path: Path) -> None:
    sheet = Image.new("RGBA", (4000, 4000), "white")
    sheet.paste("black", (1500, 500, 2500, 3500))
    (tmp_path / "sheet.webp").write_bytes(encoded(sheet, "WEBP"))
    code = (
        "import resource, sys; from concurrent.futures import ThreadPoolExecutor; from digits.preprocess import digit_image\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\n"
        "assert len(set(ThreadPoolExecutor(4).map(lambda _: digit_image(data).tobytes(), range(4)))) == 1\n"
        "print(peak() - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "sheet.webp")]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(told.stdout) < 400, "MiB; 250 for one of them"


def test_what_is_worked_out_once_is_right_and_bounded() -> None:
    for size in (1, 20, KEPT_PX, KEPT_PX + 1, 2047):
        assert np.array_equal(overlaps(size, 20), _overlaps(size, 20))
    assert overlaps(KEPT_PX, 20) is overlaps(KEPT_PX, 20)
    assert overlaps(KEPT_PX + 1, 20) is not overlaps(KEPT_PX + 1, 20)
