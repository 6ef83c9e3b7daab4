"""Makes tests/golden: drawings in many guises and the 28×28 each must become.

    python tests/make_golden.py

The expected images are what `digits.preprocess` gives on the day this is run: look at
golden/sheet.png before committing.  A change here changes the contract's fingerprint
(digits.contract.GOLDEN_SHA256), and with it every artifact must be exported anew.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from digits.drawings import draw
from digits.preprocess import digit_image
from digits.strokes import handwrite
from export.proof import golden_digest

GOLDEN = Path(__file__).parent / "golden"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def guises() -> dict[str, bytes]:
    """File name → bytes."""
    r = np.random.default_rng(28)

    def sheet(digit: int, brush: float = 20, size: float = 0.8) -> Image.Image:
        return draw(handwrite(digit, r), brush, size)

    def transparent(ink: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
        layer = Image.new("RGBA", ink.size, (*colour, 0))
        layer.putalpha(Image.eval(ink, lambda v: 255 - v))
        return layer

    out = {f"opaque-{digit}.png": encoded(sheet(digit).convert("RGBA")) for digit in range(10)}
    out["transparent-black-2.png"] = encoded(transparent(sheet(2), (0, 0, 0)))
    out["transparent-white-5.png"] = encoded(transparent(sheet(5), (255, 255, 255)))
    out["dark-7.png"] = encoded(Image.eval(sheet(7), lambda v: 255 - v).convert("RGB"))
    out["thin-3.png"] = encoded(sheet(3, brush=6))
    out["thick-8.png"] = encoded(sheet(8, brush=40))
    out["small-4.png"] = encoded(sheet(4, brush=8, size=0.2))
    corner = Image.new("L", (280, 280), 255)
    corner.paste(sheet(9, brush=12, size=0.9).resize((110, 110)), (0, 165))
    out["corner-9.png"] = encoded(corner)
    grey = np.asarray(sheet(6)).astype(float)
    paper = np.linspace(200, 225, 280)[None, :] + r.normal(0, 2.0, (280, 280))  # a photograph: shade and grain
    out["photo-6.png"] = encoded(Image.fromarray(np.clip(paper - (255 - grey) * 0.55, 0, 255).astype(np.uint8)))
    out["pencil-0.jpg"] = encoded(Image.eval(sheet(0, brush=10), lambda v: 245 - (255 - v) * 90 // 255), "JPEG", quality=85)
    blue = sheet(1)
    out["colour-1.png"] = encoded(
        Image.merge("RGB", (blue.point(lambda v: 30 + v * 215 // 255), blue, blue.point(lambda v: 120 + v // 2)))
    )
    out["palette-5.png"] = encoded(sheet(5).convert("P"))
    out["mask-8.bmp"] = encoded(sheet(8).convert("1").convert("L"), "BMP")
    out["mnist-like-3.png"] = encoded(Image.fromarray(digit_image(encoded(sheet(3)))))
    return out


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    files = guises()
    expected = {}
    for name, data in files.items():
        (GOLDEN / name).write_bytes(data)
        expected[name.rpartition(".")[0]] = digit_image(data)
    (GOLDEN / "files.json").write_text(json.dumps(sorted(files), indent=1) + "\n")
    (GOLDEN / "expected.json").write_text(
        json.dumps({n: [row.tobytes().hex() for row in x] for n, x in sorted(expected.items())}, indent=1) + "\n"
    )
    contact = Image.new("L", (len(files) * 60, 122), 128)
    for at, name in enumerate(sorted(files)):
        original = Image.open(io.BytesIO(files[name])).convert("RGBA")
        white = Image.new("RGBA", original.size, (160, 200, 160, 255))
        white.alpha_composite(original)
        contact.paste(white.convert("L").resize((58, 58)), (at * 60 + 1, 1))
        contact.paste(Image.fromarray(expected[name.rpartition(".")[0]]).resize((58, 58)), (at * 60 + 1, 62))
    contact.save(GOLDEN / "sheet.png")
    print("GOLDEN_SHA256", golden_digest(GOLDEN))


if __name__ == "__main__":
    main()
