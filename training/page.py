"""report.html: one self-contained page about a run, pictures included."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from digits.contract import Image28, Probabilities
from training.calibrate import reliability
from training.data import Labels, Mnist
from training.recipe import Recipe

INK, ACCENT, SOFT = "#1f2933", "#2f6fde", "#d64550"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem } table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #d9e2ec }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; height: auto } .note { color: #52606d }
.errors { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .6rem }
td { white-space: nowrap } td:first-child { white-space: normal }
figure { margin: 0; text-align: center; font-size: .8rem }
figure img { width: 56px; image-rendering: pixelated; background: #000 }
code { background: #f0f4f8; padding: 0 .2rem }
"""

Pen = dict[str, tuple[Probabilities, Labels]]


def pictures(report: dict[str, Any], mnist: Mnist, test: Probabilities, pen: Pen) -> dict[str, bytes]:
    """PNGs by name: learning, confusion, calibration.  test: answers on the test set; pen: answers and labels by setting."""
    return {
        "learning": _picture(_learning(report)),
        "confusion": _picture(_confusions(report["figures"])),
        "calibration": _picture(_calibration(mnist, test, pen)),
    }


def render(report: dict[str, Any], mnist: Mnist, test: Probabilities, drawn: Mapping[str, bytes]) -> str:
    """The whole page.  test: answers on the test set; drawn: the pictures."""
    figures = report["figures"]
    sections = [
        f"<h1>{report['recipe']['network']} on MNIST</h1>{_smoke(report['limit'])}"
        f"<p class=note>seed {report['seed']}, {report['epochs_run']} epochs, "
        f"commit {report['git_commit'] or 'unknown'}, Keras {report['versions']['keras']} on {report['versions']['backend']}</p>",
        _figures_table(figures, report),
        "<h2>Learning</h2>" + _image(drawn["learning"], "loss and held-out error by epoch"),
        "<h2>What it confuses</h2>" + _image(drawn["confusion"], "answers by true digit, as counts"),
        "<h2>May its probabilities be believed?</h2>" + _image(drawn["calibration"], "share of right answers by confidence"),
        "<h2>By digit</h2>" + _class_table(figures["per_class"]),
        "<h2>Every mistake on the test set</h2><p class=note>truth → answer (confidence), second thought</p>"
        + _mistakes(figures["mistakes"], mnist),
        "<h2>The recipe</h2>" + _recipe_table(report),
    ]
    body = "\n".join(sections)
    head = f"<meta charset=utf-8><title>digits: training report</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en>{head}<body>{body}</body></html>\n"


def _smoke(limit: int | None) -> str:
    return f"<p><strong>A smoke run of {limit:,} images: its figures mean nothing.</strong></p>" if limit else ""


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _figures_table(figures: dict[str, Any], report: dict[str, Any]) -> str:
    threshold = report["threshold"]
    rows = [
        (f"MNIST test set, {report['images']['test']:,} digits", _percent(figures["mnist_test"])),
        (f"held out, {report['images']['held_out']:,} digits", _percent(figures["held_out"])),
        *((f"pen drawings, {name}", _percent(value)) for name, value in figures["drawings"].items()),
        ("expected calibration error, MNIST test", _percent(figures["ece_mnist"])),
        ("expected calibration error, drawings", _percent(figures["ece_drawings"])),
        ("temperature", f"{report['temperature']:.3f}"),
        (f"called unsure below {threshold['value']}", _percent(threshold["unsure"])),
        ("… of the wrong answers", _percent(threshold["caught_wrong"])),
        ("… of the right answers", _percent(threshold["doubted_right"])),
    ]
    return _table(("measure", "figure"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in head) + f"</tr>{cells}</table>"


def _class_table(rows: list[dict[str, float]]) -> str:
    return _table(
        ("digit", "count", "found of its own", "right when said"),
        [(int(row["digit"]), int(row["count"]), _percent(row["recall"]), _percent(row["precision"])) for row in rows],
    )


def _recipe_table(report: dict[str, Any]) -> str:
    rows = []
    for name, value in report["recipe"].items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        rows += [(name if key is None else f"{name}: {key}", one) for key, one in inner]
    rows += [
        ("teachers", report["teachers"]),
        ("MNIST, SHA-256 of the arrays", report["data_sha256"]),
        ("pen drawings, SHA-256 of the file", report["drawings_sha256"] or "none"),
        *report["versions"].items(),
    ]
    return _table(("setting", "value"), rows)


def _figure(width: float, height: float, columns: int) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False, layout="constrained")
    return figure, axes


def _picture(figure: Any) -> bytes:
    import matplotlib.pyplot as plt

    out = io.BytesIO()
    figure.savefig(out, dpi=110)
    plt.close(figure)
    return out.getvalue()


def _image(data: bytes, alt: str) -> str:
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def _learning(report: dict[str, Any]) -> Any:
    from matplotlib.ticker import LogLocator

    rows = report["figures"]["learning"]
    figure, ((loss, error),) = _figure(10, 3.6, 2)
    epochs = [row["epoch"] for row in rows]
    loss.plot(epochs, [row["loss"] for row in rows], color=ACCENT, label="training, distorted")
    loss.plot(epochs, [row["held_loss"] for row in rows], color=SOFT, label="held out, as they are")
    loss.set(xlabel="epoch", ylabel="cross-entropy, nats", yscale="log")
    recipe = Recipe(**{name: report["recipe"][name] for name in ("epochs", "restart", "settle_epochs")})
    for number, (_, end) in enumerate(recipe.cycles):
        gentle = max(end - recipe.settle_epochs, 0) + 0.5
        for axis in (loss, error):
            axis.axvspan(gentle, end + 0.5, color="#eef2f6", lw=0, zorder=0)
        if not number:
            words = "gentle distortion "
            loss.text(gentle, loss.get_ylim()[1] * 0.98, words, va="top", ha="right", fontsize=7, color="#52606d")
    loss.legend(frameon=False, loc="lower left")
    error.plot(epochs, [100 * (1 - row["held_accuracy"]) for row in rows], color=SOFT)
    error.set(xlabel="epoch", ylabel="held-out error, %", yscale="log")
    for axis in (loss, error):
        axis.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        for scale in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            scale(lambda value, _: f"{value:g}")
    return figure


def _confusions(figures: dict[str, Any]) -> Any:
    tables = [("MNIST test", figures["confusion"])]
    if "confusion_drawings" in figures:
        tables.append((f"pen drawings, {len(figures['drawings'])} times each", figures["confusion_drawings"]))
    figure, (axes,) = _figure(5.2 * len(tables), 4.6, len(tables))
    for axis, (title, table) in zip(axes, tables, strict=True):
        counts = np.array(table)
        wrong = counts * (1 - np.eye(10, dtype=int))
        axis.imshow(wrong, cmap="Blues", vmax=max(wrong.max(), 1))
        for truth, answer in np.argwhere(counts):
            weight = "normal" if truth == answer else "bold"
            dark = wrong[truth, answer] > wrong.max() / 2
            axis.text(
                answer,
                truth,
                counts[truth, answer],
                ha="center",
                va="center",
                fontsize=7,
                weight=weight,
                color="white" if dark else INK,
            )
        axis.set(title=title, xlabel="answer", ylabel="truth", xticks=range(10), yticks=range(10))
    return figure


def _calibration(mnist: Mnist, test: Probabilities, pen: Pen) -> Any:
    sets = [("MNIST test", test, mnist.test_labels)]
    if pen:
        sets.append(
            (
                f"pen drawings, {len(pen)} times each",
                np.concatenate([p for p, _ in pen.values()]),
                np.concatenate([y for _, y in pen.values()]),
            )
        )
    figure, (axes,) = _figure(4.6 * len(sets), 3.8, len(sets))
    for axis, (title, p, labels) in zip(axes, sets, strict=True):
        found = reliability(p, labels)
        full = [i for i, n in enumerate(found.count) if n]
        axis.plot([0, 1], [0, 1], color="#bcccdc", lw=1)
        axis.scatter([found.confidence[i] for i in full], [found.accuracy[i] for i in full],
                     s=[8 + 6 * np.log1p(found.count[i]) for i in full], color=ACCENT)  # fmt: skip
        axis.set(
            title=f"{title}: error {100 * found.error:.2f} %",
            xlabel="confidence",
            ylabel="share right",
            xlim=(0, 1.02),
            ylim=(0, 1.05),
        )
    return figure


def _mistakes(wrong: Sequence[Mapping[str, Any]], mnist: Mnist) -> str:
    figures = []
    for one in wrong:
        first = f"{one['answer']} ({100 * one['confidence']:.0f} %)"
        words = f"{one['truth']} → {first}, {one['second']} ({100 * one['second_confidence']:.0f} %)"
        figures.append(f"<figure>{_image(_png(mnist.test_images[one['index']]), words)}<figcaption>{words}</figcaption></figure>")
    return f"<p>{len(wrong)} of {len(mnist.test_labels):,}</p><div class=errors>{''.join(figures)}</div>"


def _png(image: Image28) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()
