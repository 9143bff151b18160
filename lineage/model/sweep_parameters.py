"""A parameter of a sweep: W&B's distributions, as functions from a number between 0 and 1 to a value.

Definitions follow W&B's own package (``sweeps`` 0.3, ``params.py`` and ``config/schema.json``). Two things differ on purpose: a
quantised value never leaves its bounds, and is an integer where ``q`` is one or is not given.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lineage.model.beta import beta_quantile

Distribution = Literal[
    "constant",
    "categorical",
    "categorical_w_probabilities",
    "int_uniform",
    "uniform",
    "q_uniform",
    "log_uniform",
    "log_uniform_values",
    "q_log_uniform",
    "q_log_uniform_values",
    "inv_log_uniform",
    "inv_log_uniform_values",
    "normal",
    "q_normal",
    "log_normal",
    "q_log_normal",
    "beta",
    "q_beta",
    "nested",
]
_RANGE, _BELL, _BETA = ("min", "max"), ("mu", "sigma"), ("a", "b")
KEYS: Mapping[Distribution, tuple[str, ...]] = MappingProxyType(
    {
        "constant": ("value",),
        "categorical": ("values",),
        "categorical_w_probabilities": ("values", "probabilities"),
        "int_uniform": _RANGE,
        "uniform": _RANGE,
        "q_uniform": (*_RANGE, "q"),
        "log_uniform": _RANGE,
        "log_uniform_values": _RANGE,
        "q_log_uniform": (*_RANGE, "q"),
        "q_log_uniform_values": (*_RANGE, "q"),
        "inv_log_uniform": _RANGE,
        "inv_log_uniform_values": _RANGE,
        "normal": _BELL,
        "q_normal": (*_BELL, "q"),
        "log_normal": _BELL,
        "q_log_normal": (*_BELL, "q"),
        "beta": _BETA,
        "q_beta": (*_BETA, "q"),
        "nested": ("parameters",),
    }
)
"""What each distribution is described by, beside its name."""
DEFAULTS: Mapping[str, int | float] = MappingProxyType({"mu": 0.0, "sigma": 1.0, "a": 1.0, "b": 1.0, "q": 1})
_EDGE = 1e-12
_SLACK = 1e-9  # 0.3 / 0.1 is 2.9999999999999996
_DIGITS = 12  # sixteen would show in which order a machine's mathematical functions round


@dataclass(frozen=True, slots=True)
class Axis:
    """Where a search looks for a value.

    Attributes:
        kind: ``choice``: one of ``high + 1`` things without an order; ``integer``: from ``low`` to ``high``; ``unit``: a number
            between 0 and 1, which says how much of the distribution lies below the value.
        low: Smallest coordinate.
        high: Largest one; it belongs to the axis.
    """

    kind: Literal["choice", "integer", "unit"]
    low: int
    high: int


class Parameter(BaseModel):
    """One parameter, checked by :mod:`lineage.model.sweep_file`.

    Attributes:
        distribution: W&B's name; ``nested`` for a group of parameters.
        values: Of ``constant`` one, of the categorical ones all.
        probabilities: One for each value.
        min: As written: an exponent of e for ``log_uniform`` and ``inv_log_uniform``, with or without ``q``.
        max: Likewise.
        q: Values are multiples of it.
        mu: Mean; of the logarithm for ``log_normal``.
        sigma: Standard deviation; likewise.
        a: First shape of ``beta``.
        b: Second shape.
        parameters: Of a nested one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    distribution: Distribution
    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] = ()
    min: int | float = 0
    max: int | float = 0
    q: int | float = 0
    mu: int | float = 0
    sigma: int | float = 0
    a: int | float = 0
    b: int | float = 0
    parameters: dict[str, Parameter] = {}

    def as_json(self) -> dict[str, Any]:
        """As in a sweep file, with everything that is implied written out."""
        if self.distribution == "nested":
            return {"parameters": {name: parameter.as_json() for name, parameter in self.parameters.items()}}
        if self.distribution == "constant":
            return {"distribution": "constant", "value": self.values[0]}
        found = {key: getattr(self, key) for key in KEYS[self.distribution]}
        return {"distribution": self.distribution} | {key: list(one) if isinstance(one, tuple) else one for key, one in found.items()}

    def axis(self) -> Axis | None:
        """Where to search; ``None`` for what has one value or is nested."""
        match self.distribution:
            case "constant" | "nested":
                return None
            case "categorical" | "categorical_w_probabilities":
                return Axis("choice", 0, len(self.values) - 1)
            case "int_uniform":
                return Axis("integer", int(self.min), int(self.max))
            case "q_uniform":
                return Axis("integer", *self._multiples())
            case _:
                return Axis("unit", 0, 1)

    def coordinate(self, u: float) -> int | float:
        """The coordinate on the axis below which a part ``u`` of the distribution lies; ``u`` between 0 and 1."""
        match self.distribution:
            case "categorical":
                return min(int(u * len(self.values)), len(self.values) - 1)
            case "categorical_w_probabilities":
                last = max(index for index, probability in enumerate(self.probabilities) if probability > 0)
                return min(bisect_right(list(accumulate(self.probabilities)), u), last)
            case "int_uniform":
                low, high = int(self.min), int(self.max)
                return min(low + int(u * (high - low + 1)), high)
            case "q_uniform":
                return self._steps(self._smooth(u))
            case _:
                return rounded(u)

    def value_at(self, coordinate: float) -> Any:
        """The value at a coordinate of the axis. A JSON value."""
        match self.distribution:
            case "constant":
                return self.values[0]
            case "categorical" | "categorical_w_probabilities":
                return self.values[int(coordinate)]
            case "int_uniform":
                return int(coordinate)
            case "q_uniform":
                return self._times(int(coordinate))
        value = self._smooth(coordinate)
        if self.q:
            return self._times(self._steps(value))
        low, high = self.bounds()
        return min(max(rounded(value), low), high)

    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value of a numeric distribution, before it is quantised; infinite where there is none."""
        match self.distribution.removeprefix("q_"):
            case "uniform" | "int_uniform" | "log_uniform_values" | "inv_log_uniform_values":
                return float(self.min), float(self.max)
            case "log_uniform":
                return math.exp(self.min), math.exp(self.max)
            case "inv_log_uniform":
                return math.exp(-self.max), math.exp(-self.min)
            case "beta":
                return 0.0, 1.0
            case "log_normal":
                return 0.0, math.inf
            case _:
                return -math.inf, math.inf

    def grid(self) -> tuple[Any, ...] | None:
        """Values that a grid search goes through, in order; ``None`` where there is no end of them.

        For ``q_uniform`` they begin at ``min`` and stay below ``max``, as W&B's do.
        """
        match self.distribution:
            case "constant" | "categorical":
                return self.values
            case "int_uniform":
                return tuple(range(int(self.min), int(self.max) + 1))
            case "q_uniform":
                whole = isinstance(self.min, int) and isinstance(self.q, int)
                points = (self.min + index * self.q for index in range(self.grid_size()))
                return tuple(point if whole else rounded(point) for point in points)
            case _:
                return None

    def grid_size(self) -> int:
        """How many values :meth:`grid` has, without making them; 0 where there is no end of them."""
        match self.distribution:
            case "constant" | "categorical":
                return len(self.values)
            case "int_uniform":
                return int(self.max) - int(self.min) + 1
            case "q_uniform":
                return math.ceil((self.max - self.min) / self.q - _SLACK)
            case _:
                return 0

    def has_multiples(self) -> bool:
        """Whether a quantised distribution has any value at all."""
        low, high = self._multiples()
        return low <= high

    def _smooth(self, u: float) -> float:
        u = min(max(u, _EDGE), 1 - _EDGE)
        match self.distribution.removeprefix("q_"):
            case "uniform":
                return self.min + u * (self.max - self.min)
            case "log_uniform":
                return math.exp(self.min + u * (self.max - self.min))
            case "inv_log_uniform":
                return math.exp(-(self.min + (1 - u) * (self.max - self.min)))
            case "log_uniform_values" | "inv_log_uniform_values":
                low, high = math.log(self.min), math.log(self.max)
                return math.exp(low + u * (high - low))
            case "normal":
                return self.mu + self.sigma * _NORMAL.inv_cdf(u)
            case "log_normal":
                return math.exp(self.mu + self.sigma * _NORMAL.inv_cdf(u))
            case "beta":
                return beta_quantile(u, self.a, self.b)
        raise AssertionError(f"no quantiles of {self.distribution}")

    def _multiples(self) -> tuple[int, int]:
        """Numbers of the smallest and the largest multiple of q within the bounds."""
        low, high = self.bounds()
        return (
            math.ceil(low / self.q - _SLACK) if math.isfinite(low) else -(2**53),
            math.floor(high / self.q + _SLACK) if math.isfinite(high) else 2**53,
        )

    def _steps(self, value: float) -> int:
        low, high = self._multiples()
        return min(max(round(value / self.q), low), high)

    def _times(self, steps: int) -> int | float:
        return steps * self.q if isinstance(self.q, int) else rounded(steps * self.q)


def rounded(value: float) -> float:
    """To twelve significant digits: what mathematical functions of different machines agree on."""
    return float(f"{value:.{_DIGITS}g}")


_NORMAL = NormalDist()
