"""A row as one byte string: read back it is the row, and no other row has it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lineage.model.rows import RowEncoder, decode_row, encode_value


def given(*values: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As Hypothesis's own, with as many examples as the whole file can afford."""
    return lambda test: settings(deadline=None, max_examples=150)(hypothesis.given(*values)(test))


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
NAMES = TEXT | st.sampled_from(["a b", "line\nbreak", " ", "", "1 a", "bild ü", "(3,)"])
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
PLAIN = npst.scalar_dtypes()
FIELDS = st.lists(st.sampled_from(["x", "y z", "w\n", "(", "ü"]), min_size=1, max_size=3, unique=True)


@st.composite
def structured(draw: st.DrawFn) -> np.dtype[Any]:
    """Element types with fields: nested, with shapes of their own, with gaps between fields."""
    inner = PLAIN | st.builds(lambda element: np.dtype([("in", element, (2,))]), PLAIN)
    fields = [(name, draw(inner)) for name in draw(FIELDS)]
    return np.dtype(fields, align=draw(st.booleans()))


def arrays(dtypes: st.SearchStrategy[np.dtype[Any]]) -> st.SearchStrategy[Any]:
    """Of any bits, so that numbers that are not numbers are among them, in every spelling of theirs."""

    def of_bits(dtype: np.dtype[Any], shape: tuple[int, ...], source: bytes) -> Any:
        array = np.zeros(shape, dtype)
        if dtype.names is None and dtype.kind in "iuf":
            array.reshape(-1).view(np.uint8)[:] = np.resize(np.frombuffer(source or b"\0", np.uint8), array.nbytes)
        elif array.size:
            array.reshape(-1)[-1:] = np.ones(1, dtype)
        return array

    return st.builds(of_bits, dtypes, SHAPES, st.binary(max_size=16))


ARRAYS = arrays(st.sampled_from([np.dtype(f"{order}{kind}") for order in "<>" for kind in ("i2", "u4", "f4", "f8", "i8", "f2")]))
ODD_ARRAYS = npst.arrays(PLAIN, SHAPES) | arrays(structured())
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats() | st.booleans() | st.complex_numbers()
SIMPLE = st.none() | st.binary(max_size=6) | TEXT | ARRAYS | ODD_ARRAYS | NUMBERS
VALUES = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=4)
ROWS = st.dictionaries(NAMES, VALUES, max_size=4)
DIGESTS = st.binary(max_size=3).map(lambda seed: hashlib.sha256(seed).digest())


def shown(value: Any) -> Any:
    """What makes two values the same to a training program: type, shape, element type and bits; numbers are arrays without dimensions."""
    if isinstance(value, list | tuple):
        return ("list", tuple(shown(item) for item in value))
    if isinstance(value, dict):
        return ("mapping", tuple((key, shown(value[key])) for key in sorted(value)))
    if value is None or isinstance(value, bytes | str):
        return (type(value).__name__, value)
    array = np.asarray(value)
    if array.dtype.names is not None:
        fields = tuple((name, shown(array[name])) for name in array.dtype.names)
        return ("fields", array.shape, fields)
    return ("array", array.dtype.newbyteorder("<").str, array.shape, array.astype(array.dtype.newbyteorder("<")).tobytes())


def encoded(row: dict[str, Any], pictures: dict[str, bytes] | None = None) -> bytes:
    encoder = RowEncoder(row, pictures or {})
    return encoder([row[name] for name in encoder.names], [(pictures or {})[name] for name in encoder.pictures])


@given(ROWS, st.dictionaries(NAMES, DIGESTS, max_size=2))
def test_a_row_comes_back(row: dict[str, Any], pictures: dict[str, bytes]) -> None:
    """Every kind of value, under any name: same type, shape, element type and bits; pictures by their digests."""
    row = {name: value for name, value in row.items() if name not in pictures}
    found, digests = decode_row(encoded(row, pictures))

    assert shown(found) == shown(row)
    assert digests == pictures
    assert encoded(found, digests) == encoded(row, pictures)


@given(ROWS, ROWS)
def test_different_rows_have_different_bytes(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Equal exactly when names, types, shapes and bits are."""
    assert (encoded(left) == encoded(right)) == (shown(left) == shown(right))


@given(VALUES, VALUES, NAMES, NAMES)
def test_values_have_one_form_each(left: Any, right: Any, name: str, other: str) -> None:
    """The same in one column alone, where the name counts as well."""
    same = name == other and shown(left) == shown(right)

    assert (encode_value(name, left) == encode_value(other, right)) == same


COLUMN = st.lists(TEXT, max_size=6) | st.lists(ARRAYS, max_size=6) | st.lists(VALUES, max_size=6)


@given(st.dictionaries(NAMES, COLUMN, min_size=1, max_size=3), st.dictionaries(NAMES, st.lists(DIGESTS, max_size=6), max_size=2))
def test_a_batch_is_its_rows(columns: dict[str, list[Any]], pictures: dict[str, list[bytes]]) -> None:
    """Encoded a column at a time, twice by one encoder or one value at a time: the same bytes."""
    columns = {name: column for name, column in columns.items() if name not in pictures}
    count = min(len(column) for column in (*columns.values(), *pictures.values()))
    encoder = RowEncoder(columns, pictures)
    values = [columns[name][:count] for name in encoder.names]
    digests = [pictures[name][:count] for name in encoder.pictures]
    picture_headers = [f"{len(name.encode())} {name} picture 32\n".encode() for name in encoder.pictures]
    expected = [
        b"".join(encode_value(name, column[i]) for name, column in zip(encoder.names, values, strict=True))
        + b"".join(header + column[i] for header, column in zip(picture_headers, digests, strict=True))
        for i in range(count)
    ]

    assert encoder.rows(values, digests) == expected
    assert encoder.rows(values, digests) == expected
    assert [encoder([column[i] for column in values], [column[i] for column in digests]) for i in range(count)] == expected


def test_columns_of_different_length_are_refused() -> None:
    """A value too few would move every following row's values into another row."""
    encoder = RowEncoder(["a", "b"], ["p"])
    with pytest.raises(ValueError, match="zip"):
        encoder.rows([["x", "y"], ["z"]], [[bytes(32)] * 2])
    with pytest.raises(ValueError, match="zip"):
        encoder.rows([["x"]], [[bytes(32)]])


def test_what_lies_between_fields_does_not_count() -> None:
    """Gaps that an aligned type leaves hold whatever was in memory: two arrays of equal fields have one form."""
    dtype = np.dtype([("a", "u1"), ("b", "<u4")], align=True)
    left, right = np.zeros(2, dtype), np.frombuffer(bytearray(b"\xff" * 16), dtype)
    right["a"], right["b"] = 0, 0

    assert left.tobytes() != right.tobytes()
    assert encode_value("x", left) == encode_value("x", right)


@pytest.mark.parametrize("value", [object(), np.array([object()], object), np.array([("a", 1)], [("o", object), ("n", "i4")]), {1, 2}])
def test_values_without_fixed_bytes_are_refused(value: Any) -> None:
    """Python objects; the column is named, alone and among others."""
    with pytest.raises(TypeError, match="column 'thing'"):
        encode_value("thing", value)
    with pytest.raises(TypeError, match="column 'thing'"):
        RowEncoder(["thing"], []).rows([[value, value]], [])


@given(ROWS, st.data())
def test_bytes_that_are_cut_off_are_noticed(row: dict[str, Any], data: st.DataObject) -> None:
    """Anywhere but between two columns."""
    content = encoded(row)
    end = data.draw(st.integers(0, len(content)))
    try:
        found, _ = decode_row(content[:end])
    except ValueError:
        return
    assert encoded(found) == content[:end]
    assert len(found) < len(row) or end == len(content)
