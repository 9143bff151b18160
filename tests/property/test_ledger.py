"""A ledger of rows against a dictionary, for rows that nobody chose."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from lineage.adapters.objects.folder import FolderObjectStore
from lineage.errors import IntegrityError
from lineage.record.ledger import BLOCK_ROWS, Ledger, RowDigests, RowNames

# Near the edges of blocks, or anywhere in the first four.
ROW = st.integers(0, 12) | st.sampled_from([1, 2, 3]).flatmap(lambda n: st.integers(n * BLOCK_ROWS - 6, n * BLOCK_ROWS + 6))
ROW_LISTS = st.lists(ROW | st.integers(0, 4 * BLOCK_ROWS), max_size=30)
NAMED = st.sampled_from(["both", "ids", "none"])
EXTENSIONS = st.lists(st.tuples(ROW_LISTS.map(lambda rows: list(dict.fromkeys(rows))), NAMED), max_size=6)


def digests_of(rows: list[int], mark: str = "") -> RowDigests:
    """Digests that follow from the row's number."""
    pictures = b"".join(hashlib.sha256(f"picture {row}{mark}".encode()).digest() for row in rows)
    return RowDigests.of(pictures, b"".join(hashlib.sha256(f"row {row}{mark}".encode()).digest() for row in rows))


def names_of(rows: list[int], named: str) -> RowNames:
    ids = tuple(f"bild {row} ü\n" for row in rows) if named != "none" else None
    return RowNames(ids, tuple(f"sequence {row // 7}" for row in rows) if named == "both" else None)


def as_rows(rows: list[int]) -> Any:
    return np.array(rows, np.int64)


def extended(ledger: Ledger, rows: list[int], named: str = "both", mark: str = "") -> Ledger:
    return ledger.extended(as_rows(rows), digests_of(rows, mark), names_of(rows, named))


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FolderObjectStore]:
    return FolderObjectStore(tmp_path_factory.mktemp("ledgers"))


@settings(deadline=None, max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(EXTENSIONS, ROW_LISTS, st.booleans())
def test_a_ledger_is_a_dictionary(
    objects: FolderObjectStore, extensions: list[tuple[list[int], str]], asked: list[int], reload: bool
) -> None:
    """However rows come in (in any order, some of them again with other content): the first content stays, the rest is not known.

    Names are told where every row of the block has one. Saved and loaded in between or not makes no difference.
    """
    ledger, model, named = Ledger(objects), dict[int, str](), dict[int, str]()
    for number, (rows, kind) in enumerate(extensions):
        ledger = extended(ledger, rows, kind, f" in {number}")
        for row in rows:
            model.setdefault(row, f" in {number}")
            named.setdefault(row, kind)
        if reload:
            ledger = Ledger.load(objects, ledger.save())

    assert ledger.known(as_rows(asked)).tolist() == [row in model for row in asked]
    assert ledger.all_known().tolist() == sorted(model)
    for row in {0, *asked, BLOCK_ROWS}:
        assert ledger.holds_from(row) == any(known >= row for known in model)
    held = [row for row in asked if row in model]
    taken = ledger.take(as_rows(held))
    for position, row in enumerate(held):
        expected = digests_of([row], model[row])
        assert (taken.rows[position] == expected.rows[0]).all()
        assert (taken.pictures[position] == expected.pictures[0]).all()
    blocks = {row // BLOCK_ROWS for row in held}
    told = {kind for row, kind in named.items() if row // BLOCK_ROWS in blocks}
    found = ledger.names(as_rows(held))
    if held:
        assert found.sample_ids == (None if "none" in told else names_of(held, "both").sample_ids)
        assert found.sequences == (names_of(held, "both").sequences if told == {"both"} else None)


@settings(deadline=None, max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.lists(ROW, min_size=1, max_size=12, unique=True), st.randoms(use_true_random=False), st.integers(1, 11))
def test_the_way_there_does_not_matter(objects: FolderObjectStore, rows: list[int], source: Any, cut: int) -> None:
    """The same rows in another order and in two parts make the same objects: two processes that do the same work share them."""
    other = list(rows)
    source.shuffle(other)

    assert extended(extended(Ledger(objects), other[:cut]), other[cut:]).save() == extended(Ledger(objects), rows).save()


@settings(deadline=None, max_examples=20, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.integers(0, 2 * BLOCK_ROWS), st.integers(1, BLOCK_ROWS))
def test_an_append_shares_all_full_blocks(objects: FolderObjectStore, count: int, more: int) -> None:
    """Blocks in front of the first new row are the same objects; nothing but blocks with new rows is new."""
    content = np.zeros((count + more, 32), np.uint8)
    content[:, :8] = np.arange(count + more, dtype=">u8").reshape(-1, 1).view(np.uint8)
    digests = RowDigests(content, content)
    first = Ledger(objects).extended(np.arange(count), digests[:count], RowNames())
    second = first.extended(np.arange(count, count + more), digests[count:], RowNames())

    assert second.blocks[: count // BLOCK_ROWS] == first.blocks[: count // BLOCK_ROWS]
    assert len(set(second.blocks) - set(first.blocks)) == (count + more - 1) // BLOCK_ROWS - count // BLOCK_ROWS + 1
    assert (second.take(np.arange(count + more)).rows == content).all()


# --- damage -----------------------------------------------------------------------------------------------------------------


def listing(objects: FolderObjectStore, **changes: Any) -> str:
    """A ledger of rows 3 and 4 with something else in its listing."""
    made = json.loads(objects.get_bytes(extended(Ledger(objects), [3, 4]).save()))
    return objects.put_bytes(json.dumps(made | changes).encode())


def use(objects: FolderObjectStore, digest: str) -> None:
    ledger = Ledger.load(objects, digest)
    ledger.known(as_rows([3]))
    ledger.take(as_rows([4, 3]))
    ledger.names(as_rows([3, 4]))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_object_is_found(tmp_path: Path, which: int, damage: str) -> None:
    """A flipped bit, a cut or an empty file among digests or names: an error, never other digests."""
    objects = FolderObjectStore(tmp_path)
    ledger = extended(Ledger(objects), [3, 4])
    digest = ledger.save()
    use(objects, digest)
    block = ledger.blocks[0]
    assert block is not None
    file = objects.path_of(block[which])
    assert file is not None
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        changed = {"flip": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[:-1], "empty": b""}[damage]
        file.write_bytes(changed)

    with pytest.raises(Exception, match="object") as found:
        use(objects, digest)
    assert type(found.value).__name__ == ("NotFound" if damage == "gone" else "IntegrityError")


def test_an_object_of_another_kind_is_no_ledger(objects: FolderObjectStore) -> None:
    """Whole objects, wrong content: text, other JSON, blocks that are cut, blocks whose names are another block's."""
    block = objects.get_bytes((extended(Ledger(objects), [3, 4]).blocks[0] or ("", ""))[0])
    names = objects.put_bytes(zlib.compress(json.dumps({"sample_ids": ["a"], "sequences": None}).encode()))
    own = extended(Ledger(objects), [3, 4]).blocks[0]
    assert own is not None
    wrong = {
        "no JSON": objects.put_bytes(b"\xff\xfe"),
        "a list": objects.put_bytes(b"[1]"),
        "another kind": listing(objects, kind="archive"),
        "another size of blocks": listing(objects, block_rows=4096),
        "no blocks": listing(objects, blocks=None),
        "a block of text": listing(objects, blocks=[[objects.put_bytes(b"text"), own[1]]]),
        "a block cut in its mask": listing(objects, blocks=[[objects.put_bytes(block[:100]), own[1]]]),
        "a block cut in its digests": listing(objects, blocks=[[objects.put_bytes(block[:-32]), own[1]]]),
        "names that are none": listing(objects, blocks=[[own[0], objects.put_bytes(b"text")]]),
        "names of other rows": listing(objects, blocks=[[own[0], names]]),
    }
    for digest in wrong.values():
        with pytest.raises(IntegrityError):
            use(objects, digest)


@pytest.mark.parametrize("row", [2, 5, BLOCK_ROWS, 9 * BLOCK_ROWS])
def test_digests_of_rows_it_does_not_hold_are_refused(objects: FolderObjectStore, row: int) -> None:
    """Zeros in their place would pass for digests."""
    with pytest.raises(IntegrityError, match="ledger of rows"):
        extended(Ledger(objects), [3, 4]).take(as_rows([3, row]))
