"""Python batches of CIFAR-10, which are pickles, read without running anything that is in them.

A pickle can call any function of any module. The published files need three of NumPy's names and nothing else, so these three are
answered by small stand-ins below, and every other name is refused.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lineage.errors import InvalidSource

_KINDS = ("u1", "i1", "i2", "i4", "i8", "u2", "u4", "u8")
_ARRAY_STATE = 5  # version, shape, type, whether columns come first, bytes


class _Kind:
    """Stands for ``numpy.dtype``: whole numbers only."""

    def __init__(self, text: Any, *_: Any) -> None:
        name = text.decode("latin-1") if isinstance(text, bytes) else str(text)
        if name.lstrip("<|") not in _KINDS:
            raise ValueError(f"an array of type {name[:20]!r}, expected whole numbers")
        self.name = name.lstrip("<|")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", b"<", b"|"):
            raise ValueError("an array in an unknown byte order")


class _Array:
    """Stands for ``numpy.ndarray``: shape, type and bytes, made into an array of ours when all is read."""

    value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != _ARRAY_STATE or not isinstance(state[2], _Kind) or not isinstance(state[4], bytes):
            raise ValueError("an array in an unknown form")
        self.value = _array(state[4], state[2], state[1], "F" if state[3] else "C").value


def _array(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.value = np.frombuffer(content, np.dtype("<" + kind.name)).reshape(shape, order="F" if order == "F" else "C")
    return made


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"text in the encoding {encoding[:20]!r}")
    return text.encode("latin-1")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _latin1,  # how Python 3 writes bytes in the old protocols
}
for _module in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_module}.multiarray", "_reconstruct"] = _reconstruct
    _KNOWN[f"{_module}.numeric", "_frombuffer"] = _array


class _Refused(pickle.UnpicklingError):
    pass


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused(f"an object kept elsewhere ({str(pid)[:40]})")


def read_pickle(content: bytes, where: Path) -> dict[str, Any]:
    """Read a batch or its table of names.

    Args:
        content: The file's bytes.
        where: Its path, for messages.

    Returns:
        Text to value. Keys and texts are ``str`` whatever Python wrote them, arrays are NumPy's.

    Raises:
        InvalidSource: It is cut off, is no pickle or no dictionary, or needs a name that such a file never needs.
    """
    try:
        found = _Reader(io.BytesIO(content), encoding="bytes").load()
    except _Refused as error:
        raise InvalidSource(
            f"{where}: is a pickle that asks for {error}, expected NumPy's arrays only",
            hint="it is no batch of CIFAR-10, and loading it could run a program: delete it, or ask who wrote it",
        ) from error
    except Exception as error:  # whatever bytes make a pickle's reader do, it is a bad file
        at = " ".join(str(error).split())[:120] or type(error).__name__
        raise InvalidSource(
            f"{where}: cannot be read as a pickle ({len(content)} bytes), expected a whole batch of CIFAR-10's Python version, found: {at}",
            hint="it may be cut off: fetch or unpack it again",
        ) from error
    if not isinstance(found, dict):
        raise InvalidSource(f"{where}: expected a dictionary, found {type(found).__name__}")
    return {_plain(key): _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
