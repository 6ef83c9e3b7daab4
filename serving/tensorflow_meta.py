"""What a SavedModel says about its graph: signatures, whether it is restored from a checkpoint, and how it is set up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from digits import wire
from serving import messages
from serving.tensorflow_bytes import contents, fields

MetaGraphDef = wire.message("tensorflow.MetaGraphDef")

GRAPH_DEF, COLLECTION_DEF = 2, 4
"""Fields of tensorflow.MetaGraphDef."""
LIBRARY, FUNCTION, FUNCTION_SIGNATURE, NODE_DEF, NODE_OP = 2, 1, 1, 3, 2
"""Fields of tensorflow.GraphDef, of the library in it, of a function in that, and of a node in a function."""
INIT_SIGNATURE = "__saved_model_init_op"
INIT_COLLECTIONS = (b"saved_model_main_op", b"legacy_init_op")


@dataclass(frozen=True)
class Meta:
    """A tensorflow.MetaGraphDef, of whose graph the functions only."""

    signatures: Mapping[str, Any]
    is_restored: bool
    init_operations: tuple[str, ...]
    """Names of what runs once, after the loading."""
    functions: Mapping[bytes, bytes]
    """Each a serialized FunctionDef, by name; without constants, which are megabytes that mention nothing."""

    @classmethod
    def read(cls, described: memoryview) -> Meta:
        """From a serialized MetaGraphDef."""
        small = b"".join(whole for number, whole, _ in fields(described) if number != GRAPH_DEF)
        signatures = dict(MetaGraphDef.FromString(small).signature_def)
        names = [info.name for info in signatures[INIT_SIGNATURE].outputs.values()] if INIT_SIGNATURE in signatures else []
        for entry in contents(memoryview(small), COLLECTION_DEF):
            if any(bytes(key) in INIT_COLLECTIONS for key in contents(entry, 1)):
                lists = [nodes for collection in contents(entry, 2) for nodes in contents(collection, 1)]
                names += [bytes(name).decode() for nodes in lists for name in contents(nodes, 1)]
        restored = bool(messages.SavedGraph.FromString(small).saver_def.restore_op_name)
        return cls(signatures, restored, tuple(name.partition(":")[0] for name in names), dict(_functions(described)))


def _functions(described: memoryview) -> Iterator[tuple[bytes, bytes]]:
    for graph in contents(described, GRAPH_DEF):
        for library in contents(graph, LIBRARY):
            for function in contents(library, FUNCTION):
                name = next(name for signature in contents(function, FUNCTION_SIGNATURE) for name in contents(signature, 1))
                yield bytes(name), b"".join(whole for number, whole, node in fields(function) if not _is_constant(number, node))


def _is_constant(number: int, node: memoryview) -> bool:
    return number == NODE_DEF and next(contents(node, NODE_OP), b"") == b"Const"
