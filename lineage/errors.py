"""Every error the project raises on purpose.

    LineageError                     code · exit_code · hint
    ├── UsageError                2  a name, option or argument that cannot be acted on
    │   └── AmbiguousId           2  an id prefix that fits several runs
    ├── NotFound                  5  no such run, dataset, view, object, model
    │   └── TidiedAway            5  files that were there and were deleted
    ├── Conflict                  6  the target exists, or is being changed by somebody else
    │   ├── KeyReused             6  a key that stands for another request
    │   └── LeaseLost             6  a job that is another worker's now
    ├── InvalidSource             7  a source folder or file that cannot be imported
    ├── InvalidQuery              7  a query that does not parse, names an unknown column or keeps no row
    ├── CaptureError              8  something that must be recorded cannot be
    │   └── UncommittedData       8  a dataset with changes that no commit holds
    ├── IntegrityError            9  data, an object or a record differs from its digest
    ├── ExecutionFailed          10  a recorded command ended with an error
    └── Unavailable              11  a backend or a server is missing
        ├── NoSpace              11  a disk or a quota is full
        └── MissingExtra         11  an optional package is not installed

Exit codes 0, 1, 3 and 4 belong to verdicts (identical or equivalent, diverged, inconclusive, blocked), 130 to Ctrl-C, 70 to an
unexpected error of ours.
Misuse of the Python interface (logging to a finished run) is a ``RuntimeError`` and not part of this tree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar


class LineageError(Exception):
    """Base of the tree.

    Args:
        message: One sentence: what is wrong, what was expected, what was found.
        hint: What the reader can do next.
    """

    code: ClassVar[str] = "lineage_error"
    exit_code: ClassVar[int] = 5

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Callable[..., LineageError], tuple[type[LineageError], dict[str, Any]]]:
        # Subclasses have arguments of their own; without this an error raised in a worker process could not be brought back.
        return _restore, (type(self), self.__dict__ | {"args": self.args})


def _restore(kind: type[LineageError], state: dict[str, Any]) -> LineageError:
    error = kind.__new__(kind)
    error.args = state.pop("args")
    error.__dict__.update(state)
    return error


class UsageError(LineageError):
    """A name, option or argument that cannot be acted on."""

    code = "usage"
    exit_code = 2


class AmbiguousId(UsageError):
    """An id prefix that fits several runs."""

    code = "ambiguous_id"

    def __init__(self, prefix: str, candidates: Sequence[str]) -> None:
        shown = ", ".join(candidate[:12] for candidate in candidates[:5])
        more = f" and {len(candidates) - 5} more" if len(candidates) > 5 else ""
        super().__init__(f"'{prefix}' fits {len(candidates)} runs: {shown}{more}", hint="give more characters of the id")
        self.prefix = prefix
        self.candidates = tuple(candidates)


class NotFound(LineageError):
    """No such thing.

    Args:
        kind: What was looked for: ``run``, ``dataset``, ``view``, ``object``, ``model``.
        name: The name it was looked for by.
    """

    code = "not_found"
    exit_code = 5

    def __init__(self, kind: str, name: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"no {kind} '{name}'" + (f": {detail}" if detail else ""), hint=hint)
        self.kind = kind
        self.name = name


class TidiedAway(NotFound):
    """Files that were there once and were deleted."""

    code = "tidied_away"


class Conflict(LineageError):
    """The target exists already, or somebody else is changing it."""

    code = "conflict"
    exit_code = 6


class KeyReused(Conflict):
    """A key that its owner chose for another request."""

    code = "key_reused"

    def __init__(self, key: str) -> None:
        super().__init__(f"the key '{key}' was used for another request", hint="choose a new key for each request; repeat one word by word")
        self.key = key


class LeaseLost(Conflict):
    """A job that another worker has now, or that is over: what this worker made of it does not count."""

    code = "lease_lost"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id[:12]} is not this worker's any more", hint="its lease ran out, or it was called off")
        self.job_id = job_id


class InvalidSource(LineageError):
    """A source folder or file that cannot be imported.

    Args:
        message: The summary.
        problems: One sentence for each problem, each naming file and line.
    """

    code = "invalid_source"
    exit_code = 7

    def __init__(self, message: str, *, problems: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class InvalidQuery(LineageError):
    """A query that does not parse, names an unknown column or class, or keeps no row."""

    code = "invalid_query"
    exit_code = 7

    def __init__(self, query: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"query '{query}': {reason}", hint=hint)
        self.query = query
        self.reason = reason


class CaptureError(LineageError):
    """Something that must be recorded cannot be."""

    code = "capture"
    exit_code = 8


class UncommittedData(CaptureError):
    """A dataset holds changes that no commit holds, so no name can denote them."""

    code = "uncommitted_data"

    def __init__(self, uri: str) -> None:
        super().__init__(f"dataset {uri} has uncommitted changes", hint="call commit() on the dataset, then try again")
        self.uri = uri


class IntegrityError(LineageError):
    """Data, an object or a record differs from its recorded digest.

    Args:
        what: The thing checked.
        expected: What the record holds.
        found: What is there now.
    """

    code = "integrity"
    exit_code = 9

    def __init__(self, what: str, *, expected: str, found: str, hint: str | None = None) -> None:
        super().__init__(f"{what}: expected {expected}, found {found}", hint=hint)
        self.what = what
        self.expected = expected
        self.found = found


class ExecutionFailed(LineageError):
    """A command ended with an error."""

    code = "execution_failed"
    exit_code = 10

    def __init__(self, command: str, status: int, *, hint: str | None = None) -> None:
        super().__init__(f"command ended with status {status}: {command}", hint=hint)
        self.command = command
        self.status = status


class Unavailable(LineageError):
    """A backend, an optional package or a server that is needed is not there."""

    code = "unavailable"
    exit_code = 11


class NoSpace(Unavailable):
    """A disk or a quota is full; what was being written is not kept."""

    code = "no_space"


class MissingExtra(Unavailable):
    """An optional package is not installed."""

    code = "missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}', which is not installed", hint=f"pip install 'dataset-lineage[{extra}]'")
        self.package = package
        self.extra = extra
