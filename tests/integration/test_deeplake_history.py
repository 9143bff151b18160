"""What a Deep Lake log tells without reading rows: whether a newer version only appended, and whether files are what they were."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.adapters.datasets.deeplake_log import read_log, replay
from lineage.model.dataset import DatasetVersion
from lineage.model.digest import digest_of_row
from lineage.ports import KnownVersion

SCHEMA = {
    "boxes": types.Array("float32", 2),
    "labels": types.ClassLabel(types.Array("uint32", 1)),
    "name": types.Text(),
    "w": types.Float64(),
}


def rows(first: int, count: int) -> dict[str, list[Any]]:
    numbers = range(first, first + count)
    return {
        "boxes": [np.full((number % 3, 4), number, "float32") for number in numbers],
        "labels": [np.full(number % 3, number % 2, "uint32") for number in numbers],
        "name": [f"name {number}" for number in numbers],
        "w": [number / 7 for number in numbers],
    }


@pytest.fixture
def uri(tmp_path: Path) -> str:
    dataset = deeplake.create(str(tmp_path / "ds"), schema=SCHEMA)
    dataset["labels"].metadata["class_names"] = ["car", "van"]
    for first in (0, 5):
        dataset.append(rows(first, 5))
        dataset.commit()
    return f"file://{tmp_path / 'ds'}"


def folder_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def newest(uri: str, branch: str = "main") -> DatasetVersion:
    return DeepLakeBackend().resolve(uri, branch=branch).version


def known(version: DatasetVersion) -> KnownVersion:
    backend = DeepLakeBackend()
    manifest = backend.manifest(version)
    assert manifest is not None
    return KnownVersion(
        uri=version.uri,
        dataset_id=version.dataset_id,
        branch_id=version.branch_id,
        commit_id=version.commit_id,
        manifest=manifest.digest,
        signature=backend.signature(version),
        rows_total=version.rows_total,
        space="",
    )


def digests(version: DatasetVersion, count: int) -> list[bytes]:
    """Brute force: every value of the first rows."""
    reader = DeepLakeBackend().open(version.uri, version.branch, version.commit_id)
    columns = reader.read(range(count))
    return [digest_of_row({name: items[row] for name, items in columns.items()}, {}) for row in range(count)]


def append(dataset: Any, first: int = 10, count: int = 3) -> None:
    dataset.append(rows(first, count))
    dataset.commit()


def many_appends(dataset: Any) -> None:
    for number in range(140):
        append(dataset, 10 + number, 1 + number % 3)


def append_twice(dataset: Any) -> None:
    dataset.append(rows(10, 3))
    append(dataset, 13)


def rename_classes(dataset: Any) -> None:
    dataset["labels"].metadata["class_names"] = ["lorry", "bus"]
    dataset.commit()


def describe(dataset: Any) -> None:
    dataset.metadata["source"] = "elsewhere"
    dataset.description = "text"
    dataset.commit()


def tag(dataset: Any) -> None:
    dataset.query("select * where w > 0.5").tag("some", "m")


def branch_and_append(dataset: Any) -> None:
    append(dataset.branch("side").open(), 50)
    append(dataset)


def append_and_compact(dataset: Any) -> None:
    append(dataset)
    dataset.compact()


@pytest.mark.parametrize(
    "change",
    [append, append_twice, many_appends, rename_classes, describe, tag, branch_and_append, append_and_compact, lambda dataset: None],
    ids=["append", "two appends", "140 appends", "class names", "description", "view", "branch", "compaction", "nothing"],
)
def test_a_version_that_only_appended_is_recognised(uri: str, change: Callable[[Any], None]) -> None:
    """Appends, class names, descriptions, views, compactions: the older rows are the first of the newer, bit for bit."""
    before = newest(uri)
    older, expected = known(before), digests(before, 10)

    change(deeplake.open(uri))

    after = newest(uri)
    assert DeepLakeBackend().only_appended(older, after)
    assert digests(after, 10) == expected


def compacted_by_itself(uri: str) -> bool:
    return any(item.kind == "o" for item in read_log(uri).files.values() if item.version)


@pytest.mark.parametrize("first", range(0, 140, 23))
def test_every_step_over_compactions_is_an_append(uri: str, first: int) -> None:
    """With a compaction of Deep Lake's own at every 64th commit, from any version to the newest: appended, and equal bit for bit."""
    dataset = deeplake.open(uri)
    for number in range(first):
        append(dataset, 10 + number, 1)
    before = newest(uri)
    older, expected = known(before), digests(before, before.rows_total)
    for number in range(first, 150):
        append(dataset, 10 + number, 1)

    after = newest(uri)
    assert compacted_by_itself(uri)
    assert DeepLakeBackend().only_appended(older, after)
    assert digests(after, before.rows_total) == expected


def update(dataset: Any) -> None:
    dataset[1]["w"] = 99.0
    dataset.commit()


def update_and_many_appends(dataset: Any) -> None:
    update(dataset)
    many_appends(dataset)


def update_and_append(dataset: Any) -> None:
    dataset["name"][0:2] = ["a", "b"]
    append(dataset)


def delete(dataset: Any) -> None:
    dataset.delete(2)
    dataset.commit()


def delete_last_and_append(dataset: Any) -> None:
    dataset.delete(9)
    append(dataset)


def add_column(dataset: Any) -> None:
    dataset.add_column("extra", "int32")
    dataset.commit()


def rename_column(dataset: Any) -> None:
    dataset.rename_column("w", "weight")
    dataset.commit()


def remove_column(dataset: Any) -> None:
    dataset.remove_column("w")
    dataset.commit()


def heavy(dataset: Any) -> None:
    append(dataset)
    dataset._heavy_compact()


def revert(dataset: Any) -> None:
    append(dataset)
    history = dataset.history
    dataset.revert_to(history[len(history) - 2].id)
    append(dataset)


def merge(dataset: Any) -> None:
    branch = dataset.branch("side").open()
    append(branch, 50)
    dataset.merge("side")


def merge_of_an_update(dataset: Any) -> None:
    update(dataset.branch("side").open())
    append(dataset)
    dataset.merge("side")


@pytest.mark.parametrize(
    "change",
    [
        update,
        update_and_append,
        update_and_many_appends,
        delete,
        delete_last_and_append,
        add_column,
        rename_column,
        remove_column,
        heavy,
        revert,
        merge,
        merge_of_an_update,
    ],
)
def test_anything_else_is_not(uri: str, change: Callable[[Any], None]) -> None:
    """Updates, deletions, columns that come or go, heavy compactions, reverts and merges: digests are computed again."""
    older = known(newest(uri))

    change(deeplake.open(uri))

    assert not DeepLakeBackend().only_appended(older, newest(uri))


def log_files(uri: str) -> list[Path]:
    return sorted(path for path in (folder_of(uri) / "_deeplake_log").glob("*/*.jsonl*") if path.parent.name != "_meta")


@pytest.mark.parametrize(
    "damage",
    [
        lambda files: files[1].write_bytes(files[1].read_bytes()[:-5]),
        lambda files: files[-1].write_bytes(files[-1].read_bytes()[:-5]),
        lambda files: files[-2].unlink(),
        lambda files: files[1].write_bytes(b""),
    ],
    ids=["torn before", "torn behind", "lost behind", "empty before"],
)
def test_a_damaged_log_is_no_append(uri: str, damage: Callable[[list[Path]], Any]) -> None:
    """A torn or missing log file before or behind the older version."""
    older = known(newest(uri))
    dataset = deeplake.open(uri)
    for number in range(3):
        append(dataset, 10 + number, 1)
    after = newest(uri)

    damage(log_files(uri))

    assert not DeepLakeBackend().only_appended(older, after)


def test_a_writer_that_comes_late_is_no_append(uri: str) -> None:
    """A log file with a lower number that turns up later changes what the older version means."""
    dataset = deeplake.open(uri)
    for number in range(3):
        append(dataset, 10 + number, 1)
    late = log_files(uri)[-2]
    aside = late.rename(folder_of(uri).parent / late.name)
    older = known(newest(uri))
    aside.rename(late)
    append(deeplake.open(uri), 20)

    assert not DeepLakeBackend().only_appended(older, newest(uri))


def test_another_dataset_or_branch_is_no_append(uri: str, tmp_path: Path) -> None:
    """The same commit id elsewhere, an address whose dataset was replaced, and a version made before."""
    older = known(newest(uri))
    dataset = deeplake.open(uri)
    branch = dataset.branch("side").open()
    for number in range(5):
        append(branch, 20 + number, 1)
    assert not DeepLakeBackend().only_appended(older, newest(uri, "side"))
    append(dataset)
    assert not DeepLakeBackend().only_appended(known(newest(uri)), DatasetVersion(**version_fields(older)))

    folder_of(uri).rename(tmp_path / "away")
    again = deeplake.create(str(folder_of(uri)), schema=SCHEMA)
    for first in (0, 5, 10, 15):
        append(again, first, 5)
    assert not DeepLakeBackend().only_appended(older, newest(uri))


def version_fields(item: KnownVersion) -> dict[str, Any]:
    names = ("uri", "dataset_id", "branch_id", "commit_id", "rows_total")
    return {name: getattr(item, name) for name in names} | {"branch": "main"}


def data_files(uri: str) -> list[Path]:
    return sorted(
        path for path in folder_of(uri).rglob("*") if path.is_file() and "_deeplake_log" not in path.parts and path.parent != folder_of(uri)
    )


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def flip_and_put_the_time_back(path: Path) -> None:
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("damage", [flip, flip_and_put_the_time_back, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_touched_data_file_has_another_signature(uri: str, damage: Callable[[Path], Any]) -> None:
    """A byte changed (even with the time of writing put back), a file gone or emptied: another signature. Reading leaves it alone."""
    version = newest(uri)
    before = DeepLakeBackend().signature(version)
    digests(version, 10)
    assert before is not None
    assert DeepLakeBackend().signature(version) == before
    time.sleep(0.02)  # longer than a tick of the file system's clock

    damage(data_files(uri)[0])

    assert DeepLakeBackend().signature(version) != before


def test_later_commits_leave_the_signature_alone(uri: str) -> None:
    """Only files that the version itself reads count."""
    version = newest(uri)
    before = DeepLakeBackend().signature(version)
    append(deeplake.open(uri))

    assert DeepLakeBackend().signature(version) == before
    assert DeepLakeBackend().signature(newest(uri)) != before


def test_a_log_that_was_read_before_is_read_again_when_it_changes(uri: str) -> None:
    """What this process remembers of a log never hides a change of it."""
    version = newest(uri)
    past = time.time() - 3600
    for path in log_files(uri):
        os.utime(path, (past, past))
    before = DeepLakeBackend().manifest(version)
    content = log_files(uri)[-1].read_bytes()
    log_files(uri)[-1].write_bytes(content[:-4] + b"xxxx")  # of the same size

    after = DeepLakeBackend().manifest(version)
    assert before is not None
    assert after is not None
    assert after.digest != before.digest
    assert len(after.gaps) == 1


def test_a_heavy_compaction_leaves_no_gap(uri: str) -> None:
    """It uses up one number more than its name says; that is no late writer."""
    dataset = deeplake.open(uri)
    heavy(dataset)
    append(dataset, 30)
    version = newest(uri)

    manifest = DeepLakeBackend().manifest(version)
    assert manifest is not None
    assert manifest.gaps == ()
    assert any(item.kind == "u" for item in replay(read_log(uri), version.branch_id, version.commit_id).files)
