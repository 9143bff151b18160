"""How much a run's own repetitions differ from one another: the only tolerance a verdict may use."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lineage.model.digest import Digest

FACTOR = 2.0
"""A reproduction may lie so many times the calibrated spread away from its original.

The spread is the range of few repetitions, and both the original and its reproduction are further draws from the same noise.
"""


class Spread(BaseModel):
    """How much one value differed among the repetitions.

    Attributes:
        name: Of the metric, or the key in the summary.
        kind: ``metric`` for a series, ``summary`` for a number that was put into the summary.
        points: Compared places of the series.
        max_absolute: Largest difference between the highest and the lowest value at one place, in the value's own unit; ``None`` when no
            spread can be given.
        max_relative: Likewise, each divided by the largest magnitude at its place.
        reason: Why no spread can be given: such a value must be equal bit for bit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["metric", "summary"] = "metric"
    points: int
    max_absolute: float | None = None
    max_relative: float | None = None
    reason: str | None = None

    def allows(self, a: float, b: float) -> bool:
        """Whether two values are no further apart than :data:`FACTOR` times the spread, absolutely and relatively."""
        if self.max_absolute is None or self.max_relative is None or not (math.isfinite(a) and math.isfinite(b)):
            return False
        apart = abs(a - b)
        return apart <= FACTOR * self.max_absolute and apart <= FACTOR * self.max_relative * max(abs(a), abs(b))


class Calibration(BaseModel):
    """What the repetitions of a run had in common, and how much they differed.

    Attributes:
        at: When it was measured.
        run_ids: The repetitions.
        environment: Digest of interpreter and packages that the repetitions had.
        spreads: One for each metric, and each number of the summary.
        outputs: Name of each file that was made to whether its bytes were equal in all repetitions.
        steps_are_equal: Whether their step logs were equal to the end; ``None`` without step logs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    run_ids: tuple[str, ...]
    environment: Digest | None = None
    spreads: tuple[Spread, ...] = ()
    outputs: dict[str, bool] = {}
    steps_are_equal: bool | None = None

    @property
    def is_deterministic(self) -> bool:
        """Whether the repetitions were equal bit for bit: then nothing is tolerated."""
        return (
            self.steps_are_equal is not False
            and all(self.outputs.values())
            and all(spread.max_absolute == 0 and spread.reason is None for spread in self.spreads)
        )

    def spread(self, name: str, kind: str = "metric") -> Spread | None:
        """The spread of a value, ``None`` when the repetitions had none of this name."""
        return next((item for item in self.spreads if (item.name, item.kind) == (name, kind)), None)
