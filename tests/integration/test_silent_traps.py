"""The silent traps of Deep Lake 4.7.4: what a run recorded comes back exactly, or is refused with the cause; nothing passes silently.

Each test springs one trap on a recorded view and then opens it by its record: here, in a spawned and in a forkserver worker, and with the
check that a reproduction makes.
"""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from collections.abc import Callable, Iterator
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types

import lineage
from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.errors import IntegrityError, InvalidQuery, LineageError, NotFound, UncommittedData, UsageError
from lineage.record.recheck import DataCheck, check_input
from lineage.record.recorded_view import RecordedView

ROWS = 12
SCHEMA = {
    "images": types.Image(sample_compression="jpeg"),
    "boxes": types.Array("float32", 2),
    "labels": types.ClassLabel(types.Array("uint32", 1)),
    "sample_id": types.Text(),
}
CARS = "select * where any(labels == 'car')"

pytestmark = pytest.mark.filterwarnings("default::UserWarning", "default::RuntimeWarning")  # Deep Lake warns when a process is started


def picture(seed: int) -> bytes:
    """Bytes that are stored as they are, with a picture's beginning."""
    return b"\xff\xd8\xff\xe0" + np.random.default_rng(seed).bytes(300)


def columns(first: int, count: int, salt: int = 0) -> dict[str, list[Any]]:
    numbers = range(first, first + count)
    return {
        "images": [picture(number + salt) for number in numbers],
        "boxes": [np.full((number % 3 + 1, 4), number + salt, "float32") for number in numbers],
        "labels": [np.full(number % 3 + 1, number % 2, "uint32") for number in numbers],
        "sample_id": [f"sample-{number + salt:03d}" for number in numbers],
    }


def build(folder: Path, salt: int = 0) -> str:
    """Three commits of four rows."""
    dataset = deeplake.create(str(folder), schema=SCHEMA)
    dataset["labels"].metadata["class_names"] = ["car", "van"]
    for first in range(0, ROWS, 4):
        dataset.append(columns(first, 4, salt))
        dataset.commit()
    return f"file://{folder}"


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return build(tmp_path / "ds")


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A live run in a repository of its own."""
    monkeypatch.chdir(repository)
    with lineage.start_run(project="parking", job_type="train", seed=7) as live:
        yield live


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Pool]]:
    """A process of each kind that shares no memory with this one."""
    pools = [multiprocessing.get_context(method).Pool(1) for method in ("spawn", "forkserver")]
    yield pools
    for pool in pools:
        pool.terminate()
        pool.join()


Outcome = list[dict[str, Any]] | LineageError


def opened(view: RecordedView, workers: list[Pool]) -> list[Outcome]:
    """Every row as the record opens it: here, and in each worker; or why not."""
    fresh = pickle.dumps(view)
    found: list[Outcome] = []
    for read in (lambda item: list(item), *(lambda item, pool=pool: pool.apply_async(list, (item,)).get(120) for pool in workers)):
        try:
            found.append(read(pickle.loads(fresh)))
        except LineageError as error:
            found.append(error)
    return found


def same(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> bool:
    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a) for a, b in zip(left, right, strict=True)
    )


def check(view: RecordedView) -> DataCheck:
    """The check before a reproduction."""
    return check_input(DeepLakeBackend(), FolderObjectStore(Path(".lineage") / "objects"), view.record)


def comes_back(view: RecordedView, before: list[dict[str, Any]], workers: list[Pool]) -> None:
    """The same rows everywhere, and the check agrees."""
    for outcome in opened(view, workers):
        assert not isinstance(outcome, LineageError), outcome
        assert same(outcome, before)
    found = check(view)
    assert found.status == "ready", found.detail


def is_refused(view: RecordedView, workers: list[Pool], cause: str, in_check: str | None = None) -> None:
    """An error everywhere that names the cause, and the check names it too."""
    for outcome in opened(view, workers):
        assert isinstance(outcome, LineageError), "it was opened without a word"
        assert cause in outcome.message, outcome.message
    found = check(view)
    assert found.status in ("changed", "missing")
    assert any((in_check or cause) in line for line in found.detail), found.detail


def folder_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def log_files(uri: str) -> list[Path]:
    return sorted(path for path in (folder_of(uri) / "_deeplake_log").glob("*/*.jsonl*") if path.parent.name != "_meta")


# --- commit ids -----------------------------------------------------------------------------------------------------------------


def test_another_dataset_with_the_same_commit_ids(run: Any, uri: str, workers: list[Pool]) -> None:
    """Commit ids are sequence numbers: a dataset put in the place of the recorded one has the very same. Its rows are not the recorded."""
    view = run.use_dataset(uri, role="train")
    shutil.rmtree(folder_of(uri))
    build(folder_of(uri), salt=500)

    assert deeplake.open_read_only(uri).version == view.record.commit_id
    is_refused(view, workers, "row 0", "data differ in 12 of 12 rows")


def test_a_rebuilt_dataset_with_the_same_rows(run: Any, uri: str, workers: list[Pool]) -> None:
    """Made again from the same rows it is another dataset by its id, and the same data: it may be used."""
    view = run.use_dataset(uri, role="train")
    before = list(view)
    shutil.rmtree(folder_of(uri))
    build(folder_of(uri))

    comes_back(view, before, workers)
    assert "another dataset with the same rows" in check(view).detail[0]


def test_copies_that_grew_apart(run: Any, uri: str, tmp_path: Path, workers: list[Pool]) -> None:
    """Dataset id, branch and commit id are the same in both copies, and name two contents."""
    deeplake.copy(str(folder_of(uri)), str(tmp_path / "copy"))
    for number, address in enumerate((uri, f"file://{tmp_path / 'copy'}")):
        dataset = deeplake.open(address)
        dataset.append(columns(ROWS, 2, salt=100 * (number + 1)))
        dataset.commit()
    view = run.use_dataset(uri, role="train")
    before = list(view)
    other = run.use_dataset(tmp_path / "copy", role="validation")

    names = ("dataset_id", "branch_id", "commit_id", "rows")
    assert [getattr(view.record, name) for name in names] == [getattr(other.record, name) for name in names]
    assert view.record.content_digest != other.record.content_digest
    comes_back(view, before, workers)
    folder_of(uri).rename(tmp_path / "away")
    (tmp_path / "copy").rename(folder_of(uri))
    is_refused(view, workers, f"row {ROWS}", "data differ in 2 of 14 rows")


def test_a_late_writer_changes_what_a_commit_means(run: Any, uri: str, tmp_path: Path, workers: list[Pool]) -> None:
    """A log file that arrives after the record was made: the gap was noted then, and other rows are refused now."""
    late = log_files(uri)[-2]
    aside = late.rename(tmp_path / late.name)
    view = run.use_dataset(uri, role="train")
    assert len(view) == ROWS - 4
    assert any("has gaps" in note for note in run.record.notes)

    aside.rename(late)

    assert len(deeplake.open_read_only(uri)) == ROWS
    is_refused(view, workers, "row 4", "data differ in 4 of 8 rows")
    assert any("arrived after it was recorded" in line for line in check(view).detail)


# --- names and handles ------------------------------------------------------------------------------------------------------------


def test_an_address_with_a_branch_behind_it(run: Any, uri: str) -> None:
    """Deep Lake reads a branch behind the '@' and writes to main: the address is refused, the branch is named apart."""
    deeplake.open(uri).branch("side")

    with pytest.raises(UsageError, match="'@'"):
        run.use_dataset(f"{uri}@side", role="train")
    assert run.use_dataset(uri, branch="side", role="train").record.branch == "side"


def test_a_handle_opened_with_a_branch_behind_it(run: Any, uri: str) -> None:
    """The writable handle of "…@side" is one of main, and recorded as that; the read-only one is of the branch, and recorded as that."""
    branch, keep = branch_off(uri)
    branch.append(columns(ROWS, 3))
    branch.commit()
    del keep

    writable = run.use_dataset(deeplake.open(f"{uri}@side"), role="train")
    assert (writable.record.uri, writable.record.branch, len(writable)) == (uri, "main", ROWS)
    readable = run.use_dataset(deeplake.open_read_only(f"{uri}@side"), role="validation")
    assert (readable.record.uri, readable.record.branch, len(readable)) == (uri, "side", ROWS + 3)


def branch_off(uri: str) -> tuple[Any, Any]:
    """A writable handle of a new branch, and the handle it hangs on."""
    dataset = deeplake.open(uri)
    branch = dataset.branch("side")
    return branch.open(), (dataset, branch)


def later_commits(uri: str) -> None:
    dataset = deeplake.open(uri)
    dataset.delete(0)
    dataset.append(columns(50, 2))
    dataset.commit()


def test_a_pickled_view_loses_its_pin(run: Any, uri: str, workers: list[Pool]) -> None:
    """Deep Lake's own pickled view reads the newest rows; the recorded view reads its own in every process."""
    DeepLakeBackend().save_view(uri, CARS, "cars", "m")
    view = run.use_dataset(uri, view="cars", role="train")
    before = list(view)
    root = deeplake.open_read_only(uri)
    theirs = root.tags["cars"].open()
    shown = list(theirs["sample_id"][:])
    later_commits(uri)

    again = pickle.loads(pickle.dumps(theirs))
    assert list(again["sample_id"][:]) != shown, "this release keeps the pin"
    comes_back(view, before, workers)


def test_a_refreshed_handle_changes_its_views(run: Any, uri: str, workers: list[Pool]) -> None:
    """A view of a handle shows other rows after a refresh; a recorded view does not hang on anybody's handle."""
    handle = deeplake.open_read_only(uri)
    theirs = handle.query(CARS)
    shown = list(theirs["sample_id"][:])
    view = run.use_dataset(handle, query=CARS, role="train")
    before = list(view)
    later_commits(uri)
    handle.refresh()

    assert list(theirs["sample_id"][:]) != shown, "this release keeps a view's rows"
    assert [sample["sample_id"] for sample in before] == shown
    comes_back(view, before, workers)


def shown_by(uri: str, name: str) -> list[str] | None:
    """What Deep Lake itself shows under the name of a view."""
    dataset = deeplake.open_read_only(uri)
    view = dataset.tags[name].open()
    try:
        return list(view["sample_id"][:])
    except IndexError:
        return None


@pytest.mark.parametrize("kept", ["sample-10", "sample-00"])
def test_a_view_of_a_branch_written_down_as_one_of_main(run: Any, uri: str, kept: str) -> None:
    """Saved through a read-only handle of a branch, a view names main, and opens as other rows or none: it is refused."""
    branch, keep = branch_off(uri)
    branch.delete(0)
    branch.commit()
    for number in range(3):
        branch.append(columns(100 + number, 1))
        branch.commit()
    handle = deeplake.open_read_only(f"{uri}@side")
    saved = handle.query(f"select * where contains(sample_id, '{kept}')")
    shown = list(saved["sample_id"][:])
    saved.tag("misplaced", "m")
    del keep

    assert shown_by(uri, "misplaced") != shown, "this release writes the branch down"
    with pytest.raises(IntegrityError, match="read-only handle"):
        run.use_dataset(uri, view="misplaced", role="train")
    assert run.record.inputs == ()


def test_a_deleted_view_and_a_renamed_column(run: Any, uri: str, workers: list[Pool]) -> None:
    """Rows are recorded, not looked up: without the view, and with other columns in the newest version, they come back."""
    DeepLakeBackend().save_view(uri, CARS, "cars", "m")
    view = run.use_dataset(uri, view="cars", role="train")
    before = list(view)
    dataset = deeplake.open(uri)
    dataset.tags["cars"].delete()
    dataset.rename_column("boxes", "rectangles")
    dataset.commit()

    comes_back(view, before, workers)
    with pytest.raises(NotFound, match="cars"):
        run.use_dataset(uri, view="cars", role="train")


def test_a_deleted_branch(run: Any, uri: str, workers: list[Pool]) -> None:
    """The rows of a branch that is gone cannot be had: the error names the branch."""
    branch, keep = branch_off(uri)
    branch.append(columns(ROWS, 3))
    branch.commit()
    view = run.use_dataset(uri, branch="side", role="train")
    del branch, keep
    dataset = deeplake.open(uri)
    dataset.branches["side"].delete()

    is_refused(view, workers, "side")


# --- metadata and pending changes -------------------------------------------------------------------------------------------------


def test_metadata_has_no_versions_and_class_names_change(run: Any, uri: str, workers: list[Pool]) -> None:
    """The dataset's own metadata show today's value at every version; rows and class names come back as recorded."""
    view = run.use_dataset(uri, role="train")
    before = list(view)
    dataset = deeplake.open(uri)
    dataset.metadata["source"] = "elsewhere"
    dataset["labels"].metadata["class_names"] = ["van", "car"]
    dataset.commit()

    comes_back(view, before, workers)
    assert view.class_names == {"labels": ("car", "van")}
    later = run.use_dataset(uri, role="validation")
    assert later.class_names == {"labels": ("van", "car")}
    assert later.record.content_digest != view.record.content_digest


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset: dataset.append(columns(50, 1)),
        lambda dataset: dataset.delete(0),
        lambda dataset: dataset[0].__setitem__("sample_id", "x"),
    ],
    ids=["append", "delete", "update"],
)
def test_pending_changes(run: Any, uri: str, change: Callable[[Any], Any], workers: list[Pool]) -> None:
    """A handle with changes that no commit holds is refused; by address, what is committed is recorded."""
    dataset = deeplake.open(uri)
    change(dataset)

    with pytest.raises(UncommittedData, match="uncommitted"):
        run.use_dataset(dataset, role="train")
    view = run.use_dataset(uri, role="train")
    before = list(view)
    assert [sample["sample_id"] for sample in before] == [f"sample-{row:03d}" for row in range(ROWS)]
    dataset.commit()
    comes_back(view, before, workers)


# --- damaged files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, -1], ids=["an early one", "the last one"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "lost"])
def test_a_damaged_log_file(run: Any, uri: str, workers: list[Pool], damage: str, number: int) -> None:
    """Deep Lake passes over it and shows fewer rows, or does not know the commit any more."""
    view = run.use_dataset(uri, role="train")
    path = log_files(uri)[number]
    content = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "emptied" else content[:-10])

    for outcome in opened(view, workers):
        assert isinstance(outcome, LineageError), "it was opened without a word"
    assert check(view).status in ("changed", "missing")


def data_files(uri: str, column: str) -> list[Path]:
    """Data files of a column, by what only its values hold."""
    marks = {"images": picture(1)[:40], "boxes": np.full(4, 1, "float32").tobytes()}
    files = [path for path in sorted(folder_of(uri).rglob("*")) if path.is_file() and "_deeplake_log" not in path.parts]
    found = [path for path in files if marks[column] in path.read_bytes()]
    assert found, f"no file of {column}"
    return found


@pytest.mark.parametrize("column", ["images", "boxes"])
def test_a_flipped_bit(run: Any, uri: str, workers: list[Pool], column: str) -> None:
    """One bit of a stored value: Deep Lake gives the other value; the row is named and refused."""
    view = run.use_dataset(uri, role="train")
    for path in data_files(uri, column):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))

    is_refused(view, workers, "row 3", "row 3")


@pytest.mark.parametrize("column", ["images", "boxes"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_cut_data_file_is_found_before_it_is_read(run: Any, uri: str, column: str, left: float) -> None:
    """Reading it would give other values or end the process: the check and a new run find it by its size."""
    view = run.use_dataset(uri, role="train")
    for path in data_files(uri, column):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])

    found = check(view)
    assert found.status == "missing"
    assert "bytes, found" in found.detail[0]
    with pytest.raises(IntegrityError, match="bytes"):
        run.use_dataset(uri, role="validation")


# --- copies and queries -------------------------------------------------------------------------------------------------------------


def test_appending_a_view_encodes_pictures_again(run: Any, uri: str, tmp_path: Path) -> None:
    """A copy made with ``append(view)`` has other picture bytes; it does not pass for the same data."""
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=90)
    source = deeplake.create(str(tmp_path / "source"), schema={"images": SCHEMA["images"], "sample_id": types.Text()})
    source.append({"images": [buffer.getvalue()] * 2, "sample_id": ["a", "b"]})
    source.commit()
    copied = deeplake.like(source, str(tmp_path / "copied"))
    copied.append(source.query("select *"))
    copied.commit()

    first, second = (run.use_dataset(tmp_path / name, role=role) for name, role in (("source", "train"), ("copied", "validation")))

    assert first.record.content_digest != second.record.content_digest
    assert first[0]["images"] == buffer.getvalue() != second[0]["images"]


def test_a_query_that_is_answered_wrongly(run: Any, uri: str) -> None:
    """It records nothing; its right form does."""
    with pytest.raises(InvalidQuery, match="wrongly"):
        run.use_dataset(uri, query="select * where sum(labels == 'car') >= 2", role="train")
    assert run.record.inputs == ()

    view = run.use_dataset(uri, query="select * where sum((labels == 'car')*1) >= 2", role="train")
    assert view.rows.tolist() == [row for row in range(ROWS) if row % 2 == 0 and row % 3 + 1 >= 2]
