"""TensorFlow's C library, bound by ctypes: sessions without `import tensorflow`.

The library in the wheel exports the stable C API (tensorflow/c/c_api.h).  Calling it directly
loads in a second instead of eight and in half the memory, and gives the C++ session's own
behaviour: what TensorFlow Serving calls, down to the error texts.

Calls that may block go through `CDLL`, which releases the interpreter lock; the short ones go
through `PyDLL`, which keeps it, because giving the lock away costs more than they do.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from serving.status import Code, Status


class Output(ctypes.Structure):
    """TF_Output: one output of one operation."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


class Buffer(ctypes.Structure):
    """TF_Buffer: bytes with a length."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


STRING_BYTES = 24  # sizeof(TF_TString), fixed by the ABI (tensorflow/core/platform/ctstring_internal.h)

_QUICK: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_Version": (c_char_p, ()),
    "TF_GetAllOpList": (POINTER(Buffer), ()),
    "TF_NewStatus": (c_void_p, ()),
    "TF_DeleteStatus": (None, (c_void_p,)),
    "TF_GetCode": (c_int, (c_void_p,)),
    "TF_Message": (c_void_p, (c_void_p,)),
    "TF_NewSessionOptions": (c_void_p, ()),
    "TF_SetConfig": (None, (c_void_p, c_char_p, c_size_t, c_void_p)),
    "TF_DeleteSessionOptions": (None, (c_void_p,)),
    "TF_NewGraph": (c_void_p, ()),
    "TF_GraphOperationByName": (c_void_p, (c_void_p, c_char_p)),
    "TF_GraphNextOperation": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "TF_OperationOpType": (c_char_p, (c_void_p,)),
    "TF_OperationNumOutputs": (c_int, (c_void_p,)),
    "TF_OperationNumInputs": (c_int, (c_void_p,)),
    "TF_OperationInput": (Output, (Output,)),  # asked with a TF_Input, which has the same two members
    "TF_OperationNumControlInputs": (c_int, (c_void_p,)),
    "TF_OperationGetControlInputs": (c_int, (c_void_p, POINTER(c_void_p), c_int)),
    "TF_OperationToNodeDef": (None, (c_void_p, POINTER(Buffer), c_void_p)),
    "TF_NewBufferFromString": (POINTER(Buffer), (c_char_p, c_size_t)),
    "TF_NewBuffer": (POINTER(Buffer), ()),
    "TF_DeleteBuffer": (None, (POINTER(Buffer),)),
    "TF_AllocateTensor": (c_void_p, (c_int, POINTER(c_int64), c_int, c_size_t)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_TensorFromProto": (None, (POINTER(Buffer), c_void_p, c_void_p)),
    "TF_TensorType": (c_int, (c_void_p,)),
    "TF_NumDims": (c_int, (c_void_p,)),
    "TF_Dim": (c_int64, (c_void_p, c_int)),
    "TF_TensorData": (c_void_p, (c_void_p,)),
    "TF_TensorByteSize": (c_size_t, (c_void_p,)),
    "TF_StringInit": (None, (c_void_p,)),
    "TF_StringCopy": (None, (c_void_p, c_char_p, c_size_t)),
    "TF_StringGetDataPointer": (c_void_p, (c_void_p,)),
    "TF_StringGetSize": (c_size_t, (c_void_p,)),
    "TF_StringDealloc": (None, (c_void_p,)),
}
_BLOCKING: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        (c_void_p, POINTER(Buffer), c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p),
    ),
    "TF_SessionRun": (
        None,
        (
            c_void_p, POINTER(Buffer),
            POINTER(Output), POINTER(c_void_p), c_int,
            POINTER(Output), POINTER(c_void_p), c_int,
            POINTER(c_void_p), c_int, POINTER(Buffer), c_void_p,
        ),
    ),
    "TF_CloseSession": (None, (c_void_p, c_void_p)),
    "TF_DeleteSession": (None, (c_void_p, c_void_p)),
    "TF_DeleteGraph": (None, (c_void_p,)),
}  # fmt: skip


class Library:
    """The C functions, with types, as attributes named as in c_api.h."""

    def __init__(self, path: Path) -> None:
        for loader, functions in ((ctypes.PyDLL, _QUICK), (ctypes.CDLL, _BLOCKING)):
            handle = loader(str(path))
            for name, (result, arguments) in functions.items():
                function = getattr(handle, name)
                function.restype, function.argtypes = result, arguments
                setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def check(self, status: int) -> None:
        """Raise the Status that a call left behind, if it is not OK."""
        code = self.TF_GetCode(status)
        if code:
            raise Status(Code(code), self._text(status).decode(errors="surrogateescape"))

    def _text(self, status: int) -> bytes:
        """A status's text, which may hold a NUL: ops quote what they were sent.

        The C API ends it there.  Behind a TF_Status stands an absl::Status, which points at (references and code, text, length):
        where that pointer is the one that TF_Message gave, its length counts.
        """
        at = self.TF_Message(status)
        held = c_uint64.from_address(status).value
        if held and not held & 3 and c_uint64.from_address(held + 8).value == at:
            return ctypes.string_at(at, c_uint64.from_address(held + 16).value)
        return ctypes.string_at(at)


@cache
def library() -> Library:
    """Load the C library from the installed tensorflow package, without importing the package.

    Raises ImportError if TensorFlow is not installed.
    """
    spec = find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("TensorFlow is not installed; install the `serve` extra (pip install 'digits[serve]')")
    name = "libtensorflow_cc.2.dylib" if sys.platform == "darwin" else "libtensorflow_cc.so.2"
    return Library(Path(spec.submodule_search_locations[0]) / name)


def array_of(kind: Any, values: list[Any]) -> Any:
    """A C array of `kind` holding the values."""
    return (kind * len(values))(*values)
