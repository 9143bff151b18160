"""Rows of a dataset version are read and digested once; never are digests of other rows taken for them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from PIL import Image

import lineage
from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.api.process import wired
from lineage.errors import IntegrityError, InvalidQuery
from lineage.model.dataset import InputRecord
from lineage.model.digest import digest_of_view
from lineage.model.event import InputUsed
from lineage.record.digesting import digest_rows
from lineage.record.identity import class_names_of, record_input, recorded_digests, recorded_names, recorded_rows
from lineage.record.ledger import BLOCK_ROWS, Ledger
from lineage.record.opening import open_recorded
from lineage.record.recheck import check_input
from lineage.record.recorded_view import DatasetPlace, RecordedView
from lineage.record.reindex import reindex_inputs
from lineage.record.row_keys import digests_of_nothing, picture_key, sample_key
from lineage.record.spaces import digested_rows
from lineage.wiring import wire

TABLE = {"boxes": types.Array("float32", 2), "labels": types.ClassLabel(types.Array("uint32", 1)), "sample_id": types.Text()}
PICTURES = {"images": types.Image(sample_compression="jpeg"), **TABLE}
WEIGHT = "weight"


class Bench:
    """A dataset folder, an object store and an index, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset = folder / "ds"
        self.uri = f"file://{self.dataset}"
        self.backend = DeepLakeBackend()
        self.objects = FolderObjectStore(folder / "objects")
        self.database = SqliteDatabase(folder / "index.sqlite")
        self.index = SqlRowIndex(self.database)

    def record(self, **which: Any) -> InputRecord:
        return record_input(self.backend, self.objects, self.index, self.backend.resolve(self.uri, **which), "train")

    def read_for(self, rows: list[int] | None = None, commit_id: str | None = None) -> tuple[str, int]:
        """(space, number of rows that were read) of digesting ``rows`` of a version, all by default."""
        version = self.backend.resolve(self.uri, commit_id=commit_id).version
        reader = self.backend.open(self.uri, version.branch, version.commit_id)
        wanted = np.arange(version.rows_total) if rows is None else np.asarray(rows, np.int64)
        found = digested_rows(self.backend, self.objects, self.index, reader, self.backend.manifest(version), wanted)
        return found.space, found.read

    def recorded_truly(self, item: InputRecord) -> bool:
        """Whether a record's digests are those of the rows as they are read now, without anything remembered."""
        rows = recorded_rows(self.objects, item)
        reader = self.backend.open(item.uri, item.branch, item.commit_id)
        found = digest_rows(reader, rows)
        return (
            not recorded_digests(self.objects, item, rows).differing(found)[1]
            and digest_of_view(found.rows.tobytes(), class_names_of(reader)) == item.content_digest
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.database.close()


def picture(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def table(first: int, count: int, mark: str = "") -> dict[str, list[Any]]:
    rows = range(first, first + count)
    return {
        "boxes": [np.full((row % 4, 4), row, "float32") for row in rows],
        "labels": [np.full(row % 4, row % 2, "uint32") for row in rows],
        "sample_id": [f"s{mark}{row}" for row in rows],
    }


def with_pictures(first: int, count: int, mark: str = "") -> dict[str, list[Any]]:
    return {"images": [picture(row + 1000 * len(mark)) for row in range(first, first + count)], **table(first, count, mark)}


def create(folder: Path, schema: dict[str, Any], rows: dict[str, list[Any]]) -> Any:
    dataset = deeplake.create(str(folder), schema=schema)
    if "labels" in schema:
        dataset["labels"].metadata["class_names"] = ["car", "van"]
    dataset.append(rows)
    dataset.commit("first")
    return dataset


def append(folder: Path, rows: dict[str, list[Any]]) -> None:
    dataset = deeplake.open(str(folder))
    dataset.append(rows)
    dataset.commit("more")


def picture_file(dataset: Path, content: bytes) -> Path:
    """The stored file that holds these bytes."""
    (found,) = [file for file in dataset.rglob("*") if file.is_file() and content in file.read_bytes()]
    return found


def flip_in_place(dataset: Path, row: int) -> Path:
    """Change one byte inside the stored picture of a row, without a commit."""
    content = picture(row)
    file = picture_file(dataset, content)
    stored = bytearray(file.read_bytes())
    stored[stored.index(content) + len(content) // 2] ^= 1
    file.write_bytes(stored)
    return file


# --- what is read again, and what not ---------------------------------------------------------------------------------------


def test_rows_of_a_version_are_read_once(bench: Bench) -> None:
    """A part, the whole, a part again: every row once. Each record is what a fresh reading gives."""
    create(bench.dataset, PICTURES, with_pictures(0, 50))

    assert [bench.read_for(rows)[1] for rows in ([3, 4, 5], [5, 6, 6, 4], None, [49, 0], None)] == [3, 1, 46, 0, 0]
    for which in ({}, {"query": "select * where any(labels == 'van')"}):
        assert bench.recorded_truly(bench.record(**which))
    assert bench.read_for()[1] == 0


def test_an_append_reads_the_new_rows_only(bench: Bench) -> None:
    """In either order of recording; the older version stays recorded as it was."""
    create(bench.dataset, PICTURES, with_pictures(0, 30))
    first = bench.record()
    append(bench.dataset, with_pictures(30, 10))
    space, read = bench.read_for()

    assert (space, read) == (first.space, 10)
    second = bench.record()
    assert bench.recorded_truly(second)
    assert bench.recorded_truly(first)
    assert bench.read_for(commit_id=first.commit_id) == (space, 0)


@pytest.mark.parametrize("count", [1, 999, 5000])
def test_an_append_of_any_size_reads_the_new_rows_only(bench: Bench, count: int) -> None:
    """Deep Lake names commits of many rows otherwise than those of few."""
    create(bench.dataset, TABLE, table(0, 2000))
    bench.record()
    append(bench.dataset, table(2000, count))

    assert bench.read_for()[1] == count
    assert bench.recorded_truly(bench.record())


def test_an_older_version_takes_over_from_a_newer_one(bench: Bench) -> None:
    """Recorded backwards, the first reading is enough for both."""
    create(bench.dataset, TABLE, table(0, 30))
    older = bench.backend.resolve(bench.uri).version.commit_id
    append(bench.dataset, table(30, 10))

    assert bench.read_for()[1] == 40
    assert bench.read_for(commit_id=older)[1] == 0
    assert bench.recorded_truly(bench.record(commit_id=older))


@pytest.mark.parametrize("change", ["update", "delete", "column"])
def test_a_change_of_rows_is_another_space(bench: Bench, change: str) -> None:
    """After an update, a deletion or a new column every row is read; nothing of the older version is taken over."""
    create(bench.dataset, PICTURES, with_pictures(0, 20))
    first = bench.record()
    dataset = deeplake.open(str(bench.dataset))
    if change == "update":
        dataset["labels"][3] = np.array([0, 0, 1], "uint32")
    elif change == "delete":
        dataset.delete(3)
    else:
        dataset.add_column(WEIGHT, types.Float64())
    dataset.commit(change)
    space, read = bench.read_for()

    assert space != first.space
    assert read == (19 if change == "delete" else 20)
    assert bench.recorded_truly(bench.record())
    assert bench.recorded_truly(first)


def test_touched_files_are_read_again_and_found_equal(bench: Bench) -> None:
    """New times without new content: everything that was taken from the files is read again, once."""
    create(bench.dataset, PICTURES, with_pictures(0, 20))
    first = bench.record()
    for file in bench.dataset.rglob("*"):
        os.utime(file, (1, 1))

    assert bench.read_for([1, 2]) == (first.space, 20)
    assert bench.read_for()[1] == 0
    assert bench.record().content_digest == first.content_digest


def test_an_edit_without_a_commit_is_refused_and_the_rows_are_named(bench: Bench) -> None:
    """Also when the view that is recorded now does not hold the edited row; the ledger stays as it was."""
    create(bench.dataset, PICTURES, with_pictures(0, 20))
    first = bench.record()
    flip_in_place(bench.dataset, 7)

    for which in ({}, {"query": "select * where sample_id == 's3'"}):
        with pytest.raises(IntegrityError, match=r"row 7\b") as refused:
            bench.record(**which)
        assert refused.value.hint is not None
    assert bench.index.ledger(first.space or "") == first.ledger_object
    shutil.rmtree(bench.dataset)
    create(bench.dataset, PICTURES, with_pictures(0, 20))
    assert bench.record().space != first.space  # another dataset at the same path


def test_an_edit_with_the_old_times_restored_is_found_when_read(bench: Bench) -> None:
    """By a reader of the record, which names the row, by the full check, and by the next record: the time of the inode shows."""
    create(bench.dataset, PICTURES, with_pictures(0, 20))
    item = bench.record()
    rows = recorded_rows(bench.objects, item)
    before = picture_file(bench.dataset, picture(7)).stat()
    file = flip_in_place(bench.dataset, 7)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    view = RecordedView(
        item, rows, recorded_digests(bench.objects, item, rows), DatasetPlace(bench.backend, bench.uri, item.branch, item.commit_id)
    )

    assert view[6]["sample_id"] == "s6"
    with pytest.raises(IntegrityError, match=r"row 7 \(s7\)"):
        view[7]
    with pytest.raises(IntegrityError, match=r"picture of row 7"):
        view.read([5, 7], ["images"])
    check = check_input(bench.backend, bench.objects, item)
    assert (check.status, check.detail[0]) == ("changed", "data differ in 1 of 20 rows: row 7 (s7: picture)")
    with pytest.raises(IntegrityError, match=r"row 7\b"):
        bench.record()


# --- interrupted, and at once -----------------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {here!r})
import test_ledger_reuse as test
from lineage.record import spaces
bench = test.Bench(Path(sys.argv[1]))
last, spaces._SAVE_EVERY_S, first, step = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
print("ready", flush=True)
sys.stdin.readline()
def progress(what, done, total):
    if last and done >= last:
        os.kill(os.getpid(), signal.SIGKILL)
whole = bench.backend.resolve(bench.uri)
view = type(whole)(whole.version, whole.rows[first::step])
test.record_input(bench.backend, bench.objects, bench.index, view, "train", progress)
"""


def child(bench: Bench, *, last: int = 0, save_every_s: float = 0.0, first: int = 0, step: int = 1) -> subprocess.Popen[str]:
    """A process that records every ``step``-th row from ``first`` on, and kills itself after ``last`` rows (0: never)."""
    words = [sys.executable, "-c", CHILD.format(here=str(Path(__file__).parent)), str(bench.folder)]
    words += [str(last), str(save_every_s), str(first), str(step)]
    started = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def test_a_killed_record_goes_on_where_it_was(bench: Bench) -> None:
    """SIGKILL in the middle of digesting: what was saved is not read again, nothing is missing, the record is the same as of one go."""
    create(bench.dataset, TABLE, table(0, 40_000))
    killed = child(bench, last=20_000)
    killed.communicate("\n")
    assert killed.returncode == -signal.SIGKILL
    space, read = bench.read_for()

    assert 0 < read <= 40_000 - 10_000
    item = bench.record()
    assert item.space == space
    assert bench.recorded_truly(item)
    assert bench.index.find_keys("sample", sample_key("s39999")) == [(space, 39_999)]
    assert all(bench.index.find_keys("sample", sample_key(f"s{row}")) == [(space, row)] for row in range(0, 40_000, 999))


@pytest.mark.parametrize(("first", "step"), [((0, 0), 1), ((0, 1), 2)], ids=["the same rows", "every other row"])
def test_two_processes_record_the_same_version_at_once(bench: Bench, first: tuple[int, int], step: int) -> None:
    """One space, nothing lost, both succeed; each saves again and again while the other does."""
    create(bench.dataset, TABLE, table(0, 40_000))
    both = [child(bench, first=start, step=step) for start in first]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0]

    assert len(bench.index.ledgers()) == 1
    assert bench.read_for()[1] == 0
    assert bench.recorded_truly(bench.record())


# --- other histories ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [(list(range(30)), list(range(25))), ([0, 22, 23], [1, 26, 27]), ([0, 22], [3, 4])], ids=str)
def test_copies_that_went_different_ways_at_one_path_are_not_mixed(bench: Bench, rows: tuple[list[int], list[int]]) -> None:
    """Two folders with the same ids swap places: what is recorded of one is never told of the other, whichever rows were read first."""
    ours, theirs = rows
    create(bench.dataset, TABLE, table(0, 20))
    bench.record()
    other = bench.folder / "other"
    shutil.copytree(bench.dataset, other)
    bench.read_for()
    append(bench.dataset, table(20, 10, "a"))
    first, _ = bench.read_for(ours)

    def swap() -> None:
        bench.dataset.rename(bench.folder / "aside")
        other.rename(bench.dataset)
        (bench.folder / "aside").rename(other)

    swap()
    bench.read_for()  # version 1 is known with these files, too
    append(bench.dataset, table(20, 10, "b"))
    second, _ = bench.read_for(theirs)

    assert second != first
    for _ in range(3):
        item = bench.record()
        assert bench.recorded_truly(item)
        assert recorded_names(bench.objects, item, np.array([25])).sample_ids == (("sb25",) if item.space == second else ("sa25",))
        swap()


def test_an_interrupted_record_of_another_history_claims_nothing(bench: Bench) -> None:
    """A process died before its first row was saved: a copy that went another way does not join its space."""
    create(bench.dataset, TABLE, table(0, 20))
    bench.record()
    other = bench.folder / "other"
    shutil.copytree(bench.dataset, other)
    append(bench.dataset, table(20, 10, "a"))
    killed = child(bench, last=1, save_every_s=1000)
    killed.communicate("\n")
    assert killed.returncode == -signal.SIGKILL
    bench.dataset.rename(bench.folder / "aside")
    other.rename(bench.dataset)
    bench.read_for()
    append(bench.dataset, table(20, 10, "b"))
    theirs = bench.record()
    assert bench.recorded_truly(theirs)
    shutil.rmtree(bench.dataset)
    (bench.folder / "aside").rename(bench.dataset)
    ours = bench.record()

    assert bench.recorded_truly(ours)
    assert ours.content_digest != theirs.content_digest
    assert ours.space != theirs.space


def test_histories_are_not_mixed_when_their_notes_are_lost(bench: Bench) -> None:
    """Rows behind the shared ones that nobody accounts for belong to somebody else."""
    create(bench.dataset, TABLE, table(0, 20))
    first = bench.record()
    other = bench.folder / "other"
    shutil.copytree(bench.dataset, other)
    append(bench.dataset, table(20, 10, "a"))
    assert bench.read_for() == (first.space, 10)
    with bench.database.writing() as execute:
        execute("DELETE FROM dataset_versions", ())
    shutil.rmtree(bench.dataset)
    other.rename(bench.dataset)
    assert bench.read_for() == (first.space, 20)
    append(bench.dataset, table(20, 5, "b"))

    assert bench.read_for([0, 1]) != (first.space, 0)
    item = bench.record()
    assert bench.recorded_truly(item)
    assert item.space != first.space


def test_a_lost_index_does_not_turn_old_digests_into_new_ones(bench: Bench) -> None:
    """Versions are forgotten, the ledger is not: an edit in between is found although only another row is recorded."""
    create(bench.dataset, PICTURES, with_pictures(0, 20))
    item = bench.record()
    with bench.database.writing() as execute:
        execute("DELETE FROM dataset_versions", ())
    flip_in_place(bench.dataset, 7)

    with pytest.raises(IntegrityError, match=r"row 7\b"):
        bench.record(query="select * where sample_id == 's3'")
    with pytest.raises(IntegrityError, match=r"row 7\b"):
        bench.record(query="select * where sample_id == 's3'")
    assert bench.index.ledger(item.space or "") == item.ledger_object


# --- records of the first release ---------------------------------------------------------------------------------------------


def test_records_of_the_first_release_stay_good(bench: Bench, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With digests of the view in one object and no space: they open, verify, notice an edit, and look-ups find them after re-indexing."""
    create(bench.dataset, PICTURES, with_pictures(0, 20))
    new = bench.record(query="select * where any(labels == 'van')")
    rows = recorded_rows(bench.objects, new)
    digests = recorded_digests(bench.objects, new, rows)
    monkeypatch.chdir(repository)
    ports = wire()
    kept = ports.objects.put_bytes(digests.pictures.tobytes() + digests.rows.tobytes())
    ports.objects.put_bytes(bench.objects.get_bytes(new.rows_object))
    old = InputRecord.model_validate(new.model_dump() | {"space": None, "ledger_object": None, "digests_object": kept})
    with lineage.start_run() as run:
        run._append(InputUsed(at=datetime.now(UTC), input=old))
    view, check = open_recorded(lambda: bench.backend, ports.objects, ports.rows, old)

    assert (check.status, [view[i]["sample_id"] for i in range(2)]) == ("ready", ["s1", "s3"])
    assert ports.rows.unindexed_inputs() == [(run.id, 0)]
    assert [reindex_inputs(ports), reindex_inputs(ports)] == [1, 0]
    assert ports.rows.unindexed_inputs() == []
    (space, row) = ports.rows.find_keys("picture", picture_key(digests.pictures[1].tobytes()))[0]
    ((key, held),) = ports.rows.views_with(space, [row]).items()
    assert (row, held) == (3, [3])
    assert [sighting.run_id for sighting in ports.rows.sightings([key])] == [run.id]
    flip_in_place(bench.dataset, 3)
    with pytest.raises(IntegrityError, match=r"row 3 \(s3: picture\)"):
        open_recorded(lambda: bench.backend, ports.objects, ports.rows, old)
    wired.cache_clear()


# --- kinds of datasets and views ------------------------------------------------------------------------------------------------


def test_several_blocks(bench: Bench) -> None:
    """40,000 rows in three blocks: an append changes the last one only, and a sparse view over all of them is found again in its order."""
    create(bench.dataset, TABLE, table(0, 2 * BLOCK_ROWS + 5000))
    first = bench.record()
    append(bench.dataset, table(2 * BLOCK_ROWS + 5000, 10))
    second = bench.record()
    sparse = bench.record(query="select * where sample_id in ('s5', 's16384', 's37000', 's20000', 's37777')")

    before = Ledger.load(bench.objects, first.ledger_object or "").blocks
    after = Ledger.load(bench.objects, second.ledger_object or "").blocks
    assert (len(before), before[:2], before[2] == after[2]) == (3, after[:2], False)
    assert recorded_rows(bench.objects, sparse).tolist() == [5, 16384, 20000, 37000, 37777]
    assert recorded_names(bench.objects, sparse, recorded_rows(bench.objects, sparse)).sample_ids == (
        "s5", "s16384", "s20000", "s37000", "s37777",
    )  # fmt: skip
    assert bench.recorded_truly(second)
    assert bench.recorded_truly(sparse)


def test_views_in_any_order_and_with_rows_twice(bench: Bench) -> None:
    """``order by`` and ``sample by`` give rows in another order and more than once: each is read once, the record keeps all of them."""
    create(bench.dataset, TABLE, table(0, 40))
    item = bench.record(query="select * order by sample_id desc")
    rows = recorded_rows(bench.objects, item)

    assert rows.tolist() == sorted(range(40), key=lambda row: f"s{row}", reverse=True)
    assert bench.recorded_truly(item)
    version = bench.backend.resolve(bench.uri)
    doubled = record_input(
        bench.backend, bench.objects, bench.index, type(version)(version.version, np.array([5, 39, 5, 0, 0], np.int64)), "train"
    )
    assert recorded_rows(bench.objects, doubled).tolist() == [5, 39, 5, 0, 0]
    assert bench.recorded_truly(doubled)
    assert len({bench.record().content_digest, item.content_digest, doubled.content_digest}) == 3


def test_a_view_without_rows_is_refused(bench: Bench) -> None:
    """So is a dataset without any; nothing is entered."""
    create(bench.dataset, TABLE, table(0, 10))
    with pytest.raises(InvalidQuery, match="none of 10 rows"):
        bench.record(query="select * where sample_id == 'nobody'")
    assert bench.index.ledgers() == []


def test_datasets_of_other_shapes(bench: Bench) -> None:
    """Without pictures, with two of them, without sample ids, with single numbers and texts only: each is recorded as it is read."""
    two = {"left": types.Image(sample_compression="jpeg"), "right": types.Image(sample_compression="png"), "weight": types.Float64()}
    png = BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(png, "PNG")
    cases = {
        "two": (two, {"left": [picture(1), picture(2)], "right": [png.getvalue()] * 2, "weight": [float("nan"), -0.0]}),
        "plain": ({"weight": types.Float64(), "note": types.Text()}, {"weight": [1.0, 2.0], "note": ["a b\nc", "x"]}),
    }
    for name, (schema, rows) in cases.items():
        bench.dataset = bench.folder / name
        bench.uri = f"file://{bench.dataset}"
        create(bench.dataset, schema, rows)
        item = bench.record()
        assert bench.recorded_truly(item)
        assert bench.read_for()[1] == 0
        assert recorded_names(bench.objects, item, recorded_rows(bench.objects, item)).sample_ids is None
    pictures = recorded_digests(bench.objects, item, recorded_rows(bench.objects, item)).pictures
    assert (pictures == digests_of_nothing()).all()
    assert bench.index.find_keys("picture", picture_key(pictures[0].tobytes())) == []  # no picture is not one that many rows share
