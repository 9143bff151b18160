"""A row as one byte string: what its digest covers, what an archive keeps, and how it is read back.

Each column value is a header (name, type, byte count) and its bytes. The header makes the encoding injective: no two different rows share
one byte string, whatever the values hold. Annotations come first, in the order of their names, then each picture's digest.
"""

from __future__ import annotations

import ast
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PICTURE_BYTES = hashlib.sha256().digest_size


def encode_value(name: str, value: Any) -> bytes:
    """Header and bytes of one column's value.

    Raises:
        TypeError: The value has no fixed bytes (object arrays).
    """
    if value is None:
        kind, body = "null", b""
    elif isinstance(value, bytes | bytearray | memoryview):
        kind, body = "bytes", bytes(value)
    elif isinstance(value, str):
        kind, body = "text", value.encode()
    elif isinstance(value, list | tuple):
        kind, body = f"list {len(value)}", _encode_all((str(i), item) for i, item in enumerate(value))
    elif isinstance(value, Mapping):
        kind, body = f"mapping {len(value)}", _encode_all((str(key), value[key]) for key in sorted(value))
    else:
        import numpy as np  # see Rows in lineage.model.dataset

        array = np.asarray(value)
        if array.dtype.hasobject:
            raise TypeError(f"column '{name}' holds {type(value).__name__} values, which have no fixed bytes to digest")
        if array.dtype.names is not None:
            from numpy.lib.recfunctions import repack_fields

            array = repack_fields(array, recurse=True)  # gaps between fields hold whatever was in memory
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        # A structured type's short name tells its size only.
        element = array.dtype.str if array.dtype.names is None else repr(array.dtype.descr)
        kind, body = f"array {element} {array.shape}", np.ascontiguousarray(array).tobytes()
    return _header(name, kind, len(body)) + body


def _encode_all(items: Iterable[tuple[str, Any]]) -> bytes:
    return b"".join(encode_value(name, item) for name, item in items)


def _header(name: str, kind: str, size_bytes: int) -> bytes:
    return f"{len(name.encode())} {name} {kind} {size_bytes}\n".encode()


class RowEncoder:
    """Encodes rows of one dataset: as :func:`encode_value` of each column, a column at a time, with headers made once for each form.

    Args:
        annotations: Every column but the pictures.
        pictures: Columns that hold pictures.

    Attributes:
        names: The annotations in the order in which their values are given.
        pictures: The pictures in the order in which their digests are given.
    """

    def __init__(self, annotations: Iterable[str], pictures: Iterable[str]) -> None:
        self.names = tuple(sorted(annotations))
        self.pictures = tuple(sorted(pictures))
        self._picture_headers = tuple(_header(name, "picture", PICTURE_BYTES) for name in self.pictures)
        self._arrays: dict[tuple[str, Any], _ArrayHeaders] = {}

    def __call__(self, values: Sequence[Any], pictures: Sequence[bytes]) -> bytes:
        """The byte string of a row.

        Args:
            values: One for each of :attr:`names`.
            pictures: SHA-256 of each picture's encoded bytes, 32 bytes raw, one for each of :attr:`pictures`.
        """
        return self.rows([[value] for value in values], [[digest] for digest in pictures])[0] if values or pictures else b""

    def rows(self, columns: Sequence[Sequence[Any]], pictures: Sequence[Sequence[bytes]]) -> list[bytes]:
        """The byte strings of several rows.

        Args:
            columns: The values of each of :attr:`names`, all of one length.
            pictures: Digests as in a call, for each of :attr:`pictures`, all of that length.

        Raises:
            ValueError: There are not as many columns as names, or they are of different length.
        """
        parts = [self._encoded(name, column) for name, column in zip(self.names, columns, strict=True)]
        for header, digests in zip(self._picture_headers, pictures, strict=True):
            parts.append([header + digest for digest in digests])
        return [b"".join(row) for row in zip(*parts, strict=True)]

    def _encoded(self, name: str, column: Sequence[Any]) -> list[bytes]:
        types = set(map(type, column))
        if types == {str}:
            start = f"{len(name.encode())} {name} text ".encode()
            texts = [value.encode() for value in column]
            return [b"%b%d\n%b" % (start, len(text), text) for text in texts]
        dtypes = {value.dtype for value in column} if all(hasattr(kind, "dtype") for kind in types) else set()
        if len(dtypes) != 1 or (dtype := dtypes.pop()).kind not in "biuf" or dtype.byteorder == ">":
            return [encode_value(name, value) for value in column]
        headers = self._arrays.get((name, dtype))
        if headers is None or len(headers) > _HEADERS_KEPT:
            headers = self._arrays[name, dtype] = _ArrayHeaders(name, dtype)
        return [headers[value.shape] + value.tobytes() for value in column]


class _ArrayHeaders(dict[tuple[int, ...], bytes]):
    """Shape to header, for arrays of one column and element type."""

    def __init__(self, name: str, dtype: Any) -> None:
        super().__init__()
        self._name, self._dtype = name, dtype

    def __missing__(self, shape: tuple[int, ...]) -> bytes:
        header = self[shape] = _header(self._name, f"array {self._dtype.str} {shape}", math.prod(shape) * self._dtype.itemsize)
        return header


_HEADERS_KEPT = 4096


def decode_row(encoded: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The inverse of :class:`RowEncoder`.

    Returns:
        (annotations, digest of each picture): column to value. Numbers come back as NumPy scalars, lists and tuples as lists.

    Raises:
        ValueError: It is no encoded row.
    """
    annotations: dict[str, Any] = {}
    pictures: dict[str, bytes] = {}
    for name, kind, body in _fields(encoded):
        if kind == "picture":
            pictures[name] = body
        else:
            annotations[name] = _decode(kind, body)
    return annotations, pictures


def _fields(encoded: bytes) -> Iterable[tuple[str, str, bytes]]:
    at = 0
    while at < len(encoded):
        space = encoded.index(b" ", at)
        length = int(encoded[at:space])
        name = encoded[space + 1 : space + 1 + length].decode()
        end = encoded.index(b"\n", space + 1 + length)
        kind, _, size = encoded[space + 2 + length : end].decode().rpartition(" ")
        body = encoded[end + 1 : end + 1 + int(size)]
        if len(body) != int(size):
            raise ValueError(f"column '{name}' is cut off")
        yield name, kind, body
        at = end + 1 + int(size)


def _decode(kind: str, body: bytes) -> Any:
    word, _, rest = kind.partition(" ")
    match word:
        case "null":
            return None
        case "bytes":
            return body
        case "text":
            return body.decode()
        case "list":
            return [_decode(inner, value) for _, inner, value in _fields(body)]
        case "mapping":
            return {name: _decode(inner, value) for name, inner, value in _fields(body)}
        case "array":
            import numpy as np

            # The shape is the last bracket; a structured type has brackets of its own.
            start = rest.rindex(" (")
            element, shape = rest[:start], ast.literal_eval(rest[start + 1 :])
            dtype = np.dtype([_field(item) for item in ast.literal_eval(element)]) if element.startswith("[") else np.dtype(element)
            return np.frombuffer(body, dtype).reshape(shape)[()]
    raise ValueError(f"a value of the unknown kind '{word}'")


def _field(item: tuple[Any, ...]) -> tuple[Any, ...]:
    # Nested structured types are lists again.
    name, element, *shape = item
    return (name, [_field(inner) for inner in element] if isinstance(element, list) else element, *shape)
