"""Comparing recorded views gives exactly the edits that were made, whatever the rows are matched by."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineage.errors import NotFound
from lineage.lookup import diff_pairing
from lineage.lookup.diff_objects import ObjectColumns, compare_columns, compare_objects, object_columns
from lineage.lookup.diff_pairing import moved, pair, pair_digests
from lineage.lookup.diff_rows import MatchedRows, match_rows
from lineage.model.dataset import InputRecord
from lineage.model.digest import digest_of_bytes, digest_of_rows, digest_of_view
from lineage.ports import ObjectStore
from lineage.record.identity import pack_rows
from lineage.record.ledger import BLOCK_ROWS, Ledger, RowDigests, RowNames

AT = datetime(2024, 5, 6, tzinfo=UTC)
NOTHING = hashlib.sha256().digest()


@dataclass(frozen=True)
class Row:
    name: str | None
    picture: str | None
    labels: int

    @property
    def picture_digest(self) -> bytes:
        return NOTHING if self.picture is None else hashlib.sha256(self.picture.encode()).digest()

    @property
    def row_digest(self) -> bytes:
        return hashlib.sha256(repr(self).encode()).digest()


class MemoryObjects:
    """Objects in memory: files that are forced to disk are slow for hundreds of examples."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.read: list[str] = []

    def put_bytes(self, content: bytes) -> str:
        digest = digest_of_bytes(content)
        self.kept[digest] = content
        return digest

    def put_file(self, path: Path) -> tuple[str, int]:
        return self.put_bytes(path.read_bytes()), path.stat().st_size

    def get_bytes(self, digest: str) -> bytes:
        self.read.append(digest)
        if digest not in self.kept:
            raise NotFound("object", digest)
        return self.kept[digest]

    def has(self, digest: str) -> bool:
        return digest in self.kept

    def path_of(self, digest: str) -> Path | None:
        return None

    def all(self) -> Iterator[tuple[str, int, float]]:
        return ((digest, len(content), 0.0) for digest, content in self.kept.items())

    def delete(self, digest: str) -> None:
        self.kept.pop(digest, None)


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


def ledger_of(objects: ObjectStore, dataset: Sequence[Row], first: int = 0) -> str:
    digests = RowDigests.of(b"".join(row.picture_digest for row in dataset), b"".join(row.row_digest for row in dataset))
    ids = [row.name for row in dataset]
    names = RowNames(None if None in ids else tuple(str(name) for name in ids))
    return Ledger(objects).extended(np.arange(len(dataset)) + first, digests, names).save()


def recorded(
    objects: ObjectStore, dataset: Sequence[Row], rows: Sequence[int], *, space: str | None = "s", dataset_id: str = "d", first: int = 0
) -> InputRecord:
    """A recorded view of ``rows`` (indices into ``dataset``, whose rows lie at source positions from ``first``)."""
    places = np.array(rows, np.int64).reshape(-1) + first
    content = b"".join(dataset[row].row_digest for row in rows)
    ledger = ledger_of(objects, dataset, first)
    own = None if space is not None else objects.put_bytes(b"".join(dataset[row].picture_digest for row in rows) + content)
    return InputRecord(
        role="train",
        uri="file:///d",
        dataset_id=dataset_id,
        branch="main",
        branch_id="b",
        commit_id="c",
        rows=len(rows),
        rows_total=len(dataset) + first,
        rows_digest=digest_of_rows(places),
        content_digest=digest_of_view(content, {}),
        rows_object=objects.put_bytes(pack_rows(places)),
        space=space,
        ledger_object=None if space is None else ledger,
        digests_object=own,
        columns={},
        backend="none",
        used_at=AT,
    )


def least_moved(places: Sequence[int]) -> int:
    """By the textbook: all minus the longest increasing subsequence."""
    best: list[int] = []
    for i, place in enumerate(places):
        best.append(1 + max((best[j] for j in range(i) if places[j] < place), default=0))
    return len(places) - max(best, default=0)


def counts(found: MatchedRows) -> dict[str, int]:
    return {
        "same": found.same,
        "added": len(found.added),
        "removed": len(found.removed),
        "relabelled": found.relabelled.shape[1],
        "replaced": found.replaced.shape[1],
        "renamed": found.renamed.shape[1],
    }


def expected_counts(left: Sequence[Row], right: Sequence[Row]) -> dict[str, int]:
    """By counting: take out equal rows, then equal name and picture, then equal name, then equal picture."""
    ours, theirs = list(left), list(right)
    has_names = all(row.name is not None for row in [*left, *right])
    steps: list[tuple[str, Any]] = [("same", lambda row: row)]
    if has_names:
        steps += [("relabelled", lambda row: (row.name, row.picture)), ("replaced", lambda row: row.name)]
    steps.append(("renamed" if has_names else "relabelled", lambda row: row.picture or object()))
    found = Counter[str]()
    for kind, key in steps:
        common = Counter(map(key, ours)) & Counter(map(key, theirs))
        found[kind] += sum(common.values())
        for side in (ours, theirs):
            left_out = Counter(common)
            kept = []
            for row in side:
                if left_out[key(row)] > 0:
                    left_out[key(row)] -= 1
                else:
                    kept.append(row)
            side[:] = kept
    kinds = ("same", "relabelled", "replaced", "renamed")
    return {kind: found[kind] for kind in kinds} | {"removed": len(ours), "added": len(theirs)}


# --- one row space ----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(left=st.lists(st.integers(0, 12), max_size=14), right=st.lists(st.integers(0, 12), max_size=14), appended=st.integers(0, 2))
def test_views_of_one_space_differ_by_their_positions(objects: ObjectStore, left: list[int], right: list[int], appended: int) -> None:
    """Rows added and removed are exactly the difference of the two lists, repeated rows counted; nothing else can differ."""
    dataset = [Row(f"n{i}", f"p{i}", i) for i in range(13 + appended)]
    found = match_rows(objects, recorded(objects, dataset[:13], left), recorded(objects, dataset, right))

    assert found.matched_by == "row"
    assert Counter(left[i] for i in found.removed) == Counter(left) - Counter(right)
    assert Counter(right[i] for i in found.added) == Counter(right) - Counter(left)
    assert counts(found) | {"added": 0, "removed": 0} == dict.fromkeys(counts(found), 0) | {
        "same": (Counter(left) & Counter(right)).total()
    }
    assert (found.repeated_left, found.repeated_right) == (len(left) - len(set(left)), len(right) - len(set(right)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(10)), dropped=st.sets(st.integers(0, 9), max_size=4))
def test_moved_rows_are_the_least_that_explain_the_order(objects: ObjectStore, order: list[int], dropped: set[int]) -> None:
    """Rows that are missing on one side leave no trace in the number of moved ones."""
    dataset = [Row(f"n{i}", f"p{i}", i) for i in range(10)]
    right = [row for row in order if row not in dropped]
    found = match_rows(objects, recorded(objects, dataset, list(range(10))), recorded(objects, dataset, right))

    assert found.moved == least_moved(right)
    assert (found.first_moved is None) == (found.moved == 0)


def test_a_space_whose_rows_differ_is_seen(objects: ObjectStore) -> None:
    """Two ledgers of one space that disagree on a row: it is relabelled, or has another picture."""
    before = [Row(f"n{i}", f"p{i}", i) for i in range(6)]
    after = [*before[:2], replace(before[2], labels=9), replace(before[3], picture="x"), *before[4:]]
    found = match_rows(objects, recorded(objects, before, range(6)), recorded(objects, after, range(6)))

    assert counts(found) == {"same": 4, "added": 0, "removed": 0, "relabelled": 1, "replaced": 1, "renamed": 0}


def test_blocks_that_both_have_are_not_loaded(objects: MemoryObjects) -> None:
    """After an append only the block that grew is read; equal blocks are told by their names."""
    dataset = [Row(f"n{i}", f"p{i}", i) for i in range(BLOCK_ROWS * 2)]
    before, after = dataset[: BLOCK_ROWS + 5], dataset[: BLOCK_ROWS + 9]
    records = recorded(objects, before, range(len(before))), recorded(objects, after, range(len(after)))
    names = [Ledger.load(objects, str(record.ledger_object)).blocks for record in records]
    objects.read.clear()

    assert counts(match_rows(objects, *records))["added"] == 4
    assert names[0][0] == names[1][0]
    assert {names[0][1][0], names[1][1][0]} <= set(objects.read)  # type: ignore[index]
    assert not set(names[0][0] or ()) & set(objects.read)


# --- two row spaces ---------------------------------------------------------------------------------------------------------

NAMED = st.builds(Row, st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["p", "q", "r", None]), st.integers(0, 2))
UNNAMED = st.builds(Row, st.none(), st.sampled_from(["p", "q", "r", "s"]), st.integers(0, 2))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.one_of(st.tuples(*2 * [st.lists(NAMED, max_size=9)]), st.tuples(*2 * [st.lists(UNNAMED, max_size=9)])), first=st.integers(0, 3)
)
def test_views_of_two_datasets_are_matched_as_by_counting(objects: ObjectStore, rows: tuple[list[Row], list[Row]], first: int) -> None:
    """Whatever is repeated, equal rows come first, then names with their picture, names, pictures; every pair is what it claims to be."""
    left, right = rows
    a = recorded(objects, left, range(len(left)))
    b = recorded(objects, right, range(len(right)), space="t", dataset_id="e", first=first)
    found = match_rows(objects, a, b)

    expected, told = expected_counts(left, right), counts(found)
    assert [told[kind] for kind in ("same", "relabelled", "replaced")] == [expected[kind] for kind in ("same", "relabelled", "replaced")]
    # Which of several rows of one name got the partner is open, and with it which pictures are left; but no picture is left on both sides.
    assert told["renamed"] + told["removed"] == expected["renamed"] + expected["removed"]
    assert told["renamed"] + told["added"] == expected["renamed"] + expected["added"]
    assert not {left[i].picture for i in found.removed} & {right[j].picture for j in found.added} - {None}
    used = [[int(i) for part in (found.relabelled, found.replaced, found.renamed) for i in part[side]] for side in (0, 1)]
    assert all(len(set(side)) == len(side) for side in used)
    assert not set(used[0]) & set(found.removed.tolist())
    assert not set(used[1]) & set(found.added.tolist())
    for i, j in found.relabelled.T.tolist():
        assert left[i] != right[j]
        assert (left[i].name, left[i].picture) == (right[j].name, right[j].picture)
    for i, j in found.replaced.T.tolist():
        assert left[i].name == right[j].name
        assert left[i].picture != right[j].picture
    for i, j in found.renamed.T.tolist():
        assert left[i].name != right[j].name
        assert left[i].picture == right[j].picture


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), way=st.sampled_from(["sample id", "picture", "first release"]))
def test_random_edits_come_back(objects: ObjectStore, seed: int, count: int, way: str) -> None:
    """Rows with unique names and pictures are kept, removed, relabelled, replaced or renamed, some are added or shuffled: the answer is
    those edits, by position."""
    rng = random.Random(seed)
    has_names = way == "sample id"
    left = [Row(f"n{i}" if has_names else None, f"p{i}", i) for i in range(count)]
    kinds = ["keep", "keep", "removed", "relabelled", "replaced", "renamed"] if has_names else ["keep", "keep", "removed", "relabelled"]
    done = [rng.choice(kinds) for _ in left]
    edited = [
        (
            i,
            {
                "relabelled": replace(row, labels=-1),
                "replaced": replace(row, picture=f"new{i}"),
                "renamed": replace(row, name=f"new{i}"),
            }.get(kind, row),
        )
        for i, (row, kind) in enumerate(zip(left, done, strict=True))
        if kind != "removed"
    ]
    new = [(None, Row(f"add{i}" if has_names else None, f"add{i}", i)) for i in range(rng.randrange(4))]
    for item in new:
        edited.insert(rng.randrange(len(edited) + 1), item)
    start = rng.randrange(len(edited) + 1)
    stretch = edited[start : start + 5]
    rng.shuffle(stretch)
    edited[start : start + 5] = stretch
    right = [row for _, row in edited]
    space = None if way == "first release" else "t"
    found = match_rows(
        objects,
        recorded(objects, left, range(count), space=None if space is None else "s"),
        recorded(objects, right, range(len(right)), space=space, dataset_id="e"),
    )

    origin = {i: j for j, (i, _) in enumerate(edited) if i is not None}
    for kind, pairs in (("relabelled", found.relabelled), ("replaced", found.replaced), ("renamed", found.renamed)):
        assert pairs.T.tolist() == [[i, origin[i]] for i in range(count) if done[i] == kind]
    assert found.removed.tolist() == [i for i in range(count) if done[i] == "removed"]
    assert found.added.tolist() == [j for j, (i, _) in enumerate(edited) if i is None]
    assert found.same == done.count("keep")
    assert found.moved == least_moved([i for i, _ in edited if i is not None])


def test_rows_without_names_and_pictures_are_matched_by_position_in_one_dataset(objects: ObjectStore) -> None:
    """A table of plain numbers whose history was rewritten: the row that changed is at its place. In another dataset nothing says so."""
    before = [Row(None, None, i) for i in range(8)]
    after = [*before[:3], Row(None, None, 99), *before[4:]]
    a = recorded(objects, before, range(8))

    same = match_rows(objects, a, recorded(objects, after, range(8), space="t"))
    other = match_rows(objects, a, recorded(objects, after, range(8), space="t", dataset_id="e"))

    assert (same.matched_by, same.relabelled.T.tolist(), same.same) == ("row", [[3, 3]], 7)
    assert (other.matched_by, other.removed.tolist(), other.added.tolist()) == ("row digest", [3], [3])


# --- objects of a row -------------------------------------------------------------------------------------------------------

NAMES = ("person", "car", "van")


def row_of(objects_of_row: Sequence[tuple[tuple[float, ...], int, int]], classes: Sequence[str]) -> dict[str, Any]:
    """Column to value; ``classes`` decides which index stands for a class of ``NAMES``."""
    return {
        "boxes": np.array([box for box, _, _ in objects_of_row], np.float32).reshape(-1, 4),
        "labels": np.array([classes.index(NAMES[label]) for _, label, _ in objects_of_row], np.uint32),
        "occlusion": np.array([occlusion for _, _, occlusion in objects_of_row], np.int32),
    }


@settings(max_examples=200, deadline=None)
@given(
    done=st.lists(st.sampled_from(["keep", "relabelled", "occluded", "moved", "removed", "added"]), max_size=12),
    seed=st.integers(0, 2**32),
    reverse=st.booleans(),
)
def test_edits_of_boxes_come_back(done: list[str], seed: int, reverse: bool) -> None:
    """Boxes far from one another, each with one edit, stored in any order, classes under other indices: exactly those edits are told."""
    rng = random.Random(seed)
    before, after, expected = [], [], Counter[Any]()
    for i, kind in enumerate(done):
        box, label, occlusion = (100.0 * i, 50.0, 20.0, 30.0), rng.randrange(3), rng.randrange(2)
        edited = (box, label, occlusion)
        if kind == "relabelled":
            edited = (box, (label + 1) % 3, occlusion)
        elif kind == "occluded":
            edited = (box, label, occlusion + 1)
        elif kind == "moved":
            edited = ((box[0] + 3, 51.0, 22.0, 30.0), label, occlusion)
        if kind != "added":
            before.append((box, label, occlusion))
        if kind != "removed":
            after.append(edited)
        if kind in ("relabelled", "occluded"):
            column, left, right = (
                ("labels", NAMES[label], NAMES[edited[1]]) if kind == "relabelled" else ("occlusion", occlusion, edited[2])
            )
            expected["changed", box, box, ((column, left, right),)] += 1
        elif kind != "keep":
            expected[kind, None if kind == "added" else box, None if kind == "removed" else edited[0], ()] += 1
    rng.shuffle(after)
    classes = NAMES[::-1] if reverse else NAMES
    a, b = row_of(before, NAMES), row_of(after, classes)
    columns = object_columns([a, b, row_of([((0, 0, 1, 1), 0, 0)] * 5, NAMES)], {"labels": NAMES})
    assert columns is not None
    assert (columns.boxes, columns.labels, columns.others) == ("boxes", "labels", ("occlusion",))
    changes = compare_objects(a, b, columns, {"labels": NAMES}, {"labels": classes})

    found = Counter[Any]((item.kind, item.box_a, item.box_b, tuple((v.name, v.a, v.b) for v in item.values)) for item in changes)
    assert found == expected


def test_of_two_boxes_the_nearer_is_the_moved_one() -> None:
    """Overlaps decide, the largest first; corners are understood when the column says so; not-a-number equals itself."""
    columns = ObjectColumns("boxes_xyxy", None, ())
    a = {"boxes_xyxy": np.array([[0, 0, 10, 10], [np.nan, 0, 1, 1]], np.float32)}
    b = {"boxes_xyxy": np.array([[np.nan, 0, 1, 1], [5, 5, 15, 15], [1, 1, 11, 11]], np.float32)}
    moved_one, added = compare_objects(a, b, columns, {}, {})

    assert (moved_one.kind, moved_one.box_b, moved_one.iou) == ("moved", (1, 1, 11, 11), round(81 / 119, 4))
    assert (added.kind, added.box_b) == ("added", (5, 5, 15, 15))


def test_columns_are_compared_by_their_bits() -> None:
    """Another type, another shape, 0.0 and -0.0 differ; not-a-number does not; long differences are shortened."""
    a = {"same": np.array([np.nan, 1.0]), "zero": np.float32(0.0), "type": np.int32(1), "long": np.zeros(9), "text": "x" * 99}
    b = {
        "same": np.array([np.nan, 1.0]),
        "zero": np.float32(-0.0),
        "type": np.int64(1),
        "long": np.ones(9),
        "text": "y",
        "shape": np.ones(2),
    }
    a |= {"gone": 1, "shape": np.ones(3)}
    b |= {"shape": np.ones(2)}
    changes = {item.name: (item.a, item.b) for item in compare_columns(a, b, (), {}, {})}

    assert set(changes) == {"zero", "type", "long", "text", "gone", "shape"}
    assert changes["zero"] == ("0.0", "-0.0")
    assert changes["long"] == ("[0] 0.0, [1] 0.0, [2] 0.0 and 6 more", "[0] 1.0, [1] 1.0, [2] 1.0 and 6 more")
    assert changes["type"] == ("int32 1", "int64 1")
    assert changes["gone"] == ("1", None)
    assert len(changes["text"][0]) == 61


# --- the arrays below it ----------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(left=st.lists(st.integers(0, 6), max_size=20), right=st.lists(st.integers(0, 6), max_size=20))
def test_pairs_are_equal_unique_and_as_many_as_there_can_be(left: list[int], right: list[int]) -> None:
    own, other = pair(np.array(left, np.int64), np.array(right, np.int64))

    assert [left[i] for i in own] == [right[j] for j in other]
    assert len(set(own.tolist())) == len(set(other.tolist())) == len(own) == (Counter(left) & Counter(right)).total()


DIGESTS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=16)


@settings(max_examples=300, deadline=None)
@given(left=DIGESTS, right=DIGESTS)
def test_digests_that_only_begin_alike_are_told_apart(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    """The eight bytes of a key are shared by different digests; pairs are equal in all 32."""
    ours, theirs = (np.array([[a] * 8 + [0] * 23 + [b] for a, b in side], np.uint8).reshape(-1, 32) for side in (left, right))
    own, other = pair_digests(ours, theirs)

    assert [left[i] for i in own] == [right[j] for j in other]
    assert len(set(own.tolist())) == len(set(other.tolist())) == len(own) == (Counter(left) & Counter(right)).total()


@settings(max_examples=300, deadline=None)
@given(order=st.lists(st.integers(0, 40), unique=True, max_size=25))
def test_moved_is_least_or_a_bound(order: list[int]) -> None:
    count, first, is_exact = moved(np.array(order, np.int64))

    assert (count, is_exact) == (least_moved(order), True)
    assert (first is None) == (count == 0)


def test_a_shuffled_view_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many stretches the count is not the least one, and says so; it is never below it."""
    monkeypatch.setattr(diff_pairing, "MOST_RUNS", 10)
    order = random.Random(3).sample(range(100), 100)
    count, first, is_exact = moved(np.array(order))

    assert not is_exact
    assert least_moved(order) <= count < 100
    assert first is not None
