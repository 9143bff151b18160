"""What tells how much of a target is explained by which columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Domain:
    """A parameter and its value in each trial.

    Attributes:
        values: float64, shape (n,): numbers, or numbers of categories counted from 0.
        categories: How many categories there are; 0 for a number.
        is_log: Numbers are spread logarithmically; all are positive.
    """

    values: Any
    categories: int
    is_log: bool


class ImportanceMeter(Protocol):
    """Measures importance; equal arguments give equal answers."""

    def forest(self, columns: Any, target: Any, *, seed: int, trees: int) -> Any:
        """Impurity decrease of each column in a random forest; they sum to 1, or are all 0 when no tree could split.

        Args:
            columns: float64, shape (n, columns).
            target: float64, shape (n,).
            seed: Of the forest.
            trees: How many.

        Returns:
            float64, shape (columns,).
        """

    def judged_forest(self, columns: Any, target: Any, *, seed: int, trees: int) -> tuple[Any, float]:
        """As :meth:`forest`, and R² of the forest on the trials that each tree has not seen."""

    def fanova(self, domains: list[Domain], target: Any, *, seed: int) -> list[float]:
        """Share of the variance that each parameter explains by itself, over the whole of its domain.

        Args:
            domains: The parameters, each with more than one value.
            target: float64, shape (n,).
            seed: Of the forest.
        """
