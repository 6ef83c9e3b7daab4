"""A real gateway for the tests: gunicorn on a free port of loopback, asked through http.client."""

from __future__ import annotations

import http.client
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from digits.settings import WebSettings
from tests.conftest import ROOT, free_port


@dataclass
class Answer:
    """Status, headers and JSON of one answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Gateway:
    """A running gateway."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    wanted: int  # workers

    def ask(
        self, path: str = "/api/predict", body: bytes | None = None, content_type: str = "",
        headers: dict[str, str] | None = None, method: str = "", timeout_s: float = 30,
    ) -> Answer:  # fmt: skip
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        sent = {**({"Content-Type": content_type} if content_type else {}), **(headers or {})}
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def workers(self) -> set[int]:
        """Process ids of gunicorn's workers, once all are forked: the first may be ready before that."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        until = time.monotonic() + 10
        while len(found := {int(one) for one in children.read_text().split()}) < self.wanted:
            assert time.monotonic() < until, f"{len(found)} workers of {self.wanted}"
            time.sleep(0.02)
        return found

    def wait_until_ready(self, timeout_s: float = 60) -> None:
        """Until /readyz says so."""
        until = time.monotonic() + timeout_s
        while True:
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < until, self.log.read_text()[-2000:]
            try:
                if self.ask("/readyz", timeout_s=2).status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)


@contextmanager
def gateway(folder: Path, target: str, ready: bool = True, **settings: object) -> Iterator[Gateway]:
    """Start a gateway before the model server at `target`; settings: DIGITS_… by their field's name."""
    port = free_port()
    log = folder / f"gateway-{port}.log"
    environment = {f"DIGITS_{name.upper()}": str(value) for name, value in settings.items()}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "python:webapp.gunicorn_conf"],
            cwd=ROOT, stdout=out, stderr=out,
            env={**os.environ, "DIGITS_MODEL_TARGET": target, "DIGITS_WEB_PORT": str(port), **environment},
        )  # fmt: skip
    running = Gateway(process, port, log, int(str(settings.get("web_workers", WebSettings.web_workers))))
    try:
        if ready:
            running.wait_until_ready()
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def drawing(strokes: tuple[tuple[tuple[int, int], ...], ...] = (((140, 40), (140, 240)),), mode: str = "RGBA") -> Image.Image:
    """A canvas of 280×280 with lines; a one unless told otherwise."""
    sheet = Image.new(mode, (280, 280), "white")
    pen = ImageDraw.Draw(sheet)
    for stroke in strokes:
        pen.line(stroke, fill="black", width=20, joint="curve")
    return sheet


def encoded(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    """The picture in a file format."""
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue()


ONE = encoded(drawing())
SEVEN = encoded(drawing((((70, 60), (210, 60), (120, 240)),)))
