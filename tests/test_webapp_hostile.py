"""Bodies that mean harm: every answer is a 2xx or a problem, never a 500, and the same workers go on."""

from __future__ import annotations

import http.client
import io
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import Server
from tests.gateway import ONE, drawing, encoded, gateway

BODIES = 1500
MEMORY_MIB = 600
KINDS = ("image/png", "application/octet-stream", "application/json", "multipart/form-data; boundary=x", "text/html", "")


def bomb() -> bytes:
    """A PNG whose header is modest and whose pixels go on and on."""
    idat = zlib.compress(bytes(50_000_000), 9)
    body = b"IDAT" + idat
    return ONE[:33] + len(idat).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") + ONE[-12:]


def seeds() -> list[bytes]:
    """Real pictures and real requests, to be bent; and some that are bent already."""
    rgb = drawing(mode="RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 200, "x" * 3000
    frames = [rgb, drawing((((40, 40), (240, 240)),), "RGB")]
    npy = io.BytesIO()
    np.save(npy, np.full((2, 28, 28), 90, np.uint8))
    form = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + ONE + b"\r\n--x--\r\n"
    return [
        ONE,
        form,
        *(encoded(rgb, kind) for kind in ("JPEG", "WEBP", "BMP", "GIF")),
        encoded(rgb, "JPEG", exif=exif),
        encoded(rgb, "GIF", save_all=True, append_images=frames * 20),
        encoded(rgb, "PNG", save_all=True, append_images=frames),
        encoded(Image.new("L", (1, 60_000), 255)),
        encoded(Image.new("L", (60_000, 1))),
        encoded(Image.new("1", (50_000, 12_500))),
        bomb(),
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"<!doctype html><script>1</script>",
        json.dumps({"image": "data:image/png;base64,AAAA"}).encode(),
        b'{"image": "\\u0000\\u0000"}',
        b'{"image": "' + b"\0" * 500 + b'"}',
        b'{"images": [' * 500,
        b"[" * 60_000,
        bytes(783),
        bytes(784 * 2),
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', }",
        npy.getvalue(),
    ]


def bent(count: int, chance: random.Random) -> Iterator[bytes]:
    """Truncations, flipped bits, repeated and exchanged pieces."""
    every = seeds()
    yield from every
    for _ in range(count - len(every)):
        data = bytearray(chance.choice(every)[:400_000])
        for _ in range(chance.choice((0, 1, 1, 3, 20))):
            data[chance.randrange(min(len(data), chance.choice((40, 10**6))))] ^= 1 << chance.randrange(8)
        cut = chance.randrange(len(data)) if chance.random() < 0.5 else len(data)
        yield bytes(data[:cut]) + (bytes(data[: chance.randrange(100)]) if chance.random() < 0.1 else b"")


def test_hostile_bodies_get_an_answer_or_a_problem_from_the_same_workers(digits_server: Server, tmp_path: Path) -> None:
    chance = random.Random(5)
    statuses: dict[int, int] = {}
    with gateway(tmp_path, digits_server.target, deadline_ms=20_000) as web:
        workers = web.workers()
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
        for body in bent(BODIES, chance):
            connection.request("POST", "/api/predict", body, {"Content-Type": chance.choice(KINDS)})
            response = connection.getresponse()
            text = response.read()
            statuses[response.status] = statuses.get(response.status, 0) + 1
            assert response.status < 500, (response.status, body[:100], text)
            assert response.status == 200 or response.getheader("content-type") == "application/problem+json"
            assert b"Traceback" not in text
        connection.close()
        assert web.workers() == workers
        for pid in web.workers():
            peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
            assert int(peak.split()[1]) < MEMORY_MIB * 1024
        assert web.ask(body=ONE).status == 200
        assert "Traceback" not in web.log.read_text()
    assert {200, 400, 413, 415} <= set(statuses)
