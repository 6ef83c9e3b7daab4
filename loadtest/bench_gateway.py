"""`make bench-gateway`: our two tiers and what one might build instead, side by side on this machine.

Each in turn gets the same 280×280 RGBA PNG, as Chromium's canvas writes it, over the same 16 connections by wrk.  CPU
seconds are those of the server's whole process tree.  The limit is what the cores could do if a request were only decoding
that PNG and its share of a batched forward pass.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from digits import drawings
from digits.client import PredictClient
from digits.direct import opener
from digits.images import decode
from digits.preprocess import digit_image
from digits.settings import LocalSettings
from digits.strokes import handwrite
from local.deployment import Deployment

ROOT = Path(__file__).resolve().parents[1]
MODEL = max((path for path in (ROOT / "models" / "digits").iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
CONNECTIONS = 16
START_S = 120.0
OUR_READER = "our reader"


class BenchFailed(Exception):
    """A server answered something else than digits; the text says how often."""


def body() -> bytes:
    """The drawing that everybody gets."""
    return drawings.png(drawings.draw(handwrite(3, np.random.default_rng(0)), 20, 0.8))


def peers(python: str, port: int) -> dict[str, list[str]]:
    """Command lines of the peers: a process a core for all.  The quickest comes again with our reader of PNG."""
    fastapi = [
        python,
        "-m",
        "uvicorn",
        "--port",
        str(port),
        "--workers",
        "2",
        "--no-access-log",
        "loadtest.peers.fastapi_onnx:app",
    ]
    gunicorn = [python, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "-w", "2", "-k", "gthread", "--threads", "8"]
    return {
        "Flask + keras.predict": [*gunicorn, "loadtest.peers.flask_keras:app"],
        "Flask + ONNX Runtime": [*gunicorn, "loadtest.peers.flask_onnx:app"],
        "FastAPI + ONNX Runtime": fastapi,
        "LitServe + ONNX Runtime": [python, "-m", "loadtest.peers.litserve_onnx", str(port)],
        f"FastAPI + ORT, {OUR_READER}": fastapi,
    }


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds of processes and all below them."""
    every = [one for pid in pids for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    return sum(sum(one.cpu_times()[:2]) for one in every)


def wrk(port: int, seconds: float, script: Path, pids: Sequence[int]) -> tuple[float, float, float, float]:
    """Requests/s, p50 and p99 in ms, CPU seconds per 1,000 requests.  Raises BenchFailed if an answer was no 2xx."""
    before = cpu_s(pids)
    out = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--latency", "-s", str(script), f"http://127.0.0.1:{port}/api/predict"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    used = cpu_s(pids) - before

    def ms(share: str) -> float:
        value, unit = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", out).groups()  # type: ignore[union-attr]
        return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]

    requests = int(re.search(r"(\d+) requests in", out)[1])  # type: ignore[index]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if bad:
        raise BenchFailed(f"{bad[1]} of {requests} answers were no 2xx")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])  # type: ignore[index]
    return rate, ms("50"), ms("99"), used / max(requests, 1) * 1000


def wait(port: int, png: bytes, process: subprocess.Popen[bytes]) -> None:
    """Until the drawing is answered."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/api/predict", png, {"Content-Type": "image/png"})
            with opener(request.full_url).open(request, timeout=30) as response:
                assert "digit" in json.load(response)
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"{process.args!r} did not answer")


def script(folder: Path, name: str, sent: bytes, kind: str) -> Path:
    """wrk's script for a body."""
    (folder / f"{name}.body").write_bytes(sent)
    path = folder / f"{name}.lua"
    path.write_text(
        f'wrk.method = "POST"\nlocal file = io.open("{folder / name}.body", "rb")\nwrk.body = file:read("*all")\nfile:close()\n'
        f'wrk.headers["Content-Type"] = "{kind}"\n'
    )
    return path


def limit(png: bytes, target: str, server: int) -> tuple[float, float, float]:
    """Requests/s if they were nothing but decoding and a share of a batch of 64; CPU ms of each, measured here."""
    for _ in range(50):
        decode(png)
    began = time.process_time()
    for _ in range(300):
        decode(png)
    decode_ms = (time.process_time() - began) / 300 * 1000
    images = np.zeros((64, 28, 28), np.uint8)
    with PredictClient(target) as client:
        for _ in range(5):
            client.predict(images, 30)
        before = cpu_s([server])
        for _ in range(40):
            client.predict(images, 30)
        share_ms = (cpu_s([server]) - before) / 40 / 64 * 1000
    cores = len(os.sched_getaffinity(0))
    return cores * 1000 / (decode_ms + share_ms), decode_ms, share_ms


def main() -> int:
    """Run all and print the table; 1 if one of our tiers fails, 2 if wrk is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench_gateway", description="Our two tiers and their peers side by side (needs wrk)."
    )
    parser.add_argument("--peers", help="Python of the environment with the `peers` extra; without it only our tiers run")
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement, after two of warming up")
    parser.add_argument("--port", type=int, default=22900, help="the gateway's; the three after it are used too")
    parser.add_argument("--json", type=Path, help="write the figures there, as `make bench` keeps them")
    chosen = parser.parse_args()
    if not shutil.which("wrk"):
        print("bench: wrk is not installed", file=sys.stderr)
        return 2
    png = body()
    figures: list[dict[str, str | float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawing = script(folder, "drawing", png, "image/png")
        print(f"{'':28}  requests/s   p50 ms   p99 ms   CPU s/1,000")

        def show(title: str, measured: tuple[float, float, float, float]) -> None:
            rate, p50, p99, cpu = measured
            name = title.strip()
            figures.append({"name": f"{name}, throughput", "value": rate, "unit": "requests/s", "better": "higher"})
            figures.append({"name": f"{name}, p99", "value": p99, "unit": "ms", "better": "lower"})
            print(f"{title:28}  {rate:10.0f} {p50:8.1f} {p99:8.1f} {cpu:13.2f}", flush=True)

        deployment = Deployment(
            LocalSettings(chosen.port, chosen.port + 1, chosen.port + 2), environment={"DIGITS_ACCESS_LOG": "0"}
        )
        try:
            deployment.start()
            pids = [tier.process.pid for tier in deployment.tiers]
            wrk(chosen.port, 2, drawing, pids)
            show("digits, both tiers", wrk(chosen.port, chosen.seconds, drawing, pids))
            for count in (1, 32):
                tensor = script(folder, f"tensor{count}", digit_image(png).tobytes() * count, "application/octet-stream")
                show(f"  raw tensors, {count} a request", wrk(chosen.port, chosen.seconds, tensor, pids))
            rate, decode_ms, share_ms = limit(png, f"127.0.0.1:{chosen.port + 1}", pids[0])
        except BenchFailed as exc:
            print(f"bench: {exc}", file=sys.stderr)
            return 1
        finally:
            deployment.stop()
        if chosen.peers:
            onnx = folder / "digits.onnx"
            environment = {
                **os.environ, "PYTHONPATH": str(ROOT), "PEERS_ONNX": str(onnx), "PEERS_MODEL": str(MODEL),
                "KERAS_BACKEND": "tensorflow",
                "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",  # as our gateway has it: tiny products, a process a core
            }  # fmt: skip
            subprocess.run(
                [chosen.peers, "-m", "loadtest.peers.convert", str(MODEL), str(onnx)], cwd=ROOT, env=environment, check=True
            )
            for title, command in peers(chosen.peers, chosen.port + 3).items():
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**environment, "PEERS_READER": "ours" if OUR_READER in title else "pillow"},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                try:
                    wait(chosen.port + 3, png, process)
                    wrk(chosen.port + 3, 2, drawing, [process.pid])
                    show(title, wrk(chosen.port + 3, chosen.seconds, drawing, [process.pid]))
                except (TimeoutError, BenchFailed) as exc:  # the others are still worth their rows
                    print(f"{title:28}  {exc}", flush=True)
                finally:
                    process.terminate()
                    process.wait(20)
                    with suppress(ProcessLookupError):  # some leave workers behind, with the port
                        os.killpg(process.pid, signal.SIGKILL)
        print(f"\nlimit: {rate:.0f} requests/s (decoding {decode_ms:.2f} ms, forward pass {share_ms:.2f} ms of one core each)")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
