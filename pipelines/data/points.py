"""Point clouds as arrays: one ``.npz`` file, or a folder of ``.npy`` files, with ``points``, ``labels`` and ``class_names``."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lineage.errors import InvalidSource
from lineage.model.source import Column, SourceFile, SourceProblem, SourceSample, SourceScan
from lineage.ports import OnError
from pipelines.data.scanning import finished_scan

_LAYOUT = "points (n, m, 3), labels (n,) and class_names (c,)"
_NAMES = ("points", "labels", "class_names", "part")
FOLDS = 10

Arrays = Mapping[str, np.ndarray[Any, Any]]


class PointsImporter:
    """Reads arrays of point clouds; see :class:`lineage.ports.Importer`.

    ``points`` keep their numbers: float16 and float32 are stored as float32, which holds both exactly, float64 as it is. ``labels`` is one
    class index for a row. ``fold`` is a number from 0 to 9 that follows from the points alone, so that equal clouds are never on both
    sides of a split: ``select * where fold < 8``. An array ``part`` of words, when there is one, is stored as well. A row's
    ``sample_id`` is its number in the arrays.
    """

    name = "points"

    def scan(self, source: Path, *, on_error: OnError = "fail", progress: Callable[[int, int], None] | None = None) -> SourceScan:
        """Check the arrays, before anything is stored.

        Raises:
            InvalidSource: An array is missing or does not fit the others, or (with ``fail``) a row holds errors; all of them are listed.
        """
        files, arrays = _read(source)
        points, labels, names = _checked(source, arrays)
        width = len(str(max(len(points) - 1, 1)))
        samples: list[SourceSample] = []
        problems: list[SourceProblem] = []
        for number, cloud in enumerate(points):
            problem = _wrong(source, number, cloud, int(labels[number]), names)
            if problem is not None:
                problems.append(problem)
            else:
                facts = (cloud, int(labels[number]), str(arrays["part"][number]) if "part" in arrays else None)
                samples.append(SourceSample(f"{number:0{width}d}", (), facts=facts))
            if progress is not None:
                progress(number + 1, len(points))
        columns = [
            Column("points", "array", dtype="float64" if points.dtype.itemsize == 8 else "float32", ndim=2),
            Column("labels", "class_labels", dtype="uint32", class_names=names),
            Column("fold", "array", dtype="int32"),
            *((Column("part", "text"),) if "part" in arrays else ()),
            Column("sample_id", "text"),
        ]
        root = source if source.is_dir() else source.parent
        return finished_scan(root, tuple(columns), samples, problems, on_error, files)

    def read(self, sample: SourceSample) -> dict[str, Any]:
        """One row, as it was checked: the arrays are in memory since then."""
        cloud, label, part = sample.facts
        kept = cloud.astype(np.float64 if cloud.dtype.itemsize == 8 else np.float32)
        row = {
            "points": kept,
            "labels": np.array([label], np.uint32),
            "fold": np.array([fold_of(kept)], np.int32),
            "sample_id": sample.sample_id,
        }
        return row if part is None else row | {"part": part}


def fold_of(points: np.ndarray[Any, Any]) -> int:
    """A number from 0 to 9 that follows from the points' bytes."""
    content = np.ascontiguousarray(points.astype(points.dtype.newbyteorder("<"))).tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % FOLDS


def _read(source: Path) -> tuple[tuple[SourceFile, ...], dict[str, np.ndarray[Any, Any]]]:
    if source.is_dir():
        paths = [path for name in _NAMES if (path := source / f"{name}.npy").is_file()]
    elif source.is_file():
        paths = [source]
    else:
        raise InvalidSource(f"{source}: expected an .npz file, or a folder of .npy files, with {_LAYOUT}, found nothing")
    files: list[SourceFile] = []
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for path in paths:
        content = path.read_bytes()
        files.append(SourceFile.of(path, content))
        try:
            loaded = np.load(BytesIO(content), allow_pickle=False)  # arrays are data, never code
            arrays |= (
                {path.stem: loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files if name in _NAMES}
            )
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:120]
            raise InvalidSource(f"{path}: cannot be read as arrays, expected a whole .npz or .npy file, found: {reason}") from error
    missing = [name for name in _NAMES[:3] if name not in arrays]
    if missing:
        raise InvalidSource(f"{source}: expected {_LAYOUT}, found no {', no '.join(missing)}")
    return tuple(files), arrays


def _checked(source: Path, arrays: Arrays) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], tuple[str, ...]]:
    points, labels, names = (arrays[name] for name in _NAMES[:3])
    is_cloud = points.ndim == 3 and points.shape[2] == 3 and points.shape[1] > 0 and points.dtype.kind == "f" and points.dtype.itemsize <= 8
    if not is_cloud:
        raise InvalidSource(f"{source}: points: expected floats of shape (n, m, 3), found {points.dtype} of shape {points.shape}")
    if not len(points):
        raise InvalidSource(f"{source}: points: expected one cloud or more, found none")
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(points),), (len(points), 1)):
        raise InvalidSource(
            f"{source}: labels: expected whole numbers of shape ({len(points)},), found {labels.dtype} of shape {labels.shape}"
        )
    if names.ndim != 1 or names.dtype.kind != "U" or not len(names):
        raise InvalidSource(f"{source}: class_names: expected texts of shape (c,), found {names.dtype} of shape {names.shape}")
    part = arrays.get("part")
    if part is not None and (part.dtype.kind != "U" or part.shape != (len(points),)):
        raise InvalidSource(f"{source}: part: expected texts of shape ({len(points)},), found {part.dtype} of shape {part.shape}")
    texts = [str(name) for name in names]
    twice = [name for name in texts if texts.count(name) > 1]
    if twice:
        raise InvalidSource(f"{source}: class_names: expected a name of its own for each class, found '{twice[0]}' twice")
    return points, labels.reshape(-1), tuple(texts)


def _wrong(source: Path, number: int, cloud: np.ndarray[Any, Any], label: int, names: Sequence[str]) -> SourceProblem | None:
    if not 0 <= label < len(names):
        known = f"a whole number from 0 to {len(names) - 1}"
        return SourceProblem(source, f"row {number}: unknown class", expected=known, found=str(label))
    if not np.isfinite(cloud).all():
        point = int(np.flatnonzero(~np.isfinite(cloud).all(axis=1))[0])
        found = str(cloud[point].tolist())
        return SourceProblem(source, f"row {number}: point {point} is not finite", expected="finite numbers", found=found)
    return None
