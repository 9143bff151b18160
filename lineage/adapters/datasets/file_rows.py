"""Rows that are files: what plain folders and DVC-tracked data have in common.

One row is one file, ordered by its path inside the dataset. Every file counts as a picture, texts too: its picture digest is then what
``sha256sum`` prints for it, and equals that of the same picture stored in Deep Lake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lineage.errors import InvalidQuery, NotFound
from lineage.model.dataset import DatasetVersion, View
from lineage.model.source import Column

CONTENT = "content"
"""Column of a file's bytes, as they are."""

_PATTERN_HINT = "here a query is a pattern of paths: * and ? stay inside a folder, ** goes through folders, as in images/**/*.jpg"


class FileReader:
    """Files of one version, open for reading. Holds no handle: it may be carried over a fork.

    Args:
        version: What it reads.
        texts: Text columns by name: one text per row. ``path`` and ``sample_id`` are always there.
        paths: Path of each row's file inside the dataset.
        content: Reads and checks the bytes of a row's file.
    """

    def __init__(
        self,
        version: DatasetVersion,
        paths: Sequence[str],
        content: Callable[[int], bytes],
        texts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._version = version
        self._texts = {"path": paths, **(texts or {}), "sample_id": paths}
        self._content = content

    @property
    def version(self) -> DatasetVersion:
        """Names of what is open."""
        return self._version

    @property
    def columns(self) -> Mapping[str, Column]:
        """Columns by name."""
        return {CONTENT: Column(CONTENT, "image")} | {name: Column(name, "text") for name in self._texts}

    @property
    def column_types(self) -> Mapping[str, str]:
        """Column name to type."""
        return {name: "file" if name == CONTENT else "text" for name in self.columns}

    def read(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Values of the rows in the order asked for; see :class:`lineage.ports.DatasetReader`."""
        wanted = [int(row) for row in rows]
        for row in wanted:
            if not 0 <= row < self._version.rows_total:
                raise NotFound("row", str(row), detail=f"{self._version.uri} has {self._version.rows_total} rows at this commit")
        values: dict[str, list[Any]] = {}
        for name in columns if columns is not None else self.columns:
            if name == CONTENT:
                values[name] = [self._content(row) for row in wanted]
            elif name in self._texts:
                values[name] = [self._texts[name][row] for row in wanted]
            else:
                raise NotFound("column", name, detail=f"{self._version.uri} has {', '.join(self.columns)}")
        return values


def view_of(version: DatasetVersion, paths: Sequence[str], query: str | None) -> View:
    """The files that a pattern keeps, or all.

    Raises:
        InvalidQuery: It is no pattern, or keeps no file.
    """
    if not paths:
        raise InvalidQuery(query or "**", f"{version.uri} holds no file")
    if query is None:
        return View(version=version, rows=np.arange(len(paths), dtype=np.int64))
    kept = matching(paths, query)
    if not kept:
        raise InvalidQuery(query, f"it keeps none of {len(paths)} files", hint=_PATTERN_HINT)
    return View(version=version, rows=np.asarray(kept, dtype=np.int64), query=query)


def matching(paths: Iterable[str], pattern: str) -> list[int]:
    """Positions of the paths that a pattern fits, in order. Upper and lower case differ; ``*`` fits hidden names, too.

    Raises:
        InvalidQuery: It is no pattern of relative paths.
    """
    if re.match(r"\s*(select|with)\s", pattern, re.IGNORECASE):
        raise InvalidQuery(pattern, "files cannot be queried by their contents", hint=_PATTERN_HINT)
    parts = pattern.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidQuery(pattern, "expected a pattern of paths inside the dataset, found an empty part, '.' or '..'", hint=_PATTERN_HINT)
    return [position for position, fits in enumerate(map(_compiled(pattern, parts).fullmatch, paths)) if fits]


def _compiled(pattern: str, parts: Sequence[str]) -> re.Pattern[str]:
    written = ["(?:[^/]+/)*" if part == "**" else f"{_inside_one_folder(part)}/" for part in parts[:-1]]
    written.append(".*" if parts[-1] == "**" else _inside_one_folder(parts[-1]))
    try:
        return re.compile("".join(written), re.DOTALL)
    except re.error as error:
        raise InvalidQuery(pattern, f"it cannot be read: {error.msg}", hint=_PATTERN_HINT) from error


def _inside_one_folder(part: str) -> str:
    # Not `fnmatch`: it knows nothing of folders, and a `*` of its own runs over slashes.
    return "".join(_piece(piece) for piece in re.split(r"(\*+|\?|\[!?\]?[^\]]*\])", part))


def _piece(piece: str) -> str:
    if piece.startswith("*"):
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if re.fullmatch(r"\[.+\]", piece, re.DOTALL):
        negated = piece.startswith("[!")
        members = re.sub(r"([\\\[\]^&~|])", r"\\\1", piece[2 if negated else 1 : -1])
        return f"(?!/)[{'^' if negated else ''}{members}]"
    return re.escape(piece)
