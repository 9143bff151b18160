"""ModelNet's layout: ``CLASS/train/NAME.off`` and ``CLASS/test/NAME.off``, meshes that become points on their surfaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lineage.errors import InvalidSource, UsageError
from lineage.model.source import Column, SourceProblem, SourceSample, SourceScan
from lineage.ports import OnError
from pipelines.data.off_format import Mesh, parse_off
from pipelines.data.scanning import check_samples, finished_scan
from pipelines.data.surfaces import areas, sample_surface, unit_sphere

SPLITS = ("train", "test")
_LAYOUT = "CLASS/train/*.off and CLASS/test/*.off"


class OffImporter:
    """Reads a folder of meshes as ModelNet10 and ModelNet40 come; see :class:`lineage.ports.Importer`.

    A row's ``points``, float32 (n, 3), are spread evenly over the surface, moved to mean 0 and scaled so that the farthest is at distance
    1. They follow from the file's digest and the seed alone, and the first m of them are a sample of m points. ``labels`` is one class
    index, by the classes' names in alphabetical order; ``part`` is ``train`` or ``test``; ``mesh`` is the digest of the file that the
    points are of; ``vertices`` and ``faces`` count what it holds, faces as triangles.

    Args:
        points: How many for each mesh; 2048 is what the usual copies of ModelNet have.
        seed: Another one gives other points of the same surfaces.
    """

    def __init__(self, points: int = 2048, seed: int = 0) -> None:
        if points < 1 or seed < 0:
            raise UsageError(f"expected 1 point or more and a seed from 0, found {points} points and seed {seed}")
        self._points, self._seed = points, seed
        # An interrupted upload goes on under the same name only: with other points it would be another one.
        self.name = "off" if (points, seed) == (2048, 0) else f"off({points} points, seed {seed})"

    def scan(self, source: Path, *, on_error: OnError = "fail", progress: Callable[[int, int], None] | None = None) -> SourceScan:
        """Parse every mesh, before anything is stored. What is odd in many files is one warning.

        Raises:
            InvalidSource: It is no such folder, it is empty, or (with ``fail``) it holds errors; all of them are listed.
        """
        problems: list[SourceProblem] = []
        files = _files(source, problems)
        names = tuple(sorted({path.parent.parent.name for path in files}))
        pending = [SourceSample(path.relative_to(source).with_suffix("").as_posix(), (path,), facts=names) for path in files]
        samples, found = check_samples(pending, _check, progress)
        return finished_scan(source, _columns(names), samples, [*problems, *_together(found)], on_error)

    def read(self, sample: SourceSample) -> dict[str, Any]:
        """One row.

        Raises:
            InvalidSource: The file changed since it was checked, or is gone.
        """
        (path,) = sample.files
        mesh = parse_off(sample.contents()[0], path)
        if isinstance(mesh, SourceProblem):
            raise InvalidSource(str(mesh), hint="the source changed while it was read")
        digest = sample.checked[0].digest
        points = unit_sphere(sample_surface(mesh, self._points, digest=digest, seed=self._seed))
        return {
            "points": points.astype(np.float32),
            "labels": np.array([sample.facts.index(path.parent.parent.name)], np.uint32),
            "part": path.parent.name,
            "vertices": np.array([len(mesh.vertices)], np.int64),
            "faces": np.array([len(mesh.triangles)], np.int64),
            "mesh": digest,
            "filename": path.name,
            "sample_id": sample.sample_id,
        }


def _columns(names: tuple[str, ...]) -> tuple[Column, ...]:
    return (
        Column("points", "array", dtype="float32", ndim=2),
        Column("labels", "class_labels", dtype="uint32", class_names=names),
        Column("part", "text"),
        Column("vertices", "array", dtype="int64"),
        Column("faces", "array", dtype="int64"),
        Column("mesh", "text"),
        Column("filename", "text"),
        Column("sample_id", "text"),
    )


def _files(source: Path, problems: list[SourceProblem]) -> list[Path]:
    """Meshes in the order of rows: classes, then splits, then names. Hidden files are passed over."""
    if not source.is_dir():
        raise InvalidSource(f"{source}: expected a folder with {_LAYOUT}, found {'a file' if source.exists() else 'nothing'}")
    classes = [item for item in _listed(source) if item.is_dir()]
    if not any((item / split).is_dir() for item in classes for split in SPLITS):
        found = ", ".join(item.name for item in _listed(source)[:5]) or "an empty folder"
        inner = [item.name for item in classes if any((below / "train").is_dir() for below in _listed(item) if below.is_dir())]
        hint = f"upload what is inside: {', '.join(str(source / name) for name in inner)}" if inner else None
        raise InvalidSource(f"{source}: expected a folder with {_LAYOUT}, found {found}", hint=hint)
    for item in _listed(source):
        if not item.is_dir():  # ModelNet10 has a README there
            severity = "error" if item.suffix.lower() == ".off" else "warning"
            problems.append(_stray(item, severity))
    files: list[Path] = []
    for folder in classes:
        problems += [_stray(item) for item in _listed(folder) if item.name not in SPLITS or not item.is_dir()]
        for inside in (_listed(folder / split) for split in SPLITS if (folder / split).is_dir()):
            meshes = [item for item in inside if item.is_file() and item.suffix.lower() == ".off"]
            problems += [_stray(item) for item in inside if item not in set(meshes)]
            stems = {item.stem: item for item in meshes}
            twice = [item for item in meshes if stems[item.stem] != item]
            problems += [SourceProblem(item, "duplicate name", expected="one file for each stem", found=item.name) for item in twice]
            files += stems.values()
    if not files:
        raise InvalidSource(f"{source}: expected {_LAYOUT}, found no mesh", problems=[str(problem) for problem in problems])
    return files


def _listed(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if not item.name.startswith("."))


def _stray(path: Path, severity: Any = "error") -> SourceProblem:
    found = "a folder" if path.is_dir() else path.suffix or "no ending"
    return SourceProblem(path, "is not part of the layout", severity=severity, expected=_LAYOUT, found=found)


def _check(sample: SourceSample, contents: Sequence[bytes]) -> list[SourceProblem]:
    (path,) = sample.files
    mesh = parse_off(contents[0], path)
    if isinstance(mesh, SourceProblem):
        return [mesh]
    flat = int(np.count_nonzero(areas(mesh) == 0))
    if flat == len(mesh.triangles):
        return [SourceProblem(path, "no face has an area", expected="a surface to put points on", found=f"{flat} flat faces")]
    return list(_odd(path, mesh, flat))


def _odd(path: Path, mesh: Mesh, flat: int) -> Iterable[SourceProblem]:
    if mesh.polygons:
        yield SourceProblem(path, "has faces with more than three corners, split into fans of triangles", severity="warning")
    if flat:
        yield SourceProblem(path, "has faces without area, on which no point lies", severity="warning")


def _together(problems: Sequence[SourceProblem]) -> list[SourceProblem]:
    """The problems, with one warning for all files of which the same is to be said: in ModelNet that is every second file."""
    kept: dict[Any, list[SourceProblem]] = {}
    for problem in problems:
        kept.setdefault(problem.message if problem.severity == "warning" else problem, []).append(problem)
    return [
        same[0] if len(same) == 1 else replace(same[0], message=f"{same[0].message}; so have {len(same) - 1} other files")
        for same in kept.values()
    ]
