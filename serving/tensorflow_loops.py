"""Whether a run may take longer than its inputs' size says: what the fetched tensors depend on has a loop in it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from serving import tensorflow_c as c

LOOPS = (b"While", b"LoopCond", b"NextIteration", b"Dataset", b"Iterator", b"Dequeue")
"""In an operation's type, anywhere: also StatelessWhile, ReduceDataset and their like."""


def looping_functions(lib: c.Library, graph: int) -> list[bytes]:
    """Names of the graph's functions that have a loop, or call one that has."""
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
    while more := [name for name, body in bodies.items() if name not in found and _mentions(body, (*LOOPS, *found))]:
        found += more
    return found


def loops(lib: c.Library, looping: Iterable[bytes], fetched: Iterable[int], fed: Iterable[int]) -> bool:
    """Walk from the fetched operations to those that are fed; a name that only looks like a loop's counts as one."""
    words, seen, status = (*LOOPS, *looping), set(fed), lib.TF_NewStatus()
    ahead = [operation for operation in fetched if operation not in seen]
    try:
        while ahead:
            operation = ahead.pop()
            if operation in seen:
                continue
            seen.add(operation)
            if _mentions(_text(lib, lib.TF_OperationToNodeDef, operation, status), words):
                return True
            ahead += [
                lib.TF_OperationInput(c.Output(operation, at)).operation for at in range(lib.TF_OperationNumInputs(operation))
            ]
            before = (ctypes.c_void_p * lib.TF_OperationNumControlInputs(operation))()
            ahead += before[: lib.TF_OperationGetControlInputs(operation, before, len(before))]
        return False
    finally:
        lib.TF_DeleteStatus(status)


def _text(lib: c.Library, describe: object, thing: int, status: int) -> bytes:
    """A serialized description of an operation or a function."""
    buffer = lib.TF_NewBuffer()
    try:
        describe(thing, buffer, status)  # type: ignore[operator]
        lib.check(status)
        return ctypes.string_at(buffer.contents.data, buffer.contents.length)
    finally:
        lib.TF_DeleteBuffer(buffer)


def _mentions(text: bytes, words: Iterable[bytes]) -> bool:
    return any(word in text for word in words)
