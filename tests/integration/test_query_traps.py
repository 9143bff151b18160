"""Queries that Deep Lake answers wrongly without saying so are refused, with the form that is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.adapters.datasets.deeplake_query_traps import refuse_wrong_answers
from lineage.errors import InvalidQuery
from pipelines.data.visdrone import COLUMNS

WRONG = "select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:, 3]<20), labels == 'car'))"
RIGHT = "select * where not any(logical_and(logical_or(boxes[:,2:3]<20, boxes[:,3:4]<20), labels == 'car'))"


def dataset(folder: Path, counts: list[int]) -> tuple[str, list[int]]:
    """A dataset with this many random boxes a row, and the rows that the query must keep."""
    random = np.random.default_rng(len(counts))
    boxes = [random.integers(10, 40, (count, 4)).astype("float32") for count in counts]
    labels = [random.choice([1, 4], count).astype("uint32") for count in counts]
    uri = f"file://{folder / 'ds'}"
    writer = DeepLakeBackend().write(uri, [item for item in COLUMNS if item.name in ("boxes", "labels", "sample_id")], source={})
    writer.append({"boxes": boxes, "labels": labels, "sample_id": [str(row) for row in range(len(counts))]})
    writer.complete("test")
    small = [((box[:, 2] < 20) | (box[:, 3] < 20)) & (label == 4) for box, label in zip(boxes, labels, strict=True)]
    return uri, [row for row, flags in enumerate(small) if not flags.any()]


@pytest.mark.parametrize("counts", [[1] * 40, [2] * 40, [3] * 300, [2]])
def test_a_single_column_of_boxes_with_one_shape_is_refused(tmp_path: Path, counts: list[int]) -> None:
    """With as many boxes in every row, boxes[:,2] is refused; the form in the hint keeps exactly the rows that NumPy keeps."""
    uri, expected = dataset(tmp_path, counts)

    with pytest.raises(InvalidQuery) as caught:
        DeepLakeBackend().resolve(uri, query=WRONG)

    assert "because every row of 'boxes' has the same shape" in caught.value.message
    assert caught.value.hint == "write boxes[:,2:3], which is answered rightly"
    if expected:
        assert DeepLakeBackend().resolve(uri, query=RIGHT).rows.tolist() == expected


@pytest.mark.parametrize("counts", [[1, 2] * 20, [0, 3] * 20, [2] * 39 + [3], [2] * 300 + [1]])
def test_both_forms_are_right_when_shapes_differ(tmp_path: Path, counts: list[int]) -> None:
    """One row with another number of boxes is enough: both forms keep exactly the rows that NumPy keeps, time after time."""
    uri, expected = dataset(tmp_path, counts)

    for _ in range(5):
        assert DeepLakeBackend().resolve(uri, query=WRONG).rows.tolist() == expected
        assert DeepLakeBackend().resolve(uri, query=RIGHT).rows.tolist() == expected


# --- every known form ---------------------------------------------------------------------------------------------------------

NAMES = ["car", "van", "bus"]
SCHEMA = {
    "boxes": types.Array("float32", 2),
    "labels": types.ClassLabel(types.Array("uint32", 1)),
    "occ": types.Array("int32", 1),
    "name": types.Text(),
    "w": types.Float64(),
    "k": types.Int32(),
    "one": types.ClassLabel("uint32"),
}
Row = dict[str, Any]


def values(random: np.random.Generator, counts: list[int]) -> dict[str, list[Any]]:
    """Columns with this many boxes, labels and occlusions a row; every fifth number is none."""
    rows = len(counts)
    return {
        "boxes": [random.integers(-10, 40, (count, 4)).astype("float32") for count in counts],
        "labels": [random.integers(0, 3, count).astype("uint32") for count in counts],
        "occ": [random.integers(0, 5, count).astype("int32") for count in counts],
        "name": [f"{number:03d}.jpg" for number in random.permutation(rows)],
        "w": [float("nan") if x < 0.2 else round(float(x) * 10 - 5, 2) for x in random.random(rows)],
        "k": [int(x) for x in random.integers(-5, 5, rows)],
        "one": [int(x) for x in random.integers(0, 3, rows)],
    }


def stored(folder: Path, columns: dict[str, list[Any]], names: list[str] = NAMES, *, commits: int = 2) -> str:
    """A dataset of one commit or two."""
    dataset = deeplake.create(str(folder), schema=SCHEMA)
    for column in ("labels", "one"):
        dataset[column].metadata["class_names"] = names
    half = len(columns["k"]) // 2
    for part in (slice(None, half), slice(half, None)) if commits == 2 else (slice(None),):
        dataset.append({name: items[part] for name, items in columns.items()})
        dataset.commit()
    return f"file://{folder}"


def kept(columns: dict[str, list[Any]], keep: Callable[[Row], Any]) -> list[int]:
    """Brute force."""
    rows = ({name: items[row] for name, items in columns.items()} for row in range(len(columns["k"])))
    return [row for row, item in enumerate(rows) if keep(item)]


def answered(dataset: Any, condition: str) -> list[int]:
    """What Deep Lake answers."""
    found = dataset.query(f"select rn from (select *, row_number() as rn) where {condition}")
    return [int(value) for value in found["rn"][:]] if len(found) else []


RAGGED = [0, 1, 2, 3, 4] * 12
EVEN = [2] * 60


@pytest.mark.parametrize(
    ("counts", "wrong", "right", "keep"),
    [
        (RAGGED, "sum(labels == 'car') >= 2", "sum((labels == 'car')*1) >= 2", lambda d: (d["labels"] == 0).sum() >= 2),
        (RAGGED, "sum(boxes[:,2] < 20) >= 2", "sum((boxes[:,2] < 20)*1) >= 2", lambda d: (d["boxes"][:, 2] < 20).sum() >= 2),
        (RAGGED, "any(labels in ('car','van'))", "any((labels == 'car' or labels == 'van'))", lambda d: (d["labels"] < 2).any()),
        (RAGGED, "all(occ in (0,1,2))", "all((occ == 0 or occ == 1 or occ == 2))", lambda d: (d["occ"] < 3).all()),
        (RAGGED, "any(occ not in (0,1))", "any(not (occ == 0 or occ == 1))", lambda d: (d["occ"] > 1).any()),
        (RAGGED, "any(occ between 1 and 2)", "any((occ >= 1 and occ <= 2))", lambda d: ((d["occ"] >= 1) & (d["occ"] <= 2)).any()),
        (RAGGED, "w in (1.5, 2.5)", "(w == 1.5 or w == 2.5)", lambda d: d["w"] in (1.5, 2.5)),
        (RAGGED, "name >= '050.jpg'", "name between '050.jpg' and '~'", lambda d: d["name"] >= "050.jpg"),
        (RAGGED, "'010.jpg' > name", "name like '00%'", lambda d: d["name"] < "010.jpg"),
        (RAGGED, "any('car' == labels)", "any(labels == 'car')", lambda d: (d["labels"] == 0).any()),
        (RAGGED, "'car' != one", "one != 'car'", lambda d: d["one"] != 0),
        (RAGGED, "any(boxes[:,2:] < 5)", "any(boxes[:,2:4] < 5)", lambda d: (d["boxes"][:, 2:] < 5).any()),
        (RAGGED, "any(boxes[:,2:5] < 5)", "any(boxes[:,2:4] < 5)", lambda d: (d["boxes"][:, 2:5] < 5).any()),
        (RAGGED, "any(boxes[1:,2] < 5)", None, lambda d: (d["boxes"][1:, 2] < 5).any()),
        (RAGGED, "any(occ[2:3] > 2)", "(shape(occ)[0] > 2 and occ[2] > 2)", lambda d: (d["occ"][2:3] > 2).any()),
        (RAGGED, "occ[2] > 2", "(shape(occ)[0] > 2 and occ[2] > 2)", lambda d: len(d["occ"]) > 2 and d["occ"][2] > 2),
        (RAGGED, "amin(occ) == 0", "(shape(occ)[0] > 0 and amin(occ) == 0)", lambda d: len(d["occ"]) > 0 and d["occ"].min() == 0),
        (RAGGED, "any(boxes[:,2] < 9 and k > 0)", "any(boxes[:,2] < 9) and k > 0", lambda d: (d["boxes"][:, 2] < 9).any() and d["k"] > 0),
        (RAGGED, "any(boxes[:,2:3] > occ)", "any(boxes[:,2] > occ)", lambda d: (d["boxes"][:, 2] > d["occ"]).any()),
        (EVEN, "any(boxes[:,2] < 5)", "any(boxes[:,2:3] < 5)", lambda d: (d["boxes"][:, 2] < 5).any()),
        (EVEN, "any(boxes[0:1,2] < 5)", "any(boxes[:1,2:3] < 5)", lambda d: (d["boxes"][:1, 2] < 5).any()),
        (EVEN, "any(boxes[0] < 5)", "any(boxes[0:1,0:4] < 5)", lambda d: (d["boxes"][:1] < 5).any()),
        (EVEN, "boxes[0,4] < 15", None, lambda d: False),
        (EVEN, "boxes[0,2] > boxes[0,1]", "any(boxes[0:1,2:3] > boxes[0:1,1:2])", lambda d: d["boxes"][0, 2] > d["boxes"][0, 1]),
    ],
)  # fmt: skip
def test_a_form_that_is_answered_wrongly_is_refused(
    tmp_path: Path, counts: list[int], wrong: str, right: str | None, keep: Callable[[Row], Any]
) -> None:
    """Deep Lake's own answer differs from NumPy's; the form is refused and named; the other form keeps exactly NumPy's rows."""
    columns = values(np.random.default_rng(5), counts)
    uri = stored(tmp_path / "ds", columns, commits=1 if counts == EVEN else 2)  # rows of one shape are misread in one piece only
    expected = kept(columns, keep)
    assert answered(deeplake.open_read_only(uri), wrong) != expected, "this release answers it rightly: drop the rule"

    with pytest.raises(InvalidQuery, match="wrongly here, because") as caught:
        DeepLakeBackend().resolve(uri, query=f"select * where {wrong}")

    assert caught.value.hint
    if right is not None and expected:
        assert DeepLakeBackend().resolve(uri, query=f"select * where {right}").rows.tolist() == expected


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("sum(labels == 'car') >= 2", "write sum((labels == 'car')*1)"),
        ("any(labels in ('car', 'van'))", "write (labels == 'car' or labels == 'van')"),
        ("any(occ not in (1, 2))", "write not (occ == 1 or occ == 2)"),
        ("any(boxes[:,2:] < 5)", "write boxes[:,2:4]"),
        ("labels == 'car'", "write any(labels == 'car') or all(labels == 'car')"),
        ("any(occ > 1 and k > 0)", "keep them apart: any(occ > 1) and k > 0"),
        ("'bus' == one", "write one == 'bus'"),
        ("occ between 1 and 2", "write (occ >= 1 and occ <= 2)"),
        ("any(logical_and(boxes[:,2] < 20, occ[0:1] > 2))", "compare lists that have the same number of values in every row"),
    ],
)
def test_the_hint_is_the_right_form(tmp_path: Path, wrong: str, hint: str) -> None:
    """The hint is ready to be pasted."""
    uri = stored(tmp_path / "ds", values(np.random.default_rng(5), RAGGED))

    with pytest.raises(InvalidQuery) as caught:
        DeepLakeBackend().resolve(uri, query=f"select * where {wrong}")

    assert caught.value.hint == hint


@pytest.mark.parametrize("condition", ["any(labels == 'car')", "any(labels != 'car')", "one == 'car'", "one in ('car', 'van')"])
def test_a_class_name_that_stands_for_two_classes_is_refused(tmp_path: Path, condition: str) -> None:
    """Only the first of them would count; the hint names both by index. Other names are fine."""
    columns = values(np.random.default_rng(5), RAGGED)
    uri = stored(tmp_path / "ds", columns, ["car", "van", "car"])

    with pytest.raises(InvalidQuery, match="'car' is the name of classes 0, 2") as caught:
        DeepLakeBackend().resolve(uri, query=f"select * where {condition}")

    assert " == 0 or " in str(caught.value.hint)
    assert DeepLakeBackend().resolve(uri, query="select * where any(labels == 'van')").rows.tolist() == kept(
        columns, lambda row: (row["labels"] == 1).any()
    )


def test_labels_of_one_class_a_row_need_no_any(tmp_path: Path) -> None:
    """With exactly one value in each row, a bare comparison is what it looks like."""
    columns = values(np.random.default_rng(5), [1] * 30)
    uri = stored(tmp_path / "ds", columns)

    found = DeepLakeBackend().resolve(uri, query="select * where labels == 'car'")
    assert found.rows.tolist() == kept(columns, lambda row: row["labels"][0] == 0)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("select * sample by k limit 5", "at random"),
        ("select * order by random()", "random"),
        ("select * where random() < 0.5", "random"),
        ("select *, row_number() as rn where k > 0", "only whole rows"),
        ("select * where k > 0 union (select * where k < 0)", "joins rows"),
        ("select * group by k", "joins rows"),
    ],
)
def test_what_is_no_fixed_list_of_rows_is_refused(tmp_path: Path, query: str, reason: str) -> None:
    """Random rows, joined rows and projections."""
    uri = stored(tmp_path / "ds", values(np.random.default_rng(5), RAGGED))

    with pytest.raises(InvalidQuery, match=reason):
        DeepLakeBackend().resolve(uri, query=query)


@pytest.mark.parametrize("saved", ["select * where any(labels in ('car','van'))", "select * where sum(labels == 'car') > 0 order by k"])
def test_a_view_saved_with_such_a_query_keeps_its_rows(tmp_path: Path, saved: str) -> None:
    """The saved view lists its rows, so it can be used: exactly these, in its order, whatever its query would give."""
    uri = stored(tmp_path / "ds", values(np.random.default_rng(5), RAGGED))
    view = deeplake.open(uri).query(saved)
    names = list(view["name"][:])
    view.tag("mine", "saved by hand")

    found = DeepLakeBackend().resolve(uri, view="mine")

    reader = DeepLakeBackend().open(uri, "main", found.version.commit_id)
    assert reader.read(found.rows.tolist(), ["name"])["name"] == names
    with pytest.raises(InvalidQuery):
        DeepLakeBackend().resolve(uri, query=saved)


# --- random conditions ----------------------------------------------------------------------------------------------------------


class Conditions:
    """Makes random conditions, each with what it means in NumPy."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def _pick(self, *items: Any) -> Any:
        return items[int(self._random.integers(len(items)))]

    def _below(self, stop: int, start: int = 0) -> int:
        return int(self._random.integers(start, stop))

    def numbers(self) -> tuple[str, Callable[[Row], Any]]:
        """A list of numbers in each row."""
        start, column = self._below(2), self._below(4)
        stop, end = start + self._below(3, 1), self._below(5, column + 1)
        match self._below(6):
            case 0:
                return "occ", lambda d: d["occ"].astype(float)
            case 1:
                return "labels", lambda d: d["labels"].astype(float)
            case 2:
                return f"boxes[:,{column}]", lambda d: d["boxes"][:, column]
            case 3:
                return f"boxes[:,{column}:{end}]", lambda d: one_column(d["boxes"][:, column:end])
            case 4:
                return f"occ[{start}:{stop}]", lambda d: d["occ"][start:stop].astype(float)
        typed = self._pick(f"{column}", f"{column}:{column + 1}", f"{column}:")
        index: Any = column if ":" not in typed else slice(column, column + 1 if typed[-1] != ":" else None)
        return f"boxes[{start}:{stop},{typed}]", lambda d: one_column(d["boxes"][start:stop, index])

    def calculated(self) -> tuple[str, Callable[[Row], Any]]:
        """The same, perhaps calculated with."""
        (text, get), sign, number = self.numbers(), self._pick("+", "-", "*"), self._below(6, -3)
        other, get_other = self.numbers()
        calculate = {"+": np.add, "-": np.subtract, "*": np.multiply}[sign]
        match self._below(7):
            case 0:
                return f"({text} {sign} {number})", lambda d: calculate(get(d), number)
            case 1:
                return f"({text} {sign} {other})", lambda d: calculate(get(d), get_other(d))
            case 2:
                return f"({text} {sign} k)", lambda d: calculate(get(d), d["k"])
            case 3:
                return f"abs({text})", lambda d: abs(get(d))
        return text, get

    def flags(self, depth: int) -> tuple[str, Callable[[Row], Any]]:
        """A list of answers in each row."""
        choice = self._below(8 if depth else 4)
        if choice < 2:
            (text, get), (sign, compare) = self.calculated(), self._pick(*SIGNS)
            number = self._below(30, -3) if "boxes" in text else self._below(5, -1)
            if self._below(7) == 0:
                return f"{number} {sign} {text}", lambda d: compare(number, get(d))
            return f"{text} {sign} {number}", lambda d: compare(get(d), number)
        if choice == 2:
            label, (sign, compare) = self._below(3), self._pick(*SIGNS[:2])
            return f"labels {sign} '{NAMES[label]}'", lambda d: compare(d["labels"], label)
        if choice == 3:
            (text, get), (other, get_other), (sign, compare) = self.numbers(), self.numbers(), self._pick(*SIGNS)
            low, high = sorted((self._below(5), self._below(5)))
            if self._below(2):
                return f"{text} in ({low},{high})", lambda d: np.isin(get(d), [low, high])
            return f"{text} {sign} {other}", lambda d: compare(get(d), get_other(d))
        left, get_left = self.flags(depth - 1)
        if choice == 4:
            return f"not ({left})", lambda d: ~get_left(d)
        right, get_right = self.flags(depth - 1)
        word, join = self._pick(("and", np.logical_and), ("or", np.logical_or))
        form = self._pick(f"({left}) {word} ({right})", f"logical_{word}({left}, {right})")
        return form, lambda d: join(get_left(d), get_right(d))

    def condition(self, depth: int) -> tuple[str, Callable[[Row], Any]]:
        """One answer for each row."""
        (sign, compare), number = self._pick(*SIGNS), self._below(5, -5)
        match self._below(13 if depth else 10):
            case 0:
                return f"k {sign} {number}", lambda d: compare(d["k"], number)
            case 1:
                return f"w {sign} {number / 2}", lambda d: compare(d["w"], number / 2)
            case 2:
                label, (sign, compare) = self._below(3), self._pick(*SIGNS[:2])
                return f"one {sign} '{NAMES[label]}'", lambda d: compare(d["one"], label)
            case 3:
                return self._pick(
                    (f"k not in ({number},1)", lambda d: d["k"] not in (number, 1)),
                    (f"w in ({number},1)", lambda d: d["w"] in (number, 1)),
                    (f"w between {number} and 2", lambda d: number <= d["w"] <= 2),
                )
            case 4:
                name = f"{self._below(40):03d}.jpg"
                return self._pick(
                    (f"name {sign} '{name}'", lambda d: compare(d["name"], name)),
                    (f"name between '0' and '{name}'", lambda d: "0" <= d["name"] <= name),
                    (f"name not like '%{name[2]}.jpg'", lambda d: not d["name"].endswith(f"{name[2]}.jpg")),
                )
            case 5 | 6 | 7:
                (text, get), (word, join) = self.flags(2), self._pick(("any", np.any), ("all", np.all))
                return f"{word}({text})", lambda d: join(get(d))
            case 8:
                text, get = self.flags(1)
                return self._pick(f"sum({text}) {sign} 2", f"sum(({text})*1) {sign} 2"), lambda d: compare(get(d).sum(), 2)
            case 9:
                row, column = self._below(3), self._below(4)
                return self._pick(
                    (f"occ[{row}] {sign} 2", lambda d: len(d["occ"]) > row and compare(d["occ"][row], 2)),
                    (f"boxes[{row},{column}] {sign} k", lambda d: len(d["boxes"]) > row and compare(d["boxes"][row, column], d["k"])),
                    (f"shape(occ)[0] > {row} and occ[{row}] {sign} 2", lambda d: len(d["occ"]) > row and compare(d["occ"][row], 2)),
                )
            case 10:
                left, get_left = self.condition(depth - 1)
                return f"not ({left})", lambda d: not get_left(d)
        left, get_left = self.condition(depth - 1)
        right, get_right = self.condition(depth - 1)
        return self._pick(
            (f"({left}) and ({right})", lambda d: get_left(d) and get_right(d)),
            (f"({left}) or ({right})", lambda d: get_left(d) or get_right(d)),
        )


SIGNS: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = (
    ("==", lambda a, b: a == b),
    ("!=", lambda a, b: a != b),
    ("<", lambda a, b: a < b),
    (">", lambda a, b: a > b),
    ("<=", lambda a, b: a <= b),
    (">=", lambda a, b: a >= b),
)


def one_column(table: Any) -> Any:
    """A table of one column as a list: Deep Lake sets them against lists row by row, where NumPy would make a square."""
    return table[:, 0] if table.ndim == 2 and table.shape[1] == 1 else table


@pytest.mark.parametrize("seed", range(16))
def test_what_is_not_refused_is_answered_rightly(tmp_path: Path, seed: int) -> None:
    """Random conditions over random rows (empty ones, all of one shape, any): each is refused, or answered exactly as NumPy answers."""
    random = np.random.default_rng(seed)
    counts = [
        random.integers(0, 5, 40),
        np.full(40, random.integers(1, 4)),
        random.integers(1, 5, 40),
        np.where(random.random(40) < 0.7, 0, random.integers(1, 4, 40)),
    ][seed % 4]
    columns = values(random, counts.tolist())
    dataset = deeplake.open_read_only(stored(tmp_path / "ds", columns, commits=1 + seed % 3 // 2))
    conditions, checked = Conditions(random), 0

    for _ in range(50):
        text, keep = conditions.condition(2)
        try:
            refuse_wrong_answers(dataset, f"select * where {text}")
        except InvalidQuery:
            continue
        assert answered(dataset, text) == kept(columns, keep), text
        checked += 1

    assert checked >= 15  # the rules do not refuse nearly everything
