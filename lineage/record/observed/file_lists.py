"""Many files as one entry of a record: its digest names an object that lists them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lineage.errors import IntegrityError
from lineage.model.digest import canonical_json
from lineage.ports import ObjectStore

FILES = "files"
"""``kind`` of a used or made artifact whose object is such a list."""


@dataclass(frozen=True, slots=True, order=True)
class ListedFile:
    """A file of a list.

    Attributes:
        path: Relative to the entry's own path, with ``/``.
    """

    path: str
    size_bytes: int
    digest: str


def put_list(objects: ObjectStore, files: Iterable[ListedFile]) -> str:
    """Keep a list, in the order of paths: equal files give equal digests. Contents are not kept. Returns its digest."""
    return objects.put_bytes(canonical_json({"files": [[item.path, item.size_bytes, item.digest] for item in sorted(files)]}))


def read_list(objects: ObjectStore, digest: str) -> list[ListedFile]:
    """The files of a list.

    Raises:
        NotFound: It is not kept here.
        IntegrityError: It is something else, or names a path that leads out of its folder.
    """
    content = objects.get_bytes(digest)
    try:
        found: Any = json.loads(content)
        files = [ListedFile(str(path), int(size), str(named)) for path, size, named in found["files"]]
    except (ValueError, LookupError, TypeError) as error:
        raise IntegrityError(f"object {digest[:19]}", expected="a list of files", found=type(error).__name__) from error
    for item in files:
        path = PurePosixPath(item.path)
        if path.is_absolute() or ".." in path.parts:
            raise IntegrityError(f"list of files {digest[:19]}", expected="paths inside its folder", found=repr(item.path))
    return files
