"""Turning what people put into a configuration or a summary into plain JSON values, or saying what cannot be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from pathlib import PurePath
from typing import Any


def plain(value: Any, name: str = "value") -> Any:
    """``value`` as JSON holds it. Floats that are not finite become the texts ``nan``, ``inf`` and ``-inf``.

    Raises:
        TypeError: Something in it has no plain form; the path to it is named.
    """
    if isinstance(value, Enum):
        return plain(value.value, name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, PurePath | date | datetime):
        return _text(str(value), name)
    if isinstance(value, Mapping):
        return _mapping(value, name)
    if isinstance(value, set | frozenset):
        return sorted((plain(item, name) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "tolist"):  # arrays, NumPy scalars and tensors
        return plain(value.tolist(), name)
    raise TypeError(f"{name}: expected plain values, lists and mappings, found {type(value).__name__}")


def _text(value: str, name: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise TypeError(f"{name}: expected text that UTF-8 can hold, found {value!r}") from None
    return value


def _mapping(value: Mapping[Any, Any], name: str) -> dict[str, Any]:
    items: dict[str, Any] = {}
    for key, item in value.items():
        text = _text(str(key), name)
        if text in items:
            raise TypeError(f"{name}: two keys are spelled {text!r}; one value would be lost")
        items[text] = plain(item, f"{name}.{text}")
    return items
