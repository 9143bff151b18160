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
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, PurePath | date | datetime):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item, name) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "tolist"):  # arrays, NumPy scalars and tensors
        return plain(value.tolist(), name)
    raise TypeError(f"{name}: expected plain values, lists and mappings, found {type(value).__name__}")
