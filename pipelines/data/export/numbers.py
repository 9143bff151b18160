"""Numbers as people write them: whole ones without a point, others as the shortest decimal that reads back to the same value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

_WHOLE_LIMIT = 2.0**53


def plain_numbers(values: np.ndarray[Any, Any]) -> list[Any]:
    """An array as (nested) lists of ``int`` and ``float``.

    Args:
        values: Real, finite numbers with one dimension or more; whole ones within 64 bits. A float32 becomes the shortest decimal that
            reads back to the same float32.
    """
    if values.dtype.kind in "biu" or _are_whole(values.astype(np.float64)):
        whole: list[Any] = values.astype(np.int64).tolist()
        return whole
    if values.ndim > 1:
        return [plain_numbers(row) for row in values]
    return [_plain(value) for value in values]


def _are_whole(values: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    return bool(np.all((values == np.trunc(values)) & (np.abs(values) < _WHOLE_LIMIT)))


def _plain(value: Any) -> int | float:
    number = float(str(value))  # str() of a NumPy number is the shortest decimal for its own precision
    return int(number) if number.is_integer() else number


def decimal_text(value: float) -> str:
    """A number without an exponent, which many readers of text layouts do not know."""
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


def nine_digits(value: float) -> str:
    """A number with nine significant digits and without an exponent: enough to read the nearest float32 back."""
    text = f"{value:.9g}"
    return format(Decimal(text), "f") if "e" in text else text
