"""What the tensors that a run fetches depend on: loops, which make it take longer than its inputs say, and changing state."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator
from functools import cache

from serving import messages
from serving import tensorflow_c as c

Words = Iterable[bytes]
LOOPS = (b"While", b"LoopCond", b"NextIteration", b"Dataset", b"Iterator", b"Dequeue")
"""In an operation's type, anywhere: also StatelessWhile, ReduceDataset and their like."""
LASTING = frozenset((
    "VarHandleOp", "ReadVariableOp", "VariableV2", "Variable", "VarIsInitializedOp", "VariableShape", "ResourceGather",
    "ResourceGatherNd", "HashTable", "HashTableV2", "LookupTableFind", "LookupTableFindV2", "LookupTableSize",
    "LookupTableSizeV2", "StatefulPartitionedCall", "If", "Case", "While", "For", "Assert", "Print", "PrintV2",
))  # fmt: skip
"""Stateful operations that leave everything as it was: they read, or call functions, which are looked at themselves."""


@cache
def changing(lib: c.Library) -> tuple[bytes, ...]:
    """The operations that may leave something behind, or give another answer each time; each as a NodeDef has it (field 2)."""
    buffer = lib.TF_GetAllOpList()
    try:
        known = messages.OpList.FromString(ctypes.string_at(buffer.contents.data, buffer.contents.length))
    finally:
        lib.TF_DeleteBuffer(buffer)
    names = [one.name for one in known.op if one.is_stateful and one.name not in LASTING]
    return tuple(b"\x12" + bytes([len(name)]) + name.encode() for name in names)


def operations(lib: c.Library, graph: int) -> Iterator[tuple[int, bytes]]:
    """Every operation of the graph itself, and its type."""
    at = ctypes.c_size_t(0)
    while operation := lib.TF_GraphNextOperation(graph, ctypes.byref(at)):
        yield operation, lib.TF_OperationOpType(operation)


def functions_with(lib: c.Library, graph: int, words: Words) -> list[bytes]:
    """Names of the graph's functions that mention a word, or call one that does."""
    bodies: dict[bytes, bytes] = {}
    count, status = lib.TF_GraphNumFunctions(graph), lib.TF_NewStatus()
    functions = (ctypes.c_void_p * count)()
    try:
        for function in functions[: lib.TF_GraphGetFunctions(graph, functions, count, status)]:
            bodies[lib.TF_FunctionName(function)] = _text(lib, lib.TF_FunctionToFunctionDef, function, status)
            lib.TF_DeleteFunction(function)
    finally:
        lib.TF_DeleteStatus(status)
    found: list[bytes] = []
    wanted = _any_of(words)
    while more := [name for name, body in bodies.items() if name not in found and wanted.search(body)]:
        found += more
        wanted = _any_of(more)
    return found


def depends_on(lib: c.Library, words: Words, fetched: Iterable[int], fed: Iterable[int]) -> bool:
    """Walk from the fetched operations to those that are fed; what only looks like a word counts as one."""
    seen, status, wanted = set(fed), lib.TF_NewStatus(), _any_of(words)
    ahead = [operation for operation in fetched if operation not in seen]
    try:
        while ahead:
            operation = ahead.pop()
            if operation in seen:
                continue
            seen.add(operation)
            if lib.TF_OperationOpType(operation) == b"Const":  # weights: megabytes that mention nothing
                continue
            if wanted.search(_text(lib, lib.TF_OperationToNodeDef, operation, status)):
                return True
            ahead += [
                lib.TF_OperationInput(c.Output(operation, at)).operation for at in range(lib.TF_OperationNumInputs(operation))
            ]
            before = (ctypes.c_void_p * lib.TF_OperationNumControlInputs(operation))()
            ahead += before[: lib.TF_OperationGetControlInputs(operation, before, len(before))]
        return False
    finally:
        lib.TF_DeleteStatus(status)


def _any_of(words: Words) -> re.Pattern[bytes]:
    return re.compile(b"|".join(re.escape(word) for word in words))


def _text(lib: c.Library, describe: object, thing: int, status: int) -> bytes:
    """A serialized description of an operation or a function."""
    buffer = lib.TF_NewBuffer()
    try:
        describe(thing, buffer, status)  # type: ignore[operator]
        lib.check(status)
        return ctypes.string_at(buffer.contents.data, buffer.contents.length)
    finally:
        lib.TF_DeleteBuffer(buffer)
