"""Errors as problem documents: each class of the layer's tree has its status, and documents say what RFC 9457 asks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lineage import errors
from lineage.errors import LineageError
from service import problems


def tree(kind: type[LineageError] = LineageError) -> Iterator[type[LineageError]]:
    """The class and all below it that the layer itself defines."""
    if kind.__module__.startswith("lineage."):
        yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def test_every_error_class_has_a_status() -> None:
    """A class added to lineage/errors.py without a line in service/problems.py is noticed, and so is a line without a class."""
    assert set(problems.STATUS) == {*tree(), problems.WrongContent, problems.UnknownDigest}


def test_a_status_says_whose_fault_it_is() -> None:
    """Every status is one of an error, and its title is words for people."""
    assert {status for status, _ in problems.STATUS.values() if not 400 <= status < 600} == set()
    assert [title for _, title in problems.STATUS.values() if not title[0].isupper() or title.endswith(".")] == []


def test_codes_of_http_errors_are_not_codes_of_ours() -> None:
    """A program can tell a run that is not there from an address that is not there."""
    codes = [code for code, _, _ in problems.kinds()]

    assert sorted(codes) == sorted(set(codes))


def test_a_class_outside_the_table_is_answered_like_its_parent() -> None:
    """An error class of somebody else's adapter gets the status of the class it refines."""

    class Elsewhere(errors.NotFound):
        code = "elsewhere"

    problem = problems.problem_of(Elsewhere("run", "0a1b"), "/api/v1/runs/0a1b")
    assert (problem.status, problem.code) == (404, "elsewhere")


@pytest.mark.parametrize(
    ("error", "status", "more"),
    [
        (errors.AmbiguousId("0a", ["0a1b", "0a2c"]), 400, {"candidates": ["0a1b", "0a2c"]}),
        (errors.NotFound("run", "0a1b", hint="look elsewhere"), 404, {"hint": "look elsewhere"}),
        (errors.InvalidSource("2 problems", problems=["a.txt:1: 7 fields"]), 422, {"problems": ["a.txt:1: 7 fields"]}),
        (errors.IntegrityError("object", expected="sha256:00", found="sha256:11"), 500, {"expected": "sha256:00", "found": "sha256:11"}),
        (errors.Unavailable("no server"), 503, {}),
    ],
)
def test_a_document_has_what_the_error_knows(error: LineageError, status: int, more: dict[str, object]) -> None:
    """Type, title, status, detail, instance and code, and the parts of the error that programs may want."""
    response = problems.as_json(problems.problem_of(error, "/here"))

    assert (response.status_code, response.media_type) == (status, "application/problem+json")
    document = problems.Problem.model_validate_json(bytes(response.body)).model_dump(exclude_none=True)
    assert document.items() >= {**more, "status": status, "detail": error.message, "instance": "/here", "code": error.code}.items()
    assert document["type"] == f"/problems#{error.code}"
