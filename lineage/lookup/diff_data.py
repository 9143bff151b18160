"""What differs between the inputs of two runs, role by role, down to the boxes of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lineage.lookup.diff_details import Described, describe_rows
from lineage.lookup.diff_rows import MatchedRows, match_rows
from lineage.model.dataset import InputRecord
from lineage.model.difference import DataDifference, DataSide, RowChange, RowChangeKind, ValueChange
from lineage.model.run import Run
from lineage.ports import Ports, Progress, no_progress
from lineage.record.identity import recorded_names, recorded_rows

if TYPE_CHECKING:
    from lineage.lookup.diff_pairing import Indices
    from lineage.model.dataset import Rows


def diff_data(
    ports: Ports, a: Run, b: Run, *, rows: int = 20, role: str | None = None, progress: Progress = no_progress
) -> tuple[DataDifference, ...]:
    """Compare the inputs of two runs.

    Several inputs of one role are paired: those with equal content first, then those of one dataset, then in the order of their use.

    Args:
        ports: Objects hold what was recorded; datasets are opened only to tell what changed in a row.
        a: The first run.
        b: The second.
        rows: How many changes of each kind are described; the others are counted.
        role: Only inputs of this role.
        progress: Told of rows described.

    Raises:
        NotFound: An object that a record needs is gone.
        IntegrityError: An object is not what its record says.
    """
    ours, theirs = a.inputs_by_role(), b.inputs_by_role()
    found: list[DataDifference] = []
    for name in sorted(ours.keys() | theirs.keys(), key=lambda name: (name != "train", name)):
        if role is None or name == role:
            pairs = _pairs(ours.get(name, []), theirs.get(name, []))
            found += [_diff(ports, name, ordinal, left, right, rows, progress) for ordinal, (left, right) in enumerate(pairs)]
    return tuple(found)


def _pairs(ours: Sequence[InputRecord], theirs: Sequence[InputRecord]) -> list[tuple[InputRecord | None, InputRecord | None]]:
    left, right = list(range(len(ours))), list(range(len(theirs)))
    pairs: list[tuple[int | None, int | None]] = []
    likeness: tuple[Callable[[InputRecord], object], ...] = (
        lambda item: item.content_digest,
        lambda item: item.space or item.used_at,  # records of the first release name no space
        lambda item: item.dataset_id,
        lambda item: item.uri,
        lambda item: None,
    )
    for key in likeness:
        for i in list(left):
            j = next((j for j in right if key(ours[i]) == key(theirs[j])), None)
            if j is not None:
                pairs.append((i, j))
                left.remove(i)
                right.remove(j)
    pairs += [(i, None) for i in left] + [(None, j) for j in right]
    pairs.sort(key=lambda pair: (pair[0] is None, pair[0] or 0, pair[1] or 0))
    return [(None if i is None else ours[i], None if j is None else theirs[j]) for i, j in pairs]


def _diff(
    ports: Ports, role: str, ordinal: int, a: InputRecord | None, b: InputRecord | None, shown: int, progress: Progress
) -> DataDifference:
    left, right = _side(a), _side(b)
    if a is None or b is None:
        added, removed = (0 if item is None else item.rows for item in (b, a))
        return DataDifference(role=role, ordinal=ordinal, a=left, b=right, is_same=False, added=added, removed=removed)
    names = _changed_names(a, b)
    if a.content_digest == b.content_digest:
        return DataDifference(role=role, ordinal=ordinal, a=left, b=right, is_same=True, matched_by="content", same=a.rows, names=names)
    found = match_rows(ports.objects, a, b)
    described = _describe(ports, a, b, found, shown, progress)
    return DataDifference(
        role=role,
        ordinal=ordinal,
        a=left,
        b=right,
        is_same=False,
        matched_by=found.matched_by,
        same=found.same,
        added=len(found.added),
        removed=len(found.removed),
        relabelled=found.relabelled.shape[1],
        replaced=found.replaced.shape[1],
        renamed=found.renamed.shape[1],
        moved=found.moved,
        moved_is_exact=found.moved_is_exact,
        repeated_a=found.repeated_left,
        repeated_b=found.repeated_right,
        class_names=_changed_classes(a, b),
        names=names,
        rows=described.rows,
        has_corners=described.has_corners,
        not_compared=described.not_compared,
    )


def _side(item: InputRecord | None) -> DataSide | None:
    if item is None:
        return None
    return DataSide(
        uri=item.uri,
        commit_id=item.commit_id,
        view_name=item.view_name,
        query=item.query,
        rows=item.rows,
        content_digest=item.content_digest,
    )


def _changed_names(a: InputRecord, b: InputRecord) -> tuple[ValueChange, ...]:
    return tuple(
        ValueChange(name=name.replace("_", " "), a=getattr(a, name), b=getattr(b, name))
        for name in ("uri", "dataset_id", "branch", "commit_id", "view_id", "view_name", "query", "rows_total")
        if getattr(a, name) != getattr(b, name)
    )


def _changed_classes(a: InputRecord, b: InputRecord) -> tuple[ValueChange, ...]:
    changes: list[ValueChange] = []
    for column in sorted(a.class_names.keys() | b.class_names.keys()):
        ours, theirs = a.class_names.get(column, ()), b.class_names.get(column, ())
        for number in range(max(len(ours), len(theirs))):
            left, right = (names[number] if number < len(names) else None for names in (ours, theirs))
            if left != right:
                changes.append(ValueChange(name=f"class {number} of '{column}'", a=left, b=right))
    return tuple(changes)


def _describe(ports: Ports, a: InputRecord, b: InputRecord, found: MatchedRows, shown: int, progress: Progress) -> Described:
    """The first changes of each kind."""
    rows_a, rows_b = recorded_rows(ports.objects, a), recorded_rows(ports.objects, b)
    changes: list[RowChange] = []
    pairs: dict[RowChangeKind, Indices] = {"relabelled": found.relabelled, "replaced": found.replaced, "renamed": found.renamed}
    for kind, both in pairs.items():
        changes += _paired_rows(ports, a, b, rows_a, rows_b, kind, both[:, :shown])
    described = describe_rows(ports, a, b, changes, progress)
    removed = _single_rows(ports, a, rows_a, "removed", found.removed[:shown])
    added = _single_rows(ports, b, rows_b, "added", found.added[:shown])
    return replace(described, rows=(*described.rows, *removed, *added))


def _paired_rows(
    ports: Ports, a: InputRecord, b: InputRecord, rows_a: Rows, rows_b: Rows, kind: RowChangeKind, both: Indices
) -> Iterator[RowChange]:
    names_a, names_b = _sample_ids(ports, a, rows_a[both[0]]), _sample_ids(ports, b, rows_b[both[1]])
    for i, (left, right) in enumerate(both.T.tolist()):
        yield RowChange(
            kind=kind,
            sample_id=names_a[i],
            new_sample_id=names_b[i] if names_b[i] != names_a[i] else None,
            position_a=left,
            position_b=right,
            row_a=int(rows_a[left]),
            row_b=int(rows_b[right]),
        )


def _single_rows(ports: Ports, item: InputRecord, rows: Rows, kind: RowChangeKind, positions: Indices) -> Iterator[RowChange]:
    names = _sample_ids(ports, item, rows[positions])
    for name, position in zip(names, positions.tolist(), strict=True):
        row = int(rows[position])
        if kind == "removed":
            yield RowChange(kind=kind, sample_id=name, position_a=position, row_a=row)
        else:
            yield RowChange(kind=kind, sample_id=name, position_b=position, row_b=row)


def _sample_ids(ports: Ports, item: InputRecord, rows: Rows) -> Sequence[str | None]:
    if len(rows) == 0:
        return ()
    return recorded_names(ports.objects, item, rows).sample_ids or (None,) * len(rows)
