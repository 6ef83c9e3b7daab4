"""Writes small SavedModels that differ in what they keep, and in how they are set up.

    python -m tests.serving_state_models OUT_DIR

constant_counts    a constant that is there once a variable was counted up
fed_half           a signature that feeds one output of an operation whose other output waits for counting
lots               a variable that is set to a random number after the loading
tables             a variable of zeros and a table of words, both filled after the loading; table_tf2 the table alone
queue              put, which leaves a string in a queue, and get
trunk              20 signatures over 200 operations that they have in common
words              a function with constants that read like operations
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf

from tests.serving_models import Signatures, signature

tf1 = tf.compat.v1
Built = tuple[Signatures, Any]
"""Signatures, and what is run after the loading."""


def write(path: Path, build: Callable[[Any], Built]) -> None:
    """Save the graph that `build` makes, `x` being its input."""
    with tf1.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        signatures, main_op = build(tf1.placeholder(tf.float32, [None], name="x"))
        session.run([tf1.global_variables_initializer(), tf1.local_variables_initializer()])
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=dict(signatures), main_op=main_op)
        builder.save()


def constant_counts(x: Any) -> Built:
    count = tf1.Variable(0.0, use_resource=True)
    with tf.control_dependencies([count.assign_add(1.0)]):
        done = tf1.constant(1.0)
    return {"serving_default": signature({"x": x}, {"y": done})}, None


def fed_half(x: Any) -> Built:
    count = tf1.Variable(0.0, use_resource=True)
    with tf.control_dependencies([count.assign_add(1.0)]):
        first, second = tf.split(x, 2)
    return {"serving_default": signature({"x": first}, {"y": tf.identity(second)})}, None


def lots(x: Any) -> Built:
    drawn = tf1.Variable(tf.random.uniform([]), collections=["local_variables"], use_resource=True)
    return {"serving_default": signature({"x": x}, {"y": x + drawn.read_value()})}, drawn.initializer


def tables(x: Any) -> Built:
    zeros = tf1.Variable(tf.zeros([]), collections=["local_variables"], use_resource=True)
    known = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
    found = tf.lookup.StaticHashTable(known, 0.0).lookup(tf1.as_string(x))
    return {"serving_default": signature({"x": x}, {"y": found + zeros.read_value()})}, tf.group(
        zeros.initializer, tf1.tables_initializer()
    )


def table_tf2(path: Path) -> None:
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0]), 0.0)
    spec = [tf.TensorSpec([None], tf.string, name="x")]
    module.f = tf.function(lambda x: {"y": module.table.lookup(x)}, input_signature=spec)
    tf.saved_model.save(module, str(path), module.f)


def queue(x: Any) -> Built:
    kept, text = tf1.FIFOQueue(100, [tf.string], shapes=[[]], shared_name="q"), tf1.placeholder(tf.string, [], name="text")
    with tf.control_dependencies([kept.enqueue(text)]):
        put = tf.identity(text)
    return {"put": signature({"text": text}, {"y": put}), "get": signature({"x": x}, {"y": tf.identity(kept.dequeue())})}, None


def trunk(x: Any) -> Built:
    y = x
    for _ in range(200):
        y = tf.sin(y)
    return {f"s{at}": signature({"x": x}, {"y": y + float(at)}) for at in range(20)}, None


def words(path: Path) -> None:
    module = tf.Module()
    like = tf.constant(["a While", "\x12\x10AssignVariableOp", "x" * 100_000])
    spec = [tf.TensorSpec([None], tf.float32, name="x")]
    module.f = tf.function(lambda x: {"y": x, "like": tf.constant(like.numpy())}, input_signature=spec)
    tf.saved_model.save(module, str(path), module.f)


def main(out: Path) -> None:
    """Write them all."""
    for build in (constant_counts, fed_half, lots, tables, queue, trunk):
        write(out / build.__name__, build)
    table_tf2(out / "table_tf2")
    words(out / "words")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
