"""Runs put together by what they share, with the spread of their metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lineage.lookup.spread import Spread, last_value, spread
from lineage.model.run import Run
from service.pages.columns import Column


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs that share some values.

    Attributes:
        values: What they share, in the order of the columns.
        runs: Newest first.
        spreads: By metric; ``None`` when no run of the group has it.
    """

    values: tuple[Any, ...]
    runs: tuple[Run, ...]
    spreads: dict[str, Spread | None]


def grouped(runs: Sequence[Run], by: Sequence[Column], metrics: Sequence[str]) -> list[RunGroup]:
    """Groups, the largest first; equally large ones by their newest run.

    Args:
        runs: Newest first.
        by: What they are put together by.
        metrics: Names of the metrics whose spread is told.
    """
    parts: dict[str, list[Run]] = {}
    for run in runs:
        parts.setdefault(json.dumps([column.value(run) for column in by], sort_keys=True, default=str), []).append(run)
    ordered = sorted(parts.values(), key=len, reverse=True)
    return [
        RunGroup(
            tuple(column.value(members[0]) for column in by),
            tuple(members),
            {name: spread([value for run in members if (value := last_value(run, name)) is not None]) for name in metrics},
        )
        for members in ordered
    ]
