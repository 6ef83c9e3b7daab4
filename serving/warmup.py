"""Replays a version's recorded requests before it serves, so that no caller pays for first runs."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

from digits import wire
from digits.artifact import WARMUP
from serving import messages
from serving.core import unforeseen
from serving.metrics import LATENCY_BUCKETS_US, WARMUP_LATENCY, WARMUP_RECORDS, Metrics
from serving.planner import Planner
from serving.servable import Result, Servable
from serving.status import Code, Status, invalid

MAX_RECORDS = 1000


def warm_up(servable: Servable, folder: Path, iterations: int, planner: Planner, metrics: Metrics) -> None:
    """Run every record of the version's warmup file, if it has one.  Raises Status: a failure fails the load."""
    path = folder / WARMUP
    if not path.exists():
        return
    began = time.perf_counter()
    try:
        for number, data in enumerate(records(path), start=1):
            if number > MAX_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
            try:
                log = wire.PredictionLog.FromString(data)
            except Exception:
                shown = data[:200].decode(errors="replace")
                raise invalid(f"Failed to parse warmup record: {shown} from {path}") from None
            for _ in range(max(1, iterations)):
                _run(servable, log, planner)
            metrics.count(WARMUP_RECORDS, model_path=str(folder), status="OK")
    except Status as status:
        metrics.count(WARMUP_RECORDS, model_path=str(folder), status=status.code.name)
        raise
    metrics.observe(
        WARMUP_LATENCY, (time.perf_counter() - began) * 1e6, LATENCY_BUCKETS_US, model_path=str(folder), status="OK"
    )  # fmt: skip


def records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: length, CRC, data, CRC.

    Raises Status DATA_LOSS for anything else.  Each length's own checksum tells a TFRecord from other bytes.
    """
    broken = Status(Code.DATA_LOSS, f"corrupted record in {path}. Please verify your warmup data is in TFRecord format.")
    with path.open("rb") as file:
        while header := file.read(12):
            if len(header) < 12 or struct.unpack("<I", header[8:])[0] != _masked_crc32c(header[:8]):
                raise broken
            length = struct.unpack("<Q", header[:8])[0]
            data = file.read(length)
            footer = file.read(4)
            if len(data) < length or len(footer) < 4 or struct.unpack("<I", footer)[0] != _masked_crc32c(data):
                raise broken
            yield data


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # CRC-32C (Castagnoli), reflected
        table.append(value)
    return table


_TABLE = _crc_table()


def _masked_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _run(servable: Servable, log: Any, planner: Planner) -> None:
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    if kind == "predict_log":
        request = messages.PredictRequest.FromString(log.predict_log.request.SerializeToString())
        work = planner.predict(request, servable)
    elif kind in ("classify_log", "regress_log", "multi_inference_log"):
        plan = {"classify_log": planner.classify, "regress_log": planner.regress}.get(kind, planner.multi_inference)
        work = plan(getattr(log, kind).request, servable)
    else:
        number = wire.PredictionLog.DESCRIPTOR.fields_by_name[kind].number
        raise Status(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    outcome: Queue[Result] = Queue()

    def run() -> None:
        try:
            servable.runner.run(work.feeds, work.fetches, None, outcome.put)
        except Status as status:
            outcome.put(status)
        except Exception as exc:
            outcome.put(unforeseen(exc))

    # in a thread of its own: whoever has a slot goes on with other people's requests, and the load must not wait for those
    threading.Thread(target=run, name="warmup", daemon=True).start()
    result = outcome.get()
    if isinstance(result, Status):
        raise result
    work.answer(result)
