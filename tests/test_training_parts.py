"""The network as agreed, and the parts that feed and judge it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from digits import drawings  # noqa: E402
from digits.errors import DataUnavailable  # noqa: E402
from digits.strokes import synthetic  # noqa: E402
from training import cache  # noqa: E402
from training.augment import Augmenter  # noqa: E402
from training.batches import Batches, Fresh  # noqa: E402
from training.brush import redrawn  # noqa: E402
from training.calibrate import choose_threshold, fit_temperature, nll, reliability, tempered  # noqa: E402
from training.corruptions import CORRUPTIONS  # noqa: E402
from training.data import load, padded, standardise, statistics  # noqa: E402
from training.distil import Distilled, Teachers, accuracy  # noqa: E402
from training.learning import schedule  # noqa: E402
from training.lessons import build  # noqa: E402
from training.network import PARAMETERS, lenet5_v2, residual  # noqa: E402
from training.pools import Pools  # noqa: E402
from training.recipe import Recipe  # noqa: E402

IMAGES, LABELS = synthetic(60, seed=4)
POOLS = Pools((IMAGES, IMAGES, IMAGES), (LABELS, LABELS, LABELS))
PIXELS = (33.0, 78.0)

LAYERS = {
    "convolution_1": ((28, 28, 32), 832),
    "convolution_2": ((24, 24, 32), 25_600),
    "batchnorm_1": ((24, 24, 32), 128),
    "convolution_3": ((10, 10, 64), 18_496),
    "convolution_4": ((8, 8, 64), 36_864),
    "batchnorm_2": ((8, 8, 64), 256),
    "fully_connected_1": ((256,), 262_144),
    "fully_connected_2": ((128,), 32_768),
    "fully_connected_3": ((84,), 10_752),
    "output": ((10,), 850),
}


def test_the_network_has_the_agreed_layers() -> None:
    network = lenet5_v2()
    assert network.count_params() == PARAMETERS == 390_562
    for name, (shape, parameters) in LAYERS.items():
        layer = network.get_layer(name)
        assert (layer.output.shape[1:], layer.count_params()) == (shape, parameters), name


def test_batches_are_a_function_of_seed_epoch_and_index() -> None:
    recipe = Recipe(epoch_images=128, batch=32)
    one, two, other = (Batches(Fresh(POOLS, recipe), recipe, PIXELS, seed) for seed in (1, 1, 2))
    for mine, same in zip(one[3], two[3], strict=True):
        assert np.array_equal(mine, same)
    assert not np.array_equal(one[3][0], other[3][0])
    one.epoch += 1
    assert not np.array_equal(one[3][0], two[3][0]), "the next epoch is drawn afresh"
    x, y = two[0]
    assert (x.shape, x.dtype, y.shape) == ((32, 32, 32, 1), np.float32, (32, 10))


def test_the_rate_falls_twice_and_each_fall_ends_gently() -> None:
    recipe = Recipe(epochs=10, restart=6, settle_epochs=2, epoch_images=320, batch=32, peak_rate=3e-3, restart_rate=1e-3)
    assert [epoch for epoch in range(10) if recipe.settles(epoch)] == [4, 5, 8, 9]
    rate = schedule(recipe)
    each = np.array([float(rate(step)) for step in range(100)])
    assert each[[10, 70]] == pytest.approx([3e-3, 1e-3], rel=1e-3), "after an epoch's warm-up"
    assert each[[0, 60]] == pytest.approx(each[[10, 70]] / 20, rel=1e-3)
    assert each[[59, 99]] == pytest.approx(each[[10, 70]] / 100, rel=0.3), "one step before its end"
    rises = np.flatnonzero(np.diff(each) > 0)
    assert set(rises) == {*range(10), *range(59, 70)}
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert [float(again(step)) for step in (5, 59, 60, 99)] == [float(rate(step)) for step in (5, 59, 60, 99)]


def test_a_recipe_of_other_length_keeps_its_shares() -> None:
    recipe = Recipe(epochs=110, restart=70, settle_epochs=18)
    short = recipe.lasting(11)
    assert (short.epochs, short.restart, short.settle_epochs) == (11, 7, 2)
    assert recipe.lasting(110) == recipe
    once = Recipe.teacher()
    assert once.cycles == [(0, once.epochs)]
    assert once.lasting(9).cycles == [(0, 9)]
    assert recipe.lasting(1).cycles == [(0, 1)]


def test_teachers_answer_with_their_mean() -> None:
    models = [residual(), lenet5_v2()]
    x = standardise(padded(IMAGES[:32]), *PIXELS)
    answers = Teachers(models, "float32", temperature=2.0)(x)
    softened = [tempered(np.asarray(model(x, training=False)), 2.0) for model in models]
    assert answers == pytest.approx(np.mean(softened, 0), abs=1e-5)
    half = np.asarray(Teachers(models, "mixed_bfloat16", temperature=2.0)(x))
    assert half == pytest.approx(answers, abs=0.05), "the same weights in half the digits"


class Counting(Teachers):
    """Teachers that count what they are asked."""

    asked = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        self.asked += len(x)
        return super().__call__(x)


def test_lessons_are_judged_once_and_drawn_from_by_strength(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, settle_epochs=1, epoch_images=64, batch=32, lessons=2, settled_lessons=1)
    teachers = Counting([residual()], "float32", temperature=2.0)
    source = build(POOLS, recipe, PIXELS, teachers, 1, tmp_path, say=lambda _: None)
    written = sum(
        len(lesson["labels"]) - np.count_nonzero(~lesson["answers"].any(1))
        for lesson in (np.load(tmp_path / f"lesson-{number}.npz") for number in (1, 2, 3))
    )
    assert teachers.asked == written < 3 * 64, "what was drawn by rule needs no answer"
    assert source.teachers == 1
    assert teachers.sha256 in source.identity

    strong, gentle = ([np.load(tmp_path / f"lesson-{n}.npz") for n in numbers] for numbers in ((1, 2), (3,)))
    for epoch, lessons in ((0, strong), (2, gentle)):
        pixels, targets = source.draw(np.random.default_rng(5), epoch)
        assert (pixels.shape, pixels.dtype, targets.shape, targets.dtype) == ((32, 32, 32), np.float32, (32, 20), np.float32)
        held = {image.tobytes() for lesson in lessons for image in lesson["images"]}
        assert {image.astype(np.uint8).tobytes() for image in pixels} <= held
        judged = targets[:, 10:].any(1)
        assert 0 < judged.sum() < 32
        answers = teachers(standardise(pixels[judged], *PIXELS))
        assert targets[judged, 10:] == pytest.approx(answers, abs=1e-5), "what was kept was asked"
    assert not np.array_equal(strong[0]["images"], strong[1]["images"])

    (tmp_path / "lesson-2.npz").write_bytes((tmp_path / "lesson-2.npz").read_bytes()[:-100])  # cut off by a kill
    teachers.asked = 0
    again = build(POOLS, recipe, PIXELS, teachers, 1, tmp_path, say=lambda _: None)
    assert 0 < teachers.asked < 64, "only the lesson that was lost"
    for mine, same in zip(source.draw(np.random.default_rng(5), 0), again.draw(np.random.default_rng(5), 0), strict=True):
        assert np.array_equal(mine, same)
    build(POOLS, recipe, PIXELS, Counting([lenet5_v2()], "float32", 2.0), 1, tmp_path, say=lambda _: None)
    teachers.asked = 0
    build(POOLS, recipe, PIXELS, teachers, 1, tmp_path, say=lambda _: None)
    assert teachers.asked == written, "another teacher's lessons are not taken for these"


def test_a_cache_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, **arrays: object) -> None:
        Path(str(file)).write_bytes(b"half")
        raise OSError("5000 requested and 12 written")  # numpy's words for a full disk

    monkeypatch.setattr(cache.np, "savez_compressed", full)
    with pytest.raises(OSError, match=r"pools\.npz could not be written: 5000 requested and 12 written"):
        cache.write(tmp_path / "pools.npz", "key", x=IMAGES)
    assert not list(tmp_path.iterdir())


def test_the_distilled_loss_is_least_where_the_pupil_answers_as_its_teachers() -> None:
    p = np.random.default_rng(0).dirichlet(np.full(10, 0.3), 50).astype(np.float32)
    label = np.eye(10, dtype=np.float32)[p.argmax(1)]
    targets = np.concatenate((label, tempered(p, 3.0)), 1)
    only_label, only_teachers = Distilled(0.0, 3.0), Distilled(1.0, 3.0)
    unasked = np.concatenate((label, np.zeros_like(label)), 1)
    assert float(only_teachers(unasked, p)) == pytest.approx(float(only_label(targets, p))), "nobody asked: the label is all"
    assert float(only_label(targets, p)) == pytest.approx(nll(p, p.argmax(1).astype(np.uint8)), rel=1e-5)
    entropy = -(targets[:, 10:] * np.log(np.maximum(targets[:, 10:], 1e-30))).sum(1).mean()
    assert float(only_teachers(targets, p)) == pytest.approx(9 * entropy, rel=1e-4), "T² times its own entropy"
    assert float(only_teachers(targets, tempered(p, 1.1))) > float(only_teachers(targets, p))
    assert float(only_teachers(targets, tempered(p, 0.9))) > float(only_teachers(targets, p))
    assert float(np.mean(accuracy(targets, p))) == 1


def test_distortion_keeps_the_ink_on_the_sheet() -> None:
    images = Augmenter()(np.repeat(IMAGES, 5, 0), np.random.default_rng(0))
    assert images.shape == (300, 32, 32)
    assert images.min() >= 0
    assert images.max() <= 255
    before, after = padded(np.repeat(IMAGES, 5, 0)).sum((1, 2), dtype=float), images.sum((1, 2), dtype=float)
    assert np.median(after / before) == pytest.approx(1, abs=0.25)


def test_statistics_standardise_the_training_set() -> None:
    pixels = standardise(padded(IMAGES), *statistics(IMAGES))
    assert pixels.mean() == pytest.approx(0, abs=1e-3)
    assert pixels.std() == pytest.approx(1, abs=1e-3)


def test_a_redrawn_digit_keeps_its_shape() -> None:
    again = redrawn(IMAGES, seed=1)
    overlap = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(IMAGES.astype(float), again.astype(float), strict=True)]
    assert np.median(overlap) > 0.8


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_the_image_and_keeps_its_form(name: str) -> None:
    damaged = CORRUPTIONS[name](IMAGES)
    assert (damaged.shape, damaged.dtype) == (IMAGES.shape, np.uint8)
    assert not np.array_equal(damaged, IMAGES)
    assert damaged.any(axis=(1, 2)).all(), "no digit vanishes"


def overconfident(count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Answers that are right less often than they say: true logits, tripled."""
    r = np.random.default_rng(5)
    logits = r.normal(0, 1.5, (count, 10))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([r.choice(10, p=row) for row in p], np.uint8)
    return tempered(p.astype(np.float32), 1 / 3), labels


def test_the_fitted_temperature_undoes_overconfidence() -> None:
    p, labels = overconfident()
    temperature = fit_temperature(p, labels)
    assert temperature == pytest.approx(3, rel=0.05)
    assert reliability(tempered(p, temperature), labels).error < 0.02 < reliability(p, labels).error
    assert nll(tempered(p, temperature), labels) < nll(p, labels)


def test_the_threshold_leaves_the_wanted_accuracy_above_it() -> None:
    r = np.random.default_rng(6)
    confidence = r.uniform(0.5, 1, 50_000)
    p = np.zeros((50_000, 10), np.float32)
    p[:, 0], p[:, 1] = confidence, 1 - confidence
    labels = (r.random(50_000) > confidence**0.02).astype(np.uint8)
    threshold = choose_threshold(p, labels)
    assert threshold.accuracy_above >= 0.9985
    assert threshold.unsure == pytest.approx((confidence < threshold.value).mean(), abs=0.01)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"y_train": LABELS[:10]}, r"y_train is uint8 \(10,\)"),
        ({"y_test": np.eye(10)[LABELS]}, r"y_test is float64 \(60, 10\)"),
        ({"y_train": LABELS + 10}, "10 to 19; wanted whole numbers .60. from 0 to 9"),
        ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, "x_test is empty"),
        ({}, "60 training images"),
    ],
)
def test_an_archive_that_is_not_whole_is_refused(changes: dict[str, np.ndarray], complaint: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    np.savez(tmp_path / "m.npz", **{"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS, **changes})
    with pytest.raises(DataUnavailable, match=complaint):
        load(tmp_path / "m.npz")


STROKES = np.array([[0, 0], [0, 9], [5, 5], [6, 9]], np.int16)


WHOLE = {"labels": np.array([1, 2], np.uint8), "strokes_per_digit": np.array([1, 1]), "points_per_stroke": np.array([2, 2]),
         "points": STROKES}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": np.array([1, 12])}, r"got 2 labels, of \[1, 12\]; wanted some, of 0 to 9"),
        ({"labels": np.array([[1], [2]])}, r"labels is int64 \[2, 1\]; wanted whole numbers \[N\]"),
        ({"labels": np.array(["1", "2"])}, "labels is <U1"),
        ({"labels": np.array([1.0, 2.0])}, "labels is float64"),
        ({"points_per_stroke": np.array(4)}, r"points_per_stroke is int64 \[\]"),
        ({"strokes_per_digit": np.array(["1", "1"])}, "strokes_per_digit is <U1"),
        ({"points": STROKES * np.nan}, "not finite"),
        ({"points": STROKES * 1e300}, "not finite"),
        ({"points": np.zeros((4, 3))}, r"points is float64 \[4, 3\]; wanted numbers \[points, 2\]"),
        ({"points": STROKES[:3]}, "is not whole"),
        ({"points_per_stroke": np.array([-1, 5])}, "is not whole"),
        ({name: array[:0] for name, array in WHOLE.items()}, "got 0 labels"),
    ],
)
def test_a_file_of_drawings_is_checked_before_it_is_used(changes: dict[str, np.ndarray], complaint: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    path = tmp_path / "pen.npz"
    np.savez(path, **WHOLE)
    assert len(drawings.load(path).strokes) == 2
    np.savez(path, **{**WHOLE, **changes})
    with pytest.raises(DataUnavailable, match=complaint):
        drawings.load(path)


@pytest.mark.parametrize("left", [b"", b"PK\x03\x04" + bytes(40)])
def test_a_damaged_cache_is_made_again(left: bytes, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pools.npz"
    cache.write(path, "key", numbers=np.arange(5))
    assert np.array_equal(cache.read(path, "key")["numbers"], np.arange(5))  # type: ignore[index]
    assert cache.read(path, "another") is None
    assert sorted(child.name for child in path.parent.iterdir()) == ["pools.npz"]
    path.write_bytes(left)
    assert cache.read(path, "key") is None
    whole = np.arange(5_000, dtype=np.float64) ** 2
    cache.write(path, "key", numbers=whole)
    damaged = bytearray(path.read_bytes())
    damaged[2_000:4_000] = bytes(2_000)
    path.write_bytes(damaged)
    assert cache.read(path, "key") is None
