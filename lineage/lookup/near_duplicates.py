"""Pictures that look the same although their bytes differ: re-encoded, resized, brightened, cropped a little."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.errors import Conflict, InvalidSource, LineageError
from lineage.lookup.input_rows import InputRows
from lineage.model.findings import Match, RowName
from lineage.ports import Pictures, Ports, Progress, no_progress
from lineage.record.opening import open_recorded
from lineage.record.recorded_view import RecordedView
from lineage.record.row_keys import digests_of_nothing, picture_keys

if TYPE_CHECKING:
    import numpy as np

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]
    Numbers = np.ndarray[Any, np.dtype[np.int64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

_BATCH_ROWS = 64
_SAVE_EVERY = 512
_THREADS = min(4, os.cpu_count() or 1)
_BLOCK_PAIRS = 1 << 18
"""So many differences at once stay in a processor's cache: measured 1.5 times as fast as blocks of 4 million."""
_SHOWS_NOTHING = 0
"""Kept in place of the hashes of a picture of one colour. A real one has a bit above its own median."""


@dataclass(slots=True)
class PictureHashes:
    """Perceptual hashes by key of the picture digest, and what has none.

    Attributes:
        found: Key to hashes, one for each method.
        plain: Keys of pictures of one colour, which look like every other of that kind.
        unread: Keys of pictures that could not be looked at.
        reasons: Why not, one sentence for each input or picture.
    """

    found: dict[int, tuple[int, ...]] = field(default_factory=dict)
    plain: set[int] = field(default_factory=set)
    unread: set[int] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)


def hash_pictures(ports: Ports, pictures: Pictures, inputs: Sequence[InputRows], progress: Progress = no_progress) -> PictureHashes:
    """Hashes of every picture of these inputs. Those computed before are taken from the row index; only others are read."""
    import numpy as np

    result = PictureHashes()
    first_of: list[dict[int, int]] = []
    for rows in inputs:
        positions = np.flatnonzero((rows.digests.pictures != digests_of_nothing()).any(axis=1))
        keys = picture_keys(rows.digests.pictures[positions])
        first_of.append(dict(zip(keys[::-1].tolist(), positions[::-1].tolist(), strict=True)))  # backwards: the first place stays
    wanted = sorted({key for first in first_of for key in first})
    known = [ports.rows.picture_hashes(method, wanted) for method in pictures.methods]
    for key in wanted:
        if all(key in hashes for hashes in known):
            _sort_in(result, key, tuple(hashes[key] for hashes in known))
    before = _count(result)
    for rows, first in zip(inputs, first_of, strict=True):
        missing = {key: position for key, position in first.items() if key not in result.found and key not in result.plain}
        if missing:
            _hash_input(
                ports,
                pictures,
                rows,
                missing,
                result,
                lambda: progress("hashing pictures", _count(result) - before, len(wanted) - before),
            )
    return result


def _count(result: PictureHashes) -> int:
    return len(result.found) + len(result.plain) + len(result.unread)


def _sort_in(result: PictureHashes, key: int, hashes: tuple[int, ...]) -> None:
    result.unread.discard(key)
    if all(value == _SHOWS_NOTHING for value in hashes):
        result.plain.add(key)
    else:
        result.found[key] = hashes


def _hash_input(
    ports: Ports, pictures: Pictures, rows: InputRows, missing: dict[int, int], result: PictureHashes, tell: Callable[[], None]
) -> None:
    name = f"{rows.item.role} input of run {rows.run.id[:12]}"
    try:
        view, _ = open_recorded(ports.datasets, ports.objects, ports.rows, rows.item, level="quick")
        columns = [column.name for column in view.columns().values() if column.kind == "image"]
    except LineageError as error:
        result.unread.update(missing)
        result.reasons.append(f"{name}: {error.message}")
        return
    if len(columns) != 1:
        result.unread.update(missing)
        result.reasons.append(f"{name}: expected one column of pictures, found {len(columns)} ({', '.join(columns)})")
        return
    fresh: dict[int, tuple[int, ...]] = {}
    entries = sorted(missing.items(), key=lambda entry: entry[1])
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(entries), _BATCH_ROWS):
                batch = entries[start : start + _BATCH_ROWS]
                contents = _read(view, [position for _, position in batch], columns)
                for (key, position), hashes in zip(batch, pool.map(lambda found: _hashed(pictures, found), contents), strict=True):
                    if isinstance(hashes, LineageError):
                        result.unread.add(key)
                        result.reasons.append(f"{name}, row {int(rows.rows[position])}: {hashes.message}")
                    else:
                        fresh[key] = hashes
                        _sort_in(result, key, hashes)
                if len(fresh) >= _SAVE_EVERY:
                    _save(ports, pictures, fresh)
                tell()
    finally:
        _save(ports, pictures, fresh)  # an interrupted search goes on from here


def _save(ports: Ports, pictures: Pictures, fresh: dict[int, tuple[int, ...]]) -> None:
    if fresh:
        for number, method in enumerate(pictures.methods):
            ports.rows.put_picture_hashes(method, {key: hashes[number] for key, hashes in fresh.items()})
        fresh.clear()


def _read(view: RecordedView, positions: Sequence[int], columns: Sequence[str]) -> list[bytes | LineageError]:
    try:
        return [bytes(content) for content in view.read_quietly(positions, columns)[columns[0]]]
    except LineageError as error:
        if len(positions) == 1:
            return [error]
        # One damaged picture must not hide the others of its batch.
        return [found for position in positions for found in _read(view, [position], columns)]


def _hashed(pictures: Pictures, content: bytes | LineageError) -> tuple[int, ...] | LineageError:
    if isinstance(content, LineageError):
        return content
    try:
        return pictures.hashes(content) or (_SHOWS_NOTHING,) * len(pictures.methods)
    except InvalidSource as error:
        return error


# --- comparing ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nearest:
    """What is nearest to each picture on the left.

    Attributes:
        index: Of the nearest picture on the right, int64, shape (n,); -1 where none is near.
        bits: Differing bits of the first hash, int64, shape (n,).
        matched: Which pictures on the right are near to any on the left, bool, shape (k,).
    """

    index: Numbers
    bits: Numbers
    matched: Mask


def nearest(
    left: Hashes, right: Hashes, same: Numbers, near_bits: Sequence[int], progress: Progress = no_progress, what: str = "comparing pictures"
) -> Nearest:
    """Compare every picture on the left with every one on the right.

    Args:
        left: Hashes, uint64, shape (n, methods).
        right: Hashes, uint64, shape (k, methods).
        same: For each on the left, which on the right has the same bytes and is left out, int64, shape (n,); -1 for none.
        near_bits: At most so many bits differ in each hash.
        progress: Told of pictures compared.
        what: What to call it there.
    """
    import numpy as np

    index, bits = np.full(len(left), -1, np.int64), np.full(len(left), 65, np.int64)
    matched = np.zeros(len(right), bool)
    step = max(1, _BLOCK_PAIRS // max(1, len(right)))
    for start in range(0, len(left) if len(right) else 0, step):
        part = left[start : start + step]
        distance = np.bitwise_count(part[:, None, 0] ^ right[None, :, 0])
        i, j = np.nonzero(distance <= near_bits[0])
        near = same[start + i] != j
        for method in range(1, len(near_bits)):  # few pairs are left: the other hashes cost nothing
            near &= np.bitwise_count(part[i, method] ^ right[j, method]) <= near_bits[method]
        i, j = i[near], j[near]
        matched[j] = True
        own = distance[i, j]
        order = np.lexsort((j, own, i))
        which, first = np.unique(i[order], return_index=True)
        index[start + which], bits[start + which] = j[order][first], own[order][first]
        progress(what, min(start + step, len(left)), len(left))
    return Nearest(index, bits, matched)


# --- showing --------------------------------------------------------------------------------------------------------------------


def write_pairs(ports: Ports, pictures: Pictures, matches: Sequence[Match], folder: Path, limit: int = 20) -> list[Path]:
    """Write near-duplicates as PNG files into a new or empty folder, the evaluated picture beside the trained one.

    Returns:
        The files.

    Raises:
        Conflict: The folder holds something.
        IntegrityError: A picture can no longer be read as it was recorded.
    """
    require_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    views: dict[tuple[str, int], RecordedView] = {}
    files = []
    for number, match in enumerate(matches[:limit], start=1):
        left, right = (_content(ports, views, row) for row in (match.evaluated, match.trained))
        titles = (_title(match.evaluated), f"{_title(match.trained)}, {match.distance_bits} bits")
        file = folder / f"{number:02d}-row-{match.evaluated.row}-{match.trained.row}.png"
        file.write_bytes(pictures.side_by_side(left, right, titles))
        files.append(file)
    return files


def require_empty(folder: Path) -> None:
    """Check that a folder can be written into without mixing anything up.

    Raises:
        Conflict: It holds something, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is not empty", hint="name a new folder for the pictures")


def _title(row: RowName) -> str:
    return f"{row.role} {row.sample_id or f'row {row.row}'} of {row.uri.rpartition('/')[2]}"


def _content(ports: Ports, views: dict[tuple[str, int], RecordedView], row: RowName) -> bytes:
    place = (row.run_id, row.input)
    if place not in views:
        item = ports.runs.get(row.run_id).inputs[row.input]
        views[place] = open_recorded(ports.datasets, ports.objects, ports.rows, item, level="quick")[0]
    view = views[place]
    column = next(column.name for column in view.columns().values() if column.kind == "image")
    return bytes(view.read_quietly([row.position], [column])[column][0])
