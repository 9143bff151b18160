"""Metric points of runs as series, one run after the other; each metric over its own axis. NumPy comes with the first point."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lineage.lookup.spread import axis_of, finite, is_not_finite
from lineage.model.metrics import StoredPoint
from lineage.model.run import Run, RunState
from lineage.record.metrics import NOT_COMPARED

if TYPE_CHECKING:
    from lineage.lookup.bands import Bands, Series

STEP = "step"


class GroupSeries:
    """What runs logged, added up run by run.

    Args:
        wanted: Only these metrics; all when empty.
        machine: Whether those of the machine are among all.
        axis: Of every metric; ``None``: what ``define_metric`` said in the run that is added first, else the step.

    Attributes:
        bands: By metric.
        axes: By metric: ``step``, or the metric whose values take the step's place.
        counted: Metric to number of runs that have it, those that are not wanted among them.
        last: Run to its last values, those that are not finite among them.
        no_axis: Values that were logged before their axis had one.
    """

    def __init__(self, wanted: Sequence[str], axis: str | None, *, machine: bool = True) -> None:
        self._wanted, self._axis, self._machine = set(wanted), axis, machine
        self.bands: dict[str, Bands] = {}
        self.axes: dict[str, str] = {}
        self.counted: Counter[str] = Counter()
        self.last: dict[str, dict[str, Any]] = {}
        self.no_axis = 0

    def add(self, run: Run, stored: Sequence[StoredPoint]) -> None:
        """Add a run with its points in the order of the calls."""
        from lineage.lookup.bands import Bands  # NumPy comes with it, and naming a group takes none

        steps = [step for step, _, _ in stored]
        values: list[dict[str, float]] = json.loads(f"[{','.join(text for _, _, text in stored)}]")  # one text: a third of the time
        for name, series in self._series(run, steps, values):
            self.bands.setdefault(name, Bands()).add(series)
        last: dict[str, Any] = {}
        for point in values:
            last |= point
        if run.state is not RunState.running:
            last |= {name: value for name, value in run.summary.items() if finite(value) is not None or is_not_finite(value)}
        self.last[run.id] = {name: value for name, value in last.items() if self._is_asked(name)}
        self.counted.update(self.last[run.id].keys() if not self._wanted else last.keys())

    def _series(self, run: Run, steps: list[int], values: list[dict[str, float]]) -> Iterator[tuple[str, Series]]:
        import numpy as np

        from lineage.lookup.bands import Series

        own = np.array(steps, np.int64)
        along: dict[str, Any] = {}
        for name, (calls, found) in self._columns(values).items():
            axis = self.axes.setdefault(name, self._axis or axis_of(run, name) or STEP)
            if axis == STEP:
                yield name, Series(own[calls], found)
                continue
            if axis not in along:
                along[axis] = _along(own, values, axis)
            at = along[axis][calls]
            has_place = np.isfinite(at)
            self.no_axis += int(len(at) - has_place.sum())
            yield name, Series(at[has_place], found[has_place])

    def _is_asked(self, name: str) -> bool:
        if self._wanted:
            return name in self._wanted
        return self._machine or not name.startswith(NOT_COMPARED)

    def _columns(self, values: list[dict[str, float]]) -> dict[str, tuple[Any, Any]]:
        """By metric: numbers of the points that have it, and its values there."""
        import numpy as np

        alike: dict[tuple[str, ...], list[int]] = {}  # points with the same names: each kind is one table
        for number, point in enumerate(values):
            alike.setdefault(tuple(point), []).append(number)
        parts: dict[str, list[tuple[Any, Any]]] = {}
        for names, numbers in alike.items():
            asked = [place for place, name in enumerate(names) if self._is_asked(name)]
            if asked:
                table = np.array([list(values[number].values()) for number in numbers], np.float64)
                for place in asked:
                    parts.setdefault(names[place], []).append((numbers, table[:, place]))
        columns: dict[str, tuple[Any, Any]] = {}
        for name, found in parts.items():
            calls, logged = (np.concatenate(column) for column in zip(*found, strict=True))
            order = np.argsort(calls, kind="stable")
            columns[name] = calls[order], logged[order]
        return columns


def _along(steps: Any, values: Sequence[Mapping[str, float]], axis: str) -> Any:
    """The last value of the axis at or before each point's step; NaN before it has one.

    Points of one step share what the step says, whichever of them says it.
    """
    import numpy as np

    order = np.argsort(steps, kind="stable")
    ordered = np.array([point.get(axis, np.nan) for point in values], np.float64)[order]
    known = np.maximum.accumulate(np.where(np.isfinite(ordered), np.arange(len(ordered)), -1))
    known = known[np.searchsorted(steps[order], steps[order], side="right") - 1]
    found = np.empty_like(ordered)
    found[order] = np.where(known >= 0, ordered[np.maximum(known, 0)], np.nan)
    return found
