"""Puts in what measures the importance of parameters."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from lineage.errors import MissingExtra

if TYPE_CHECKING:
    from lineage.ports.importance import ImportanceMeter


def importance_meter() -> ImportanceMeter:
    """What measures importance; its library takes about a second to load.

    Raises:
        MissingExtra: It is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise MissingExtra("scikit-learn", "sweeps")
    from lineage.adapters.importance.forest import ForestMeter

    return ForestMeter()
