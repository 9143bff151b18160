"""What of a metric a run's summary gets beside its last value: its lowest, highest, mean, first or last one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lineage.errors import UsageError
from lineage.model.metrics import logged
from lineage.model.run import MetricPoint

_WORDS = ("min", "max", "mean", "first", "last", "none", "copy")


class Summaries:
    """Definitions by the name of a metric, or by its beginning with ``*``; of several that fit a name the last one counts."""

    def __init__(self) -> None:
        self._words: dict[str, tuple[str, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._words)

    def define(self, name: str, summary: str) -> None:
        """Take a definition: words with commas between them.

        Raises:
            UsageError: One of them is not known.
        """
        words = tuple(word.strip().lower() for word in summary.split(","))
        unknown = next((word for word in words if word not in _WORDS), None)
        if unknown is not None:
            raise UsageError(f"metric '{name}': a summary has no '{unknown}'", hint=f"known: {', '.join(_WORDS[:-1])}")
        self._words.pop(name, None)
        self._words[name] = words

    def of(self, name: str) -> tuple[str, ...]:
        """The words for a metric; none without a definition."""
        fitting = (words for known, words in self._words.items() if known == name or (known.endswith("*") and name.startswith(known[:-1])))
        return next(reversed([*fitting]), ())

    def applied(self, summary: Mapping[str, Any], points: Callable[[], Sequence[MetricPoint]]) -> dict[str, Any]:
        """A summary with what was defined; what the program put in by itself stays.

        Args:
            summary: Last value of each metric, and what else was put in.
            points: Reads the run's metrics.
        """
        found = dict(summary)
        series: dict[str, list[float]] = {}
        for point in logged(points()):
            for name, value in point.values.items():
                series.setdefault(name, []).append(value)
        for name, values in series.items():
            words = self.of(name)
            if "none" in words and found.get(name) == values[-1]:
                del found[name]
            for word in words:
                if word not in ("none", "copy"):
                    found.setdefault(f"{name}.{word}", _value(word, values))
        return found


def _value(word: str, values: Sequence[float]) -> float:
    if word in ("first", "last"):
        return values[0 if word == "first" else -1]
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return math.nan
    return min(numbers) if word == "min" else max(numbers) if word == "max" else math.fsum(numbers) / len(numbers)
