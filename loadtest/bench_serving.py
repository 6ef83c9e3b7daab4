"""`make bench-serving`: the embedded model server under h2load, beside its own engine and any TensorFlow Serving.

    python -m loadtest.bench_serving [--base-path DIR] [--tfs HOST:PORT[,HOST:PORT]] [--json FILE]

The client is h2load (Debian's nghttp2-client) with one thread: gRPC as concurrent streams of one connection, the body one
gRPC frame; REST as so many kept HTTP/1.1 connections.  CPU is that of the server's process.  The limit is the engine called
in process by as many threads as there are cores, without any server around it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from digits import wire
from loadtest.generator import ROOT
from loadtest.machine import machine

BATCHES, STREAMS = (1, 32), (1, 4, 16, 64)
PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
START_S = 120.0
VARIANTS = {
    "embedded": (),
    "embedded, batching": ("--enable_batching", f"--batching_parameters_file={ROOT}/serving/batching.config"),
}


class BenchFailed(Exception):
    """Something else than figures came out; the text says what."""


@dataclass(frozen=True)
class Run:
    """One measurement.  cpu_ms: of the server, per request; None where its process is not ours."""

    server: str
    api: str
    batch: int
    streams: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float | None

    def row(self) -> str:
        """A line of the Markdown table."""
        cpu = "–" if self.cpu_ms is None else f"{self.cpu_ms:.2f}"
        digits = self.per_s * self.batch
        return (
            f"| {self.server} | {self.api} | {self.batch} | {self.streams} | {self.per_s:,.0f} | {digits:,.0f} | "
            f"{self.p50_ms:.2f} | {self.p99_ms:.2f} | {cpu} |"
        )


COLUMNS = ("server", "API", "batch", "streams", "requests/s", "digits/s", "p50 ms", "p99 ms", "CPU ms/request")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


class Question:
    """Bodies for a served model, made from its own metadata.  Raises BenchFailed if it does not answer them."""

    def __init__(self, address: str, model: str) -> None:
        self._model = model
        request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = model
        with grpc.insecure_channel(address) as channel:
            raw = channel.unary_unary(METADATA)(request.SerializeToString(), timeout=START_S, wait_for_ready=True)
            found = wire.SignatureDefMap()
            wire.GetModelMetadataResponse.FromString(raw).metadata["signature_def"].Unpack(found)
            ((self._alias, self._info),) = found.signature_def["serving_default"].inputs.items()
            for batch in BATCHES:
                try:
                    channel.unary_unary(PREDICT)(self._message(batch))  # no deadline, as h2load sends none
                except grpc.RpcError as error:
                    raise BenchFailed(f"{address} refuses a batch of {batch}: {error.details()}") from error

    def _values(self, batch: int) -> Any:
        shape = [batch, *(max(dim.size, 1) for dim in self._info.tensor_shape.dim[1:])]
        chance = np.random.default_rng(0)
        if self._info.dtype == wire.DataType["DT_FLOAT"].number:
            return chance.normal(size=shape).astype("<f4")
        if self._info.dtype == wire.DataType["DT_UINT8"].number:
            return chance.integers(0, 256, shape, np.uint8)
        raise BenchFailed(f"got an input of dtype {self._info.dtype}; this bench makes float and uint8")

    def _message(self, batch: int) -> bytes:
        values, request = self._values(batch), wire.PredictRequest()
        request.model_spec.name = self._model
        tensor = request.inputs[self._alias]
        tensor.dtype = self._info.dtype
        for size in values.shape:
            tensor.tensor_shape.dim.add().size = size
        if values.dtype == np.uint8:
            tensor.tensor_content = values.tobytes()
        else:
            tensor.float_val.extend(values.ravel().tolist())
        return bytes(request.SerializeToString())

    def frame(self, batch: int) -> bytes:
        """A gRPC body: not compressed, its length, the message."""
        message = self._message(batch)
        return b"\0" + len(message).to_bytes(4, "big") + message

    def document(self, batch: int) -> bytes:
        """A REST body."""
        values = self._values(batch)
        rounded = values if values.dtype == np.uint8 else np.round(values.astype(float), 4)
        return json.dumps({"instances": rounded.tolist()}).encode()


def h2load(url: str, flags: Sequence[str], body: Path, seconds: int, folder: Path) -> tuple[float, float, float]:
    """Requests a second, median and 99th percentile in ms.  Raises BenchFailed."""
    log = folder / "latencies"
    log.unlink(missing_ok=True)
    command = ["h2load", "-t1", *flags, f"-D{seconds}", "--warm-up-time=1", "-d", str(body), f"--log-file={log}", url]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    rate = re.search(r"finished in .*?, ([0-9.]+) req/s", ended.stdout)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout\s.* (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", ended.stdout)
    data = re.search(r"\((\d+)\) data", ended.stdout)  # a gRPC error is a 200 without a body
    rows = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    took = np.array([int(row[2]) for row in rows if row[1] == "200"]) / 1000
    refused = failed is None or any(map(int, failed.groups()))  # a row without a status was cut off by the end of the warm-up
    if rate is None or data is None or refused or not len(took) or int(data[1]) < 20 * len(rows):
        raise BenchFailed(f"{' '.join(command)}:\n{ended.stdout[-800:]}{ended.stderr[-400:]}")
    return float(rate[1]), float(np.percentile(took, 50)), float(np.percentile(took, 99))


def measure(server: str, addresses: tuple[str, str], model: str, seconds: int, process: psutil.Process | None) -> Iterator[Run]:
    """Ask one server everything."""
    question = Question(addresses[0], model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body = folder / "body"
        for api in ("gRPC", "REST") if addresses[1] else ("gRPC",):
            for batch in BATCHES:
                body.write_bytes(question.frame(batch) if api == "gRPC" else question.document(batch))
                for streams in STREAMS:
                    if api == "gRPC":
                        flags = ["-c1", f"-m{streams}", "-H", "content-type: application/grpc", "-H", "te: trailers"]
                        url = f"http://{addresses[0]}{PREDICT}"
                    else:
                        flags = ["--h1", f"-c{streams}", "-H", "content-type: application/json"]
                        url = f"http://{addresses[1]}/v1/models/{model}:predict"
                    before = cpu_s(process)
                    per_s, p50, p99 = h2load(url, flags, body, seconds, folder)
                    spent = None if process is None else 1000 * (cpu_s(process) - before) / (per_s * (seconds + 1))
                    yield Run(server, api, batch, streams, per_s, p50, p99, spent)


def cpu_s(process: psutil.Process | None) -> float:
    """User and system time of a process so far."""
    return 0.0 if process is None else sum(process.cpu_times()[:2])


@contextmanager
def embedded(base_path: Path, port: int, flags: Sequence[str]) -> Iterator[tuple[psutil.Process, float]]:
    """Start `python -m serving`; yields its process and the seconds until both ports answered."""
    command = [sys.executable, "-m", "serving", f"--port={port}", f"--rest_api_port={port + 1}", "--model_name=measured",
               f"--model_base_path={base_path.resolve()}", *flags]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            seen = b""
            while b"Exporting HTTP/REST API" not in seen:
                if process.poll() is not None or time.monotonic() > began + START_S:
                    raise BenchFailed(f"the server did not start:\n{seen[-800:].decode(errors='replace')}")
                time.sleep(0.02)
                log.seek(0)
                seen = log.read()
            yield psutil.Process(process.pid), time.monotonic() - began
        finally:
            process.terminate()
            process.wait(15)


def limit(base_path: Path, seconds: int) -> dict[str, dict[str, float]]:
    """The engine's runs a second: batch size → callers → runs."""
    command = [sys.executable, "-m", "serving.engine_limit", str(base_path), f"--seconds={seconds}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=START_S)
    if ended.returncode:
        raise BenchFailed(f"the engine did not run:\n{ended.stderr[-800:]}")
    found: dict[str, dict[str, float]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure all and print the table; 2 if h2load is missing, 1 if a server fails."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench_serving", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base-path", type=Path, default=ROOT / "models" / "digits", help="folder of numbered SavedModels")
    parser.add_argument("--tfs", default="", help="host:port of a TensorFlow Serving's gRPC (and ,host:port of its REST)")
    parser.add_argument("--tfs-model", default="digits", help="the model's name there")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement, after one of warming up")
    parser.add_argument("--port", type=int, default=21900, help="the first server's gRPC; the three after it are used too")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    if not shutil.which("h2load"):
        print("bench: h2load is not installed (Debian: apt-get install nghttp2-client)", file=sys.stderr)
        return 2
    try:
        runs = report(options)
    except (BenchFailed, subprocess.TimeoutExpired, grpc.RpcError) as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps([figure(run) for run in runs if run.server != "TensorFlow Serving"], indent=1))
    return 0


def report(options: argparse.Namespace) -> list[Run]:
    """Measure, printing as it goes."""
    print("; ".join(f"{key} {value}" for key, value in machine().items()))
    for batch, by_callers in limit(options.base_path, options.seconds).items():
        told = ", ".join(f"{runs:,.0f}/s by {callers}" for callers, runs in by_callers.items())
        print(f"engine in process, batch {batch}: {told} caller(s)", flush=True)
    print(f"\n{HEAD}", flush=True)
    runs: list[Run] = []
    notes = []
    for at, (name, flags) in enumerate(VARIANTS.items()):
        port = options.port + 2 * at
        with embedded(options.base_path, port, flags) as (process, took):
            addresses = (f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}")
            for run in measure(name, addresses, "measured", options.seconds, process):
                print(run.row(), flush=True)
                runs.append(run)
            notes.append(f"{name}: {took:.1f} s from start to answering; {process.memory_info().rss / 2**20:.0f} MiB at the end")
    if options.tfs:
        grpc_address, _, rest_address = options.tfs.partition(",")
        for run in measure("TensorFlow Serving", (grpc_address, rest_address), options.tfs_model, options.seconds, None):
            print(run.row(), flush=True)
            runs.append(run)
    print("\n" + "\n".join(notes))
    return runs


def figure(run: Run) -> dict[str, Any]:
    """A figure as loadtest.bench reads it."""
    name = f"{run.server}, {run.api}, batch {run.batch}, {run.streams} streams"
    return {"name": name, "value": run.per_s, "unit": "requests/s", "better": "higher"}


if __name__ == "__main__":
    sys.exit(main())
