"""Identity of Deep Lake data: which rows, which bytes, in any process, whatever happens to the dataset afterwards."""

from __future__ import annotations

import json
import multiprocessing
import operator
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
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
from lineage.errors import Conflict, IntegrityError, InvalidQuery, NotFound, Unavailable, UncommittedData, UsageError
from lineage.model.dataset import InputRecord
from lineage.model.source import Column
from lineage.record.identity import class_names_of, record_input, recorded_rows
from lineage.record.recheck import DataCheck, check_input
from lineage.record.recorded_view import RecordedView

PATIENCE_S = 120  # a child process that hangs or dies is an error, not a wait for ever

SMALL_CARS = "select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:,3]<20), labels == 'car'))"
ROWS = 60

SCHEMA = {
    "images": types.Image(sample_compression="jpeg"),
    "boxes": types.Array("float32", 2),
    "labels": types.ClassLabel(types.Array("uint32", 1)),
    "sequence": types.Text(),
    "sample_id": types.Text(),
    "weight": types.Float64(),
}


def picture(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def columns(first: int, count: int) -> dict[str, list[Any]]:
    """Rows ``first`` and on: 0 to 4 boxes each, the weight of every tenth row is not a number."""
    found: dict[str, list[Any]] = {name: [] for name in SCHEMA}
    for row in range(first, first + count):
        random = np.random.default_rng(row)
        boxes = row % 5
        found["images"].append(picture(row))
        found["boxes"].append(random.integers(10, 40, (boxes, 4)).astype("float32"))
        found["labels"].append(random.integers(0, 2, boxes).astype("uint32"))
        found["sequence"].append(f"sequence {row // 20}")
        found["sample_id"].append(f"sample-{row:03d}")
        found["weight"].append(float("nan") if row % 10 == 0 else row / 7)
    return found


def build(folder: Path, rows: int = ROWS, *, commits: int = 3, names: tuple[str, ...] = ("car", "van")) -> str:
    """A real dataset made in several commits; returns its address."""
    dataset = deeplake.create(str(folder), schema=SCHEMA)
    dataset["labels"].metadata["class_names"] = list(names)
    for number in range(commits):
        dataset.append(columns(number * rows // commits, rows // commits))
        dataset.commit(f"part {number}")
    return f"file://{folder}"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "template"
    build(folder)
    return folder


@pytest.fixture
def uri(template: Path, tmp_path: Path) -> str:
    """A dataset of the test's own (a copy keeps every id)."""
    shutil.copytree(template, tmp_path / "ds")
    return f"file://{tmp_path / 'ds'}"


@pytest.fixture
def backend() -> DeepLakeBackend:
    return DeepLakeBackend()


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(tmp_path / "objects")


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A live run in a repository of its own."""
    monkeypatch.chdir(repository)
    with lineage.start_run(project="parking", job_type="train", seed=7) as live:
        yield live


def folder_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def writable(uri: str) -> Any:
    return deeplake.open(str(folder_of(uri)))


def recorded(backend: DeepLakeBackend, objects: FolderObjectStore, uri: str, **which: Any) -> InputRecord:
    database = SqliteDatabase(folder_of(uri).parent / "index.sqlite")
    try:
        return record_input(backend, objects, SqlRowIndex(database), backend.resolve(uri, **which), "train")
    finally:
        database.close()


def expected_rows(keep: Any, rows: int = ROWS) -> list[int]:
    """Brute force: ``keep(boxes, labels, row)`` for every row."""
    found = columns(0, rows)
    return [row for row in range(rows) if keep(found["boxes"][row], found["labels"][row], row)]


# --- which rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "keep"),
    [
        (SMALL_CARS, lambda boxes, labels, row: not (((boxes[:, 2] < 20) | (boxes[:, 3] < 20)) & (labels == 0)).any()),
        ("select * where any(labels == 'van')", lambda boxes, labels, row: (labels == 1).any()),
        ("select * where all(labels == 'car')", lambda boxes, labels, row: (labels == 0).all()),
        ("select * where any(boxes[:,0] > 30) and shape(boxes)[0] > 1", lambda boxes, labels, row: (boxes[:, 0] > 30).any() and len(boxes) > 1),  # noqa: E501
        ("SELECT *  WHERE\nsequence == 'sequence 1'", lambda boxes, labels, row: row // 20 == 1),
        ("select * where contains(sample_id, '7')", lambda boxes, labels, row: "7" in f"{row:03d}"),
        ("select * where row_number() < 5", lambda boxes, labels, row: row < 5),
        ("select *", lambda boxes, labels, row: True),
    ],
)  # fmt: skip
def test_a_query_keeps_the_rows_that_numpy_keeps(backend: DeepLakeBackend, template: Path, query: str, keep: Any) -> None:
    """Source positions are exactly those of a brute force over the values; rows without boxes included."""
    view = backend.resolve(f"file://{template}", query=query)

    assert view.rows.tolist() == expected_rows(keep)
    assert view.rows.dtype == np.int64
    assert view.query == query


def test_the_order_of_a_query_is_kept(backend: DeepLakeBackend, template: Path) -> None:
    """``order by`` and ``limit`` decide rows and their order."""
    view = backend.resolve(f"file://{template}", query="select * order by sample_id desc limit 4")

    assert view.rows.tolist() == [59, 58, 57, 56]


def test_a_whole_version_has_all_rows(backend: DeepLakeBackend, uri: str) -> None:
    """Without view and query every row of the newest version counts; an older version has those it had."""
    commits = [item.id for item in deeplake.open_read_only(uri).history]

    assert backend.resolve(uri).rows.tolist() == list(range(ROWS))
    lengths = [len(backend.resolve(uri, commit_id=commit).rows) for commit in commits[-3:]]
    assert lengths == [20, 40, 60]


def test_rows_are_found_without_unique_texts(backend: DeepLakeBackend, tmp_path: Path) -> None:
    """A dataset whose only text repeats, with values that are not a number: rows are told apart by all columns, NaN equal to itself."""
    dataset = deeplake.create(str(tmp_path / "ds"), schema={"sequence": types.Text(), "x": types.Float64(), "n": "int32"})
    dataset.append({"sequence": ["same"] * 6, "x": [float("nan"), 1.0, float("nan"), 2.0, 3.0, 4.0], "n": list(range(6))})
    dataset.commit()
    uri = f"file://{tmp_path / 'ds'}"

    assert backend.resolve(uri, query="select * where n > 1").rows.tolist() == [2, 3, 4, 5]
    saved = backend.save_view(uri, "select * where n < 3", "low", "m")
    assert backend.resolve(uri, view="low").rows.tolist() == saved.rows.tolist() == [0, 1, 2]


def test_a_saved_view_of_other_rows_than_its_query_has_its_own_rows(backend: DeepLakeBackend, tmp_path: Path) -> None:
    """A view saved from a view has the rows of both, although its query alone gives others and its texts repeat."""
    dataset = deeplake.create(str(tmp_path / "ds"), schema={"sequence": types.Text(), "n": "int32"})
    dataset.append({"sequence": ["same"] * 6, "n": list(range(6))})
    dataset.commit()
    uri = f"file://{tmp_path / 'ds'}"
    dataset.query("select * where n > 1").query("select * limit 2").tag("nested", "m")

    assert backend.resolve(uri, view="nested").rows.tolist() == [2, 3]


def test_a_view_saved_from_a_view_is_resolved_by_its_texts(backend: DeepLakeBackend, uri: str) -> None:
    """Its stored query is only the last one; its rows are those that it shows."""
    writable(uri).query("select * where row_number() > 9").query("select * limit 3").tag("nested", "m")

    assert backend.resolve(uri, view="nested").rows.tolist() == [10, 11, 12]


# --- saved views ----------------------------------------------------------------------------------------------------------


def test_a_saved_view_is_read_back(backend: DeepLakeBackend, uri: str) -> None:
    """By name and by id: the rows of its query, at the version it was saved at."""
    saved = backend.save_view(uri, SMALL_CARS, "cars-20px", "message")

    for name in ("cars-20px", str(saved.view_id)):
        found = backend.resolve(uri, view=name)
        assert found.rows.tolist() == backend.resolve(uri, query=SMALL_CARS).rows.tolist()
        assert (found.view_id, found.name, found.query, found.version) == (saved.view_id, "cars-20px", SMALL_CARS, saved.version)


def test_saving_the_same_again_gives_what_is_there(backend: DeepLakeBackend, uri: str) -> None:
    """The same name, query and version: the same view id, and no second view."""
    first = backend.save_view(uri, SMALL_CARS, "cars", "m")
    again = backend.save_view(uri, SMALL_CARS, "cars", "m")

    assert again.view_id == first.view_id
    assert deeplake.open_read_only(uri).tags.names() == ["cars"]


@pytest.mark.parametrize("change", ["query", "rows", "version"])
def test_a_name_with_other_rows_is_a_conflict(backend: DeepLakeBackend, uri: str, change: str) -> None:
    """A saved view is never replaced: runs may rely on it. Another query, or the same over a newer version, needs another name."""
    first = backend.save_view(uri, "select * where sequence == 'sequence 1'", "mine", "m")
    if change != "query":
        dataset = writable(uri)
        dataset.append(columns(20 if change == "rows" else 60, 5))
        dataset.commit()

    with pytest.raises(Conflict, match="'mine'"):
        backend.save_view(uri, SMALL_CARS if change == "query" else "select * where sequence == 'sequence 1'", "mine", "m")
    assert backend.resolve(uri, view="mine").rows.tolist() == first.rows.tolist()


def test_a_tag_of_a_whole_version_is_a_view(backend: DeepLakeBackend, uri: str) -> None:
    """Deep Lake's own ``dataset.tag("v1")`` names all rows of that version, also after later commits."""
    dataset = writable(uri)
    dataset.tag("v1", "a release")
    dataset.append(columns(60, 5))
    dataset.commit()

    found = backend.resolve(uri, view="v1")
    assert found.rows.tolist() == list(range(ROWS))
    assert found.name == "v1"


def branch_off(uri: str) -> None:
    """A branch with rows of its own, whose commit ids repeat those of main, and a view saved on it."""
    dataset = writable(uri)
    branch = dataset.branch("experiment").open()
    for first in (100, 110, 120, 130):
        branch.append(columns(first, 10))
        branch.commit()
    branch.query("select * where contains(sample_id, 'sample-10')").tag("on-branch", "m")


def test_a_view_of_a_branch_is_read_on_its_branch(backend: DeepLakeBackend, uri: str) -> None:
    """Names are listed on every branch and commit ids repeat: the view's own branch is read, and asking for another is refused."""
    branch_off(uri)

    for branch in (None, "experiment"):
        view = backend.resolve(uri, view="on-branch", branch=branch)
        assert view.version.branch == "experiment"
        reader = backend.open(uri, view.version.branch, view.version.commit_id)
        assert reader.read(view.rows.tolist(), ["sample_id"])["sample_id"] == [f"sample-{row}" for row in range(100, 110)]
    with pytest.raises(NotFound, match="view of branch 'experiment', not of 'main'"):
        backend.resolve(uri, view="on-branch", branch="main")
    with pytest.raises(Conflict, match="on-branch"):
        backend.save_view(uri, SMALL_CARS, "on-branch", "m")


def test_the_same_commit_id_on_two_branches(backend: DeepLakeBackend, uri: str) -> None:
    """Branch and commit together name a version."""
    branch_off(uri)
    branch_id = backend.resolve(uri, branch="experiment").version
    commit = backend.resolve(uri).version.commit_id

    assert len(backend.resolve(uri, branch="experiment").rows) == ROWS + 40
    on_branch = backend.resolve(uri, branch="experiment", commit_id=commit)
    assert on_branch.version.branch_id == branch_id.branch_id
    assert len(on_branch.rows) != len(backend.resolve(uri, commit_id=commit).rows)


# --- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("select * where nothing > 1", "nothing"),
        ("select * where labels == 'bicycle'", "bicycle"),
        ("select * where labels == 'Car'", "Car"),
        ("select * wher x", "syntax error"),
        ("select * where weight > 1000", "keeps none of 60 rows"),
        ("select images where weight > 1", "only whole rows"),
        ("select *, weight as w", "only whole rows"),
        ("select * order by random()", "random"),
        ("select * where sequence == 'sequence 1' order by RANDOM ()", "random"),
        ("select * group by sequence", "joins rows"),
        ("where weight > 1", "expected a query of the form"),
        ("", "expected a query of the form"),
        ("drop table", "expected a query of the form"),
    ],
)
def test_a_bad_query_is_one_clear_error(backend: DeepLakeBackend, uri: str, query: str, reason: str) -> None:
    """Unknown column or class, a syntax error, no row, a projection, random rows: named, and no view is saved."""
    with pytest.raises(InvalidQuery, match=reason):
        backend.resolve(uri, query=query)
    with pytest.raises(InvalidQuery, match=reason):
        backend.save_view(uri, query, "bad", "m")
    assert deeplake.open_read_only(uri).tags.names() == []


@pytest.mark.parametrize(
    ("which", "kind"),
    [
        ({"view": "absent"}, "view"),
        ({"branch": "absent"}, "dataset branch"),
        ({"commit_id": "0000000099m00000000"}, "dataset commit"),
        ({"commit_id": "newest"}, "dataset commit"),
    ],
)
def test_an_unknown_name_is_not_found(backend: DeepLakeBackend, template: Path, which: dict[str, str], kind: str) -> None:
    """A view, branch or commit that is not there is named by kind and name."""
    with pytest.raises(NotFound, match=next(iter(which.values()))) as missing:
        backend.resolve(f"file://{template}", **which)
    assert missing.value.kind == kind


def test_known_views_are_offered(backend: DeepLakeBackend, uri: str) -> None:
    """A misspelled view name gets the names that exist, and a view of another commit is refused."""
    backend.save_view(uri, SMALL_CARS, "cars-20px", "m")
    with pytest.raises(NotFound) as missing:
        backend.resolve(uri, view="cars")
    assert "cars-20px" in str(missing.value.hint)
    with pytest.raises(NotFound, match="not of 0000000002m00000000"):
        backend.resolve(uri, view="cars-20px", commit_id="0000000002m00000000")
    with pytest.raises(UsageError, match="not both"):
        backend.resolve(uri, view="cars-20px", query=SMALL_CARS)


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir(), lambda folder: folder.write_text("x")])
def test_what_is_no_dataset_is_not_found(backend: DeepLakeBackend, tmp_path: Path, make: Any) -> None:
    """A path that is absent, an empty folder or a file."""
    make(tmp_path / "thing")

    assert not backend.exists(f"file://{tmp_path / 'thing'}")
    with pytest.raises(NotFound, match="thing"):
        backend.resolve(f"file://{tmp_path / 'thing'}")


def test_an_unknown_kind_of_store_is_unavailable(backend: DeepLakeBackend) -> None:
    """An address whose scheme Deep Lake does not know is one clear error."""
    with pytest.raises(Unavailable, match="foo"):
        backend.resolve("foo://bucket/ds")


def test_a_dataset_without_rows_is_refused(backend: DeepLakeBackend, tmp_path: Path) -> None:
    """Nothing can be trained on no row."""
    deeplake.create(str(tmp_path / "ds"), schema=SCHEMA).commit("empty")

    with pytest.raises(InvalidQuery, match="no rows"):
        backend.resolve(f"file://{tmp_path / 'ds'}")


def test_uncommitted_rows_are_refused(run: Any, uri: str) -> None:
    """An open dataset with rows that no commit holds has no name that denotes them; after commit() it works."""
    dataset = writable(uri)
    dataset.append(columns(60, 2))
    with pytest.raises(UncommittedData, match="ds"):
        run.use_dataset(dataset, role="train")
    assert run.record.inputs == ()
    dataset.commit()

    assert len(run.use_dataset(dataset, role="train")) == 62


@pytest.mark.parametrize("make", [lambda uri: f"{uri}@main", lambda uri: uri.replace("/ds", "/a@b/ds"), lambda uri: 5, lambda uri: None])
def test_what_cannot_be_an_address_is_refused(run: Any, uri: str, make: Any) -> None:
    """A branch behind an '@', or something that is no dataset: a usage error, and nothing is recorded."""
    with pytest.raises(UsageError):
        run.use_dataset(make(uri), role="train")
    with pytest.raises(UsageError, match="lower-case word"):
        run.use_dataset(uri, role="Train set")
    assert run.record.inputs == ()


# --- what is read -----------------------------------------------------------------------------------------------------------


def sample_ids(view: RecordedView) -> list[str]:
    return [str(text) for text in view.read(range(len(view)), ["sample_id"])["sample_id"]]


def same_sample(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) or left[key] != left[key] for key in left)


def test_a_recorded_view_gives_its_rows(run: Any, uri: str, backend: DeepLakeBackend) -> None:
    """Every value of every row as stored: picture bytes untouched, arrays, texts, and where the row is."""
    saved = backend.save_view(uri, SMALL_CARS, "cars", "m")
    view = run.use_dataset(uri, view="cars", role="train")
    source = columns(0, ROWS)

    assert view.rows.tolist() == saved.rows.tolist()
    for position, sample in enumerate(view):
        row = int(saved.rows[position])
        assert (sample["row"], sample["index"]) == (row, position)
        assert sample["images"] == source["images"][row]
        assert sample["sample_id"] == source["sample_id"][row]
        assert np.array_equal(sample["boxes"], source["boxes"][row])
        assert np.array_equal(sample["labels"], source["labels"][row])
    assert same_sample(view[-1], view[len(view) - 1])
    assert view.class_names == {"labels": ("car", "van")}
    for outside in (len(view), -len(view) - 1):
        with pytest.raises(IndexError):
            view[outside]


def test_the_record_names_everything(run: Any, uri: str, backend: DeepLakeBackend) -> None:
    """Names for people and digests for certainty are in the record, as the dataset itself tells them."""
    saved = backend.save_view(uri, SMALL_CARS, "cars", "m")
    run.use_dataset(uri, view="cars", role="train")
    (item,) = lineage.get(run.id).inputs
    dataset = deeplake.open_read_only(uri)

    assert (item.uri, item.dataset_id, item.branch, item.branch_id) == (uri, dataset.id, "main", dataset.current_branch.id)
    assert (item.commit_id, item.view_id, item.view_name, item.query) == (dataset.version, saved.view_id, "cars", SMALL_CARS)
    assert (item.rows, item.rows_total, item.role) == (len(saved.rows), ROWS, "train")
    assert set(item.columns) == set(SCHEMA)
    assert item.manifest is not None
    assert item.manifest.files == 4
    assert item.manifest.gaps == ()
    assert item.backend == "deeplake 4.7.4"


def later_history(uri: str) -> None:
    """What may happen to a dataset after a run: rows added, changed and deleted, columns changed, a branch merged, files compacted."""
    dataset = writable(uri)
    dataset.append(columns(60, 10))
    dataset.commit("more")
    dataset[1]["sample_id"] = "renamed"
    dataset.commit("updated")
    dataset.delete(0)
    dataset.delete(10)
    dataset.commit("deleted")
    dataset["labels"].metadata["class_names"] = ["lorry", "bus"]
    dataset.commit("renamed classes")
    dataset.rename_column("weight", "mass")
    dataset.add_column("new", "int32")
    dataset.commit("columns")
    branch = dataset.branch("side").open()
    branch[5]["sequence"] = "side"
    branch.commit("on the side")
    dataset.merge("side")
    for number in range(70):  # Deep Lake compacts by itself about every 64 commits
        dataset["new"][0] = number
        dataset.commit(f"{number}")
    dataset.compact()


def test_a_recorded_view_survives_everything_later(run: Any, uri: str, backend: DeepLakeBackend, objects: FolderObjectStore) -> None:
    """Rows added, changed, deleted, columns renamed, classes renamed, branches merged, files compacted: the view reads the same bytes."""
    backend.save_view(uri, SMALL_CARS, "cars", "m")
    view = run.use_dataset(uri, view="cars", role="train")
    item = recorded(backend, objects, uri, view="cars")
    before = list(view)

    later_history(uri)
    view = pickle.loads(pickle.dumps(view))

    assert all(same_sample(left, right) for left, right in zip(before, view, strict=True))
    assert check_input(backend, objects, item).status == "ready"
    assert recorded(backend, objects, uri, view="cars").content_digest == item.content_digest
    newest = recorded(backend, objects, uri)
    assert check_input(backend, objects, newest).status == "ready"
    assert newest.class_names == {"labels": ("lorry", "bus")}


# Deep Lake warns at any fork of a process that ever held a handle; the view holds none in the child.
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("default::UserWarning", "default::RuntimeWarning")
def test_the_same_rows_in_another_process(run: Any, uri: str, backend: DeepLakeBackend, method: str) -> None:
    """A view handed to a child process reads the rows of the record there: not the newest, not other ones."""
    backend.save_view(uri, SMALL_CARS, "cars", "m")
    view = run.use_dataset(uri, view="cars", role="train")
    here = [view[0], view[len(view) - 1]]
    dataset = writable(uri)
    dataset.delete(0)
    dataset.append(columns(60, 3))
    dataset.commit("later")

    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        there = [pool.submit(operator.getitem, view, position).result(PATIENCE_S) for position in (0, len(view) - 1)]

    assert all(same_sample(left, right) for left, right in zip(here, there, strict=True))


def test_a_pickled_view_opens_in_a_fresh_process(run: Any, uri: str, backend: DeepLakeBackend, tmp_path: Path) -> None:
    """Its pickle holds address, version and rows, no handle: any process that has the dataset reads the same."""
    backend.save_view(uri, SMALL_CARS, "cars", "m")
    view = run.use_dataset(uri, view="cars", role="train")
    names = sample_ids(view)
    (tmp_path / "view.pickle").write_bytes(pickle.dumps(view))
    dataset = writable(uri)
    dataset.delete(0)
    dataset.commit("later")
    program = "import json, pickle, sys; view = pickle.load(open(sys.argv[1], 'rb')); print(json.dumps([s['sample_id'] for s in view]))"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "view.pickle")], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == names


def test_an_open_dataset_means_what_it_shows(run: Any, uri: str) -> None:
    """A handle of an old version, or of a branch, is recorded as that version of that branch, although main has newer rows."""
    branch_off(uri)
    old = deeplake.open_read_only(uri)
    history = old.history
    second = history["0000000002m00000000"].open()
    main = writable(uri)
    branch = main.branches["experiment"].open()

    assert sample_ids(run.use_dataset(second, role="train"))[-1] == "sample-019"
    assert sample_ids(run.use_dataset(branch, role="train"))[-1] == "sample-139"
    assert [item.branch for item in run.record.inputs] == ["main", "experiment"]
    assert len(run.use_dataset(folder_of(uri), role="validation")) == ROWS


def test_an_open_dataset_may_name_a_view(run: Any, uri: str, backend: DeepLakeBackend) -> None:
    """A handle and the name of a view: the view counts, at the version it was saved at."""
    backend.save_view(uri, SMALL_CARS, "cars", "m")
    dataset = writable(uri)
    dataset.append(columns(60, 3))
    dataset.commit("later")

    assert run.use_dataset(dataset, view="cars", role="train").record.rows_total == ROWS


def test_columns_of_every_kind_have_an_identity(run: Any, tmp_path: Path) -> None:
    """Mappings, bytes, embeddings and masks are digested, and a change in any of them is another content."""
    schema = {
        "facts": types.Dict(),
        "blob": types.Bytes(),
        "embedding": types.Embedding(3),
        "mask": types.SegmentMask(sample_compression="lz4"),
        "flag": types.Bool(),
    }
    base = {
        "facts": {"a": 1, "b": {"c": [1.5, 2.5]}},
        "blob": b"abc",
        "embedding": np.ones(3, "float32"),
        "mask": np.ones((4, 4), "uint8"),
        "flag": True,
    }
    other = {
        "facts": {"a": 1, "b": {"c": [1.5, 2.0]}},
        "blob": b"abd",
        "embedding": np.array([1, 1, 2], "float32"),
        "mask": np.eye(4, dtype="uint8"),
        "flag": False,
    }
    digests = set()
    for number, row in enumerate([base, base, *({**base, name: value} for name, value in other.items())]):
        dataset = deeplake.create(str(tmp_path / f"ds{number}"), schema=schema)
        dataset.append({name: [value] for name, value in row.items()})
        dataset.commit()
        view = run.use_dataset(str(tmp_path / f"ds{number}"), role="train")
        digests.add(view.record.content_digest)

    assert len(digests) == 1 + len(other)
    assert view[0]["facts"]["b"]["c"] == [1.5, 2.5]


# --- content ------------------------------------------------------------------------------------------------------------------


def changed_copy(uri: str, folder: Path, change: Any) -> str:
    shutil.copytree(folder_of(uri), folder)
    dataset = deeplake.open(str(folder))
    change(dataset)
    dataset.commit("changed")
    return f"file://{folder}"


def set_value(row: int, column: str, value: Any) -> Any:
    def change(dataset: Any) -> None:
        dataset[row][column] = value

    return change


def flipped(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def rename_classes(dataset: Any) -> None:
    dataset["labels"].metadata["class_names"] = ["van", "car"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_value(4, "labels", np.array([1, 1, 1, 1], "uint32")), "row 4 (sample-004: annotations)"),
        (set_value(4, "boxes", np.full((4, 4), 10.000001, "float32")), "row 4 (sample-004: annotations)"),
        (set_value(4, "images", flipped(picture(4))), "row 4 (sample-004: picture)"),
        (set_value(4, "weight", 0.5714285714285715), "row 4 (sample-004: annotations)"),
        (set_value(4, "sequence", "sequence 0 "), "row 4 (sample-004: annotations)"),
        (rename_classes, "class names differ"),
    ],
    ids=["label", "box", "picture byte", "last bit of a number", "text", "class names"],
)
def test_any_change_of_content_is_another_content(
    backend: DeepLakeBackend, objects: FolderObjectStore, uri: str, tmp_path: Path, change: Any, says: str
) -> None:
    """One label, box, picture byte, bit of a number, character, or the meaning of labels: another digest, and the check names the row."""
    original = recorded(backend, objects, uri)
    moved = changed_copy(uri, tmp_path / "copy", change)
    found = recorded(backend, objects, moved)
    newest = backend.resolve(moved).version.commit_id
    check = check_input(backend, objects, original.model_copy(update={"commit_id": newest}), moved)

    assert found.content_digest != original.content_digest
    assert found.rows_digest == original.rows_digest
    assert check.status == "changed"
    assert any(says in line for line in check.detail), check.detail


def test_rows_outside_the_view_do_not_count(backend: DeepLakeBackend, objects: FolderObjectStore, uri: str, tmp_path: Path) -> None:
    """A change of a row that the view does not hold leaves its content as it is."""
    query = "select * where sequence == 'sequence 0'"
    original = recorded(backend, objects, uri, query=query)
    found = recorded(backend, objects, changed_copy(uri, tmp_path / "copy", set_value(50, "weight", 1.0)), query=query)

    assert found.content_digest == original.content_digest


def test_the_order_of_rows_counts(backend: DeepLakeBackend, objects: FolderObjectStore, uri: str) -> None:
    """The same rows in another order are another input."""
    up = recorded(backend, objects, uri, query="select * order by sample_id asc")
    down = recorded(backend, objects, uri, query="select * order by sample_id desc")

    assert up.content_digest != down.content_digest
    assert up.rows_digest != down.rows_digest
    assert recorded_rows(objects, down).tolist() == list(range(ROWS))[::-1]


def test_the_same_content_has_the_same_digest(backend: DeepLakeBackend, objects: FolderObjectStore, uri: str, tmp_path: Path) -> None:
    """Copied, moved, or built again in other commits with other ids: the same rows are the same content."""
    original = recorded(backend, objects, uri)
    deeplake.copy(str(folder_of(uri)), str(tmp_path / "copied"))
    folder_of(uri).rename(tmp_path / "moved")
    build(tmp_path / "rebuilt", commits=1)
    found = [recorded(backend, objects, f"file://{tmp_path / name}") for name in ("copied", "moved", "rebuilt")]

    assert {item.content_digest for item in found} == {original.content_digest}
    assert [item.dataset_id == original.dataset_id for item in found] == [True, True, False]


# --- checking again -------------------------------------------------------------------------------------------------------


def checked(uri: str, objects: FolderObjectStore, damage: Any, **which: Any) -> DataCheck:
    """Record, damage, check."""
    backend = DeepLakeBackend()
    item = recorded(backend, objects, uri, **which)
    damage(folder_of(uri))
    return check_input(backend, objects, item)


def test_an_untouched_dataset_is_ready(objects: FolderObjectStore, uri: str) -> None:
    """Nothing happened: every row equal, nothing to say."""
    check = checked(uri, objects, lambda folder: None)

    assert (check.status, check.found, check.detail) == ("ready", "every row equal", ())


def rebuild(folder: Path, change: Any = None, **options: Any) -> None:
    shutil.rmtree(folder)
    build(folder, **options)
    if change is not None:
        dataset = deeplake.open(str(folder))
        change(dataset)
        dataset.commit()


def test_another_dataset_at_the_same_path_is_found(objects: FolderObjectStore, uri: str) -> None:
    """Same commit ids, same number of rows, one box different: the check names row and sample; with equal rows it is ready, and says so."""

    def replace(folder: Path) -> None:
        values = columns(0, ROWS)
        values["boxes"][37] = values["boxes"][37] + 1
        shutil.rmtree(folder)
        dataset = deeplake.create(str(folder), schema=SCHEMA)
        dataset["labels"].metadata["class_names"] = ["car", "van"]
        for first in (0, 20, 40):
            dataset.append({name: column[first : first + 20] for name, column in values.items()})
            dataset.commit()

    equal = checked(uri, objects, rebuild)
    assert (equal.status, equal.found) == ("ready", "every row equal")
    assert any("another dataset with the same rows" in line for line in equal.detail)
    check = checked(uri, objects, replace)
    assert check.status == "changed"
    assert check.detail[0] == "data differ in 1 of 60 rows: row 37 (sample-037: annotations)"


@pytest.mark.parametrize(
    ("damage", "status", "says"),
    [
        (shutil.rmtree, "missing", "no dataset"),
        (lambda folder: rebuild(folder, rows=30), "missing", "no row '30'"),
        (lambda folder: rebuild(folder, commits=1), "missing", "no dataset commit"),
        (lambda folder: rebuild(folder, rename_classes, commits=2), "changed", "class names differ"),
    ],
    ids=["gone", "shorter", "other history", "other classes"],
)
def test_a_replaced_dataset_is_never_ready(objects: FolderObjectStore, uri: str, damage: Any, status: str, says: str) -> None:
    """Deleted, shorter, with another history or other classes: each is said."""
    check = checked(uri, objects, damage)

    assert check.status == status
    assert any(says in line for line in check.detail), check.detail


def log_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "_deeplake_log").glob("*/*.jsonl*") if path.parent.name != "_meta")


def data_file(folder: Path, column: str) -> Path:
    """The data file that the last commit names for a column of texts or pictures."""
    import lz4.block

    raw = log_files(folder)[-1].read_bytes()
    entries = [json.loads(line) for line in lz4.block.decompress(raw[4:], uncompressed_size=int.from_bytes(raw[:4], "little")).splitlines()]
    kinds = {"sample_id": "lz4", "images": "jpeg"}
    for entry in entries:
        if "addBlock" in entry and kinds[column] in json.dumps(entry["addBlock"]["d"]["f"]):
            return folder / (entry["addBlock"]["d"]["x"] + entry["addBlock"]["d"]["p"][0])
    raise AssertionError(f"no block of {column}")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: cut(log_files(folder)[-1]), None),
        (lambda folder: cut(log_files(folder)[1]), None),
        (lambda folder: log_files(folder)[-1].write_bytes(b""), None),
        (lambda folder: log_files(folder)[1].unlink(), None),
        (lambda folder: data_file(folder, "images").unlink(), "no file"),
        (lambda folder: data_file(folder, "images").write_bytes(b""), "found 0 bytes"),
        (lambda folder: cut(data_file(folder, "images")), "bytes, found"),
        (lambda folder: cut(data_file(folder, "sample_id")), "bytes, found"),
        (lambda folder: data_file(folder, "sample_id").write_bytes(b""), "found 0 bytes"),
        (lambda folder: flip(data_file(folder, "images")), "picture"),
    ],
    ids=[
        "torn log",
        "torn old log",
        "empty log",
        "lost log",
        "lost file",
        "empty pictures",
        "cut pictures",
        "cut texts",
        "empty texts",
        "bit",
    ],
)
def test_damaged_files_are_found(objects: FolderObjectStore, uri: str, damage: Any, says: str | None) -> None:
    """What Deep Lake itself does not notice, or dies of: torn and lost logs, cut, emptied and lost data files, one flipped bit."""
    check = checked(uri, objects, damage)

    assert check.status in ("changed", "missing")
    assert check.detail
    if says is not None:
        assert any(says in line for line in check.detail), check.detail


def test_damaged_data_cannot_be_recorded(backend: DeepLakeBackend, objects: FolderObjectStore, uri: str) -> None:
    """A cut file would give other pixels without a word: a run cannot use such data."""
    cut(data_file(folder_of(uri), "images"))

    with pytest.raises(IntegrityError, match="bytes"):
        recorded(backend, objects, uri)


def test_a_lost_log_is_noted_when_recording(run: Any, uri: str) -> None:
    """Deep Lake passes over a lost log file and shows fewer rows; the record says that a number is missing in the log."""
    log_files(folder_of(uri))[1].unlink()
    view = run.use_dataset(uri, role="train")

    assert len(view) == 40
    assert any("has gaps" in note and ":2)" in note for note in run.record.notes)


@pytest.mark.parametrize("lost", ["rows_object", "ledger_object"])
def test_without_its_objects_an_input_cannot_be_checked(backend: DeepLakeBackend, objects: FolderObjectStore, uri: str, lost: str) -> None:
    """The recorded rows or digests are gone: missing, never ready."""
    item = recorded(backend, objects, uri)
    path = objects.path_of(getattr(item, lost))
    assert path is not None
    path.unlink()

    assert check_input(backend, objects, item).status == "missing"


def test_a_moved_dataset_is_checked_where_it_is(backend: DeepLakeBackend, objects: FolderObjectStore, uri: str, tmp_path: Path) -> None:
    """Given its new address, a moved dataset is ready; so is a rebuilt one that has other commits but the same rows."""
    item = recorded(backend, objects, uri)
    folder_of(uri).rename(tmp_path / "moved")
    build(tmp_path / "rebuilt", commits=2)

    assert check_input(backend, objects, item).status == "missing"
    for name in ("moved", "rebuilt"):
        check = check_input(backend, objects, item, f"file://{tmp_path / name}")
        assert check.status == "ready", check.detail
        assert backend.open(f"file://{tmp_path / name}", check.branch, check.commit_id).version.rows_total == ROWS


def test_class_names_are_read_at_the_version(backend: DeepLakeBackend, uri: str) -> None:
    """Classes renamed later do not change what an older version means."""
    commit = backend.resolve(uri).version.commit_id
    dataset = writable(uri)
    rename_classes(dataset)
    dataset.commit()

    assert class_names_of(backend.open(uri, "main", commit)) == {"labels": ("car", "van")}
    assert class_names_of(backend.open(uri, "main", backend.resolve(uri).version.commit_id)) == {"labels": ("van", "car")}


# --- writing ----------------------------------------------------------------------------------------------------------------


COLUMNS = (Column(name="n", kind="array", dtype="int32", ndim=1), Column(name="sample_id", kind="text"))


def fill(backend: DeepLakeBackend, folder: Path, samples: int = 2) -> None:
    writer = backend.write(f"file://{folder}", COLUMNS, source={"digest": "x"})
    writer.append({"n": [np.array([row], "int32") for row in range(samples)], "sample_id": [str(row) for row in range(samples)]})
    writer.complete("all")


def test_what_a_killed_upload_left_behind_is_tidied(backend: DeepLakeBackend, tmp_path: Path) -> None:
    """A half-made folder of a process that is gone is removed; that of one that is still at work stays; odd names are no patterns."""
    folder = tmp_path / "a [b] ds"
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    gone, living = (tmp_path / f".{folder.name}.creating-{process}" for process in (done.pid, 1))
    other = tmp_path / f".a b ds.creating-{done.pid}"
    for path in (gone, living, other):
        path.mkdir()
        (path / "x").touch()
    folder.mkdir()

    fill(backend, folder)

    assert (gone.exists(), living.exists(), other.exists()) == (False, True, True)
    assert backend.resolve(f"file://{folder}").rows.tolist() == [0, 1]


def test_a_folder_with_other_things_is_not_written_into(backend: DeepLakeBackend, uri: str, tmp_path: Path) -> None:
    """A folder with files, somebody's dataset or a finished upload: a conflict, and nothing is touched."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    fill(backend, tmp_path / "finished")

    for folder in (tmp_path / "mine", folder_of(uri), tmp_path / "finished"):
        before = sorted(str(path) for path in folder.rglob("*"))
        with pytest.raises(Conflict, match=folder.name):
            backend.write(f"file://{folder}", COLUMNS, source={"digest": "x"})
        assert sorted(str(path) for path in folder.rglob("*")) == before
    assert not list(tmp_path.glob(".*creating*"))
