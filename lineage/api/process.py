"""The wiring of this process: one for each store it was pointed at."""

from __future__ import annotations

import functools

from lineage.ports import Ports
from lineage.settings import Settings, load_settings
from lineage.wiring import wire


@functools.lru_cache(maxsize=8)
def wired(settings: Settings) -> Ports:
    """Ports for these settings, made once."""
    return wire(settings)


def ports_of_process() -> Ports:
    """Ports for what the environment says now."""
    return wired(load_settings())
