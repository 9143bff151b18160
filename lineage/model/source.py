"""What an importer finds in a folder: samples, columns and problems.

An importer turns a foreign layout (VisDrone, COCO, …) into rows. These values are all that the upload verb knows of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lineage.errors import InvalidSource
from lineage.model.digest import digest_of_bytes

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
class SourceFile:
    """A file as it was when it was checked.

    Attributes:
        path: Where it is.
        digest: Of its bytes, ``sha256:…``.
        size_bytes: Of its content.
    """

    path: Path
    digest: str
    size_bytes: int

    @classmethod
    def of(cls, path: Path, content: bytes) -> SourceFile:
        """The file whose content was read as ``content``."""
        return cls(path, digest_of_bytes(content), len(content))


@dataclass(frozen=True, slots=True)
class SourceSample:
    """One future row.

    Attributes:
        sample_id: Stable, unique in the source.
        files: What the row is read from, and nothing else is.
        checked: The same files as they were when they were checked; empty when the importer does not say.
        facts: What the importer wants to know again when the row is read, for example its part of a file that all rows share.
    """

    sample_id: str
    files: tuple[Path, ...]
    checked: tuple[SourceFile, ...] = ()
    facts: Any = field(default=None, compare=False, repr=False)

    def contents(self) -> list[bytes]:
        """The bytes of each file, equal to what was checked.

        Raises:
            InvalidSource: A file is gone, or was changed since.
        """
        contents: list[bytes] = []
        for number, path in enumerate(self.files):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise InvalidSource(f"{error.filename}: {error.strerror}", hint="the source changed while it was read") from error
            if self.checked and (found := digest_of_bytes(content)) != (expected := self.checked[number].digest):
                raise InvalidSource(
                    f"{path}: changed while it was uploaded, expected {expected[:19]}…, found {found[:19]}…",
                    hint="give the same command again when nobody writes there any more",
                )
            contents.append(content)
        return contents


@dataclass(frozen=True, slots=True)
class SourceScan:
    """The outcome of looking through a source folder, in the order in which rows will be stored.

    Attributes:
        root: The folder.
        columns: Of the dataset.
        samples: What can be stored.
        problems: What cannot, and what looks odd.
        files: Files that no single sample owns: one file of annotations, names of classes.
    """

    root: Path
    columns: tuple[Column, ...]
    samples: tuple[SourceSample, ...]
    problems: tuple[SourceProblem, ...] = field(default=())
    files: tuple[SourceFile, ...] = field(default=())

    @property
    def errors(self) -> tuple[SourceProblem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[SourceProblem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")
