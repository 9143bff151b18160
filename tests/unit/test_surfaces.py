"""Points on surfaces: where they lie, how many on each face, and that they never change."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipelines.data.off_format import Mesh
from pipelines.data.surfaces import areas, sample_surface, unit_sphere

# Two triangles of area 0.5 and 4.5 in planes z = 0 and z = 1, and one without area.
MESH = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 1], [0, 3, 1]], np.float64),
    np.array([[0, 1, 2], [1, 1, 2], [3, 4, 5]]),
)


def test_points_lie_on_the_faces_as_often_as_their_areas_say() -> None:
    """A tenth of the area has a tenth of the points, spread evenly in it; the face without area has none."""
    points = sample_surface(MESH, 40_000, digest="sha256:1", seed=0)
    low = points[:, 2] == 0
    assert (low | (abs(points[:, 2] - 1) < 1e-12)).all()
    assert low.mean() == pytest.approx(0.1, abs=0.006)  # four standard deviations
    for part, side in ((points[low], 1), (points[~low], 3)):
        assert (part[:, :2] >= 0).all()
        assert (part[:, 0] + part[:, 1] <= side * (1 + 1e-12)).all()
        assert part.mean(axis=0)[:2] == pytest.approx([side / 3, side / 3], abs=0.02 * side)  # the centroid
        # The corner triangle of half the side has a quarter of the area.
        assert (part[:, 0] + part[:, 1] < side / 2).mean() == pytest.approx(0.25, abs=0.03)


def test_points_follow_from_the_digest_and_the_seed_alone() -> None:
    """The same again, others for another of the two, and fewer points are the first of more."""
    whole = sample_surface(MESH, 64, digest="sha256:1", seed=3)
    assert np.array_equal(sample_surface(MESH, 64, digest="sha256:1", seed=3), whole)
    assert np.array_equal(sample_surface(MESH, 10, digest="sha256:1", seed=3), whole[:10])
    for digest, seed in (("sha256:2", 3), ("sha256:1", 4)):
        assert not np.isclose(sample_surface(MESH, 64, digest=digest, seed=seed), whole).any(axis=1).all()


def test_points_are_the_same_on_every_machine_and_release() -> None:
    """The bits as they were when this was written: a dataset must be able to be made again."""
    points = unit_sphere(sample_surface(MESH, 1000, digest="sha256:1", seed=0))
    assert hashlib.sha256(points.astype("<f8").tobytes()).hexdigest()[:16] == "acb53bce6228917c"


def test_a_surface_of_any_size_has_points() -> None:
    """Coordinates whose squares overflow, or vanish; and none where there is no area."""
    for unit in (1e300, 1e-300):
        points = unit_sphere(sample_surface(Mesh(MESH.vertices * unit, MESH.triangles), 100, digest="", seed=0))
        assert np.linalg.norm(points, axis=1).max() == pytest.approx(1)
    flat = Mesh(MESH.vertices, MESH.triangles[1:2])
    assert areas(flat).tolist() == [0]
    with pytest.raises(ValueError, match="no points"):
        sample_surface(flat, 1, digest="", seed=0)
