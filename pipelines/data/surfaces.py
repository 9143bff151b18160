"""Points on the surface of a mesh, the same bits on every machine.

Only the raw 64-bit numbers of Philox are used, which NumPy promises to keep (its distributions may change from release to release), and
only arithmetic that is rounded exactly.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from pipelines.data.off_format import Mesh

Points = np.ndarray[Any, np.dtype[np.float64]]


def areas(mesh: Mesh) -> Points:
    """Area of each triangle: float64 (t,), in squares of the largest coordinate, so that nothing overflows; all 0 without any extent."""
    largest = float(np.abs(mesh.vertices).max(initial=0.0))
    if largest == 0:
        return np.zeros(len(mesh.triangles))
    corners = (mesh.vertices / largest)[mesh.triangles]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    x = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    y = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    z = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return np.asarray(0.5 * np.sqrt(x * x + y * y + z * z))


def sample_surface(mesh: Mesh, count: int, *, digest: str, seed: int) -> Points:
    """Points spread evenly over a surface: a triangle is chosen by its area, then a place in it.

    Each point is drawn for itself, so that the first points are a sample of the surface, too.

    Args:
        mesh: With at least one triangle that has an area.
        count: How many.
        digest: Of the file that the mesh was read from; with ``seed`` it decides the points, and nothing else does.
        seed: 0 or more.

    Returns:
        float64 (count, 3), in the unit of the mesh.

    Raises:
        ValueError: The mesh has no area.
    """
    until = np.cumsum(areas(mesh))
    if not len(until) or not until[-1] > 0:
        raise ValueError("a mesh without area has no points")
    where, along, across = _uniform(3 * count, digest, seed).reshape(count, 3).T
    # The last triangle with an area, where rounding would lead past the end.
    last = int(np.searchsorted(until, until[-1]))
    chosen = np.minimum(np.searchsorted(until, where * until[-1], side="right"), last)
    corners = mesh.vertices[mesh.triangles[chosen]]
    root = np.sqrt(along)[:, None]
    across = across[:, None]
    return np.asarray((1 - root) * corners[:, 0] + root * (1 - across) * corners[:, 1] + root * across * corners[:, 2])


def unit_sphere(points: Points) -> Points:
    """Points moved and scaled so that their mean is 0 and the farthest is at distance 1; float64 (n, 3), n > 0.

    Points that are all the same become zeros.
    """
    largest = float(np.abs(points).max())
    small = points / largest if largest > 0 else points  # so that no square overflows
    moved = small - np.array([math.fsum(axis) / len(small) for axis in small.T.tolist()])
    farthest = float(np.sqrt(moved[:, 0] ** 2 + moved[:, 1] ** 2 + moved[:, 2] ** 2).max())
    return moved / farthest if farthest > 0 else np.zeros_like(moved)


def _uniform(count: int, digest: str, seed: int) -> Points:
    """float64 (count,) in [0, 1), in steps of 2⁻⁵³."""
    key = int.from_bytes(hashlib.sha256(f"{digest} {seed}".encode()).digest()[:16], "big")
    raw = np.random.Philox(key=key).random_raw(count)
    return np.asarray((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53)
