"""The TensorFlow engine: SavedModels in C++ sessions, as TensorFlow Serving runs them."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from serving import messages, text_config
from serving import tensorflow_c as c
from serving.engine import EngineOptions, LoadedModel
from serving.flags import CPUS
from serving.pace import Pace
from serving.status import Code, Status, invalid
from serving.tensorflow_bytes import view
from serving.tensorflow_graph import CONTROL, LOOPS, SETTING_UP, Point, Search, changing, operations
from serving.tensorflow_meta import INIT_SIGNATURE, Meta
from serving.tensorflow_tensors import from_c, to_c
from serving.tensorflow_twins import Stamp, Twins, stamp_if_small
from serving.tensors import STRING, Tensor

log = logging.getLogger(__name__)

REFERENCE_VARIABLES = (b"VariableV2", b"Variable")
VARIABLE_OPERATIONS = (b"VarHandleOp", *REFERENCE_VARIABLES)

IN_THE_CALLERS_THREAD = b"\x18" + b"\xff" * 9 + b"\x01"
"""A serialized tensorflow.RunOptions with inter_op_thread_pool = -1 (field 3)."""


def _timeout_options(timeout_s: float) -> bytes:
    """A serialized tensorflow.RunOptions with timeout_in_ms (field 2, a varint), made anew for every run."""
    out, value = bytearray([2 << 3]), max(1, math.ceil(timeout_s * 1000))
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class TensorFlowEngine:
    """Loads SavedModels through TensorFlow's C API."""

    def __init__(self, options: EngineOptions | None = None) -> None:
        # They are read when the library is loaded, and a person's own setting wins.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # its INFO lines are about itself
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in TensorFlow Serving: quicker, and the same last digits
        options = options or EngineOptions()
        self._config, self._narrow = self._session_config(options), None
        if CPUS > 1 and not options.intra_op_threads:
            os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")  # each session has threads of its own, as twins need
            self._narrow = self._session_config(replace(options, intra_op_threads=1))
        self._lib = c.library()

    @staticmethod
    def version() -> str:
        """TensorFlow's own version."""
        return str(c.library().TF_Version().decode())

    @staticmethod
    def _session_config(options: EngineOptions) -> bytes:
        """A serialized tensorflow.ConfigProto.  Raises Status for a file that does not parse."""
        config = messages.ConfigProto()
        if options.session_config is not None:
            config = text_config.read(str(options.session_config), messages.ConfigProto)
        config.intra_op_parallelism_threads = options.intra_op_threads  # the flags win, even when they are 0
        config.inter_op_parallelism_threads = options.inter_op_threads
        return bytes(config.SerializeToString())

    def load(self, path: Path, tags: Sequence[str]) -> LoadedModel:
        """Load a version; the loader's own codes and texts come through.

        A small one that keeps nothing between runs is loaded twice, if nobody said how many threads an operation has.
        """
        path = Path(os.path.realpath(path))  # a link may soon lead elsewhere
        before = stamp_if_small(path)
        model = self._load(path, tags, self._config)
        try:
            if self._narrow is None or before is None or model.changes_state or model.starts_differently():
                return model
            narrow = self._second(path, tags, self._narrow, before)
        except BaseException:
            model.close()
            raise
        return Twins(model, narrow) if narrow else model

    def _second(self, path: Path, tags: Sequence[str], config: bytes, before: Stamp) -> TensorFlowModel | None:
        """Another session of the same files; None, for one is enough, if it cannot be had."""
        try:
            model = self._load(path, tags, config)
        except Status as status:
            log.warning("%s gets one session instead of two, for it could not be loaded again: %s", path, status)
            return None
        if stamp_if_small(path) == before:
            return model
        model.close()
        log.warning("%s gets one session instead of two, for its files changed meanwhile", path)
        return None

    def _load(self, path: Path, tags: Sequence[str], config: bytes) -> TensorFlowModel:
        lib = self._lib
        status, options, graph = lib.TF_NewStatus(), lib.TF_NewSessionOptions(), lib.TF_NewGraph()
        meta = lib.TF_NewBuffer()
        session = None
        try:
            lib.TF_SetConfig(options, config, len(config), status)
            lib.check(status)
            wanted = c.array_of(ctypes.c_char_p, [tag.encode() for tag in tags])
            session = lib.TF_LoadSessionFromSavedModel(
                options, None, os.fsencode(path), wanted, len(tags), graph, meta, status
            )  # fmt: skip
            lib.check(status)
            described = Meta.read(view(meta))
            check_variables(lib, graph, described, path)
            return TensorFlowModel(lib, session, graph, described)
        except BaseException:
            if session is not None:
                lib.TF_DeleteSession(session, status)
            lib.TF_DeleteGraph(graph)
            raise
        finally:
            lib.TF_DeleteBuffer(meta)
            lib.TF_DeleteSessionOptions(options)
            lib.TF_DeleteStatus(status)


def check_variables(lib: c.Library, graph: int, described: Meta, path: Path) -> None:
    """Refuse a graph whose checkpoint is missing.  Raises Status NOT_FOUND.

    TensorFlow's loader takes a SavedModel without a variables folder for one that needs none, so that a version whose weights
    were not copied would push out the one that serves, and then fail every request.
    """
    index = path / "variables" / "variables.index"
    if index.exists() or not described.is_restored:
        return
    for _, kind in operations(lib, graph):
        if kind in VARIABLE_OPERATIONS:
            raise Status(Code.NOT_FOUND, f"The graph has variables and nothing to restore them from: {index} does not exist")


class TensorFlowModel:
    """One session.  TF_SessionRun may be called from any number of threads."""

    def __init__(self, lib: c.Library, session: int, graph: int, described: Meta) -> None:
        self.signatures, self._init_operations = described.signatures, described.init_operations
        self._lib, self._session, self._graph = lib, session, graph
        self._outputs: dict[str, c.Output] = {}
        self._plans: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[Any, Any, dict[int, Pace] | None]] = {}
        self._functions = described.functions
        self._loops = Search(lib, self._functions, LOOPS)

    @cached_property
    def changes_state(self) -> bool:
        """Whether a run of any signature may leave something behind, or draws lots."""
        if any(kind in REFERENCE_VARIABLES for _, kind in operations(self._lib, self._graph)):
            return True  # TensorFlow does not call the operations stateful that change these
        fetched: dict[frozenset[Point], set[Point]] = {}  # by what is fed: many signatures may have a trunk in common
        for name, signature in self.signatures.items():
            if name != INIT_SIGNATURE:
                fetched.setdefault(frozenset(self._points(signature.inputs)), set()).update(self._points(signature.outputs))
        search = Search(self._lib, self._functions, changing(self._lib))
        return any(search.finds(outputs, inputs) for inputs, outputs in fetched.items())

    def starts_differently(self) -> bool:
        """Whether what runs once after the loading may leave one session with other values than the next."""
        named = [self._lib.TF_GraphOperationByName(self._graph, name.encode()) for name in self._init_operations]
        search = Search(self._lib, self._functions, changing(self._lib, SETTING_UP))
        return search.finds([(operation, CONTROL) for operation in named if operation], ())

    def _points(self, infos: Mapping[str, Any]) -> list[Point]:
        """A signature's tensors, without any that the graph lacks."""
        found = []
        for info in infos.values():
            with suppress(Status, ValueError):
                output = self._output(info.name)
                found.append((output.operation, output.index))
        return found

    def _output(self, name: str) -> c.Output:
        """Resolve `operation:index`."""
        found = self._outputs.get(name)
        if found is None:
            operation_name, _, index = name.partition(":")
            operation = self._lib.TF_GraphOperationByName(self._graph, operation_name.encode())
            number = int(index or 0)
            if not operation:
                raise invalid(
                    f"Tensor {operation_name}:{number}, specified in either feed_devices or fetch_devices was not found in the "
                    "Graph"
                )
            outputs = self._lib.TF_OperationNumOutputs(operation)
            if number >= outputs:
                kind = self._lib.TF_OperationOpType(operation).decode()
                raise Status(
                    Code.OUT_OF_RANGE,
                    f"Node '{operation_name}' (type: '{kind}', num of outputs: {outputs}) does not have output {number}",
                )
            found = self._outputs[name] = c.Output(operation, number)
        return found

    def _plan(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> tuple[Any, Any, dict[int, Pace] | None]:
        """What to feed and to fetch, and how long that took by size; None where the size does not tell, for there are loops."""
        plan = self._plans.get((feeds, fetches))
        if plan is None:
            fed, fetched = [self._output(n) for n in feeds], [self._output(n) for n in fetches]
            endless = self._loops.finds(*([(one.operation, one.index) for one in outputs] for outputs in (fetched, fed)))
            plan = (c.array_of(c.Output, fed), c.array_of(c.Output, fetched), None if endless else {})
            self._plans[feeds, fetches] = plan
        return plan

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_s: float | None) -> list[Tensor]:
        """Run the graph once.  Raises Status with the session's own code and text."""
        names = sorted(set(fetches))  # callers may name them in any order, and twice: one plan is enough
        found = dict(zip(names, self._run(feeds, names, timeout_s), strict=True))
        return [found[name] for name in fetches]

    def _run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_s: float | None) -> list[Tensor]:
        lib = self._lib
        inputs, outputs, paces = self._plan(tuple(feeds), tuple(fetches))
        pace = None
        if paces is not None:  # within a factor of two of the same size
            pace = paces.setdefault(sum(tensor.array.nbytes for tensor in feeds.values()).bit_length(), Pace())
        status = lib.TF_NewStatus()
        options = None
        encoded = IN_THE_CALLERS_THREAD if pace is not None and pace.is_quick(timeout_s) else b""
        if timeout_s is not None:
            encoded += _timeout_options(timeout_s)
        if encoded:
            options = lib.TF_NewBufferFromString(encoded, len(encoded))
        fed = (ctypes.c_void_p * len(feeds))()
        fetched = (ctypes.c_void_p * len(fetches))()
        strings: list[tuple[int, int]] = []
        try:
            for at, tensor in enumerate(feeds.values()):
                fed[at] = to_c(lib, tensor, strings, lasting=tensor.dtype == STRING and self.changes_state)
            began = time.perf_counter()
            lib.TF_SessionRun(
                self._session, options, inputs, fed, len(feeds), outputs, fetched, len(fetches), None, 0, None, status
            )  # fmt: skip
            if pace is not None:
                pace.took(time.perf_counter() - began)
            lib.check(status)
            return [from_c(lib, handle) for handle in fetched if handle]
        finally:
            for handle in fetched:
                if handle:
                    lib.TF_DeleteTensor(handle)
            for first, count in strings:  # after the outputs: an identity's output is its input's memory
                for at in range(count):
                    lib.TF_StringDealloc(first + at * c.STRING_BYTES)
            for handle in fed:
                if handle:
                    lib.TF_DeleteTensor(handle)
            if options is not None:
                lib.TF_DeleteBuffer(options)
            lib.TF_DeleteStatus(status)

    def close(self) -> None:
        """Close the session and free the graph."""
        lib, status = self._lib, self._lib.TF_NewStatus()
        lib.TF_CloseSession(self._session, status)
        lib.TF_DeleteSession(self._session, status)
        lib.TF_DeleteGraph(self._graph)
        lib.TF_DeleteStatus(status)
