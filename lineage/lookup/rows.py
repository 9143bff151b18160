"""From a picture or a sample id to the rows, views and runs that hold it. No dataset is opened: the index and the ledgers know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lineage.errors import NotFound
from lineage.ports import ObjectStore, RowIndex, Sighting
from lineage.record.ledger import Ledger
from lineage.record.row_keys import picture_key, sample_key


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A row that is what was asked for.

    Attributes:
        space: Numbering of rows (``lineage.record.ledger``).
        row: Its position in the dataset versions of that space.
        picture_digest: Of its encoded picture; ``None`` when the ledger is lost.
        sample_id: As the dataset calls it, when it does.
        is_verified: Whether the whole digest or id was compared; else only its first 64 bits, because the ledger is lost.
    """

    space: str
    row: int
    picture_digest: str | None
    sample_id: str | None
    is_verified: bool = True


@dataclass(frozen=True, slots=True)
class Exposure:
    """A run's input that holds rows that were asked for."""

    sighting: Sighting
    occurrences: tuple[Occurrence, ...]


def find_picture(index: RowIndex, objects: ObjectStore, digest: bytes) -> list[Occurrence]:
    """Rows with this picture, by the SHA-256 of its encoded bytes (32 bytes raw), whatever it is called."""
    found = _occurrences(index, objects, index.find_keys("picture", picture_key(digest)))
    wanted = f"sha256:{digest.hex()}"
    return [item for item in found if not item.is_verified or item.picture_digest == wanted]


def find_sample(index: RowIndex, objects: ObjectStore, sample_id: str) -> list[Occurrence]:
    """Rows with this sample id, in any dataset that was recorded."""
    found = _occurrences(index, objects, index.find_keys("sample", sample_key(sample_id)))
    return [item for item in found if not item.is_verified or item.sample_id == sample_id]


def _occurrences(index: RowIndex, objects: ObjectStore, hits: Sequence[tuple[str, int]]) -> list[Occurrence]:
    rows_of: dict[str, list[int]] = defaultdict(list)
    for space, row in hits:
        rows_of[space].append(row)
    return [item for space, rows in rows_of.items() for item in described(index, objects, space, rows)]


def described(index: RowIndex, objects: ObjectStore, space: str, rows: Sequence[int]) -> list[Occurrence]:
    """What the ledger of a space says of rows."""
    import numpy as np

    name = index.ledger(space)
    wanted = np.asarray(rows, np.int64)
    try:
        if name is None:
            raise NotFound("ledger", space)
        ledger = Ledger.load(objects, name)
        digests, names = ledger.take(wanted), ledger.names(wanted)
    except NotFound:
        return [Occurrence(space, row, None, None, is_verified=False) for row in rows]
    ids: Sequence[str | None] = names.sample_ids or [None] * len(rows)
    return [
        Occurrence(space, row, f"sha256:{picture.tobytes().hex()}", sample_id)
        for row, picture, sample_id in zip(rows, digests.pictures, ids, strict=True)
    ]


def exposures(index: RowIndex, occurrences: Sequence[Occurrence]) -> list[Exposure]:
    """Inputs of runs that hold any of these rows, newest run first."""
    by_space: dict[str, dict[int, Occurrence]] = defaultdict(dict)
    for item in occurrences:
        by_space[item.space][item.row] = item
    held: dict[str, tuple[Occurrence, ...]] = {}
    for space, rows in by_space.items():
        for key, found in index.views_with(space, sorted(rows)).items():
            held[key] = tuple(rows[row] for row in found)
    return [Exposure(item, held[item.view_key]) for item in index.sightings(sorted(held)) if item.view_key is not None]
