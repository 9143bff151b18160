"""Opening Deep Lake versions so that they stay what they are, and turning its errors into ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import deeplake
import numpy as np

from lineage.errors import InvalidQuery, LineageError, NotFound, Unavailable
from lineage.model.dataset import DatasetVersion
from lineage.model.source import Column

UNCOMMITTED = "9999999999vzzzzzzzz"
"""What Deep Lake gives as version of a handle with changes that were not committed."""

_KINDS = {"Image": "image", "ClassLabel": "class_labels", "Text": "text"}


@contextmanager
def deeplake_errors(uri: str, query: str | None = None) -> Iterator[None]:
    """Turn what Deep Lake raises into the project's errors. Its classes share no base, and query errors are bare ``RuntimeError``."""
    try:
        yield
    except LineageError:
        raise
    except deeplake.LogNotexistsError as error:
        raise NotFound("dataset", uri, hint="check the address; `lineage upload` makes a dataset") from error
    except (deeplake.VersionNotFoundError, deeplake.BranchNotFoundError, deeplake.TagNotFoundError) as error:
        kind = {"VersionNotFoundError": "dataset commit", "BranchNotFoundError": "dataset branch"}.get(type(error).__name__, "view")
        # "The version X does not exist": X is the third word.
        words = str(error).split()
        raise NotFound(kind, words[2] if len(words) > 2 else str(error), detail=f"in {uri}") from error
    except RuntimeError as error:
        if query is None:
            raise Unavailable(f"Deep Lake could not read {uri}: {error}") from error
        raise InvalidQuery(query, str(error).splitlines()[0], hint="TQL; columns and class names are case-sensitive") from error
    except (
        deeplake.AuthenticationError,
        deeplake.AuthorizationError,
        deeplake.DatasetUnavailableError,
        deeplake.StorageInternalError,
        deeplake.StorageNetworkConnectionError,
        deeplake.StorageProviderMissingError,
        deeplake.InvalidURIError,
        deeplake.IncorrectDeeplakePathError,
        deeplake.PermissionDeniedError,
        deeplake.WriteFailedError,
    ) as error:
        raise Unavailable(f"Deep Lake could not reach {uri}: {type(error).__name__}: {error}") from error


def open_at(uri: str, branch: str, commit_id: str | None) -> tuple[Any, Any]:
    """Open a version read-only.

    Returns:
        (handle to read from, handle that must stay referenced with it: Deep Lake expires children of a collected parent).

    Raises:
        NotFound: No such dataset, branch or commit.
    """
    with deeplake_errors(uri):
        # `open_read_only(uri@branch)` is the one place where Deep Lake honours the suffix; `open` would ignore it.
        root = deeplake.open_read_only(uri if branch == "main" else f"{uri}@{branch}")
        if commit_id is None or root.version == commit_id:
            return root, root
        history = root.history
        dataset = history[commit_id].open()
        if dataset.version != commit_id:
            raise NotFound("dataset commit", commit_id, detail=f"{uri} opened {dataset.version} instead")
        return dataset, (root, history)


def version_of(uri: str, dataset: Any) -> DatasetVersion:
    """The names of an open dataset."""
    branch = dataset.current_branch
    return DatasetVersion(
        uri=uri,
        dataset_id=dataset.id,
        branch=branch.name,
        branch_id=branch.id,
        commit_id=dataset.version,
        rows_total=len(dataset),
    )


def columns_of(dataset: Any) -> tuple[dict[str, Column], dict[str, str]]:
    """Columns of an open dataset, and their types as Deep Lake spells them."""
    columns: dict[str, Column] = {}
    types: dict[str, str] = {}
    for item in dataset.schema.columns:
        types[item.name] = str(item.dtype)
        kind = _KINDS.get(item.dtype.kind.name, "array")
        names: tuple[str, ...] = ()
        if kind == "class_labels":
            metadata = dataset[item.name].metadata
            names = tuple(metadata["class_names"]) if "class_names" in metadata.to_dict() else ()
        columns[item.name] = Column(name=item.name, kind=kind, class_names=names)  # type: ignore[arg-type]  # _KINDS holds only its words
    return columns, types


class DeepLakeReader:
    """One pinned version, open. Belongs to the process that opened it: never pickled, never carried over a fork."""

    def __init__(self, uri: str, branch: str, commit_id: str) -> None:
        self._dataset, self._keep = open_at(uri, branch, commit_id)
        self._version = version_of(uri, self._dataset)
        self._columns, self._types = columns_of(self._dataset)
        self._uri = uri

    @property
    def version(self) -> DatasetVersion:
        """Names of what is open."""
        return self._version

    @property
    def columns(self) -> Mapping[str, Column]:
        """Columns by name."""
        return self._columns

    @property
    def column_types(self) -> Mapping[str, str]:
        """Column name to Deep Lake's spelling of its type."""
        return self._types

    def read(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Values of the rows in the order asked for; see :class:`lineage.ports.DatasetReader`."""
        wanted = [int(row) for row in rows]  # Deep Lake takes lists of int only
        if wanted and not 0 <= min(wanted) <= max(wanted) < self._version.rows_total:
            raise NotFound("row", str(max(wanted)), detail=f"{self._uri} has {self._version.rows_total} rows at this commit")
        values: dict[str, list[Any]] = {}
        for name in columns if columns is not None else self._columns:
            if not wanted:
                values[name] = []
                continue
            try:
                column = self._dataset[name]
                values[name] = list(column.get_bytes(wanted) if self._columns[name].kind == "image" else column[wanted])
            except KeyError as error:
                raise NotFound(
                    "chunk", str(error), detail=f"a file of {self._uri} is missing", hint="restore the dataset from a copy"
                ) from error
            except RuntimeError as error:
                raise Unavailable(f"Deep Lake could not read column '{name}' of {self._uri}: {error}") from error
        return values


def view_rows(dataset: Any, uri: str, query: str, view: Any | None = None) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Source positions of a ``select *`` query's rows, int64, shape (n,), in the view's order.

    Deep Lake gives a row's position in the view only; source positions come from the same query over a numbered subquery, and are checked
    against the view by a key: the rows' texts (or, without text columns, every small column).

    Args:
        dataset: An open, pinned version.
        uri: For messages.
        query: The query text.
        view: The rows it must agree with, when it was saved; by default the query is evaluated for it.

    Raises:
        InvalidQuery: It does not parse, names something unknown, is not ``select *``, or gives other rows each time.
    """
    words = query.split(None, 2)
    if len(words) < 2 or words[0].lower() != "select":
        raise InvalidQuery(query, "expected a query of the form 'select * where …'")
    with deeplake_errors(uri, query):
        chosen = dataset.query(query) if view is None else view
        if words[1] != "*":
            raise InvalidQuery(query, "only whole rows can be viewed", hint="write 'select * where …'")
        rest = words[2] if len(words) > 2 else ""
        numbered = dataset.query(f"select rn from (select *, row_number() as rn) {rest}")
        rows = np.asarray([int(value) for value in numbered["rn"][:]] if len(numbered) else [], dtype=np.int64)
        if len(rows) == len(chosen) and _same_rows(dataset, chosen, rows):
            return rows
        # A view saved from a view, or at random: its query alone does not tell its rows, a unique text does.
        by_text = None if view is None else _rows_by_text(dataset, view)
    if by_text is None:
        raise InvalidQuery(query, "it does not give the same rows when evaluated again", hint="order by a column instead of at random")
    return by_text


def _rows_by_text(dataset: Any, view: Any) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    for item in dataset.schema.columns:
        if item.dtype.kind.name == "Text":
            position = {text: row for row, text in enumerate(dataset[item.name][:])}
            if len(position) == len(dataset):
                return np.asarray([position[text] for text in view[item.name][:]], dtype=np.int64)
    return None


def _same_rows(dataset: Any, view: Any, rows: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    if len(rows) == 0:
        return True
    columns = [item for item in dataset.schema.columns if item.dtype.kind.name != "Image"]
    keys = [item.name for item in columns if item.dtype.kind.name == "Text"] or [item.name for item in columns]
    positions = [int(row) for row in rows]
    for name in keys:
        for left, right in zip(view[name][:], dataset[name][positions], strict=True):
            if not np.array_equal(np.asarray(left), np.asarray(right)):
                return False
    return True
