"""`python -m serving.engine_limit BASE_PATH`: how often the engine runs, called in process: the limit of any server around it.

Prints JSON: batch size → runs a second, by as many callers as there are cores and by one.  benchmarks read it.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from serving.engine import LoadedModel
from serving.flags import CPUS
from serving.predict import DEFAULT_SIGNATURE
from serving.tensorflow_engine import TensorFlowEngine
from serving.tensors import KINDS, Tensor
from serving.versions import version_number


def feeds(signature: Any, batch: int) -> dict[str, Tensor]:
    """Random numbers for every input; a first dimension that is open is the batch, any other open one is 1."""
    chance, made = np.random.default_rng(0), {}
    for info in signature.inputs.values():
        shape = [dim.size if dim.size >= 0 else 1 for dim in info.tensor_shape.dim]
        shape[:1] = [batch]
        values = chance.integers(0, 255, shape).astype(KINDS[info.dtype].storage)
        made[info.name] = Tensor(info.dtype, values)
    return made


def runs_per_s(model: LoadedModel, batch: int, callers: int, seconds: float) -> float:
    """Runs of the default signature a second, by so many threads."""
    signature = model.signatures[DEFAULT_SIGNATURE]
    fed, fetches = feeds(signature, batch), [info.name for info in signature.outputs.values()]
    for _ in range(10):
        model.run(fed, fetches, None)
    counts = [0] * callers
    until = time.perf_counter() + seconds

    def call(at: int) -> None:
        while time.perf_counter() < until:
            model.run(fed, fetches, None)
            counts[at] += 1

    threads = [threading.Thread(target=call, args=(at,)) for at in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def main(arguments: list[str] | None = None) -> int:
    """Measure the highest version under a base path."""
    parser = argparse.ArgumentParser(prog="python -m serving.engine_limit", description=__doc__)
    parser.add_argument("base_path", type=Path)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args(arguments)
    versions = {number: path for path in options.base_path.iterdir() if (number := version_number(path.name)) is not None}
    if not versions:
        print(f"serving.engine_limit: got {options.base_path}; wanted a folder with numbered versions", file=sys.stderr)
        return 2
    model = TensorFlowEngine().load(versions[max(versions)], ["serve"])
    found = {
        batch: {callers: runs_per_s(model, batch, callers, options.seconds) for callers in sorted({1, CPUS})}
        for batch in options.batch
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
