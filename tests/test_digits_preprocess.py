"""Fitting and centring as MNIST was made."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.errors import BlankCanvas
from digits.preprocess import centre, fit, normalise, overlaps


def blob(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random ink whose border rows and columns are not empty."""
    ink = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    ink[[0, -1], :] |= 64
    ink[:, [0, -1]] |= 64
    return ink


@pytest.mark.parametrize("shape", [(200, 200), (200, 50), (31, 240), (7, 3), (1, 300), (300, 1), (1, 1), (20, 20)])
def test_the_longer_side_becomes_20_and_the_aspect_is_kept(shape: tuple[int, int]) -> None:
    fitted = fit(blob(*shape))
    assert max(fitted.shape) == 20
    wanted = [max(1, side * 20 / max(shape)) for side in shape]
    assert np.abs(np.array(fitted.shape) - wanted).max() <= 0.5
    assert centre(fitted).max() == 255


@pytest.mark.parametrize("size", [3, 20, 173, 2047])
def test_every_pixel_is_shared_out_whole(size: int) -> None:
    shares = overlaps(size, 20)
    assert (shares.sum(axis=1) == size).all()
    assert (shares.sum(axis=0) == 20).all()


@pytest.mark.parametrize("shape", [(200, 150), (2047, 2047), (1, 200_000), (200_000, 1)])
def test_the_ink_is_added_up_exactly_so_that_every_processor_gives_the_same(shape: tuple[int, int]) -> None:
    ink = blob(*shape)
    rows, columns = (overlaps(side, to).astype(np.int64) for side, to in zip(shape, fit(ink).shape, strict=True))
    assert np.array_equal(fit(ink), rows @ ink.astype(np.int64) @ columns.T)


@pytest.mark.parametrize("seed", range(20))
def test_the_centre_of_mass_comes_to_pixel_14(seed: int) -> None:
    r = np.random.default_rng(seed)
    image = normalise(blob(int(r.integers(30, 250)), int(r.integers(30, 250)), seed)).astype(float)
    rows, columns = np.indices(image.shape)
    assert (rows * image).sum() / image.sum() == pytest.approx(14, abs=0.55)
    assert (columns * image).sum() / image.sum() == pytest.approx(14, abs=0.55)


def test_heavy_ink_at_one_end_is_neither_cut_nor_wrapped_round_the_edge() -> None:
    lopsided = np.zeros((20, 20), np.int64)
    lopsided[0, :] = 255  # the mass is at the top, so centring wants to push the tail off the bottom
    lopsided[:, 0] = 1
    image = centre(lopsided)
    assert (image > 0).sum() == (lopsided > 0).sum()
    assert image[:8].max() <= 1, "the first rows hold nothing that came round"


def test_no_ink_is_a_blank_canvas() -> None:
    with pytest.raises(BlankCanvas):
        normalise(np.zeros((40, 40), np.uint8))


def test_the_answer_is_the_same_for_a_drawing_twice_as_large() -> None:
    small = blob(40, 60)
    large = np.repeat(np.repeat(small, 2, 0), 2, 1)
    assert np.abs(normalise(small).astype(int) - normalise(large)).max() <= 1
