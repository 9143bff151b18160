"""Quantiles of the beta distribution, without SciPy: the same on any machine to more digits than are kept of them."""

from __future__ import annotations

import math

_SMALLEST = 1e-300
_HALVINGS = 80
_TERMS = 500


def beta_quantile(u: float, a: float, b: float) -> float:
    """The value below which a part ``u`` of the distribution lies, to about 13 digits.

    Args:
        u: Between 0 and 1, both excluded.
        a: First shape, above 0.
        b: Second shape, above 0.
    """
    if _below(0.5, a, b) < u:
        return 1.0 - _lower(1.0 - u, b, a)
    return _lower(u, a, b)


def _lower(u: float, a: float, b: float) -> float:
    # In logarithms: with a small shape most of the distribution lies within a hair of zero.
    low, high = math.log(_SMALLEST), math.log(0.5)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _below(math.exp(middle), a, b) < u:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def _below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _below(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    # Lentz's method: numerators and denominators as ratios, so that neither overflows.
    fraction, upper, lower = 1.0, 1.0, 0.0
    for index in range(_TERMS):
        half = index // 2
        if index == 0:
            term = 1.0
        elif index % 2 == 0:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        else:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        lower = 1.0 / _away_from_zero(1.0 + term * lower)
        upper = _away_from_zero(1.0 + term / upper)
        fraction *= upper * lower
        if abs(1.0 - upper * lower) < 1e-15:
            break
    return front * (fraction - 1.0)


def _away_from_zero(number: float) -> float:
    return number if abs(number) > _SMALLEST else _SMALLEST
