"""Evaluated rows against trained ones: by position, by picture bytes, by likeness, by source sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineage.errors import LineageError
from lineage.lookup.input_rows import InputRows
from lineage.lookup.near_duplicates import hash_pictures, nearest
from lineage.model.findings import Match, RowName, Way, WayFindings
from lineage.ports import Ports, Progress
from lineage.record.row_keys import digests_of_nothing, picture_keys

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[np.int64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

_ROW_BITS = 40
_REASONS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Hits:
    """For each evaluated row, which trained row it is: int64, shape (n,), -1 for none."""

    index: Numbers
    unread: Mask
    trained: int
    bits: Numbers | None = None


class LeakSearch:
    """Evaluated rows against trained ones, each side as one array over all its inputs.

    Ways are to be asked in the order of the methods: each says how many rows those before it did not find.

    Args:
        evaluated: Inputs whose rows should be new to the model.
        trained: Inputs that it was trained on.
        examples: How many matches to name for each way.
    """

    def __init__(self, evaluated: Sequence[InputRows], trained: Sequence[InputRows], examples: int) -> None:
        import numpy as np

        self._inputs = (evaluated, trained)
        self._examples = examples
        self._ends = [np.cumsum([len(rows.rows) for rows in side], dtype=np.int64) for side in self._inputs]
        self._split = sum(len(rows.rows) for rows in evaluated)
        # Rows that are known not to have been read are no leak; where nobody watched, every row of the view counts.
        counts = [np.ones(len(rows.rows), bool) if rows.read is None else rows.read for rows in trained]
        self._counted: Mask = np.concatenate([np.zeros(0, bool), *counts])
        self._found: Mask = np.zeros(self._split, bool)
        self._pictures = self._picture_ids()

    # --- the ways ---------------------------------------------------------------------------------------------------------

    def by_row(self) -> WayFindings:
        """The same position of the same numbering of rows.

        A dataset whose rows were changed is numbered anew; there, rows without a picture are the same when their sample id is.
        """
        import numpy as np

        inputs = [*self._inputs[0], *self._inputs[1]]
        numbers = _numberings(inputs)
        keys = [rows.rows + (number << _ROW_BITS) for rows, number in zip(inputs, numbers, strict=True)]
        lost = _join_by_sample(inputs, numbers, keys)
        reason = f"rows of {', '.join(lost)} were changed in between, and neither pictures nor sample ids tell which are which"
        return self._findings("row", self._match(np.concatenate([np.zeros(0, np.int64), *keys])), reason if lost else None)

    def by_picture(self) -> WayFindings:
        """The same bytes."""
        if (self._pictures[: self._split] < 0).all() or (self._pictures[self._split :] < 0).all():
            return WayFindings(way="picture", checked=False, reason="there are no pictures on both sides")
        return self._findings("picture", self._match(self._pictures))

    def by_sequence(self) -> WayFindings:
        """The same source sequence, by name."""
        import numpy as np

        numbers: dict[str, int] = {"": -1}
        keys: list[int] = []
        without: list[str] = []
        for rows in (*self._inputs[0], *self._inputs[1]):
            names = rows.names.sequences
            if names is None:
                without.append(f"{rows.item.role} input of run {rows.run.id[:12]} has no column 'sequence'")
                keys += [-1] * len(rows.rows)
            else:
                keys += [numbers.setdefault(text, len(numbers)) for text in names]
        reason = "; ".join(dict.fromkeys(without)) or None
        array = np.asarray(keys, np.int64)
        if (array[: self._split] < 0).all() or (array[self._split :] < 0).all():
            return WayFindings(way="sequence", checked=False, reason=reason or "no row names its sequence")
        return self._findings("sequence", self._match(array), reason)

    def by_near_duplicate(self, ports: Ports, progress: Progress) -> tuple[WayFindings, list[str], list[str]]:
        """Other bytes that show the same; also what stands in the way of a verdict, and what else was not compared."""
        import numpy as np

        try:
            pictures = ports.pictures()
        except LineageError as error:
            missing = f"{error.message} ({error.hint}; --no-near leaves them out)"
            return WayFindings(way="near", checked=False, reason=missing), [f"near-duplicate pictures: {missing}"], []
        inputs = [rows for side in self._inputs for rows in side]
        if not (self._pictures[: self._split] >= 0).any() or not (self._pictures[self._split :] >= 0).any():
            return WayFindings(way="near", checked=False, reason="there are no pictures on both sides"), [], []
        hashed = hash_pictures(ports, pictures, inputs, progress)
        keys = np.concatenate([picture_keys(rows.digests.pictures) for rows in inputs])
        known = np.isin(keys, np.fromiter(hashed.found, np.uint64, len(hashed.found))) & (self._pictures >= 0)
        hashes = np.zeros((len(keys), len(pictures.methods)), np.uint64)
        hashes[known] = [hashed.found[key] for key in keys[known].tolist()] if known.any() else hashes[:0]
        hits = self._near(hashes, known, pictures.near_bits, progress)
        gaps, notes = [], ["near-duplicates that are mirrored, rotated, or cropped by more than about 5 %"]
        if hashed.unread:
            shown = "; ".join(hashed.reasons[:_REASONS_SHOWN]) + ("; …" if len(hashed.reasons) > _REASONS_SHOWN else "")
            gaps.append(f"near-duplicates of {len(hashed.unread)} pictures that could not be looked at: {shown}")
        if hashed.plain:
            notes.append(f"near-duplicates of {len(hashed.plain)} pictures of one colour: they are alike whatever they were taken of")
        reason = f"{len(hashed.unread)} pictures could not be looked at" if hashed.unread else None
        return self._findings("near", hits, reason), gaps, notes

    # --- matching -----------------------------------------------------------------------------------------------------------

    def _picture_ids(self) -> Numbers:
        import numpy as np

        digests = [rows.digests.pictures for side in self._inputs for rows in side]
        joined = np.concatenate([np.zeros((0, 32), np.uint8), *digests])
        _, numbers = np.unique(joined.view("V32").reshape(-1), return_inverse=True)
        return np.where((joined == digests_of_nothing()).all(axis=1), -1, numbers.reshape(-1)).astype(np.int64)

    def _match(self, keys: Numbers) -> _Hits:
        """Evaluated rows to the first trained row with the same key; keys below 0 match nothing."""
        import numpy as np

        wanted, offered = keys[: self._split], keys[self._split :]
        index = _first(wanted, offered, self._counted & (offered >= 0))
        unread = (index < 0) & (_first(wanted, offered, ~self._counted & (offered >= 0)) >= 0)
        trained = np.isin(offered, wanted[wanted >= 0]) & self._counted
        return _Hits(index, unread, int(trained.sum()))

    def _near(self, hashes: Any, known: Mask, near_bits: Sequence[int], progress: Progress) -> _Hits:
        import numpy as np

        ids, split = self._pictures, self._split
        left_ids, left_at, left_of = np.unique(np.where(known[:split], ids[:split], -1), return_index=True, return_inverse=True)
        result: list[tuple[Numbers, Numbers, int]] = []
        for counted in (self._counted, ~self._counted):
            right_rows = np.flatnonzero(known[split:] & counted)
            right_ids, at = np.unique(ids[split:][right_rows], return_index=True)
            place = np.searchsorted(right_ids, left_ids).clip(max=max(0, len(right_ids) - 1))
            same = np.where(right_ids[place] == left_ids, place, -1) if len(right_ids) else np.full(len(left_ids), -1)
            found = nearest(hashes[:split][left_at], hashes[split:][right_rows[at]], same, near_bits, progress)
            none = (found.index < 0) | (left_ids < 0)
            index = np.where(none, -1, right_rows[at][found.index] if len(at) else -1)[left_of]
            trained = np.isin(ids[split:][right_rows], right_ids[found.matched]).sum()
            result.append((index, found.bits[left_of], int(trained)))
        (index, bits, trained_rows), (other, _, _) = result
        return _Hits(index, (index < 0) & (other >= 0), trained_rows, bits)

    def _findings(self, way: Way, hits: _Hits, reason: str | None = None) -> WayFindings:
        import numpy as np

        hit = hits.index >= 0
        further = hit & ~self._found
        self._found |= hit
        rank = ~further if hits.bits is None else hits.bits
        order = [int(row) for row in np.argsort(rank, kind="stable") if hit[row]][: self._examples]
        return WayFindings(
            way=way,
            checked=True,
            rows=int(hit.sum()),
            further_rows=int(further.sum()),
            unread_rows=int(hits.unread.sum()),
            trained_rows=hits.trained,
            examples=tuple(self._example(row, int(hits.index[row]), hits.bits) for row in order),
            reason=reason,
        )

    def _example(self, row: int, trained: int, bits: Numbers | None) -> Match:
        return Match(evaluated=self._name(0, row), trained=self._name(1, trained), distance_bits=None if bits is None else int(bits[row]))

    def _name(self, side: int, row: int) -> RowName:
        number = int(self._ends[side].searchsorted(row, side="right"))
        rows = self._inputs[side][number]
        return rows.name(row - int(self._ends[side][number]) + len(rows.rows))


def _first(wanted: Numbers, offered: Numbers, among: Mask) -> Numbers:
    """Where each wanted key is first offered, int64, shape (n,); -1 where it is not."""
    import numpy as np

    rows = np.flatnonzero(among)
    keys, at = np.unique(offered[rows], return_index=True)
    if len(keys) == 0:
        return np.full(len(wanted), -1, np.int64)
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, rows[at[place]], -1).astype(np.int64)


def _join_by_sample(inputs: Sequence[InputRows], numbers: Sequence[int], keys: list[Numbers]) -> list[str]:
    """Give rows of one dataset one key where their sample ids say so, in place; return addresses where nothing says it.

    Only for datasets with several numberings, and rows without a picture (bytes are better evidence). An id that several rows of a
    numbering share names none of them.
    """
    import numpy as np

    of: dict[str, dict[int, list[int]]] = {}
    for place, (rows, number) in enumerate(zip(inputs, numbers, strict=True)):
        if (rows.digests.pictures == digests_of_nothing()).all():
            of.setdefault(rows.item.dataset_id, {}).setdefault(number, []).append(place)
    lost: list[str] = []
    for places in (sorted(place for group in spaces.values() for place in group) for spaces in of.values() if len(spaces) > 1):
        first: dict[tuple[int, str], int] = {}
        repeated: set[str] = set()
        for place in places:
            for sample_id, row in zip(inputs[place].names.sample_ids or (), inputs[place].rows.tolist(), strict=False):
                if first.setdefault((numbers[place], sample_id), row) != row:
                    repeated.add(sample_id)
        shared: dict[str, int] = {}
        for place in places:
            ids = inputs[place].names.sample_ids
            if ids is None:
                lost.append(inputs[place].item.uri)
                continue
            pairs = zip(ids, keys[place].tolist(), strict=True)
            keys[place] = np.asarray([key if text in repeated else shared.setdefault(text, key) for text, key in pairs], np.int64)
    return sorted(set(lost))


def _numberings(inputs: Sequence[InputRows]) -> list[int]:
    """A number for each input's numbering of rows: equal where a position means the same row."""
    found: dict[tuple[str, ...], int] = {}
    # Records of the first release name no space; their numbering is that of the version.
    for rows in sorted(inputs, key=lambda rows: rows.item.space is None):
        item = rows.item
        version = (item.uri, item.dataset_id, item.branch_id, item.commit_id)
        if item.space is None:
            found.setdefault(version, len(found))
        else:
            found[version] = found.setdefault((item.space,), len(found))
    return [
        found[
            (rows.item.uri, rows.item.dataset_id, rows.item.branch_id, rows.item.commit_id)
            if rows.item.space is None
            else (rows.item.space,)
        ]
        for rows in inputs
    ]
