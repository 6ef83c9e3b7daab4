"""Writes one SavedModel per REST vector, outputs = inputs, as the vectors were put to a real server.

    python tests/vector_models.py VECTORS.json OUT_DIR

A string comes back under an alias that ends in `_bytes`, so that its bytes survive JSON.  A response vector's model answers
constants; a classify vector's answers the serialized Example itself, in web-safe base64.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.serving_models import CLASSIFY, signature, tf, tf1, write

MODEL = 'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}'


def build(vector: dict[str, Any]) -> dict[str, Any]:
    """Signatures of one vector's model."""
    name = vector.get("expect", {}).get("signature_name", "serving_default")
    if vector["kind"] == "classify_request":
        raw = tf1.placeholder(tf.string, [None], name="raw")
        echo = tf.expand_dims(tf.io.encode_base64(raw), 1, name="echo")
        return {name: signature({"inputs": raw}, {"classes": echo}, CLASSIFY)}
    if vector["kind"] == "predict_response":
        x = tf1.placeholder(tf.float32, None, name="x")
        return {name: signature({"x": x}, {alias: constant(alias, tensor) for alias, tensor in vector["tensors"].items()})}
    inputs = {alias: tf1.placeholder(tf.as_dtype(dtype), None, name=f"in_{alias}") for alias, dtype in vector["inputs"].items()}
    outputs = {alias + ("_bytes" if x.dtype == tf.string else ""): tf.identity(x) for alias, x in inputs.items()}
    return {name: signature(inputs, outputs)}


def constant(alias: str, tensor: dict[str, Any]) -> Any:
    """A constant of a vector's dtype, shape and values."""
    values = [bytes.fromhex(v["hex"]) if isinstance(v, dict) else float(v) if isinstance(v, str) else v for v in tensor["values"]]
    return tf.constant(values, tf.as_dtype(tensor["dtype"]), tensor["shape"], name=f"out_{alias}")


def main(vectors: Path, out: Path) -> None:
    """Write the models and a models.config that names each after its vector."""
    document = json.loads(vectors.read_text())
    configs = []
    for vector in document["vectors"] + document["more"]:
        path = out / vector["id"]
        write(path / "1", lambda vector=vector: build(vector))  # type: ignore[misc]
        configs.append(MODEL.format(name=vector["id"], path=path))
    (out / "models.config").write_text("model_config_list {\n" + "\n".join(configs) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
