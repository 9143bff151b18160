"""What an importer finds in a folder: samples, columns and problems.

An importer turns a foreign layout (VisDrone, COCO, …) into rows. These values are all that the upload verb knows of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ColumnKind = Literal["image", "array", "class_labels", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a dataset, described without naming any storage technology.

    Attributes:
        name: Column name as queries use it, for example ``boxes``.
        kind: ``image`` (encoded bytes, stored as they are), ``array``, ``class_labels`` (an array of class indices) or ``text``.
        dtype: NumPy name of the element type of arrays and labels, for example ``float32``.
        ndim: Number of dimensions of one row's array.
        class_names: Names by index, for ``class_labels``.
        compression: Encoding of the bytes of an ``image`` column.
    """

    name: str
    kind: ColumnKind
    dtype: str = ""
    ndim: int = 1
    class_names: tuple[str, ...] = ()
    compression: str | None = None


@dataclass(frozen=True, slots=True)
class SourceProblem:
    """Something wrong, or worth knowing, in one source file.

    ``error`` keeps the sample out of a dataset; ``warning`` is stored as found and reported.
    """

    path: Path
    message: str
    severity: Literal["error", "warning"] = "error"
    line: int | None = None
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        where = f"{self.path}" if self.line is None else f"{self.path}:{self.line}"
        parts = [f"{where}: {self.message}"]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class SourceSample:
    """One future row: its stable id and the files it is read from."""

    sample_id: str
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class SourceScan:
    """The outcome of looking through a source folder, in the order in which rows will be stored."""

    root: Path
    columns: tuple[Column, ...]
    samples: tuple[SourceSample, ...]
    problems: tuple[SourceProblem, ...] = field(default=())

    @property
    def errors(self) -> tuple[SourceProblem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[SourceProblem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")
