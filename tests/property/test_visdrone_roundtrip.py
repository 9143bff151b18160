from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.visdrone_format import parse_annotations

side = st.integers(0, 4096)
row = st.tuples(side, side, side, side, st.integers(0, 1), st.integers(0, 11), st.integers(0, 1), st.integers(0, 2))


@given(st.lists(row, max_size=30), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", ","]), st.booleans())
def test_what_is_written_is_what_is_read(rows: list[tuple[int, ...]], ending: str, comma: str, with_mark: bool) -> None:
    """Any valid rows come back exactly, with or without trailing commas, Windows line ends and a byte order mark."""
    text = "".join(",".join(map(str, values)) + comma + ending for values in rows)

    objects, problems = parse_annotations((b"\xef\xbb\xbf" if with_mark else b"") + text.encode(), Path("a.txt"))

    table = np.column_stack([objects.boxes, objects.score, objects.labels, objects.truncation, objects.occlusion])
    assert table.astype(int).tolist() == [list(values) for values in rows]
    assert {problem.severity for problem in problems} <= {"warning"}


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_without_saying_why(content: bytes) -> None:
    """Any bytes give objects or problems, never an exception, and every object comes from a line without an error."""
    objects, problems = parse_annotations(content, Path("a.txt"))

    lines = [line for line in content.decode("latin-1").splitlines() if line.strip()]
    assert len(objects) <= len(lines)
    if lines and not len(objects):
        assert problems
