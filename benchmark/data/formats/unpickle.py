"""Reads pickles of numpy arrays, dicts, lists, strings and numbers that Python 2 wrote, and can make nothing else.

A pickle is a program. This interpreter of it knows the opcodes of protocols 0 to 2 that build plain data; a global may
be named only if it is one of numpy's four, and stands here for code of this file, never for numpy's own (whose
``__setstate__`` trusts what it is given). Any other global, any other call and any other opcode ends the reading, so
that a file from anywhere can be opened.

Strings are returned as bytes, as Python 2 wrote them; unicode as str. Arrays are views of those bytes, read-only.
"""

import pickle
import pickletools
import re
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from benchmark.data.formats import regular
from benchmark.errors import InputError

LARGEST = 2 << 30  # bytes: a subject of WESAD takes about half of it
# fmt: off
OPCODES = frozenset({
    "PROTO", "STOP", "MARK", "POP", "POP_MARK", "DUP",
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
    "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND", "APPENDS",
    "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS",
    "PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET",
    "GLOBAL", "REDUCE", "BUILD",
})
# fmt: on
_CODES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_NUMBER = re.compile(rb"[<>|=]?([biuf][1248]|f16)")


class Refused(Exception):
    """The pickle asks for something that is not plain data."""


class _DType:
    """Stands for ``numpy.dtype``: numbers of a fixed size and nothing else."""

    def __init__(self, code: Any = None, align: Any = 0, copy: Any = 1):
        code = code.encode("ascii", "replace") if isinstance(code, str) else code
        if not isinstance(code, bytes) or not _NUMBER.fullmatch(code):
            raise Refused(f"arrays of {code!r}, not of numbers")
        self.dtype = np.dtype(code.decode())

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("arrays of records")
        order = state[1].encode("ascii", "replace") if isinstance(state[1], str) else state[1]
        if order not in (b"<", b">", b"|", b"="):
            raise Refused(f"arrays of byte order {order!r}")
        self.dtype = np.dtype(order.decode() + self.dtype.str[1:])


class _Array:
    """Stands for ``numpy.ndarray`` while it is being read."""

    def __init__(self) -> None:
        self.values: np.ndarray | None = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array without shape, type and values")
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _DType) or not isinstance(raw, bytes) or not isinstance(shape, tuple):
            raise Refused("an array without shape, type and values")
        if not all(isinstance(n, int) and n >= 0 for n in shape):
            raise Refused(f"an array of shape {shape}")
        flat = np.frombuffer(raw, dtype=dtype.dtype)
        self.values = flat.reshape(shape, order="F" if fortran else "C")


class _Global:
    """One of numpy's names; what calling it makes."""

    KNOWN: ClassVar[frozenset[tuple[str, str]]] = frozenset(
        (module, name)
        for package in ("numpy.core", "numpy._core")
        for module, name in (
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            (f"{package}.multiarray", "_reconstruct"),
            (f"{package}.multiarray", "scalar"),
        )
    )

    def __init__(self, module: str, name: str):
        if (module, name) not in self.KNOWN:
            raise Refused(f"the global {module}.{name}")
        self.name = name

    def call(self, arguments: Any) -> Any:
        if not isinstance(arguments, tuple):
            raise Refused(f"a call of {self.name} without arguments")
        if self.name == "dtype":
            return _DType(*arguments)
        if self.name == "_reconstruct":
            return _Array()
        if self.name == "scalar":
            dtype, raw = arguments
            if isinstance(dtype, _DType) and isinstance(raw, bytes):
                return np.frombuffer(raw, dtype=dtype.dtype)[0]
        raise Refused(f"a call of numpy's {self.name}")


class _PlainUnpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """The interpreter in Python, not the one in C, so that the table of opcodes can be cut down."""

    dispatch: ClassVar[dict[int, Any]] = {
        code: function
        for code, function in pickle._Unpickler.dispatch.items()  # type: ignore[attr-defined]
        if _CODES[code] in OPCODES
    }

    stack: list[Any]

    def find_class(self, module: str, name: str) -> _Global:
        return _Global(module, name)

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if not isinstance(function, _Global):
            raise Refused(f"a call of {type(function).__name__}")
        self.stack[-1] = function.call(arguments)

    def load_build(self) -> None:
        state, instance = self.stack.pop(), self.stack[-1]
        if not isinstance(instance, _Array | _DType):
            raise Refused(f"a change of {type(instance).__name__}")
        instance.build(state)

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


def loads(stream: IO[bytes]) -> Any:
    """What the pickle holds; arrays inside it come out with ``array``. Any exception means that it cannot be used."""
    try:
        return _PlainUnpickler(stream, encoding="bytes").load()
    except KeyError as error:
        code = error.args[0] if error.args else None
        if isinstance(code, int) and code not in _PlainUnpickler.dispatch:
            raise Refused(f"the opcode {_CODES.get(code, code)}") from None
        raise


def load(file: Path, what: str) -> Any:
    """The content of a pickle, through the interpreter above.

    Raises
    ------
    InputError
        For a missing or damaged file and for one that asks for more than plain data; ``what`` says what was expected.
    """
    regular.size_of(file, LARGEST)
    try:
        with file.open("rb") as stream:
            return loads(stream)
    except Refused as error:
        raise InputError(
            f"{file}: asks for {error}, which is not plain data and was not run; use {what} as published"
        ) from None
    except Exception as error:  # whatever a damaged pickle makes the interpreter stumble over
        raise InputError(f"{file}: not a whole pickle ({type(error).__name__}: {error}); get {what} again") from error


def item(content: Any, *path: str) -> Any:
    """``content[path[0]][path[1]]...`` with keys that are bytes or str; KeyError names the part that is not there."""
    for depth, key in enumerate(path, start=1):
        if not isinstance(content, dict):
            raise KeyError(".".join(path[:depth]))
        found = content.get(key.encode(), content.get(key))
        if found is None:
            raise KeyError(".".join(path[:depth]))
        content = found
    return content.values if isinstance(content, _Array) else content
