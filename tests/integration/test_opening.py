"""Opening by record: exactly the recorded rows in any process, from the dataset or its kept copy; and what was read, noted exactly."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
import torch
from deeplake import types
from PIL import Image

import lineage
from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.api import process
from lineage.errors import IntegrityError
from lineage.model.dataset import InputRecord
from lineage.ports import Ports
from lineage.record.archive import ArchiveReader, write_archive
from lineage.record.identity import recorded_digests, recorded_rows
from lineage.record.opening import locate, open_recorded
from lineage.record.reads import epochs_of
from lineage.record.recheck import DataCheck
from lineage.record.recorded_view import RecordedView
from lineage.training import DataLoader
from lineage.wiring import wire

ROWS = 30
QUERY = "select * where any(labels == 'van')"
VIEW = [row for row in range(ROWS) if row % 3]
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:UserWarning", "ignore:.*fork:DeprecationWarning")


def picture(row: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(row).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def columns(first: int, count: int) -> dict[str, list[Any]]:
    rows = range(first, first + count)
    return {
        "images": [picture(row) for row in rows],
        "boxes": [np.full((row % 3, 4), row, "float32") for row in rows],
        "labels": [np.ones(row % 3, "uint32") for row in rows],
        "sample_id": [f"s{row}" for row in rows],
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    schema = {
        "images": types.Image(sample_compression="jpeg"),
        "boxes": types.Array("float32", 2),
        "labels": types.ClassLabel(types.Array("uint32", 1)),
        "sample_id": types.Text(),
    }
    made = deeplake.create(str(tmp_path / "ds"), schema=schema)
    made["labels"].metadata["class_names"] = ["car", "van"]
    for part in range(3):
        made.append(columns(part * 10, 10))
        made.commit(f"part {part}")
    return tmp_path / "ds"


@pytest.fixture
def here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(repository)
    yield repository
    process.wired.cache_clear()


@pytest.fixture
def recorded(here: Path, dataset: Path) -> InputRecord:
    """A view, recorded by a run that is over."""
    with lineage.start_run(seed=7) as run:
        run.use_dataset(dataset, query=QUERY, role="train")
    return lineage.get(run.id).inputs[0]


def opened(item: InputRecord, uri: str | None = None) -> tuple[RecordedView, DataCheck]:
    ports = wire()
    return open_recorded(ports.datasets, ports.objects, ports.rows, item, uri)


def content(view: RecordedView) -> list[str]:
    """A line for each sample: everything that a training program gets."""
    return [content_of(view[position]) for position in range(len(view))]


def content_of(sample: dict[str, Any]) -> str:
    parts = [sample["sample_id"], sample["row"], sample["index"], sample["boxes"].tolist(), sample["labels"].tolist()]
    return json.dumps([*parts, hashlib.sha256(sample["images"]).hexdigest()])


@pytest.fixture
def expected(recorded: InputRecord) -> list[str]:
    found = columns(0, ROWS)
    return [
        content_of({name: column[row] for name, column in found.items()} | {"row": row, "index": index}) for index, row in enumerate(VIEW)
    ]


# --- whatever happens to the dataset ------------------------------------------------------------------------------------------


def commits(folder: Path) -> None:
    made = deeplake.open(str(folder))
    made["labels"][1] = np.array([0], "uint32")
    made.delete(5)
    made.append(columns(100, 3))
    made.commit("changed")


def renames(folder: Path) -> None:
    made = deeplake.open(str(folder))
    made.rename_column("sample_id", "name")
    made["labels"].metadata["class_names"] = ["bus", "truck"]
    made.commit("renamed")


def tags_and_branches(folder: Path) -> None:
    made = deeplake.open(str(folder))
    made.query(QUERY).tag("mine", "")
    made.branch("other")
    other = made.branches["other"].open()
    other.append(columns(200, 2))
    other.commit("there")
    tags, branches = made.tags, made.branches
    tags["mine"].delete()
    branches["other"].delete()


def refreshes(folder: Path) -> None:
    made = deeplake.open_read_only(str(folder))
    commits(folder)
    made.refresh()


def compacts(folder: Path) -> None:
    for number in range(70):
        made = deeplake.open(str(folder))
        made["labels"].metadata["commit"] = number
        made.commit(str(number))
    made.compact()
    made.commit("compacted")


HAPPENINGS = {step.__name__: step for step in (commits, renames, tags_and_branches, refreshes, compacts)}


@pytest.mark.parametrize("happens", HAPPENINGS)
def test_the_recorded_rows_come_back(recorded: InputRecord, expected: list[str], dataset: Path, happens: str) -> None:
    """Later commits, renamed columns, other class names, deleted tags and branches, compactions: the same rows, in the same order."""
    HAPPENINGS[happens](dataset)
    view, check = opened(recorded)

    assert (check.status, view.origin) == ("ready", "dataset")
    assert content(view) == expected
    assert view.class_names == {"labels": ("car", "van")}


def test_a_copy_is_as_good(recorded: InputRecord, expected: list[str], dataset: Path) -> None:
    """At another address, on request; the recorded address may hold nothing by then."""
    dataset.rename(dataset.with_name("moved"))
    view, _ = opened(recorded, f"file://{dataset.with_name('moved')}")

    assert content(view) == expected


def test_no_handle_goes_to_another_process(recorded: InputRecord, expected: list[str]) -> None:
    """A pickled Deep Lake handle loses its version and holds credentials in clear: none is in a pickled view, also after reading."""
    view, _ = opened(recorded)
    view[0]

    assert b"DeepLakeReader" not in pickle.dumps(view)
    assert content(pickle.loads(pickle.dumps(view))) == expected


def send(view: RecordedView, pipe: Any) -> None:
    pipe.send([content(view), view.reads is None])
    pipe.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_other_processes_get_the_same_rows(recorded: InputRecord, expected: list[str], dataset: Path, method: str) -> None:
    """However they are started, although the dataset has moved on, and whether the parent has read before or not."""
    view, _ = opened(recorded)
    assert content(view) == expected
    commits(dataset)
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(view, sender))
    process.start()
    sender.close()
    assert receiver.poll(120), "the child process hangs"
    found = receiver.recv()
    process.join(120)

    assert found == [expected, True]
    assert process.exitcode == 0


@pytest.mark.parametrize(
    "method", ["fork", pytest.param("spawn", marks=pytest.mark.slow), pytest.param("forkserver", marks=pytest.mark.slow)]
)
def test_workers_of_a_loader_get_the_same_rows(recorded: InputRecord, expected: list[str], dataset: Path, method: str) -> None:
    """PyTorch's own loader around the view, and ours."""
    view, _ = opened(recorded)
    commits(dataset)
    plain: Any = torch.utils.data.DataLoader(view, None, num_workers=2, multiprocessing_context=method, collate_fn=dict)  # type: ignore[arg-type]
    own = DataLoader(view, 7, num_workers=2, multiprocessing_context=method, collate_fn=list)

    assert [content_of(sample) for sample in plain] == expected
    assert [content_of(sample) for batch in own for sample in batch] == expected


def test_another_interpreter_gets_the_same_rows(here: Path, recorded: InputRecord, expected: list[str], dataset: Path) -> None:
    """From the record alone."""
    commits(dataset)
    (run,) = lineage.runs()
    script = f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        import json, lineage, test_opening
        print(json.dumps(test_opening.content(test_opening.opened(lineage.get({run.id!r}).inputs[0])[0])))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == expected


# --- what cannot be had is refused --------------------------------------------------------------------------------------------


def damage(folder: Path, row: int) -> None:
    """Flip a bit inside a stored picture."""
    own = picture(row)
    (file,) = [file for file in folder.rglob("*") if file.is_file() and own in file.read_bytes()]
    stored = bytearray(file.read_bytes())
    stored[stored.index(own) + len(own) // 2] ^= 1
    file.write_bytes(stored)


def delete(folder: Path) -> None:
    shutil.rmtree(folder)


def rename(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def change(folder: Path) -> None:
    damage(folder, 7)


def replace(folder: Path) -> None:
    """Another dataset with the same commit ids at the same path."""
    shutil.rmtree(folder)
    schema = {"sample_id": types.Text()}
    made = deeplake.create(str(folder), schema=schema)
    for part in range(3):
        made.append({"sample_id": [f"other {part}"]})
        made.commit("other")


LOSSES = {delete: "no dataset", rename: "no dataset", change: r"row 7 \(s7: picture\)", replace: "another dataset is at"}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_without_its_rows_a_record_is_not_opened(recorded: InputRecord, dataset: Path, loss: Any) -> None:
    """Deleted, renamed, edited in place, replaced: an error before the first row, which says what is wrong and what to do."""
    loss(dataset)
    with pytest.raises(IntegrityError, match=LOSSES[loss]) as refused:
        opened(recorded)
    assert "lineage archive" in str(refused.value.hint)


# --- kept copies --------------------------------------------------------------------------------------------------------------


def archive(item: InputRecord, progress: Any = lambda what, done, total: None) -> tuple[Ports, str]:
    ports = wire()
    reader = ports.datasets().open(item.uri, item.branch, item.commit_id)
    rows = recorded_rows(ports.objects, item)
    digests = recorded_digests(ports.objects, item, rows)
    return ports, write_archive(reader, rows, ports.objects, ports.rows, item, digests, progress)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_a_kept_copy_takes_its_place(recorded: InputRecord, expected: list[str], dataset: Path, loss: Any) -> None:
    """The same samples from the archive in this process and in others, and every place says so."""
    archive(recorded)
    assert opened(recorded)[0].origin == "dataset"
    loss(dataset)
    view, check = opened(recorded)

    assert (view.origin, check.status, check.detail[0]) == ("archive", "ready", "read from the archive")
    assert check.detail[1].startswith("dataset: ")
    assert "from the archive" in repr(view)
    assert content(view) == expected
    own = DataLoader(pickle.loads(pickle.dumps(view)), 7, num_workers=1, collate_fn=list)
    assert [content_of(sample) for batch in own for sample in batch] == expected


def test_a_reproduction_notes_that_it_read_the_kept_copy(recorded: InputRecord, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its record, with what is wrong with the dataset."""
    archive(recorded)
    shutil.rmtree(dataset)
    (original,) = lineage.runs()
    with lineage.start_run(seed=7) as run:
        monkeypatch.setenv("LINEAGE_RUN_ID", run.id)
        monkeypatch.setenv("LINEAGE_REPRODUCES", original.id)
        with lineage.start_run(seed=7) as child:
            view = child.use_dataset(dataset, query=QUERY, role="train")

    assert view.origin == "archive"
    assert any("from the archive" in note and "no dataset" in note for note in lineage.get(run.id).notes)


@pytest.mark.parametrize("which", ["listing", "block", "picture"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_damaged_kept_copy_is_refused(recorded: InputRecord, dataset: Path, which: str, how: str) -> None:
    """Never other rows, and never half of them."""
    ports, listing = archive(recorded)
    shutil.rmtree(dataset)
    parts = list(ArchiveReader(ports.objects, listing, recorded).objects())
    digest = {"listing": listing, "block": parts[0], "picture": parts[1]}[which]
    file = ports.objects.path_of(digest)
    assert file is not None
    stored = bytearray(file.read_bytes())
    file.unlink()
    if how == "changed":
        stored[len(stored) // 2] ^= 1
        file.write_bytes(stored)

    with pytest.raises(IntegrityError, match="archive") as refused:
        opened(recorded)
    assert "no dataset" in str(refused.value)
    if how == "gone":
        check, place = locate(ports.datasets, ports.objects, ports.rows, recorded, level="quick")
        assert (check.status, place) == ("missing", None)


def test_a_kept_copy_of_other_rows_is_refused(recorded: InputRecord, dataset: Path) -> None:
    """An archive that is whole, under the wrong name: the rows are compared with the record."""
    with lineage.start_run() as run:
        run.use_dataset(dataset, query="select * where any(labels == 'van') limit 19", role="train")
    ports, listing = archive(lineage.get(run.id).inputs[0])
    ports.rows.put_archive(recorded.content_digest, listing)
    shutil.rmtree(dataset)

    with pytest.raises(IntegrityError, match="archive"):
        opened(recorded)


def test_a_killed_archive_is_completed_by_the_next(
    here: Path, recorded: InputRecord, expected: list[str], dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL in the middle: nothing passes for a whole copy, what was kept is not lost, and the next call finishes it."""
    monkeypatch.setattr("lineage.record.archive._BATCH_ROWS", 4)
    (run,) = lineage.runs()
    script = f"""
        import os, signal, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        import lineage, lineage.record.archive, test_opening
        lineage.record.archive._BATCH_ROWS = 4
        def progress(what, done, total):
            if done >= 8: os.kill(os.getpid(), signal.SIGKILL)
        test_opening.archive(lineage.get({run.id!r}).inputs[0], progress)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    ports = wire()
    kept = {digest for digest, _, _ in ports.objects.all()}

    assert done.returncode == -signal.SIGKILL
    assert ports.rows.archive(recorded.content_digest) is None
    assert f"sha256:{hashlib.sha256(picture(VIEW[0])).hexdigest()}" in kept
    ports, listing = archive(recorded)
    assert archive(recorded)[1] == listing
    shutil.rmtree(dataset)
    assert content(opened(recorded)[0]) == expected


def test_a_row_that_differs_is_not_kept(recorded: InputRecord, dataset: Path) -> None:
    """An archive of a dataset that was edited in place is refused, and the row is named."""
    damage(dataset, 7)
    with pytest.raises(IntegrityError, match=r"row 7\b"):
        archive(recorded)
    assert wire().rows.archive(recorded.content_digest) is None


# --- what was read ------------------------------------------------------------------------------------------------------------


def epochs(run_id: str, ordinal: int = 0, rows: int = len(VIEW)) -> list[list[tuple[int, int]]] | None:
    ports = wire()
    return epochs_of(ports.objects, [item for item in lineage.get(run_id).reads if item.ordinal == ordinal], rows)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [6, None])
def test_whole_epochs_are_noted(here: Path, dataset: Path, workers: int, batch_size: int | None) -> None:
    """Three epochs over all rows are one entry; workers that fetch ahead change nothing."""
    with lineage.start_run(seed=7) as run:
        view = run.use_dataset(dataset, query=QUERY, role="train")
        loader = DataLoader(view, batch_size, shuffle=True, num_workers=workers, collate_fn=list)
        for _ in range(3):
            list(loader)

    (item,) = lineage.get(run.id).reads
    assert (item.first_epoch, item.last_epoch, item.rows, item.positions_object) == (0, 2, 20, None)
    assert epochs(run.id) == [[(0, 2)]] * 20


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [6, None])
def test_an_epoch_that_is_broken_off_is_noted_as_far_as_it_went(here: Path, dataset: Path, workers: int, batch_size: int | None) -> None:
    """Not what workers fetched ahead, and at once: it is in the record before the run ends. Then a resumed rest completes the epoch."""
    with lineage.start_run(seed=7) as run:
        view = run.use_dataset(dataset, query=QUERY, role="train")
        loader = DataLoader(view, batch_size, shuffle=True, num_workers=workers, collate_fn=list if batch_size else dict)
        seen = []
        for batch in loader:
            seen += [sample["index"] for sample in (batch if batch_size else [batch])]
            if len(seen) >= 12:
                break
        del batch
        (item,) = lineage.get(run.id).reads
        assert (item.first_epoch, item.rows) == (0, 12)
        assert epochs(run.id) == [[(0, 0)] if position in seen else [] for position in range(20)]
        loader.set_epoch(0)
        list(loader)
        list(loader)

    assert epochs(run.id) == [[(0, 1)]] * 20


def test_epochs_with_gaps_and_dropped_rows(here: Path, dataset: Path) -> None:
    """Epochs 0, 1 and 5, the last two of them without the rows of an incomplete batch."""
    with lineage.start_run(seed=7) as run:
        view = run.use_dataset(dataset, query=QUERY, role="train")
        list(DataLoader(view, 6, collate_fn=list))
        loader = DataLoader(view, 6, collate_fn=list, drop_last=True)
        for epoch in (1, 5):
            loader.set_epoch(epoch)
            list(loader)

    assert epochs(run.id) == [[(0, 1), (5, 5)]] * 18 + [[(0, 0)]] * 2


def test_two_inputs_are_told_apart(here: Path, dataset: Path) -> None:
    """Each has epochs of its own; rows read outside an epoch belong to none."""
    with lineage.start_run(seed=7) as run:
        train = run.use_dataset(dataset, query=QUERY, role="train")
        validation = run.use_dataset(dataset, role="validation")
        for _ in zip(DataLoader(train, 1, collate_fn=list), DataLoader(validation, 2, collate_fn=list, shuffle=True), strict=False):
            pass
        list(DataLoader(train, 20, collate_fn=list))
        validation[3]
        validation.read([4, 5])

    assert epochs(run.id, 0) == [[(0, 0)]] * 20
    found = epochs(run.id, 1, ROWS)
    assert found is not None
    assert sum(map(len, found)) == 30
    (outside,) = [item for item in lineage.get(run.id).reads if item.first_epoch is None]
    assert (outside.ordinal, outside.rows) == (1, 3)


def test_reading_after_the_end_is_not_the_runs(here: Path, dataset: Path) -> None:
    """A view outlives its run: it can be read, and the record stays as it was."""
    with lineage.start_run(seed=7) as run:
        view = run.use_dataset(dataset, query=QUERY, role="train")
        running = iter(DataLoader(view, 4, collate_fn=list))
        next(running)
    ended = lineage.get(run.id)
    assert len([*running, *DataLoader(view, 4, collate_fn=list)]) == 4 + 5
    view[0]

    assert [item.rows for item in ended.reads] == [4]
    assert lineage.get(run.id) == ended


def test_finished_epochs_survive_a_kill(here: Path, dataset: Path) -> None:
    """SIGKILL in the third epoch: two are in the record, and the one that was broken off before them."""
    script = f"""
        import os, signal, lineage
        from lineage.training import DataLoader
        run = lineage.start_run(seed=7)
        view = run.use_dataset({str(dataset)!r}, query={QUERY!r}, role="train")
        for batch in DataLoader(view, 5, collate_fn=list): break
        loader = DataLoader(view, 5, collate_fn=list)
        for epoch in range(1, 4):
            loader.set_epoch(epoch)
            for number, batch in enumerate(loader):
                if (epoch, number) == (3, 2): os.kill(os.getpid(), signal.SIGKILL)
    """
    (here / "train.py").write_text(textwrap.dedent(script))
    done = subprocess.run([sys.executable, "train.py"], env=os.environ, check=False)
    (run,) = lineage.runs()

    assert done.returncode == -signal.SIGKILL
    assert run.state == "aborted"
    assert epochs(run.id) == [[(0, 2)]] * 5 + [[(1, 2)]] * 15


def test_batches_out_of_order_are_refused(recorded: InputRecord) -> None:
    """PyTorch can hand batches over as they come; order, and what is noted as read, would depend on the machine."""
    with pytest.raises(TypeError, match="in_order"):
        DataLoader(opened(recorded)[0], 4, num_workers=1, in_order=False)


def test_the_backend_is_what_the_wiring_gives(recorded: InputRecord) -> None:
    """The dataset's kind decides: these are Deep Lake's."""
    assert recorded.kind == "deeplake"
    assert recorded.backend == DeepLakeBackend().name_of(recorded.uri)
