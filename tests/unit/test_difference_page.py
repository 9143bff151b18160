"""The page for people: what it draws, and what it must not let through."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from lineage.cli.curves import curves
from lineage.cli.difference_page import difference_page
from lineage.model.difference import (
    Cause,
    CodeDifference,
    DataDifference,
    DataSide,
    Difference,
    EnvironmentDifference,
    ObjectChange,
    Results,
    RowChange,
    RunSide,
    ValueChange,
)
from lineage.model.picture_size import picture_size
from lineage.model.run import MetricPoint

NASTY = "<script>alert('x')</script>&\""


def picture(kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (37, 21), (9, 9, 9)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (picture("JPEG"), ("image/jpeg", 37, 21)),
        (picture("JPEG", progressive=True, optimize=True), ("image/jpeg", 37, 21)),
        (picture("JPEG", comment=b"\xff\xc0 in a comment", exif=Image.Exif()), ("image/jpeg", 37, 21)),
        (picture("PNG"), ("image/png", 37, 21)),
        (picture("BMP"), None),
        (picture("JPEG")[:8], None),
        (b"\xff\xd8" + b"\xff\xe0\x00\x00" * 9, None),
        (b"", None),
    ],
)
def test_the_size_of_a_picture_is_read_from_its_header(encoded: bytes, expected: tuple[str, int, int] | None) -> None:
    assert picture_size(encoded) == expected


@pytest.mark.parametrize("length", range(60))
def test_a_cut_off_picture_has_no_size_or_its_own(length: int) -> None:
    for kind in ("JPEG", "PNG"):
        found = picture_size(picture(kind)[:length])
        assert found is None or found[1:] == (37, 21)


def drawn(svg: str | None) -> list[tuple[str, list[tuple[float, ...]]]]:
    found = re.findall(r'<polyline class="(\w)" points="([^"]*)"', svg or "")
    return [(which, [tuple(map(float, point.split(","))) for point in points.split()]) for which, points in found]


def test_curves_lie_over_each_other_on_one_scale() -> None:
    """Higher values are drawn higher, equal values at the same place, and nothing outside the frame."""
    a, b = [(0, 1.0), (1, 3.0), (2, 2.0)], [(0, 1.0), (1, 2.0), (4, 5.0)]
    (first, ours), (second, theirs) = drawn(curves("loss", a, b))

    assert (first, second) == ("a", "b")
    assert ours[0] == theirs[0]
    assert ours[1][1] < ours[2][1] < ours[0][1]
    assert ours[2][1] == theirs[1][1]
    assert all(0 <= x <= 420 and 0 <= y <= 200 for x, y in [*ours, *theirs])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_part_a_curve(value: float) -> None:
    svg = curves("loss", [(0, 1.0), (1, 2.0), (2, value), (3, 4.0)], [])

    assert [len(points) for _, points in drawn(svg)] == [2, 2]
    assert curves("loss", [(0, 1.0), (1, value)], [(0, value)]) is None


@pytest.mark.parametrize("values", [(1.0, 1.0), (-1.7e308, 1.7e308), (0.0, 5e-324)])
def test_odd_extents_are_drawn(values: tuple[float, float]) -> None:
    (_, points) = drawn(curves("x", list(enumerate(values)), []))[0]

    assert all(0 <= x <= 420 and 0 <= y <= 200 for x, y in points)


def test_a_long_series_keeps_its_peak() -> None:
    svg = curves("x", [(i, 1000.0 if i == 7_777 else 1.0) for i in range(10_000)], [])
    ((_, points),) = drawn(svg)

    assert len(points) <= 600
    assert min(y for _, y in points) == 12


def test_the_page_draws_boxes_and_lets_no_markup_through() -> None:
    """Old boxes dashed, new ones solid; names of samples, classes, keys and metrics are text, whatever they hold."""
    change = RowChange(
        kind="relabelled",
        sample_id=NASTY,
        objects=(
            ObjectChange(kind="moved", box_a=(1, 2, 3, 4), box_b=(5, 6, 7, 8), class_a=NASTY, class_b=NASTY, iou=0.5),
            ObjectChange(kind="changed", box_a=(9, 9, 1, 1), box_b=(9, 9, 1, 1), values=(ValueChange(name=NASTY, a=1, b=2),)),
        ),
    )
    side = RunSide(run_id="0" * 32, name=NASTY, project=NASTY, job_type="train", state="finished", started_at="")
    data = DataSide(uri="file:///x", commit_id="c", view_name=None, query=None, rows=1, content_digest="")
    item = Difference(
        a=side,
        b=side,
        is_same=False,
        causes=(Cause(subject="data", sentence=NASTY),),
        data=(DataDifference(role="train", a=data, b=data, is_same=False, relabelled=1, rows=(change,)),),
        code=CodeDifference(is_same=True, a=None, b=None),
        configuration=(ValueChange(name=NASTY, a=NASTY, b=None),),
        base_weights=(),
        environment=EnvironmentDifference(),
        results=Results(is_same=None),
        not_compared=(NASTY,),
    )
    points = [MetricPoint(step=step, values={NASTY: step}, at=0) for step in range(2)]
    page = difference_page(item, points, points, {(0, 0): (None, picture("JPEG"))})

    assert "<script" not in page
    assert re.findall(r'<rect class="(\w+)" x="(\d)"', page) == [("old", "1"), ("new", "5"), ("both", "9")]
    assert 'viewBox="0 0 37 21"' in page
    assert "data:image/jpeg;base64," in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    tags: list[tuple[str, bool]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, True))  # type: ignore[method-assign]
    parser.handle_endtag = lambda tag: tags.append((tag, False))  # type: ignore[method-assign]
    parser.feed(page)
    for tag in ("figure", "figcaption", "svg", "table", "tr", "td", "div", "h2", "ol", "li"):
        assert tags.count((tag, True)) == tags.count((tag, False)), tag
