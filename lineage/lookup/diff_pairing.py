"""Pairing two sequences by equal keys, and counting what changed its place. Arrays only; exact, and made for millions of rows."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from lineage.record.ledger import Digests

    Indices = np.ndarray[Any, np.dtype[np.int64]]
    Keys = np.ndarray[Any, np.dtype[Any]]

Pairs = tuple["Indices", "Indices"]
"""Indices into the left and the right sequence, int64, both of shape (k,): each index occurs once."""

MOST_RUNS = 100_000
"""Above so many stretches a sequence is shuffled, and the least number of moved rows is only bounded."""


def pair(left: Keys, right: Keys) -> Pairs:
    """Pair equal keys, as many as there are: the first occurrence on the left with the first on the right, and so on.

    Elements that are equal at the same distance from both starts, or from both ends, are paired with each other first: two sequences with a
    few edits need no sorting.

    Args:
        left: Whole numbers, shape (n,).
        right: Whole numbers of the same type, shape (m,).
    """
    import numpy as np

    start = _equal_from_start(left, right)
    end = _equal_from_start(left[start:][::-1], right[start:][::-1])
    middle_left, middle_right = left[start : len(left) - end], right[start : len(right) - end]
    own, other = _sorted_pairs(middle_left, middle_right)
    tail = np.arange(end, dtype=np.int64)
    head = np.arange(start, dtype=np.int64)
    return (
        np.concatenate([head, own + start, tail + len(left) - end]),
        np.concatenate([head, other + start, tail + len(right) - end]),
    )


def _equal_from_start(left: Keys, right: Keys) -> int:
    size = min(len(left), len(right))
    different = left[:size] != right[:size]
    return int(different.argmax()) if different.any() else size


def _sorted_pairs(left: Keys, right: Keys) -> Pairs:
    import numpy as np

    if len(left) == 0 or len(right) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order_left, order_right = _order(left), _order(right)
    ours, theirs = left[order_left], right[order_right]
    # The k-th of equal keys on the left belongs to the k-th on the right.
    wanted = np.searchsorted(theirs, ours) + _occurrence(ours)
    found = np.flatnonzero(wanted < len(theirs))
    found = found[theirs[wanted[found]] == ours[found]]
    own, other = order_left[found], order_right[wanted[found]]
    by_left = np.argsort(own)
    return own[by_left], other[by_left]


def _order(keys: Keys) -> Indices:
    """Indices that sort the keys, equal ones in the order in which they stand."""
    import numpy as np

    if bool((keys[1:] >= keys[:-1]).all()):
        return np.arange(len(keys), dtype=np.int64)
    order = np.argsort(keys)  # not stable, but several times faster; repeated keys are put into order below
    repeats = keys[order[1:]] == keys[order[:-1]]
    if repeats.any():
        of_group = np.zeros(len(keys), bool)
        of_group[1:] |= repeats
        of_group[:-1] |= repeats
        members = order[of_group]
        order[of_group] = members[np.lexsort((members, keys[members]))]
    return order


def _occurrence(ordered: Keys) -> Indices:
    """How many equal keys stand before each of sorted keys."""
    import numpy as np

    places = np.arange(len(ordered), dtype=np.int64)
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return places - np.maximum.accumulate(np.where(is_first, places, 0))


def pair_digests(left: Digests, right: Digests) -> Pairs:
    """Pair equal digests (uint8, shapes (n, 32) and (m, 32)) as :func:`pair` does.

    The first eight bytes are the key. What they pair is compared as a whole, so that digests that only begin alike are told apart.
    """
    import numpy as np

    keys_left, keys_right = first_bytes(left), first_bytes(right)
    own, other = pair(keys_left, keys_right)
    wrong = _differing(left, right, own, other)
    if not wrong.any():
        return own, other
    doubtful = np.unique(keys_left[own[wrong]])
    sure = ~np.isin(keys_left[own], doubtful)
    further = _pair_exactly(left, right, np.flatnonzero(np.isin(keys_left, doubtful)), np.flatnonzero(np.isin(keys_right, doubtful)))
    return np.concatenate([own[sure], further[0]]), np.concatenate([other[sure], further[1]])


def first_bytes(digests: Digests) -> Keys:
    """The first eight bytes of digests (uint8, shape (n, 32)) as numbers, uint64, shape (n,)."""
    import numpy as np

    return np.ascontiguousarray(digests[:, :8]).view(np.uint64).reshape(-1)


def equal_digests(left: Digests, right: Digests) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of two sequences of equal length hold the same digest at the same place: bool, shape (n,)."""
    import numpy as np

    ours, theirs = (np.ascontiguousarray(digests).view(np.uint64).reshape(-1, 4) for digests in (left, right))
    equal = np.equal(ours[:, 0], theirs[:, 0])
    for word in range(1, 4):
        equal &= np.equal(ours[:, word], theirs[:, word])
    return np.asarray(equal, bool)


def _differing(left: Digests, right: Digests, own: Indices, other: Indices) -> np.ndarray[Any, np.dtype[np.bool_]]:
    import numpy as np

    if len(own) == 0:
        return np.zeros(0, bool)
    return ~equal_digests(_taken(left, own), _taken(right, other))


def _taken(digests: Digests, indices: Indices) -> Digests:
    # The usual case is a whole stretch: a view of it costs nothing.
    first, last = int(indices[0]), int(indices[-1])
    if last - first + 1 == len(indices) and bool((indices[1:] > indices[:-1]).all()):
        return digests[first : last + 1]
    return digests[indices]


def _pair_exactly(left: Digests, right: Digests, own: Indices, other: Indices) -> Pairs:
    import numpy as np

    waiting: dict[bytes, list[int]] = {}
    for place in reversed(other.tolist()):
        waiting.setdefault(right[place].tobytes(), []).append(place)
    pairs = [(place, found.pop()) for place in own.tolist() if (found := waiting.get(left[place].tobytes()))]
    made = np.array(pairs, np.int64).reshape(-1, 2)
    return made[:, 0], made[:, 1]


def repeats(keys: Keys) -> int:
    """How many elements repeat an earlier one."""
    import numpy as np

    if bool((keys[1:] > keys[:-1]).all()):
        return 0
    ordered = np.sort(keys)
    return int((ordered[1:] == ordered[:-1]).sum())


def moved(places: Indices) -> tuple[int, int | None, bool]:
    """How many elements changed their place, where ``places`` (int64, shape (n,)) says where each is now; they are all different.

    Moving one element counts as one, whatever it passes: it is the least number of elements that have to be taken out so that the others
    stand in their old order.

    Returns:
        (count, index of the first moved element, whether the count is the least one). A shuffled sequence has too many stretches to find
        the least; then every element counts that stands behind a larger one.
    """
    import numpy as np

    if len(places) == 0 or bool((places[1:] > places[:-1]).all()):
        return 0, None, True
    # Ranks, so that elements which are not in both sequences leave no gaps; then stretches that moved as one.
    ranks = np.empty(len(places), np.int64)
    ranks[np.argsort(places)] = np.arange(len(places))
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ranks) != 1) + 1])
    if len(starts) > MOST_RUNS:
        stays = ranks >= np.maximum.accumulate(ranks)
        return int((~stays).sum()), int((~stays).argmax()), False
    lengths = np.diff(np.append(starts, len(ranks)))
    kept = _heaviest(ranks[starts].tolist(), lengths.tolist())
    gone = np.ones(len(starts), bool)
    gone[kept] = False
    return int(lengths[gone].sum()), int(starts[gone][0]), True


def _heaviest(values: list[int], weights: list[int]) -> list[int]:
    """Indices of the increasing subsequence with the largest sum of weights; the values are all different."""
    ends: list[int] = []  # values at which a subsequence may end, ascending; the best sums below them ascend too
    sums: list[int] = []
    owners: list[int] = []
    before: list[int] = []
    for index, (value, weight) in enumerate(zip(values, weights, strict=True)):
        at = bisect_left(ends, value)
        best = weight + (sums[at - 1] if at else 0)
        before.append(owners[at - 1] if at else -1)
        last = at
        while last < len(ends) and sums[last] <= best:
            last += 1
        ends[at:last], sums[at:last], owners[at:last] = [value], [best], [index]
    kept: list[int] = []
    index = owners[-1] if owners else -1
    while index >= 0:
        kept.append(index)
        index = before[index]
    return kept[::-1]
