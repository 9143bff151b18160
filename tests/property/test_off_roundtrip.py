"""Meshes that are written are read back bit for bit, and points sampled on them lie on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.data.off_format import Mesh, parse_off, write_off
from pipelines.data.surfaces import areas, sample_surface, unit_sphere

COORDINATES = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def meshes(draw: st.DrawFn, coordinates: st.SearchStrategy[float] = COORDINATES) -> Mesh:
    vertices = draw(arrays.arrays(np.float64, (draw(st.integers(1, 12)), 3), elements=coordinates))
    corners = st.integers(0, len(vertices) - 1)
    return Mesh(vertices, draw(arrays.arrays(np.int64, (draw(st.integers(1, 12)), 3), elements=corners)))


@settings(deadline=None)
@given(meshes(), st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans())
def test_a_mesh_that_is_written_is_read_back(mesh: Mesh, line_end: bytes, is_glued: bool, has_comments: bool) -> None:
    """Every bit of every coordinate, -0.0 and subnormals included, with the header in any of its places."""
    content = write_off(mesh)
    if is_glued:
        content = content.replace(b"OFF\n", b"OFF", 1)
    if has_comments:
        content = content.replace(b"\n", b" # 1 2 3\n\n")
    found = parse_off(content.replace(b"\n", line_end), Path("mesh.off"))
    assert isinstance(found, Mesh), found
    assert found.vertices.tobytes() == mesh.vertices.tobytes()
    assert found.triangles.tobytes() == mesh.triangles.tobytes()


@settings(deadline=None, max_examples=60)
@given(meshes(st.floats(-1e3, 1e3, allow_subnormal=False)), st.integers(0, 2**32))
def test_points_lie_within_the_mesh_and_in_the_unit_sphere(mesh: Mesh, seed: int) -> None:
    """Between the smallest and the largest coordinate; after normalisation the farthest is at distance 1, whatever the unit was."""
    if not areas(mesh).any():
        return
    points = sample_surface(mesh, 32, digest="sha256:0", seed=seed)
    used = mesh.vertices[mesh.triangles[areas(mesh) > 0]].reshape(-1, 3)
    slack = 1e-9 * np.abs(used).max()
    assert (points >= used.min(axis=0) - slack).all()
    assert (points <= used.max(axis=0) + slack).all()
    moved = unit_sphere(points)
    farthest = np.linalg.norm(moved, axis=1).max()
    assert abs(farthest - 1) < 1e-12 or (farthest == 0 and len(np.unique(points, axis=0)) == 1)
