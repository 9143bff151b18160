"""The error tree: what its docstring draws is what the classes are."""

from __future__ import annotations

import inspect
import re

import pytest

from lineage import errors
from lineage.errors import LineageError

MADE: dict[str, LineageError] = {
    "LineageError": errors.LineageError("it broke", hint="mend it"),
    "UsageError": errors.UsageError("no such option"),
    "AmbiguousId": errors.AmbiguousId("0a", ["0a1b", "0a2c"]),
    "NotFound": errors.NotFound("run", "0a1b", detail="the store is empty"),
    "TidiedAway": errors.TidiedAway("files", "0a1b", hint="ask again"),
    "Conflict": errors.Conflict("the target exists"),
    "KeyReused": errors.KeyReused("monday"),
    "LeaseLost": errors.LeaseLost("0a1b"),
    "InvalidSource": errors.InvalidSource("2 problems", problems=["a.txt:1: 7 fields", "b.txt:2: 9 fields"]),
    "InvalidQuery": errors.InvalidQuery("select *", "no column 'x'"),
    "CaptureError": errors.CaptureError("not a git repository"),
    "UncommittedData": errors.UncommittedData("file:///data"),
    "IntegrityError": errors.IntegrityError("object", expected="sha256:00", found="sha256:11"),
    "ExecutionFailed": errors.ExecutionFailed("python train.py", 3),
    "Unavailable": errors.Unavailable("no server"),
    "NoSpace": errors.NoSpace("the disk is full", hint="make room"),
    "MissingExtra": errors.MissingExtra("deeplake", "deeplake"),
}
CLASSES = {name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, LineageError)}


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Class name to (parent, exit code) as the module's docstring draws them; the root has no number."""
    tree: dict[str, tuple[str | None, int | None]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"(?P<branch>[ │├└─]*)(?P<name>[A-Z]\w+) +(?:(?P<code>\d+)  |code · exit_code)", line)
        if found is None:
            continue
        depth = len(found["branch"])
        above = [(d, name) for d, name in above if d < depth]
        tree[found["name"]] = (above[-1][1] if above else None, int(found["code"]) if found["code"] else None)
        above.append((depth, found["name"]))
    return tree


def test_every_error_has_a_sample_here() -> None:
    """A new error class needs a sample in this file, so that its message is built at least once."""
    assert set(MADE) == set(CLASSES)


def test_the_drawn_tree_is_the_real_one() -> None:
    """The docstring of lineage/errors.py names every class with its parent and its exit code."""
    real = {name: (None, None) if cls is LineageError else (cls.__mro__[1].__name__, cls.exit_code) for name, cls in CLASSES.items()}

    assert drawn() == real


def test_codes_are_distinct() -> None:
    """A program can tell errors apart by their code."""
    codes = [cls.code for cls in CLASSES.values()]

    assert sorted(codes) == sorted(set(codes))


def test_exit_codes_leave_verdicts_alone() -> None:
    """0, 1, 3 and 4 are verdicts of a reproduction; 2 is usage, and no other kind of error shares it."""
    by_code: dict[int, set[str]] = {}
    for name, cls in CLASSES.items():
        by_code.setdefault(cls.exit_code, set()).add(name)

    assert by_code.keys().isdisjoint({0, 1, 3, 4})
    assert by_code[2] == {name for name, cls in CLASSES.items() if issubclass(cls, errors.UsageError)}


@pytest.mark.parametrize("name", sorted(MADE))
def test_an_error_says_something(name: str) -> None:
    """Each error reads as one sentence without a missing part, and carries a hint or ``None``."""
    error = MADE[name]

    assert str(error) == error.message
    assert error.message
    assert "None" not in error.message
    assert "{" not in error.message
    assert error.hint is None or error.hint
