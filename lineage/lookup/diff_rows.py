"""Which row of one recorded view is which row of another: same, relabelled, replaced, renamed, added, removed.

Only digests and names are looked at, the cheapest first: blocks that both ledgers share are not loaded, and names only for rows whose
digests found no partner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lineage.lookup.diff_pairing import equal_digests, moved, pair, pair_digests, repeats
from lineage.model.dataset import InputRecord
from lineage.model.difference import MatchedBy
from lineage.ports import ObjectStore
from lineage.record.identity import recorded_digests, recorded_rows
from lineage.record.ledger import BLOCK_ROWS, Ledger, RowDigests
from lineage.record.row_keys import digests_of_nothing

if TYPE_CHECKING:
    from lineage.lookup.diff_pairing import Indices
    from lineage.record.ledger import Digests

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MatchedRows:
    """Positions in two views, int64, ascending in the left one (``added``: in the right one).

    Attributes:
        matched_by: What told which row is which, beyond equal rows.
        same: How many rows are equal.
        removed: Positions of the left view without a partner, shape (k,).
        added: Positions of the right view without a partner, shape (k,).
        relabelled: Same picture and name, other annotations: left and right positions, shape (2, k). Without pictures: same name.
        replaced: Same name, other picture, shape (2, k).
        renamed: Same picture, other name, shape (2, k).
        moved: Least number of rows in both views to take out so that the others stand in one order.
        first_moved: Position in the left view of the first one.
        moved_is_exact: Whether ``moved`` is the least number and not only a bound.
        repeated_left: Rows of the left view whose source row stands in it before.
        repeated_right: Likewise.
    """

    matched_by: MatchedBy
    same: int
    removed: Indices
    added: Indices
    relabelled: Indices
    replaced: Indices
    renamed: Indices
    moved: int
    first_moved: int | None
    moved_is_exact: bool
    repeated_left: int
    repeated_right: int


class _Side:
    """A recorded view: its rows, and digests of as many of them as are asked for."""

    def __init__(self, objects: ObjectStore, item: InputRecord) -> None:
        self.objects = objects
        self.item = item
        self.rows = recorded_rows(objects, item)
        self.ledger = None if item.ledger_object is None else Ledger.load(objects, item.ledger_object)

    def digests(self, positions: Indices) -> RowDigests:
        if self.ledger is None:  # a record of the first release keeps them in one piece
            return recorded_digests(self.objects, self.item, self.rows)[positions]
        return self.ledger.take(self.rows[positions])

    def names(self, positions: Indices) -> tuple[str, ...] | None:
        return None if self.ledger is None else self.ledger.names(self.rows[positions]).sample_ids


def _of_both(work: Callable[[_Side, Indices], T], a: tuple[_Side, Indices], b: tuple[_Side, Indices]) -> tuple[T, T]:
    """The same of both sides, at once: reading and checking objects leaves the interpreter free."""
    with ThreadPoolExecutor(1, "lineage-diff") as thread:
        second = thread.submit(work, *b)
        return work(*a), second.result()


class _Matching:
    """Pairs that were found, and what waits for a partner."""

    def __init__(self, left: int, right: int) -> None:
        import numpy as np

        self.waiting_left: Indices = np.arange(left, dtype=np.int64)
        self.waiting_right: Indices = np.arange(right, dtype=np.int64)
        self.found: dict[str, list[Indices]] = {"same": [], "relabelled": [], "replaced": [], "renamed": []}

    def settle(self, kind: str, left: Indices, right: Indices) -> None:
        """Note pairs of positions; they wait no longer."""
        import numpy as np

        if len(left):
            self.found[kind].append(np.stack([left, right]))
            self.waiting_left = _without(self.waiting_left, left)
            self.waiting_right = _without(self.waiting_right, right)

    def pairs(self, kind: str) -> Indices:
        """Pairs of a kind, shape (2, k), ascending in the left view."""
        import numpy as np

        found = self.found[kind]
        if not found:
            return np.zeros((2, 0), np.int64)
        joined = found[0] if len(found) == 1 else np.concatenate(found, axis=1)
        return joined if bool((joined[0][1:] > joined[0][:-1]).all()) else joined[:, np.argsort(joined[0])]


def _without(waiting: Indices, gone: Indices) -> Indices:
    import numpy as np

    keep = np.ones(int(waiting[-1]) + 1, bool)
    keep[gone] = False
    return waiting[keep[waiting]]


def match_rows(objects: ObjectStore, left: InputRecord, right: InputRecord) -> MatchedRows:
    """Match the rows of two recorded inputs.

    In one row space the same position is the same row. Elsewhere equal digests come first; what is left over is matched by sample id, then
    by picture, and at last, within one dataset whose rows have neither, by position. Rows that occur several times are matched one to one.

    Raises:
        NotFound: An object is gone.
        IntegrityError: An object is not what the record says.
    """
    a, b = _Side(objects, left), _Side(objects, right)
    matching = _Matching(len(a.rows), len(b.rows))
    _shared_blocks(a, b, matching)
    if left.space is not None and left.space == right.space:
        matched_by: MatchedBy = "row"
        _by_position(a, b, matching)
    else:
        matched_by = _by_content(a, b, matching)
    pairs = [matching.pairs(kind) for kind in ("same", "relabelled", "replaced", "renamed")]
    count, first, is_exact = _moved(pairs)
    return MatchedRows(
        matched_by=matched_by,
        same=pairs[0].shape[1],
        removed=matching.waiting_left,
        added=matching.waiting_right,
        relabelled=pairs[1],
        replaced=pairs[2],
        renamed=pairs[3],
        moved=count,
        first_moved=first,
        moved_is_exact=is_exact,
        repeated_left=repeats(a.rows),
        repeated_right=repeats(b.rows),
    )


def _moved(pairs: Sequence[Indices]) -> tuple[int, int | None, bool]:
    import numpy as np

    joined = np.concatenate(pairs, axis=1) if any(part.shape[1] for part in pairs[1:]) else pairs[0]
    ordered = joined if bool((joined[0][1:] > joined[0][:-1]).all()) else joined[:, np.argsort(joined[0])]
    count, first, is_exact = moved(ordered[1])
    return count, None if first is None else int(ordered[0][first]), is_exact


def _shared_blocks(a: _Side, b: _Side, matching: _Matching) -> None:
    """Rows at the same position of blocks with the same content are the same rows."""
    import numpy as np

    if a.ledger is None or b.ledger is None:
        return
    count = min(len(a.ledger.blocks), len(b.ledger.blocks))
    shared = np.zeros(max(len(a.ledger.blocks), len(b.ledger.blocks)) + 1, bool)
    shared[:count] = [
        ours is not None and theirs is not None and ours[0] == theirs[0]
        for ours, theirs in zip(a.ledger.blocks, b.ledger.blocks, strict=False)
    ]
    if not shared.any():
        return
    ours, theirs = (np.flatnonzero(shared[rows // BLOCK_ROWS]) for rows in (a.rows, b.rows))
    own, other = pair(a.rows[ours], b.rows[theirs])
    matching.settle("same", ours[own], theirs[other])


def _by_position(a: _Side, b: _Side, matching: _Matching) -> None:
    """One row space: a row is where it always was. Digests are compared all the same."""
    own, other = pair(a.rows[matching.waiting_left], b.rows[matching.waiting_right])
    left, right = matching.waiting_left[own], matching.waiting_right[other]
    ours, theirs = _of_both(_Side.digests, (a, left), (b, right))
    _settle_by_digests(matching, left, right, ours, theirs)


def _settle_by_digests(matching: _Matching, left: Indices, right: Indices, ours: RowDigests, theirs: RowDigests) -> None:
    """Pairs of one name: same, relabelled or replaced, as their digests say."""
    same, picture = equal_digests(ours.rows, theirs.rows), equal_digests(ours.pictures, theirs.pictures)
    for kind, chosen in (("same", same), ("relabelled", ~same & picture), ("replaced", ~same & ~picture)):
        matching.settle(kind, left[chosen], right[chosen])


def _by_content(a: _Side, b: _Side, matching: _Matching) -> MatchedBy:
    """Two row spaces: equal rows first, then what is left over by name, by picture, or by position."""
    before_left, before_right = matching.waiting_left, matching.waiting_right
    ours, theirs = _of_both(_Side.digests, (a, before_left), (b, before_right))
    own, other = pair_digests(ours.rows, theirs.rows)
    matching.settle("same", before_left[own], before_right[other])
    if len(matching.waiting_left) == 0 or len(matching.waiting_right) == 0:
        return "row digest"
    ours, theirs = ours[_rest(before_left, matching.waiting_left)], theirs[_rest(before_right, matching.waiting_right)]
    names = _of_both(_Side.names, (a, matching.waiting_left), (b, matching.waiting_right))
    if names[0] is not None and names[1] is not None:
        before_left, before_right = matching.waiting_left, matching.waiting_right
        _by_name(names[0], names[1], ours, theirs, matching)
        rest = _rest(before_left, matching.waiting_left), _rest(before_right, matching.waiting_right)
        _by_picture("renamed", ours.pictures[rest[0]], theirs.pictures[rest[1]], matching)
        return "sample id"
    if _has_pictures(ours) and _has_pictures(theirs):
        _by_picture("relabelled", ours.pictures, theirs.pictures, matching)
        return "picture"
    if a.item.dataset_id == b.item.dataset_id:
        own, other = pair(a.rows[matching.waiting_left], b.rows[matching.waiting_right])
        _settle_by_digests(matching, matching.waiting_left[own], matching.waiting_right[other], ours[own], theirs[other])
        return "row"
    return "row digest"


def _rest(before: Indices, now: Indices) -> Indices:
    import numpy as np

    return np.searchsorted(before, now)


def _has_pictures(digests: RowDigests) -> bool:
    return bool((digests.pictures != digests_of_nothing()).any())


def _by_name(ours: tuple[str, ...], theirs: tuple[str, ...], left: RowDigests, right: RowDigests, matching: _Matching) -> None:
    """First the rows whose picture is equal, too: of several rows of one name the right one is taken."""
    import numpy as np

    if ours == theirs and bool(equal_digests(left.pictures, right.pictures).all()):  # everything was relabelled in its place
        matching.settle("relabelled", matching.waiting_left, matching.waiting_right)
        return
    numbers: dict[str, int] = {}
    own_names, other_names = (
        np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int64, len(names)) for names in (ours, theirs)
    )
    places_left, places_right = matching.waiting_left, matching.waiting_right
    if repeats(own_names) or repeats(other_names):
        pictures: dict[bytes, int] = {}
        both = [
            np.fromiter(
                (pictures.setdefault(digest.tobytes() + name.tobytes(), len(pictures)) for digest, name in zip(part, names, strict=True)),
                np.int64,
                len(names),
            )
            for part, names in ((left.pictures, own_names), (right.pictures, other_names))
        ]
        own, other = pair(both[0], both[1])
        matching.settle("relabelled", places_left[own], places_right[other])
        own_rest, other_rest = _rest(places_left, matching.waiting_left), _rest(places_right, matching.waiting_right)
    else:
        own_rest, other_rest = np.arange(len(own_names)), np.arange(len(other_names))
    own, other = pair(own_names[own_rest], other_names[other_rest])
    own, other = own_rest[own], other_rest[other]
    _settle_by_digests(matching, places_left[own], places_right[other], left[own], right[other])


def _by_picture(kind: str, ours: Digests, theirs: Digests, matching: _Matching) -> None:
    import numpy as np

    nothing = digests_of_nothing()
    own_places, other_places = (np.flatnonzero((part != nothing).any(axis=1)) for part in (ours, theirs))
    own, other = pair_digests(ours[own_places], theirs[other_places])
    matching.settle(kind, matching.waiting_left[own_places[own]], matching.waiting_right[other_places[other]])
