"""What the tensors that a run fetches depend on: loops, which make it take longer than its inputs say, and changing state."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from serving import messages
from serving import tensorflow_c as c

Words = Iterable[bytes]
Point = tuple[int, int]
"""An operation and the number of its output, or CONTROL."""
CONTROL = -1
LOOPS = (b"While", b"LoopCond", b"NextIteration", b"Dataset", b"Iterator", b"Dequeue")
"""In an operation's type, anywhere: also StatelessWhile, ReduceDataset and their like."""
LASTING = frozenset((
    "VarHandleOp", "ReadVariableOp", "VariableV2", "Variable", "VarIsInitializedOp", "VariableShape", "ResourceGather",
    "ResourceGatherNd", "HashTable", "HashTableV2", "LookupTableFind", "LookupTableFindV2", "LookupTableSize",
    "LookupTableSizeV2", "StatefulPartitionedCall", "If", "Case", "While", "For", "Assert", "Print", "PrintV2",
))  # fmt: skip
"""Stateful operations that leave everything as it was: they read, or call functions, which are looked at themselves."""
SETTING_UP = LASTING | frozenset((
    "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "Restore", "RestoreSlice", "RestoreV2", "InitializeTable",
    "InitializeTableV2", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "LookupTableImport",
    "LookupTableImportV2", "LookupTableInsert", "LookupTableInsertV2", "MutableHashTable", "MutableHashTableV2",
    "MutableHashTableOfTensors", "MutableHashTableOfTensorsV2", "MutableDenseHashTable", "MutableDenseHashTableV2",
))  # fmt: skip
"""Those, and what leaves the same state in every new session."""


@cache
def changing(lib: c.Library, harmless: frozenset[str] = LASTING) -> tuple[bytes, ...]:
    """The operations that may leave something behind, or give another answer each time; each as a NodeDef has it (field 2)."""
    buffer = lib.TF_GetAllOpList()
    try:
        known = messages.OpList.FromString(ctypes.string_at(buffer.contents.data, buffer.contents.length))
    finally:
        lib.TF_DeleteBuffer(buffer)
    names = [one.name for one in known.op if one.is_stateful and one.name not in harmless]
    return tuple(b"\x12" + bytes([len(name)]) + name.encode() for name in names)


def operations(lib: c.Library, graph: int) -> Iterator[tuple[int, bytes]]:
    """Every operation of the graph itself, and its type."""
    at = ctypes.c_size_t(0)
    while operation := lib.TF_GraphNextOperation(graph, ctypes.byref(at)):
        yield operation, lib.TF_OperationOpType(operation)


def functions_with(texts: Mapping[bytes, bytes], words: Words) -> list[bytes]:
    """Names of the functions that mention a word, or call one that does."""
    found: dict[bytes, None] = {}
    wanted = _any_of(words)
    while more := [name for name, text in texts.items() if name not in found and wanted.search(text)]:
        found.update(dict.fromkeys(more))
        wanted = _any_of(more)
    return list(found)


class Search:
    """Looks for words, and for functions with them, in what a run depends on; an operation's text is read once."""

    def __init__(self, lib: c.Library, texts: Mapping[bytes, bytes], words: Words) -> None:
        words = tuple(words)
        self._lib, self._wanted = lib, _any_of((*words, *functions_with(texts, words)))
        self._before: dict[int, tuple[Point, ...] | None] = {}

    def finds(self, fetched: Iterable[Point], fed: Iterable[Point]) -> bool:
        """Walk from what is fetched to what is fed; what only looks like a word counts as one."""
        given, seen = frozenset(fed), set[int]()
        ahead = list(fetched)
        while ahead:
            point = ahead.pop()
            if point in given or point[0] in seen:
                continue
            seen.add(point[0])
            before = self._look(point[0])
            if before is None:
                return True
            ahead += before
        return False

    def _look(self, operation: int) -> tuple[Point, ...] | None:
        """What must be there or be done before this one; None if it is looked for itself."""
        if operation not in self._before:
            # a constant's text is weights; what must be done before it counts as for any other
            is_constant = self._lib.TF_OperationOpType(operation) == b"Const"
            found = not is_constant and self._wanted.search(self._text(operation))
            self._before[operation] = None if found else tuple(self._points_before(operation))
        return self._before[operation]

    def _points_before(self, operation: int) -> Iterator[Point]:
        for at in range(self._lib.TF_OperationNumInputs(operation)):
            output = self._lib.TF_OperationInput(c.Output(operation, at))
            yield output.operation, output.index
        before = (ctypes.c_void_p * self._lib.TF_OperationNumControlInputs(operation))()
        for one in before[: self._lib.TF_OperationGetControlInputs(operation, before, len(before))]:
            yield one, CONTROL

    def _text(self, operation: int) -> bytes:
        """A serialized NodeDef."""
        lib, status, buffer = self._lib, self._lib.TF_NewStatus(), self._lib.TF_NewBuffer()
        try:
            lib.TF_OperationToNodeDef(operation, buffer, status)
            lib.check(status)
            return ctypes.string_at(buffer.contents.data, buffer.contents.length)
        finally:
            lib.TF_DeleteBuffer(buffer)
            lib.TF_DeleteStatus(status)


def _any_of(words: Words) -> re.Pattern[bytes]:
    return re.compile(b"|".join(re.escape(word) for word in words))
