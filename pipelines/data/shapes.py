"""Meshes of simple bodies, as OFF files in ModelNet's layout: ``OUT/CLASS/train/CLASS_0001.off``; nothing has to be downloaded.

Each body has proportions, a position, a unit and a roughness of its own. Faces are triangles and polygons, and every third file has header
and counts on one line, as hundreds of ModelNet's files do.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lineage.errors import Conflict, UsageError

Vertices = np.ndarray[Any, np.dtype[np.float64]]
Faces = list[tuple[int, ...]]
Body = tuple[Vertices, Faces]

_AROUND, _ALONG = 20, 10
_ROUGHNESS = 0.04
_MOST_TILT_RAD = 0.5


@dataclass(frozen=True)
class ShapesWritten:
    """What is in the folder now.

    Attributes:
        folder: Where.
        reused: Whether exactly these files were there already.
        meshes: Number of meshes of each split, all classes together.
        classes: Names of the classes.
    """

    folder: Path
    reused: bool
    meshes: dict[str, int]
    classes: tuple[str, ...]


def write_shapes(
    out: Path, *, train: int, test: int, seed: int = 0, classes: Sequence[str] = (), progress: Callable[[int, int], None] | None = None
) -> ShapesWritten:
    """Make a folder of meshes, or find that it is there already. The folder appears whole or not at all.

    Args:
        out: Folder to make; it may exist if it is empty or holds the same meshes.
        train: Training meshes of each class, 1 or more.
        test: Test meshes of each class, 0 or more.
        seed: Seed of everything random.
        classes: Some of :data:`SHAPES`; all of them without.
        progress: Told of meshes made.

    Raises:
        UsageError: There is no class of that name.
        Conflict: The folder holds something else.
    """
    names = tuple(sorted(classes or SHAPES))
    unknown = [name for name in names if name not in SHAPES]
    if unknown:
        raise UsageError(f"no shape '{unknown[0]}'", hint=f"known: {', '.join(SHAPES)}")
    files: dict[str, bytes] = {}
    total = len(names) * (train + test)
    for name in names:
        for number in range(train + test):
            split = "train" if number < train else "test"
            files[f"{name}/{split}/{name}_{number + 1:04d}.off"] = make_shape(name, seed, number)
            if progress is not None:
                progress(len(files), total)
    written = ShapesWritten(out, _is_there(out, files), {"train": len(names) * train, "test": len(names) * test}, names)
    if not written.reused:
        _write(out, files)
    return written


def make_shape(name: str, seed: int, number: int) -> bytes:
    """One OFF file; a function of its arguments.

    Args:
        name: One of :data:`SHAPES`.
        seed: Of the data set, from 0.
        number: Of the body in its class, from 0.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode()) << 32 | number]))
    vertices, faces = SHAPES[name](rng)
    vertices = vertices * (1 + rng.uniform(-_ROUGHNESS, _ROUGHNESS, (len(vertices), 1)))
    vertices = vertices @ _rotation(rng).T * rng.uniform(5, 50) + rng.uniform(-100, 100, 3)
    counts = f"{len(vertices)} {len(faces)} 0"
    lines = [f"OFF{counts}" if number % 3 == 2 else f"OFF\n{counts}"]
    lines += [" ".join(f"{value:.4f}" for value in vertex) for vertex in vertices.tolist()]
    lines += [" ".join(map(str, (len(face), *face))) for face in faces]
    return ("\n".join(lines) + "\n").encode()


def _box(rng: np.random.Generator) -> Body:
    corners = np.array([[x, y, z] for z in (-1, 1) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))], np.float64)
    faces: Faces = [(3, 2, 1, 0), (4, 5, 6, 7), *((side, (side + 1) % 4, (side + 1) % 4 + 4, side + 4) for side in range(4))]
    return corners * rng.uniform(0.5, 1.5, 3), faces


def _cylinder(rng: np.random.Generator) -> Body:
    return _turned([(0, -1), (1, -1), (1, 1), (0, 1)], rng.uniform(0.4, 1.2), rng.uniform(0.6, 1.6))


def _cone(rng: np.random.Generator) -> Body:
    return _turned([(0, -1), (1, -1), (0, 1)], rng.uniform(0.5, 1.3), rng.uniform(0.7, 1.6))


def _sphere(rng: np.random.Generator) -> Body:
    angles = [math.pi * step / _ALONG for step in range(_ALONG + 1)]
    outline = [(math.sin(angle), -math.cos(angle)) for angle in angles]
    return _turned([(0, -1), *outline[1:-1], (0, 1)], rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.2))


def _torus(rng: np.random.Generator) -> Body:
    thickness = rng.uniform(0.2, 0.45)
    around = 2 * np.pi * np.arange(_AROUND) / _AROUND
    along = 2 * np.pi * np.arange(_ALONG) / _ALONG
    radius = 1 + thickness * np.cos(along)[None, :]
    height = np.broadcast_to(thickness * np.sin(along)[None, :], (_AROUND, _ALONG))
    rings = np.stack([radius * np.cos(around)[:, None], radius * np.sin(around)[:, None], height], axis=2)
    faces: Faces = [
        tuple(i % _AROUND * _ALONG + j % _ALONG for i, j in ((turn, step), (turn + 1, step), (turn + 1, step + 1), (turn, step + 1)))
        for turn in range(_AROUND)
        for step in range(_ALONG)
    ]
    return rings.reshape(-1, 3), faces


def _turned(outline: Sequence[tuple[float, float]], radius: float, height: float) -> Body:
    """A body of revolution; the outline is (distance from the axis, height), and a distance of 0 is one point on the axis."""
    vertices: list[tuple[float, float, float]] = []
    rings: list[list[int]] = []
    for distance, level in outline:
        first = len(vertices)
        turns = _AROUND if distance else 1
        for turn in range(turns):
            angle = 2 * math.pi * turn / _AROUND
            vertices.append((radius * distance * math.cos(angle), radius * distance * math.sin(angle), height * level))
        rings.append(list(range(first, first + turns)))
    faces: Faces = []
    for below, above in pairwise(rings):
        for turn in range(_AROUND):
            one, other = turn, (turn + 1) % _AROUND
            corners = [below[one % len(below)], below[other % len(below)], above[other % len(above)], above[one % len(above)]]
            faces.append(tuple(dict.fromkeys(corners)))
    return np.array(vertices), faces


def _rotation(rng: np.random.Generator) -> Vertices:
    """A turn about the up axis (z) after a small tilt: float64 (3, 3)."""
    tilt, turn = rng.uniform(-_MOST_TILT_RAD, _MOST_TILT_RAD), rng.uniform(0, 2 * np.pi)
    tilted = np.array([[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]])
    turned = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    return np.asarray(turned @ tilted)


SHAPES: dict[str, Callable[[np.random.Generator], Body]] = {
    "box": _box,
    "cone": _cone,
    "cylinder": _cylinder,
    "sphere": _sphere,
    "torus": _torus,
}
"""Classes that can be made."""


def _is_there(out: Path, files: dict[str, bytes]) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} if out.is_dir() else set()
    if found != files.keys() or any((out / name).read_bytes() != content for name, content in files.items()):
        raise Conflict(f"{out} holds something else than these meshes", hint="choose another folder, or delete it")
    return True


def _write(out: Path, files: dict[str, bytes]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, content in files.items():
            path = aside / out.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (aside / out.name).rename(out)  # an empty folder is replaced
    finally:
        shutil.rmtree(aside)
