"""The exported SavedModel as ONNX, the same weights for the peers: `python -m loadtest.peers.convert FOLDER OUT.onnx`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

POOL_AFTER = (2, 4)


def weights(folder: str) -> list[tuple[Any, Any]]:
    """Kernel and bias of each layer in order; the first has the standardising in it (export.network_graph)."""
    graph = tf.saved_model.load(folder).signatures["serving_default"].graph.as_graph_def()
    nodes = {node.name: node for node in graph.node}
    for function in graph.library.function:
        nodes.update({node.name: node for node in function.node_def})

    def constant(name: str) -> Any:
        node = nodes[name.split(":", maxsplit=1)[0]]
        return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else constant(node.input[0])

    layers = [
        (constant(nodes[node.input[0].split(":")[0]].input[1]), constant(node.input[1]))
        for node in nodes.values()
        if node.op == "BiasAdd" and nodes[node.input[0].split(":")[0]].op in ("Conv2D", "MatMul")
    ]
    widths = (32, 32, 64, 64, 256, 128, 84, 10)
    ordered = sorted(layers, key=lambda layer: (layer[0].ndim == 2, -layer[0].shape[0], layer[0].shape[-2]))
    convolutions = sorted((one for one in layers if one[0].ndim == 4), key=lambda one: one[0].shape[2] * 100 + one[0].shape[3])
    dense = [one for one in ordered if one[0].ndim == 2]
    found = [*convolutions, *dense]
    if tuple(len(bias) for _, bias in found) != widths:
        raise SystemExit(f"convert: got layers of {[len(bias) for _, bias in found]}; wanted {widths}")
    return found


def model(folder: str) -> onnx.ModelProto:
    """images uint8 [N, 28, 28] → probabilities float32 [N, 10]."""
    layers = weights(folder)
    constants, nodes = [], []

    def put(name: str, array: Any) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def step(kind: str, inputs: list[str], output: str, **how: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **how))
        return output

    x = step("Cast", ["images"], "float", to=TensorProto.FLOAT)
    x = step("Reshape", [x, put("one_channel", np.array([-1, 1, 28, 28], np.int64))], "channels")
    x = step("Pad", [x, put("edges", np.array([0, 0, 2, 2, 0, 0, 2, 2], np.int64))], "padded")
    for number, (kernel, bias) in enumerate(layers[:4], start=1):
        x = step("Conv", [x, put(f"k{number}", kernel.transpose(3, 2, 0, 1)), put(f"b{number}", bias)], f"c{number}")
        x = step("Relu", [x], f"r{number}")
        if number in POOL_AFTER:
            x = step("MaxPool", [x], f"p{number}", kernel_shape=[2, 2], strides=[2, 2])
    x = step("Flatten", [step("Transpose", [x], "last", perm=[0, 2, 3, 1])], "flat")
    for number, (kernel, bias) in enumerate(layers[4:], start=5):
        x = step("Gemm", [x, put(f"k{number}", kernel), put(f"b{number}", bias)], f"d{number}")
        x = step("Relu", [x], f"r{number}") if number < 8 else step("Softmax", [x], "probabilities")
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 28, 28])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return made


if __name__ == "__main__":
    onnx.save(model(sys.argv[1]), sys.argv[2])
