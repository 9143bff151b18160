"""Which data: versions, views, and what a run's record holds of an input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, field_validator

from lineage.errors import UsageError
from lineage.model.digest import Digest

ROLES = ("train", "validation", "test")
"""Roles with a fixed meaning; any other word is allowed as a role too."""


def check_role(role: str) -> str:
    """Return ``role`` when it can be one.

    Raises:
        UsageError: It is no lower-case word.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", role):
        raise UsageError(f"a role is a lower-case word such as {', '.join(ROLES)}; found {role!r}")
    return role


if TYPE_CHECKING:
    import numpy as np

    Rows = np.ndarray[Any, np.dtype[np.int64]]
else:
    Rows = Any  # NumPy takes a third of the time a run may cost, and a run without data needs none
"""Positions of rows in a dataset version, int64, shape (n,)."""


def normalise_uri(uri: str, base: Path | None = None) -> str:
    """The one spelling of a dataset's address: absolute, without credentials.

    Local folders become ``file:///absolute/path`` (unquoted, as Deep Lake reads them); user names, passwords and query strings are dropped
    from other addresses. ``dvc://`` is for local folders, too; the path of a ``.dvc`` file stands for the data that it tracks.

    Args:
        uri: A path, ``file://`` address or any other ``scheme://`` address.
        base: Folder that relative paths start from; the working folder when ``None``.

    Raises:
        UsageError: The address is empty or no text, or holds an ``@``: Deep Lake takes what follows for a branch when it reads, and ignores
            it when it writes.
    """
    if not uri.strip():
        raise UsageError("the dataset address is empty", hint="give a folder or an address such as s3://bucket/dataset")
    if "\0" in uri or any("\ud800" <= letter <= "\udfff" for letter in uri):
        raise UsageError(f"the dataset address {uri!r} holds bytes that no text has", hint="rename the folder, or reach it by a link")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    if scheme is None or scheme[1].lower() in ("file", "dvc"):
        typed = uri[len(scheme[0]) :] if scheme else uri
        try:
            path = Path(typed).expanduser()
        except RuntimeError as error:
            raise UsageError(f"the dataset address '{typed}' names a home folder that is not known") from error
        absolute = _clean(path if path.is_absolute() else (base or Path.cwd()) / path)
        tracked = absolute.suffix == ".dvc"
        if tracked or (scheme is not None and scheme[1].lower() == "dvc"):
            return f"dvc://{absolute.with_suffix('') if tracked else absolute}"
        _refuse_at_sign(str(absolute))
        return f"file://{absolute}"
    parts = urlsplit(uri, allow_fragments=False)  # a '#' is an ordinary character in the name of an object
    host, folder = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
    if "@" in parts.netloc and not folder:
        # Credentials before a bare host, or a branch behind it: it cannot be told apart, and may hold a password.
        _refuse_at_sign(f"…@{host}")
    _refuse_at_sign(folder)
    return urlunsplit((parts.scheme.lower(), host, folder, "", ""))


def _refuse_at_sign(path: str) -> None:
    if "@" in path:
        raise UsageError(
            f"the dataset address '{path}' holds an '@', behind which Deep Lake looks for a branch or version",
            hint="give the address alone (choose branch, commit or view with their own options), of a folder without '@' in its path",
        )


def _clean(path: Path) -> Path:
    # Links stay as they are: the address is what people typed, resolving would tie a record to one mount point. Only the parent of a
    # link is looked up, because it is its target's parent.
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if Path(*parts).is_symlink():
                parts = list(Path(*parts).resolve().parts)
            del parts[max(1, len(parts) - 1) :]
        elif part != ".":
            parts.append(part)
    return Path(*parts)


def local_path(uri: str) -> Path | None:
    """The folder behind a normalised address, or ``None`` for one that is not local."""
    return Path(uri[len("file://") :]) if uri.startswith("file://") else None


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A state of a dataset, by the names its technology gives it. The names are conveniences: content digests are the truth."""

    uri: str
    dataset_id: str
    branch: str
    branch_id: str
    commit_id: str
    rows_total: int


@dataclass(frozen=True, slots=True)
class View:
    """A query over a version, or a whole version, resolved to rows.

    Attributes:
        version: What it is a view of.
        rows: Source positions in view order.
        view_id: Deep Lake's tag id, when the view was saved.
        name: The name it was saved under.
        query: The query text.
    """

    version: DatasetVersion
    rows: Rows
    view_id: str | None = None
    name: str | None = None
    query: str | None = None


class LogManifest(BaseModel):
    """Digest of the log files that a dataset version replays from: a secondary check, private to a storage release."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    files: int
    gaps: tuple[str, ...] = ()


class InputRecord(BaseModel):
    """What a record holds of one input. ``rows_digest`` and ``content_digest`` are the identity; the other names help people.

    Attributes:
        uri: Address without credentials.
        commit_id: Deep Lake's id of the version. A sequence number, not an identity.
        view_id: Deep Lake's tag id of the saved view.
        rows: Number of rows.
        rows_total: Number of rows of the version the view was taken from.
        rows_digest: Digest of the ordered source positions.
        content_digest: Root over the rows' content in order, and class names.
        rows_object: Object that holds the ordered source positions.
        space: Numbering of rows that the positions belong to: dataset versions that only appended to one another share it.
        ledger_object: Object that leads to a picture digest and a row digest for each row (``lineage.record.ledger``).
        digests_object: The same in records of the first release: both digests of each row of the view, in view order.
        columns: Column name to type, as the backend spells it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    uri: str
    kind: str = "deeplake"
    dataset_id: str
    branch: str
    branch_id: str
    commit_id: str
    view_id: str | None = None
    view_name: str | None = None
    query: str | None = None
    rows: int
    rows_total: int
    rows_digest: Digest
    content_digest: Digest
    rows_object: Digest
    space: str | None = None
    ledger_object: Digest | None = None
    digests_object: Digest | None = None
    columns: dict[str, str]
    class_names: dict[str, tuple[str, ...]] = {}
    manifest: LogManifest | None = None
    backend: str
    used_at: datetime

    @property
    def view_key(self) -> str | None:
        """Name of this set of rows in the row index; ``None`` in records of the first release."""
        return None if self.space is None else f"{self.space}/{self.rows_digest.partition(':')[2]}"

    @field_validator("role")
    @classmethod
    def _role_is_a_word(cls, role: str) -> str:
        try:
            return check_role(role)
        except UsageError as error:
            raise ValueError(error.message) from error
