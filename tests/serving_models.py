"""Writes the small SavedModels that the model server's tests ask questions of.

    python tests/serving_models.py OUT_DIR [BASE_PATH]

A server to be held against tests/conformance is started with --model_config_file=OUT_DIR/models.config, which this writes too;
BASE_PATH is where that server finds OUT_DIR (in a container: the mount point).  The graphs:

    half_plus_two/00000123      y = x / 2 + 2, with classify and regress views (tensorflow_model_server's own example)
    half_plus_three/00000123    y = x / 2 + 3
    half_plus_two_tf2/00000123  the same from functions, with a default for x
    shift/1 .. shift/6          y = x + version; the offset is a variable, so that a file can be missing
    types/1                     y = x for every dtype, and signatures with several inputs and outputs
    functions/00000123          two functions: the default answers 1, custom_signature_key answers 2
    checkpoint/00000123         y = 3 * 2 * x from a checkpoint's function
    keras/00000123              a Keras Sequential of one Dense layer, weight 1, input `x`, output `y`
    counting/00000123           how often it was asked, and before that; count_tf2 counts in a function,
                                count_ref in a variable of TensorFlow 1
    chance/00000123             x and a random number
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import tensorflow as tf

tf1 = tf.compat.v1
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))
DTYPES = ("float", "double", "half", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool",
          "string", "complex64")  # fmt: skip
Signatures = Mapping[str, Any]


def signature(inputs: Mapping[str, Any], outputs: Mapping[str, Any], method: str = PREDICT) -> Any:
    """A SignatureDef of named tensors."""
    described = (
        {name: tf1.saved_model.build_tensor_info(tensor) for name, tensor in named.items()} for named in (inputs, outputs)
    )
    return tf1.saved_model.build_signature_def(*described, method)


def write(path: Path, build: Callable[[], Signatures], tags: tuple[str, ...] = ("serve",)) -> None:
    """Save the graph that `build` makes, with its variables at their initial values."""
    with tf1.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        signatures = build()
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, list(tags), signature_def_map=dict(signatures))
        builder.save()


def half_plus(offset: float) -> Callable[[], Signatures]:
    """y = x / 2 + offset."""

    def build() -> Signatures:
        half, plus = tf1.Variable(0.5, name="a"), tf1.Variable(offset, name="b")
        examples = tf1.placeholder(tf.string, [None], name="tf_example")
        features = {"x": tf1.FixedLenFeature([1], tf.float32), "x2": tf1.FixedLenFeature([1], tf.float32, [0.0])}
        parsed = tf1.io.parse_example(examples, features)
        x, x2 = tf.identity(parsed["x"], name="x"), tf.identity(parsed["x2"], name="x2")
        y, y2, y3 = (tf.identity(half * v + add, name=n) for v, add, n in ((x, plus, "y"), (x, 3.0, "y2"), (x2, 3.0, "y3")))
        return {
            "serving_default": signature({"x": x}, {"y": y}),
            "classify_x_to_y": signature({"inputs": examples}, {"scores": y}, CLASSIFY),
            "regress_x_to_y": signature({"inputs": examples}, {"outputs": y}, REGRESS),
            "regress_x_to_y2": signature({"inputs": examples}, {"outputs": y2}, REGRESS),
            "regress_x2_to_y3": signature({"inputs": x2}, {"outputs": y3}, REGRESS),
        }

    return build


def shift(by: int) -> Callable[[], Signatures]:
    """y = x + by."""

    def build() -> Signatures:
        x = tf1.placeholder(tf.float32, [None], name="x")
        return {"serving_default": signature({"x": x}, {"y": tf.identity(x + tf1.Variable(float(by), name="by"), name="y")})}

    return build


def counting(resource: bool) -> Callable[[], Signatures]:
    """What a run leaves behind, changed by one signature and read by another."""

    def build() -> Signatures:
        count = tf1.Variable(0.0, name="count", use_resource=resource)
        x = tf1.placeholder(tf.float32, [None], name="x")
        with tf.control_dependencies([count.assign_add(1.0)]):
            more = tf.identity(count.read_value() + 0.0 * x, name="more")
        now = tf.identity(x + count.read_value(), name="now")
        return {"serving_default": signature({"x": x}, {"y": now}), "count": signature({"x": x}, {"y": more})}

    return build


def count_tf2(path: Path) -> None:
    """The same in a function that a function calls."""
    module = tf.Module()
    module.count = tf.Variable(0.0)
    inner = tf.function(lambda: module.count.assign_add(1.0))
    module.f = tf.function(lambda x: {"y": x + inner()}, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(path), {"serving_default": module.f})


def chance() -> Signatures:
    """y = x and a random number."""
    x = tf1.placeholder(tf.float32, [None], name="x")
    return {"serving_default": signature({"x": x}, {"y": tf.identity(x + tf.random.uniform([], seed=1), name="y")})}


def types() -> Signatures:
    """y = x for every dtype (`id_<dtype>`), and what several inputs, outputs and examples can go wrong with."""
    made: dict[str, Any] = {}
    for name in DTYPES:
        x = tf1.placeholder(tf.as_dtype(name), None, name=f"in_{name}")
        made[f"id_{name}"] = signature({"x": x}, {"y": tf.identity(x, name=f"out_{name}")})
    a, tag = tf1.placeholder(tf.float32, None, name="a"), tf1.placeholder(tf.string, None, name="tag")
    doubled, same = tf.identity(a * 2.0, name="doubled"), tf.identity(tag, name="same")
    made["several"] = signature({"a": a, "tag": tag}, {"doubled": doubled, "tag": same, "tag_bytes": same})
    made["twice"] = signature({"a": a, "b": a}, {"doubled": doubled})
    handle, spans = tf1.placeholder(tf.variant, None, name="handle"), tf1.ragged.placeholder(tf.float32, 1, name="spans")
    made["variant"] = signature({"x": handle}, {"y": tf.constant(1.0, name="one")})
    made["ragged"] = signature({"x": spans}, {"y": tf.identity(spans.flat_values, name="flat")})
    made["total"] = signature({"a": a}, {"sum": tf.reduce_sum(a, name="sum")})
    rows = tf1.placeholder(tf.float32, [None, 3], name="rows")
    made["matmul"] = signature({"rows": rows}, {"y": tf.matmul(rows, [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], name="product")})
    turns = tf1.placeholder(tf.int64, [1], name="turns")
    spun = tf1.while_loop(lambda i: i < turns[0], lambda i: i + 1, [tf.constant(0, tf.int64)], name="spin")
    made["slow"] = signature({"n": turns}, {"y": tf.reshape(spun, [1], name="spun")})
    made["serving_default"] = made["id_float"]
    return made


def half_plus_two_tf2(path: Path) -> None:
    """The same questions answered by functions; a signature's input has the default that its function has."""
    module = tf.Module()
    module.a, module.b = tf.Variable(0.5), tf.Variable(2.0)
    features = {"x": tf.io.FixedLenFeature([1], tf.float32)}

    def answer(x: Any) -> Any:
        return module.a * x + module.b

    def parsed(examples: Any) -> Any:
        return answer(tf.io.parse_example(examples, features)["x"])

    raw = tf.TensorSpec([None], tf.string, name="inputs")
    number = tf.TensorSpec([1], tf.float32, name="x")
    module.predict = tf.function(lambda x: {"y": answer(x)}, input_signature=[number])
    module.classify = tf.function(lambda inputs: {"scores": parsed(inputs)}, input_signature=[raw])
    module.regress = tf.function(lambda inputs: {"outputs": parsed(inputs)}, input_signature=[raw])
    signatures = {"serving_default": module.predict, "classify_x_to_y": module.classify, "regress_x_to_y": module.regress}
    tf.saved_model.save(module, str(path), signatures)


def functions(path: Path) -> None:
    """Two signatures of one module."""
    module = tf.Module()
    spec = [tf.TensorSpec(None, tf.float32, name="x")]
    module.f = tf.function(lambda x: {"y": tf.ones([1]) + 0.0 * x}, input_signature=spec)
    module.g = tf.function(lambda x: {"y": 2.0 * tf.ones([1]) + 0.0 * x}, input_signature=spec)
    tf.saved_model.save(module, str(path), {"serving_default": module.f, "custom_signature_key": module.g})


def checkpoint(path: Path) -> None:
    """A checkpoint with one function."""
    root = tf.train.Checkpoint(v1=tf.Variable(3.0), v2=tf.Variable(2.0))
    root.f = tf.function(lambda x: {"y": root.v1 * root.v2 * x})
    tf.saved_model.save(root, str(path), root.f.get_concrete_function(tf.TensorSpec(None, tf.float32, name="x")))


def sequential(path: Path) -> None:
    """A Keras model saved as Keras saves for serving."""
    model = keras.Sequential([keras.Input((1,), name="x"), keras.layers.Dense(1, kernel_initializer="ones", name="y")])
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = [tf.TensorSpec((None, 1), tf.float32, name="x")]
    archive.add_endpoint("serving_default", lambda x: {"y": model(x)}, input_signature=spec)
    archive.write_out(str(path), verbose=False)


CONFIG = """
model_config_list {{
  config {{ name: "half_plus_two" base_path: "{base}/half_plus_two" model_platform: "tensorflow" }}
  config {{ name: "half_plus_two_tf2" base_path: "{base}/half_plus_two_tf2" model_platform: "tensorflow" }}
  config {{ name: "types" base_path: "{base}/types" model_platform: "tensorflow" }}
  config {{
    name: "shift" base_path: "{base}/shift" model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
}}
"""


def main(out: Path, base: Path) -> None:
    """Write them all."""
    write(out / "counting" / "00000123", counting(True))
    write(out / "count_ref" / "00000123", counting(False))
    count_tf2(out / "count_tf2" / "00000123")
    write(out / "chance" / "00000123", chance)
    write(out / "half_plus_two" / "00000123", half_plus(2.0))
    write(out / "half_plus_three" / "00000123", half_plus(3.0))
    for version in range(1, 7):
        write(out / "shift" / str(version), shift(version))
    write(out / "tags" / "1", shift(1), ("serve", "gpu"))
    write(out / "types" / "1", types)
    half_plus_two_tf2(out / "half_plus_two_tf2" / "00000123")
    functions(out / "functions" / "00000123")
    checkpoint(out / "checkpoint" / "00000123")
    sequential(out / "keras" / "00000123")
    (out / "models.config").write_text(CONFIG.format(base=base))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else sys.argv[1]))
