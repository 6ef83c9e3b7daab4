"""Whom the command line asks: the model server by gRPC or REST, or the gateway."""

from __future__ import annotations

import http.client
import json
import math
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from digits import contract as c
from digits.client import BATCH, PredictClient
from digits.direct import opener
from digits.errors import BadModelOutput, DigitsError, ModelUnavailable
from digits.preprocess import digit_image


@dataclass(frozen=True)
class Found:
    """What was read in one picture.

    sure: whether the likeliest digit is likely enough, None where nobody says; note: what makes it no single digit, which only
    the gateway looks for.
    """

    probabilities: list[float]
    sure: bool | None = None
    note: str = ""


STDIN = Path("/dev/stdin")
"""Stands for standard input, which may be closed, and which Windows knows by no name."""

Ask = Callable[[Sequence[bytes]], "list[Found | DigitsError]"]
"""Encoded pictures → what was found, or an error, for each."""


@dataclass(frozen=True)
class Reading:
    """What came of one file.  sure, note: as Found has them."""

    file: Path
    probabilities: list[float]
    error: str = ""
    sure: bool | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The file's, `-` for standard input."""
        return "-" if self.file == STDIN else str(self.file)

    @property
    def digit(self) -> int:
        """The likeliest digit."""
        return max(range(c.CLASSES), key=self.probabilities.__getitem__)


def read_all(files: Sequence[Path], ask: Ask) -> Iterator[Reading]:
    """Read every file, in batches, in order; a file that fails fails alone."""
    for at in range(0, len(files), BATCH):
        batch = files[at : at + BATCH]
        contents: list[bytes] = []
        unread: dict[Path, str] = {}
        for file in batch:
            try:
                contents.append(_contents(file))
            except IsADirectoryError:  # it would stand here as the pictures in it
                unread[file] = "no pictures in this folder"
            except OSError as exc:
                unread[file] = str(exc)
        outcomes = iter(ask(contents)) if contents else iter(())
        for file in batch:
            outcome = None if file in unread else next(outcomes)
            if isinstance(outcome, Found):
                yield Reading(file, outcome.probabilities, sure=outcome.sure, note=outcome.note)
            else:
                yield Reading(file, [], unread.get(file) or str(outcome))


def _contents(file: Path) -> bytes:
    if file != STDIN:
        return file.read_bytes()
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return sys.stdin.buffer.read()


def _through(tensors: Callable[[c.Images28], tuple[list[list[float]], float | None]]) -> Ask:
    """Preprocess here, and send what can be read.

    tensors: images → their probabilities, and the threshold of the model that gave them.
    """

    def ask(contents: Sequence[bytes]) -> list[Found | DigitsError]:
        prepared: list[c.Image28 | DigitsError] = []
        for data in contents:
            try:
                prepared.append(digit_image(data))
            except DigitsError as exc:
                prepared.append(exc)
        good = [one for one in prepared if not isinstance(one, DigitsError)]
        try:
            rows, threshold = tensors(np.stack(good)) if good else ([], None)
        except DigitsError as exc:
            return [one if isinstance(one, DigitsError) else exc for one in prepared]
        found = iter([Found(row, None if threshold is None else max(row) >= threshold) for row in rows])
        return [one if isinstance(one, DigitsError) else next(found) for one in prepared]

    return ask


def _threshold(card: Callable[[], str]) -> float | None:
    """The confidence from which a model is sure, by its card; None where it has none to tell."""
    try:
        return float(json.loads(card())["threshold"]["value"])
    except (DigitsError, KeyError, TypeError, ValueError):
        return None


def grpc(address: str | None, timeout_s: float) -> Ask:
    """The model server's gRPC API."""
    client = PredictClient(address or "127.0.0.1:8500", connect_s=timeout_s)
    thresholds: dict[int, float | None] = {}

    def tensors(images: c.Images28) -> tuple[list[list[float]], float | None]:
        prediction = client.predict(images, timeout_s)
        version = prediction.version
        if version not in thresholds:
            thresholds[version] = _threshold(lambda: client.about([c.CARD_TOPIC], timeout_s, version)[c.CARD_TOPIC])
        return prediction.probabilities.tolist(), thresholds[version]

    return _through(tensors)


def rest(address: str | None, timeout_s: float) -> Ask:
    """The model server's REST API."""
    url = f"{_base(address or '127.0.0.1:8501')}/v1/models/{c.MODEL_NAME}:predict"

    def told(inputs: dict[str, Any], signature: str = c.SIGNATURE) -> Any:
        return _post(url, json.dumps({"signature_name": signature, "inputs": inputs}).encode(), timeout_s)["outputs"]

    threshold = cache(lambda: _threshold(lambda: told({c.TOPIC: [c.CARD_TOPIC]}, c.ABOUT_SIGNATURE)[0]))

    def tensors(images: c.Images28) -> tuple[list[list[float]], float | None]:
        try:
            rows: list[list[float]] = told({c.IMAGES: images.tolist()})[c.PROBABILITIES]
            return [row for row, _ in zip(rows, images, strict=True)], threshold()
        except (KeyError, TypeError, ValueError) as exc:
            raise BadModelOutput(f"{url}: got an answer without {c.PROBABILITIES} for each picture") from exc

    return _through(tensors)


def gateway(address: str | None, timeout_s: float) -> Ask:
    """The gateway, which gets the files as they are."""
    url = f"{_base(address or '127.0.0.1:8080')}/api/predict"

    def one(data: bytes) -> Found | DigitsError:
        try:
            answer = _post(url, data, timeout_s)
            return Found(answer["probabilities"], answer.get("sure"), answer.get("note", ""))
        except DigitsError as exc:
            return exc
        except (KeyError, TypeError):
            return BadModelOutput(f"{url}: got an answer that is not about one picture")

    return lambda contents: [one(data) for data in contents]


def _base(address: str) -> str:
    """`host:port` or a URL as the latter, with no slash at the end."""
    return (address if "://" in address else f"http://{address}").rstrip("/")


def _post(url: str, body: bytes, timeout_s: float) -> Any:
    """The answer's JSON.  Who is told to come again later does, as long as there is time."""
    until = time.monotonic() + timeout_s
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json" if body[:1] == b"{" else "image/*"})
        while True:
            try:
                with opener(url).open(request, timeout=max(until - time.monotonic(), 0.001)) as response:
                    return json.load(response)
            except urllib.error.HTTPError as exc:
                told_s = re.fullmatch("[0-9]{1,5}", exc.headers.get("Retry-After", ""))
                pause_s = max(int(told_s[0]), 1) if told_s else math.inf
                if exc.code not in (429, 503) or time.monotonic() + pause_s >= until:
                    raise
                exc.close()
                time.sleep(pause_s)
    except urllib.error.HTTPError as exc:
        try:
            told = json.load(exc)
        except (OSError, ValueError, http.client.HTTPException):
            told = None
        told = told if isinstance(told, dict) else {}
        raise DigitsError(str(told.get("detail") or told.get("error") or f"{url}: {exc}")) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise ModelUnavailable(f"{url}: {exc}") from exc


VIAS: dict[str, Callable[[str | None, float], Ask]] = {"grpc": grpc, "rest": rest, "gateway": gateway}
