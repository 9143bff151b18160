"""A group of runs: the spread of its metrics, per step and at the end, and what differs between its runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from lineage.model.difference import Subject
from lineage.model.run import RunState

_TOLD = 3


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpreadAtEnd(_Value):
    """The last values of a metric over the runs that count.

    Attributes:
        n: Runs whose last value is a finite number.
        mean: Their mean; ``None`` when there is none, as are ``min`` and ``max``.
        std: Standard deviation of the sample (divided by ``n - 1``); ``None`` for fewer than two runs.
        not_finite: Runs whose last value is NaN or infinite: left out.
        missing: Runs that have no value.
    """

    n: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    not_finite: int = 0
    missing: int = 0


class SpreadOverSteps(_Value):
    """A metric at each step, over the runs that have a finite value there. Nothing is interpolated: ``n`` tells how many there are.

    Attributes:
        x: Steps, rising; or values of the metric that is the axis.
        n: Runs with a finite value there.
        mean: Over those runs.
        std: Standard deviation of the sample (divided by ``n - 1``); ``None`` where there is only one.
        min: Least value.
        max: Greatest value.
        steps: How many steps there are, before any were left out for drawing.
        values: Finite values that entered.
        not_finite: Values that are NaN or infinite: left out.
        repeated: Values that a later one of the same run at the same step replaced.
        is_thinned: Whether steps were left out: of each stretch those with the least and the greatest value stay.
    """

    x: tuple[float, ...]
    n: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float | None, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]
    steps: int
    values: int
    not_finite: int = 0
    repeated: int = 0
    is_thinned: bool = False


class MetricOfGroup(_Value):
    """One metric.

    Attributes:
        axis: What ``over`` goes over: ``step``, or another metric.
        over: Per step; ``None`` when no run logged it as a series (a value of the summary alone).
    """

    name: str
    end: SpreadAtEnd
    axis: str
    over: SpreadOverSteps | None


class Variant(_Value):
    """A value, and the runs that have it.

    Attributes:
        value: In words; ``absent`` where a run has none.
        runs: Ids.
    """

    value: str
    runs: tuple[str, ...]


class Variation(_Value):
    """Something that is not the same in all runs.

    Attributes:
        name: For example ``train`` (a role), ``config.optimizer.lr``, ``torch``.
        variants: The most frequent first.
        decides: Whether it should decide the result; a machine should not.
    """

    subject: Subject
    name: str
    variants: tuple[Variant, ...]
    decides: bool = True

    @property
    def title(self) -> str:
        """What it is called in a sentence."""
        return self.name if self.subject in (self.name, "configuration") else f"{self.subject} {self.name}"

    @property
    def scattered(self) -> str | None:
        """Every run has another value: how many there are, and the first; else ``None``."""
        if len(self.variants) <= _TOLD or any(len(item.runs) > 1 for item in self.variants):
            return None
        return f"{len(self.variants)} different values: {', '.join(item.value for item in self.variants[:_TOLD])} …"


class GroupDifference(_Value):
    """What differs between the runs of a group, in the order in which it usually decides.

    Attributes:
        sentence: The answer in short, for example ``these 5 runs differ only in the seed``.
        is_seed_only: Whether nothing that should decide the result differs but the seed.
        variations: Everything that differs, the seed among it.
    """

    sentence: str
    is_seed_only: bool
    variations: tuple[Variation, ...]


class BetweenGroups(_Value):
    """Something that groups do not have in common.

    Attributes:
        values: By group, each value that its runs have, the most frequent first.
    """

    subject: Subject
    name: str
    title: str
    values: dict[str, tuple[str, ...]]
    decides: bool = True


class GroupsCompared(_Value):
    """What differs between groups; what varies in each of them in the same way is left out: seeds, for example.

    Attributes:
        sentence: The answer in short.
        variations: In the order in which they usually decide.
    """

    sentence: str
    variations: tuple[BetweenGroups, ...]


class GroupMember(_Value):
    """A run of the group.

    Attributes:
        repeats: The run whose command it runs with another seed.
        left_out: Why its values do not count; ``None`` when they do.
        last: Last values of the metrics that are told.
    """

    run_id: str
    name: str
    project: str
    state: RunState
    seed: int | None
    started_at: datetime
    repeats: str | None
    left_out: str | None
    last: dict[str, Any]


class Group(_Value):
    """A group of runs.

    Attributes:
        project: Of its runs.
        runs: How many runs count.
        members: Every run, newest first; those that do not count say why.
        is_whole: Whether every run of the group was looked at.
        metrics: Those of an evaluation first.
        difference: Between the runs that count.
        notes: What a reader should know of the numbers.
    """

    name: str
    project: str
    runs: int
    members: tuple[GroupMember, ...]
    is_whole: bool
    metrics: tuple[MetricOfGroup, ...]
    difference: GroupDifference
    notes: tuple[str, ...] = ()
