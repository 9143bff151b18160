"""What the machine and the processes of a run use while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class UsageMeter(Protocol):
    """Measures. Rates are those since the call before, or since it was made."""

    def sample(self) -> dict[str, float]:
        """What can be found out now: names that begin with ``system/`` to values; what cannot be is absent.

        Names without a unit are percent: ``system/cpu`` of all cores, ``system/memory`` of the machine, ``system/disk`` of the working
        folder's file system, ``system/gpu/0`` and ``system/gpu/0/memory``; but ``system/process/cpu`` is percent of one core. ``_mib`` are
        MiB, ``_mib_s`` MiB a second, ``_w`` watts, ``_c`` degrees Celsius. ``system/cpu`` and ``system/memory`` are always there.
        """


@dataclass(frozen=True, slots=True)
class Usage:
    """How usage is sampled.

    Attributes:
        every_s: Seconds between samples; 0 for none.
        meter: Makes one for a process and those that it started; without the first itself when that only waits for the others:
            (process id, whether it counts itself). Imports what it needs: call it where time does not matter.
    """

    every_s: float
    meter: Callable[[int, bool], UsageMeter]
