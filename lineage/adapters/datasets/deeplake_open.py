"""Opening Deep Lake versions so that they stay what they are, and turning its errors into ours."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import deeplake

from lineage.adapters.datasets.deeplake_fork import GATE
from lineage.adapters.datasets.deeplake_reach import CREDENTIALS_HINT, check_reachable, may_have_credentials
from lineage.errors import Conflict, InvalidQuery, LineageError, NotFound, Unavailable
from lineage.model.dataset import DatasetVersion, local_path
from lineage.model.secrets import redact_text
from lineage.model.source import Column
from lineage.model.words import first_line

UNCOMMITTED = "9999999999vzzzzzzzz"
"""What Deep Lake gives as version of a handle with changes that were not committed."""

_REFUSALS = (
    "Permission denied",
    "Read-only file system",
    "AccessDenied",
    "Access Denied",
    "Access denied",
    "Forbidden",
    "Operation not permitted",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
)
_SLICED, _DENSE = 8, 8
"""From so many rows on a slice is read, when it holds at most so many times the rows that are asked for."""
_KINDS = {"Image": "image", "ClassLabel": "class_labels", "Text": "text"}


@contextmanager
def deeplake_errors(uri: str, query: str | None = None) -> Iterator[None]:
    """Turn what Deep Lake raises into the project's errors, and keep forks out meanwhile.

    Its classes share no base, and query errors are bare ``RuntimeError``.
    """
    uri = redact_text(uri)
    try:
        with GATE.inside():
            yield
    except LineageError:
        raise
    except (deeplake.LogNotexistsError, FileNotFoundError) as error:
        path = local_path(uri)
        detail = "it is a file, and a dataset is a folder" if path is not None and path.is_file() else None
        raise NotFound("dataset", uri, detail=detail, hint="check the address; `lineage upload` makes a dataset") from error
    except (deeplake.VersionNotFoundError, deeplake.BranchNotFoundError, deeplake.TagNotFoundError) as error:
        kind = {"VersionNotFoundError": "dataset commit", "BranchNotFoundError": "dataset branch"}.get(type(error).__name__, "view")
        # "The version X does not exist": X is the third word.
        words = str(error).split()
        raise NotFound(kind, words[2] if len(words) > 2 else str(error), detail=f"in {uri}") from error
    except (deeplake.TagExistsError, deeplake.BranchExistsError, deeplake.LogExistsError) as error:
        raise Conflict(f"{uri}: {error}", hint="somebody else made it meanwhile; choose another name") from error
    except OSError as error:
        raise _not_permitted(uri, error) or Unavailable(f"{uri}: {_first_line(error)}") from error
    except RuntimeError as error:
        if (refused := _not_permitted(uri, error)) is not None:
            raise refused from error
        if query is None:
            raise Unavailable(f"Deep Lake could not read {uri}: {_first_line(error)}") from error
        raise InvalidQuery(query, _first_line(error), hint="TQL; columns and class names are case-sensitive") from error
    except Exception as error:
        # What storage and parsers raise: classes of Deep Lake's own, or plain ones for a missing bucket and damaged files.
        if not _is_deeplakes(error):
            raise
        if (refused := _not_permitted(uri, error)) is not None:
            raise refused from error
        raise Unavailable(f"Deep Lake could not read {uri}: {type(error).__name__}: {_first_line(error)}") from error


def _is_deeplakes(error: Exception) -> bool:
    return type(error).__module__.startswith("deeplake") or isinstance(error, KeyError | IndexError | ValueError | MemoryError)


def _first_line(error: Exception) -> str:
    return redact_text(first_line(error))


def _not_permitted(uri: str, error: Exception) -> Unavailable | None:
    """The error to raise when storage refused: the query or the name is not what is wrong then."""
    if not any(words in str(error) for words in _REFUSALS):
        return None
    if uri.startswith("s3://") and not may_have_credentials():
        return Unavailable(f"no permission at {uri}, and no credentials were found: {_first_line(error)}", hint=CREDENTIALS_HINT)
    return Unavailable(
        f"no permission at {uri}: {_first_line(error)}",
        hint="saving a view or uploading needs to write there, everything else to read; ask its owner, or work on a copy",
    )


def open_at(uri: str, branch: str, commit_id: str | None) -> tuple[Any, Any]:
    """Open a version read-only.

    Returns:
        (handle to read from, handle that must stay referenced with it: Deep Lake expires children of a collected parent).

    Raises:
        NotFound: No such dataset, branch or commit.
    """
    check_reachable(uri)
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
        with GATE.inside():
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
        outside = [row for row in wanted if not 0 <= row < self._version.rows_total]
        if outside:
            raise NotFound("row", str(outside[0]), detail=f"{self._uri} has {self._version.rows_total} rows at this commit")
        values: dict[str, list[Any]] = {}
        for name in columns if columns is not None else self._columns:
            if name not in self._columns:
                raise NotFound("column", name, detail=f"{self._uri} has {', '.join(self._columns)}")
            values[name] = self._column(name, wanted) if wanted else []
        return values

    def _column(self, name: str, wanted: list[int]) -> list[Any]:
        try:
            with deeplake_errors(self._uri):
                if self._columns[name].kind == "image":
                    return list(self._dataset[name].get_bytes(wanted))
                values = list(self._values(self._dataset[name], wanted))
                is_plain = not any(hasattr(kind, "to_dict") for kind in set(map(type, values)))
                return values if is_plain else [plain_value(value) for value in values]
        except Unavailable as error:
            if isinstance(error.__cause__, KeyError):
                raise NotFound(
                    "file", str(error.__cause__), detail=f"column '{name}' of {self._uri} needs it", hint="restore the dataset from a copy"
                ) from error
            raise

    def _values(self, column: Any, wanted: list[int]) -> Any:
        first, last = wanted[0], wanted[-1]
        is_dense = len(wanted) >= _SLICED and last - first < _DENSE * len(wanted)
        if is_dense and all(map(operator.lt, wanted, wanted[1:])):
            # A row in a slice costs about a microsecond, a row in a list thirty (measured); so rows in between are read along.
            try:
                found = column[first : last + 1]
            except KeyError:  # the file that is gone may belong to those
                return column[wanted]
            return found if len(found) == len(wanted) else [found[row - first] for row in wanted]
        return column[wanted]


def plain_value(value: Any) -> Any:
    """A value without Deep Lake's own mapping type, which nothing else can read."""
    if hasattr(value, "to_dict"):
        return {key: plain_value(value[key]) for key in value.keys()}  # noqa: SIM118 - it cannot be iterated
    return value
