"""MNIST, split for honest decisions: 55,000 to learn from, 5,000 to decide by, 10,000 to report."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digits.contract import IMAGE_PX, NETWORK_PX, Images28
from digits.errors import DataUnavailable

HELD_OUT = 5_000
SPLIT_SEED = 20_000  # fixed apart from the training seed: every run decides on the same 5,000
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Mnist:
    """The three parts; images uint8 [N, 28, 28], labels uint8 [N]."""

    train_images: Images28
    train_labels: Labels
    held_images: Images28
    held_labels: Labels
    test_images: Images28
    test_labels: Labels
    sha256: str

    def limited(self, count: int) -> Mnist:
        """Keep the first `count` of each part: a smoke run, whose figures mean nothing."""
        return Mnist(
            self.train_images[:count], self.train_labels[:count], self.held_images[:count], self.held_labels[:count],
            self.test_images[:count], self.test_labels[:count], self.sha256,
        )  # fmt: skip


def load(path: Path | None = None) -> Mnist:
    """Load MNIST from an .npz in Keras's layout, or let Keras download it.

    Raises DataUnavailable naming both ways.
    """
    if path is None:
        import keras

        try:
            (x, y), (x_test, y_test) = keras.datasets.mnist.load_data()
        except Exception as exc:
            raise DataUnavailable(
                f"MNIST could not be downloaded by Keras ({exc}); give a local copy with --data mnist.npz "
                "(arrays x_train, y_train, x_test, y_test as in keras.datasets.mnist)"
            ) from exc
    else:
        x, y, x_test, y_test = _read(path)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
    held, train = order[:HELD_OUT], np.sort(order[HELD_OUT:])
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in (x, y, x_test, y_test)))
    return Mnist(x[train], y[train], x[held], y[held], x_test, y_test, digest.hexdigest())


def _read(path: Path) -> tuple[Images28, Labels, Images28, Labels]:
    wanted = "x_train, y_train, x_test, y_test"
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = tuple(file[name] for name in wanted.split(", "))
    except FileNotFoundError:
        raise DataUnavailable(f"there is no file {path}; leave --data out to let Keras download MNIST") from None
    except Exception as exc:
        raise DataUnavailable(f"{path} is no MNIST archive ({exc}); wanted an .npz with {wanted}") from exc
    x, y, x_test, y_test = parts
    for name, images in (("x_train", x), ("x_test", x_test)):
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (IMAGE_PX, IMAGE_PX):
            raise DataUnavailable(f"{path}: {name} is {images.dtype} {images.shape}; wanted uint8 [N, 28, 28]")
    for name, images, labels in (("y_train", x, y), ("y_test", x_test, y_test)):
        low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or low < 0 or high > 9:
            found = f"{labels.dtype} {labels.shape}, {low} to {high}"
            raise DataUnavailable(f"{path}: {name} is {found}; wanted whole numbers [{len(images)}] from 0 to 9")
    if not len(x_test):
        raise DataUnavailable(f"{path}: x_test is empty")
    if len(x) <= HELD_OUT:
        raise DataUnavailable(f"{path}: {len(x)} training images; wanted more than the {HELD_OUT} held out")
    return x, y.astype(np.uint8), x_test, y_test.astype(np.uint8)


def padded(images: Images28) -> Images28:
    """Put paper around the images; uint8 [N, 28, 28] → uint8 [N, 32, 32]."""
    edge = (NETWORK_PX - IMAGE_PX) // 2
    return np.pad(images, ((0, 0), (edge, edge), (edge, edge)))


def statistics(images: Images28) -> tuple[float, float]:
    """Mean and deviation of the padded training pixels in grey levels: what the graph standardises by."""
    pixels = padded(images)
    return float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64))


def standardise(images: NDArray[np.uint8] | NDArray[np.float32], mean: float, deviation: float) -> NDArray[np.float32]:
    """Grey levels [N, 32, 32] → float32 [N, 32, 32, 1] with mean 0 and deviation 1 over the training set."""
    scaled: NDArray[np.float32] = (images.astype(np.float32) - np.float32(mean)) * np.float32(1.0 / deviation)
    return scaled[..., None]
