"""Pictures that look like one, among those whose perceptual hashes are known. Of the others nothing is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lineage.errors import InvalidSource, LineageError
from lineage.lookup.near_duplicates import nearest
from lineage.lookup.pictures import PictureRead
from lineage.model.dataset import InputRecord
from lineage.ports import Pictures, Ports
from lineage.record.identity import digests_at, recorded_rows
from lineage.record.row_keys import digests_of_nothing, picture_key, picture_keys

if TYPE_CHECKING:
    from lineage.lookup.near_duplicates import Hashes

_MOST_ROWS = 50_000
_MOST_INPUTS = 4


@dataclass(frozen=True, slots=True)
class Alike:
    """Pictures that look like one.

    Attributes:
        found: (digest, differing bits of the first hash), the nearest first.
        compared: How many pictures it was compared with.
        of: How many there are in the data that was looked at.
        problem: Why nothing could be compared.
    """

    found: tuple[tuple[str, int], ...]
    compared: int
    of: int
    problem: str | None = None


def pictures_alike(
    ports: Ports, pictures: Pictures, digest: str, content: bytes | None, reads: Sequence[PictureRead], most: int = 24
) -> Alike:
    """Compare a picture with those of the data in which it occurs.

    Args:
        ports: Index and objects.
        pictures: Computes hashes.
        digest: Of the picture.
        content: Its encoded bytes, in case its own hashes are not known.
        reads: Inputs that hold it; the first four different ones are looked at.
        most: Name so many at most.
    """
    import numpy as np

    key = picture_key(bytes.fromhex(digest.partition(":")[2]))
    own = _hashes_of(ports, pictures, key, content)
    if own is None:
        return Alike((), 0, 0, "it shows nothing that can be compared, or cannot be read")
    places: dict[int, bytes] = {}
    views = {read.run.inputs[read.ordinal].content_digest: read.run.inputs[read.ordinal] for read in reads}
    for item in list(views.values())[:_MOST_INPUTS]:
        try:
            places |= _places(ports, item)
        except LineageError:  # an object of this record is gone: it is not among what is counted as compared
            continue
    places.pop(key, None)
    known = [ports.rows.picture_hashes(method, list(places)) for method in pictures.methods]
    keys = [other for other in places if all(other in hashes and hashes[other] for hashes in known)]
    others: Hashes = np.array([[hashes[other] for hashes in known] for other in keys], np.uint64).reshape(len(keys), len(pictures.methods))
    left: Hashes = np.array([own], np.uint64)
    matched = np.flatnonzero(nearest(left, others, np.array([-1], np.int64), pictures.near_bits).matched)
    bits = np.bitwise_count(others[matched, 0] ^ left[0, 0]).astype(np.int64)
    order = np.argsort(bits, kind="stable")[:most]
    found = tuple((f"sha256:{places[keys[int(matched[i])]].hex()}", int(bits[i])) for i in order)
    return Alike(found, len(keys), len(places))


def _hashes_of(ports: Ports, pictures: Pictures, key: int, content: bytes | None) -> tuple[int, ...] | None:
    known = [ports.rows.picture_hashes(method, [key]) for method in pictures.methods]
    if all(key in hashes for hashes in known):
        found: tuple[int, ...] | None = tuple(hashes[key] for hashes in known)
    else:
        try:
            found = None if content is None else pictures.hashes(content)
        except InvalidSource:
            found = None
    return found if found and any(found) else None


def _places(ports: Ports, item: InputRecord) -> dict[int, bytes]:
    """Keys of the pictures of an input to their digests."""
    rows = recorded_rows(ports.objects, item)
    digests = digests_at(ports.objects, item, rows, slice(0, _MOST_ROWS)).pictures
    shown = digests[(digests != digests_of_nothing()).any(axis=1)]
    return dict(zip(picture_keys(shown).tolist(), (digest.tobytes() for digest in shown), strict=True))
