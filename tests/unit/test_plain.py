"""Configurations and summaries as plain values."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineage.model.plain import plain


class Colour(Enum):
    red = "r"


class Level(IntEnum):
    high = 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (np.bool_(True), True),
        (3, 3),
        (2**70, 2**70),
        (np.int64(3), 3),
        (0.1, 0.1),
        (np.float32(0.5), 0.5),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        ("ü", "ü"),
        (Colour.red, "r"),
        (Level.high, 3),
        (Path("a/b"), "a/b"),
        (date(2024, 5, 6), "2024-05-06"),
        (datetime(2024, 5, 6, 7, tzinfo=UTC), "2024-05-06 07:00:00+00:00"),
        ((1, (2, 3)), [1, [2, 3]]),
        ({3, 1, 2}, [1, 2, 3]),
        (np.array([[1, 2], [3, 4]], np.int8), [[1, 2], [3, 4]]),
        (np.array([1.0, math.nan]), [1.0, "nan"]),
        ({"a": {1: (2.0,)}}, {"a": {"1": [2.0]}}),
    ],
)
def test_values_become_what_json_holds(value: Any, expected: Any) -> None:
    """Numbers, texts, paths, times, enumerations, sets, arrays: plain, of the same value, and JSON reads them back the same."""
    found = plain(value)

    assert found == expected
    assert type(found) is type(expected)
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


def test_tensors_become_lists() -> None:
    """Anything that tells its values by ``tolist()`` is plain, whatever library it is from."""

    class TensorLike:
        def tolist(self) -> list[float]:
            return [1.0, 2.0]

    assert plain({"w": TensorLike()}) == {"w": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        ({"model": {"layers": [1, object()]}}, r"config\.model\.layers\[1\]", "object"),
        ({"f": len}, r"config\.f", "builtin_function_or_method"),
        ({"b": b"x"}, r"config\.b", "bytes"),
        ({"z": 1j}, r"config\.z", "complex"),
        ({"a": np.array([object()])}, r"config\.a\[0\]", "object"),
    ],
)
def test_what_is_not_plain_is_named(value: Any, path: str, kind: str) -> None:
    """The error names the place and the type."""
    with pytest.raises(TypeError, match=rf"^{path}: expected plain values.*found {kind}$"):
        plain(value, "config")


def test_two_keys_of_one_spelling_are_refused() -> None:
    """``{1: a, "1": b}`` would lose a value silently: JSON has one key for both."""
    with pytest.raises(TypeError, match=r"config: two keys are spelled '1'"):
        plain({1: "a", "1": "b"}, "config")


def test_text_that_no_encoding_holds_is_refused() -> None:
    """A lone surrogate (bytes of a file name that are no UTF-8) cannot be stored; the key is named instead of a failure later."""
    with pytest.raises(TypeError, match=r"config\.file: .*UTF-8"):
        plain({"file": "caf\udce9.txt"}, "config")
