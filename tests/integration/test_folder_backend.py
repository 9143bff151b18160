"""Plain folders and files as inputs: what is a row, what is a version, and what a record gives back in any process."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import operator
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import lineage
from lineage.adapters.datasets.choose import ChoosingBackend
from lineage.adapters.datasets.file_rows import matching
from lineage.adapters.datasets.folder import FolderBackend
from lineage.adapters.datasets.folder_listing import FileDigests, list_files
from lineage.errors import Conflict, IntegrityError, InvalidQuery, InvalidSource, MissingExtra, NotFound, UsageError
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.record.identity import recorded_digests, recorded_rows
from lineage.record.recheck import DataCheck, check_input
from lineage.wiring import wire

PATIENCE_S = 120  # a child process that hangs or dies is an error, not a wait for ever

NAMES = ["a.jpg", "b.jpg", "deep/er/c.jpg", "deep/labels.txt", "deep-1.jpg"]
"""Unsorted on purpose: by whole paths, ``deep-1.jpg`` is before ``deep/…``, as ``-`` is before ``/``."""


def picture(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    return {name: b"car 1 2 3 4\n" if name.endswith(".txt") else picture(number) for number, name in enumerate(NAMES)}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def uri_of(path: Path) -> str:
    return f"file://{path}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "pictures", contents())


@pytest.fixture
def backend() -> FolderBackend:
    return FolderBackend()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock shows ten seconds more than when the files were written, so that they count as settled."""
    real = time.time_ns
    monkeypatch.setattr("lineage.adapters.datasets.folder_listing.time.time_ns", lambda: real() + 10_000_000_000)


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A live run in a repository of its own."""
    monkeypatch.chdir(repository)
    with lineage.start_run(project="parking", job_type="train", seed=7) as live:
        yield live


def recorded(run: Any, path: Path, **which: Any) -> InputRecord:
    run.use_dataset(path, role="train", **which)
    return run.record.inputs[-1]


def check(item: InputRecord, uri: str | None = None) -> DataCheck:
    ports = wire()
    return check_input(ports.datasets(), ports.objects, item, uri)


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_one_row_is_one_file_in_the_order_of_paths(folder: Path, backend: FolderBackend) -> None:
    """Paths decide the order, whatever the file system lists first; bytes come back as they are."""
    version = backend.resolve(uri_of(folder)).version

    rows = backend.open(uri_of(folder), "main", version.commit_id).read(range(len(NAMES)))

    assert rows["path"] == rows["sample_id"] == sorted(NAMES)
    assert rows["content"] == [contents()[name] for name in sorted(NAMES)]


@pytest.mark.parametrize("name", ["with space.jpg", "ü-駐車場.jpg", "two\nlines.jpg", "-rf", "a#b?c%20.jpg", ".hidden", "'\"\\.txt"])
def test_any_name_that_is_text_is_a_row(run: Any, folder: Path, name: str) -> None:
    """Names that shells and addresses stumble over, and hidden files, are recorded and read like others."""
    (folder / "deep" / name).write_bytes(b"odd")

    view = run.use_dataset(folder, role="train")

    assert [sample["content"] for sample in view if sample["path"] == f"deep/{name}"] == [b"odd"]
    assert check(run.record.inputs[0]).status == "ready"


@pytest.mark.parametrize("books", [".git/HEAD", ".dvc/cache/files/md5/ab/cd", ".lineage/lineage.sqlite", "deep/.git", ".svn/entries"])
def test_books_of_other_tools_are_no_data(folder: Path, backend: FolderBackend, books: str) -> None:
    """Version control and our own store write into their folders all the time: a version does not depend on them."""
    before = backend.resolve(uri_of(folder)).version

    fill(folder, {books: b"book"})

    assert backend.resolve(uri_of(folder)).version == before


def test_a_single_file_is_a_dataset_of_one_row(run: Any, tmp_path: Path) -> None:
    """A list of boxes or a packed file is an input like a folder."""
    fill(tmp_path, {"boxes.csv": b"1,2,3\n"})

    view = run.use_dataset(tmp_path / "boxes.csv", role="train")

    assert [(sample["path"], sample["content"]) for sample in view] == [("boxes.csv", b"1,2,3\n")]
    (tmp_path / "boxes.csv").write_bytes(b"1,2,4\n")
    assert check(run.record.inputs[0]).status == "changed"


def test_links_are_followed(folder: Path, backend: FolderBackend, tmp_path: Path) -> None:
    """A split written down as links into a pool: what they lead to is the data, inside or outside of the folder, file or folder."""
    pool = fill(tmp_path / "pool", {"1.jpg": picture(1), "2.jpg": picture(2)})
    split = tmp_path / "split"
    split.mkdir()
    (split / "one.jpg").symlink_to(pool / "1.jpg")
    (split / "all").symlink_to(pool)
    (split / "again.jpg").symlink_to("one.jpg")
    version = backend.resolve(uri_of(split)).version
    reader = backend.open(uri_of(split), "main", version.commit_id)

    rows = reader.read(range(version.rows_total))

    assert dict(zip(rows["path"], rows["content"], strict=True)) == {
        "again.jpg": picture(1),
        "all/1.jpg": picture(1),
        "all/2.jpg": picture(2),
        "one.jpg": picture(1),
    }
    (pool / "1.jpg").write_bytes(picture(3))
    assert backend.resolve(uri_of(split)).version.commit_id != version.commit_id


def dangling(folder: Path) -> None:
    (folder / "deep" / "gone.jpg").symlink_to("nowhere.jpg")


def circle(folder: Path) -> None:
    (folder / "deep" / "up").symlink_to("..")


def endless(folder: Path) -> None:
    (folder / "self").symlink_to("self")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def listener(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "s"))


def not_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(b"x")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (dangling, r"gone\.jpg: this link leads nowhere"),
        (circle, r"up: this link leads to a folder that it lies in"),
        (endless, r"self: this link leads nowhere"),
        (pipe, r"pipe: expected a regular file"),
        (listener, r"/s: expected a regular file"),
        (not_utf8, r"caf\\xe9\.jpg' is not UTF-8"),
    ],
)
def test_what_cannot_be_a_row_is_one_clear_error(folder: Path, backend: FolderBackend, spoil: Any, message: str) -> None:
    """Nothing is left out silently: the entry is named, with what to do."""
    spoil(folder)

    with pytest.raises(InvalidSource, match=message) as caught:
        backend.resolve(uri_of(folder))

    assert caught.value.hint


def test_an_empty_folder_is_refused(tmp_path: Path, backend: FolderBackend) -> None:
    """No row is no input; folders alone are no rows."""
    (tmp_path / "empty" / "inner").mkdir(parents=True)

    with pytest.raises(InvalidQuery, match="holds no file"):
        backend.resolve(uri_of(tmp_path / "empty"))


def test_a_file_that_vanishes_during_the_listing_is_named(folder: Path, backend: FolderBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody cleans up meanwhile: the listing would be of no moment in time, so it is refused."""
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _Listed(path, real, folder))

    with pytest.raises(Conflict, match=r"b\.jpg vanished"):
        backend.resolve(uri_of(folder))


class _Listed:
    """The real listing of a folder; ``b.jpg`` is removed once it was listed."""

    def __init__(self, path: Any, real: Any, folder: Path) -> None:
        self._entries, self._folder = real(path), folder

    def __enter__(self) -> Any:
        found = list(self._entries)
        (self._folder / "b.jpg").unlink(missing_ok=True)
        return found

    def __exit__(self, *_: object) -> None:
        self._entries.close()


@pytest.mark.parametrize("event", ["removed", "overwritten", "lengthened"])
def test_a_file_that_changes_before_it_is_digested_is_named(folder: Path, event: str) -> None:
    """Between listing and digest a file goes, or is written to: no version is made of two moments."""
    files = list_files(folder)
    path = folder / "a.jpg"
    if event == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[::-1] + (b"!" if event == "lengthened" else b""))

    with pytest.raises(Conflict, match=r"a\.jpg"):
        FileDigests(None).of(folder, files)


# --- versions -------------------------------------------------------------------------------------------------------------


def one_byte(folder: Path) -> None:
    content = bytearray((folder / "b.jpg").read_bytes())
    content[100] ^= 1
    (folder / "b.jpg").write_bytes(content)


def renamed(folder: Path) -> None:
    (folder / "b.jpg").rename(folder / "z.jpg")


def swapped(folder: Path) -> None:
    first, second = (folder / "a.jpg").read_bytes(), (folder / "b.jpg").read_bytes()
    fill(folder, {"a.jpg": second, "b.jpg": first})


def added(folder: Path) -> None:
    fill(folder, {"deep/new.jpg": picture(9)})


def removed(folder: Path) -> None:
    (folder / "b.jpg").unlink()


@pytest.mark.parametrize("change", [one_byte, renamed, swapped, added, removed])
def test_every_change_is_another_version(run: Any, folder: Path, backend: FolderBackend, change: Any) -> None:
    """A byte, a name, an order, a file more or less: another commit id, and the recorded version is not there any more."""
    item = recorded(run, folder)

    change(folder)

    assert backend.resolve(uri_of(folder)).version.commit_id != item.commit_id
    with pytest.raises(NotFound, match=item.commit_id) as caught:
        backend.resolve(uri_of(folder), commit_id=item.commit_id)
    assert caught.value.kind == "dataset commit"
    assert check(item).status in ("changed", "missing")


def test_a_changed_picture_is_named(run: Any, folder: Path) -> None:
    """The check says which row, by its path."""
    item = recorded(run, folder)

    one_byte(folder)

    assert check(item).detail[0] == "data differ in 1 of 5 rows: row 1 (b.jpg: picture)"


@pytest.mark.parametrize("moved", ["touched", "copied", "protected", "books"])
def test_what_is_no_change_raises_no_alarm(run: Any, folder: Path, moved: str) -> None:
    """Times, permissions, another disk: the same rows."""
    item = recorded(run, folder)
    other = None
    if moved == "touched":
        os.utime(folder / "a.jpg", (1, 1))
    elif moved == "copied":
        other = uri_of(Path(shutil.copytree(folder, folder.with_name("copy"))))
    elif moved == "protected":
        (folder / "a.jpg").chmod(0o444)
    else:
        fill(folder, {".git/HEAD": b"x"})

    assert check(item, other).status == "ready"


def test_the_same_files_elsewhere_are_another_dataset_with_the_same_version(folder: Path, backend: FolderBackend) -> None:
    """The id is of the address, the version of the contents."""
    copy = Path(shutil.copytree(folder, folder.with_name("copy")))

    here, there = (backend.resolve(uri_of(path)).version for path in (folder, copy))

    assert here.commit_id == there.commit_id
    assert here.dataset_id != there.dataset_id
    assert here == backend.resolve(uri_of(folder)).version


def test_a_bare_reader_refuses_what_was_edited_after_it_was_opened(folder: Path, backend: FolderBackend) -> None:
    """Same size, other bytes, written while it is open: an error, not other data; permissions alone are none."""
    version = backend.resolve(uri_of(folder)).version
    reader = backend.open(uri_of(folder), "main", version.commit_id)
    (folder / "a.jpg").chmod(0o444)
    reader.read([0])
    one_byte(folder)
    (folder / "deep-1.jpg").unlink()

    with pytest.raises(IntegrityError, match=r"b\.jpg"):
        reader.read([1])
    with pytest.raises(NotFound, match=r"deep-1\.jpg"):
        reader.read([2])


def test_a_known_edit_is_refused_at_the_door(folder: Path, backend: FolderBackend, later: None) -> None:
    """Where every file's digest is known, an edit that keeps names and sizes does not even open."""
    before = backend.resolve(uri_of(folder)).version
    one_byte(folder)
    after = backend.resolve(uri_of(folder)).version

    with pytest.raises(NotFound, match="the same names with other contents"):
        backend.open(uri_of(folder), "main", before.commit_id)
    assert backend.open(uri_of(folder), "main", after.commit_id).version == after


def test_rows_outside_and_unknown_columns_are_named(folder: Path, backend: FolderBackend) -> None:
    """A row or a column that is not there is an error with what is."""
    reader = backend.open(uri_of(folder), "main", backend.resolve(uri_of(folder)).version.commit_id)

    for row in (-1, 5):
        with pytest.raises(NotFound, match="has 5 rows"):
            reader.read([row])
    with pytest.raises(NotFound, match="has content, path, sample_id"):
        reader.read([0], ["boxes"])


# --- digests kept between runs --------------------------------------------------------------------------------------------


def test_a_file_is_read_once(folder: Path, tmp_path: Path, later: None) -> None:
    """The next process finds the digests by what the files look like; an edited file has to be read again."""
    files = list_files(folder)
    digests = FileDigests(tmp_path / "cache").of(folder, files)
    one_byte(folder)
    again = list_files(folder)

    assert FileDigests(tmp_path / "cache").known(files) == digests
    assert [again[row].path for row, digest in enumerate(FileDigests(tmp_path / "cache").known(again)) if digest is None] == ["b.jpg"]


def test_a_file_that_was_just_written_is_read_again(folder: Path, tmp_path: Path) -> None:
    """Within one tick of the clock a second write would leave no trace."""
    files = list_files(folder)
    FileDigests(tmp_path / "cache").of(folder, files)

    assert FileDigests(tmp_path / "cache").known(files) == [None] * 5


def test_a_lost_cache_costs_time_only(folder: Path, tmp_path: Path, later: None) -> None:
    """It can be deleted at any time."""
    first = FolderBackend(tmp_path / "cache").resolve(uri_of(folder)).version
    assert (tmp_path / "cache" / "files.sqlite").is_file()

    shutil.rmtree(tmp_path / "cache")

    assert FolderBackend(tmp_path / "cache").resolve(uri_of(folder)).version == first


def test_a_cache_that_cannot_be_used_costs_time_only(folder: Path, tmp_path: Path, later: None) -> None:
    """Damaged, or where nothing can be made: files are read instead."""
    first = FolderBackend().resolve(uri_of(folder)).version
    fill(tmp_path, {"cache/files.sqlite": b"no database" * 1000, "file": b""})

    assert FolderBackend(tmp_path / "cache").resolve(uri_of(folder)).version == first
    assert FolderBackend(tmp_path / "file").resolve(uri_of(folder)).version == first


def test_the_signature_tells_untouched_from_touched(folder: Path, backend: FolderBackend, later: None) -> None:
    """Equal while nothing is written; other for an edit that keeps size and time of modification."""
    version = backend.resolve(uri_of(folder)).version
    before, status = backend.signature(version), (folder / "b.jpg").stat()
    assert before is not None
    assert backend.signature(version) == before

    one_byte(folder)
    os.utime(folder / "b.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))

    assert backend.signature(version) != before


def test_young_files_have_no_signature(folder: Path, backend: FolderBackend) -> None:
    """It could not tell a second write, so digests are computed anew."""
    assert backend.signature(backend.resolve(uri_of(folder)).version) is None


# --- queries --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("*.jpg", ["a.jpg", "b.jpg", "deep-1.jpg"]),
        ("**/*.jpg", ["a.jpg", "b.jpg", "deep-1.jpg", "deep/er/c.jpg"]),
        ("deep/**", ["deep/er/c.jpg", "deep/labels.txt"]),
        ("deep/*", ["deep/labels.txt"]),
        ("d*/**/*.???", ["deep/er/c.jpg", "deep/labels.txt"]),
        ("[ab].jpg", ["a.jpg", "b.jpg"]),
        ("[!a]*.jpg", ["b.jpg", "deep-1.jpg"]),
        ("deep[-_]*", ["deep-1.jpg"]),
    ],
)
def test_a_query_is_a_pattern_of_paths(run: Any, folder: Path, pattern: str, kept: list[str]) -> None:
    """Stars stay inside a folder, two stars do not; the record holds the pattern and the rows."""
    view = run.use_dataset(folder, role="train", query=pattern)

    assert [sample["path"] for sample in view] == kept
    assert [sorted(NAMES)[row] for row in view.rows] == kept
    assert run.record.inputs[0].query == pattern


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("select * where labels == 'car'", "cannot be queried by their contents"),
        ("*.png", "keeps none of 5 files"),
        ("A.jpg", "keeps none of 5 files"),
        ("deep[!x]labels.txt", "keeps none of 5 files"),
        ("/a.jpg", "an empty part"),
        ("../*", "an empty part"),
        ("", "an empty part"),
        ("[z-a].jpg", "cannot be read"),
    ],
)
def test_what_is_no_pattern_is_refused_with_an_example(folder: Path, backend: FolderBackend, pattern: str, reason: str) -> None:
    """TQL, patterns that leave the folder or keep nothing: one error that shows the right form."""
    with pytest.raises(InvalidQuery, match=reason) as caught:
        backend.resolve(uri_of(folder), query=pattern)

    assert "images/**/*.jpg" in str(caught.value.hint)


TEXT = st.text(st.sampled_from("ab.[]!-^\\&~|(){}+$\n ü"), min_size=1, max_size=6)


@given(name=st.lists(TEXT, min_size=1, max_size=3).filter(lambda parts: not {".", ".."} & set(parts)).map("/".join))
def test_a_path_with_its_signs_quoted_is_a_pattern_of_itself(name: str) -> None:
    """No character of a name means anything but itself, with brackets around the opening ones."""
    others = [name + "x", "x" + name, name[:-1] or "y", name.replace("/", "_") + "z"]

    assert matching([name, *others], name.replace("[", "[[]")) == [0]


def test_views_and_writing_are_refused(folder: Path) -> None:
    """A folder keeps no views and is never written to."""
    backend = FolderBackend()

    with pytest.raises(NotFound, match="keeps none") as caught:
        backend.resolve(uri_of(folder), view="cars")
    assert "query" in str(caught.value.hint)
    with pytest.raises(NotFound, match="has none but 'main'"):
        backend.resolve(uri_of(folder), branch="dev")
    with pytest.raises(UsageError, match="no saved views"):
        backend.save_view(uri_of(folder), "*.jpg", "name", "message")
    with pytest.raises(UsageError, match="only read"):
        backend.write(uri_of(folder), [], source={})
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == sorted(NAMES)


# --- records --------------------------------------------------------------------------------------------------------------


def test_a_picture_has_one_digest_wherever_it_is_kept(run: Any, folder: Path, tmp_path: Path) -> None:
    """The same picture in Deep Lake and in a folder: found by the same digest, which ``sha256sum`` prints, too."""
    pictures = [picture(number) for number in range(3)]
    fill(tmp_path / "three", {f"{number}.jpg": content for number, content in enumerate(pictures)})
    dataset = deeplake.create(str(tmp_path / "ds"), schema={"images": types.Image(sample_compression="jpeg"), "sample_id": types.Text()})
    dataset.append({"images": pictures, "sample_id": ["x", "y", "z"]})
    dataset.commit("three")
    ports = wire()

    digests = []
    for path in (tmp_path / "three", tmp_path / "ds"):
        item = recorded(run, path)
        digests.append(recorded_digests(ports.objects, item, recorded_rows(ports.objects, item)).pictures.tobytes())

    assert digests[0] == digests[1] == b"".join(hashlib.sha256(content).digest() for content in pictures)
    assert [item.kind for item in run.record.inputs] == ["folder", "deeplake"]


def test_the_record_says_what_it_is(run: Any, folder: Path) -> None:
    """Address, kind and columns; no manifest, because there is no log."""
    item = recorded(run, folder)

    assert (item.uri, item.kind, item.backend, item.branch, item.branch_id, item.manifest) == (
        uri_of(folder),
        "folder",
        "folder",
        "main",
        "",
        None,
    )
    assert item.columns == {"content": "file", "path": "text", "sample_id": "text"}


def test_a_second_record_reads_no_file(run: Any, folder: Path, later: None) -> None:
    """Its rows were digested by the first: the same digests, the same space."""
    first = recorded(run, folder)
    told: list[tuple[str, int, int]] = []

    second = recorded(run, folder, progress=lambda *said: told.append(said))

    assert (second.content_digest, second.space) == (first.content_digest, first.space)
    assert told == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_same_rows_in_another_process(run: Any, folder: Path, method: str) -> None:
    """A child process reads the recorded rows; edited since, it stops instead."""
    view = run.use_dataset(folder, role="train", query="**/*.jpg")
    here = [view[position]["content"] for position in range(4)]

    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert [pool.submit(operator.getitem, view, position).result(PATIENCE_S)["content"] for position in range(4)] == here
    one_byte(folder)
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert pool.submit(operator.getitem, view, 0).result(PATIENCE_S)["content"] == here[0]
        with pytest.raises(IntegrityError, match=r"b\.jpg"):
            pool.submit(operator.getitem, view, 1).result(PATIENCE_S)
    added(folder)
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool, pytest.raises(NotFound, match="under other names"):
        pool.submit(operator.getitem, view, 0).result(PATIENCE_S)


def test_a_pickled_view_opens_in_a_fresh_process(run: Any, folder: Path, tmp_path: Path) -> None:
    """Its pickle holds address, version and rows; opening a folder imports neither Deep Lake nor DVC."""
    (tmp_path / "view.pickle").write_bytes(pickle.dumps(run.use_dataset(folder, role="train", query="*.jpg")))
    program = (
        "import json, pickle, sys; view = pickle.load(open(sys.argv[1], 'rb'));"
        "print(json.dumps([[s['path'] for s in view], [name for name in ('deeplake', 'dvc') if name in sys.modules]]))"
    )

    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "view.pickle")], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == [["a.jpg", "b.jpg", "deep-1.jpg"], []]


# --- which technology -----------------------------------------------------------------------------------------------------


def test_the_address_decides(folder: Path, tmp_path: Path) -> None:
    """Deep Lake by its log, by a scheme of its own or by being nowhere; what else is there is a folder or a file."""
    deeplake.create(str(tmp_path / "ds"), schema={"x": types.Text()})
    backend = ChoosingBackend()

    kinds = {
        typed: backend.kind_of(normalise_uri(typed))
        for typed in (
            str(folder),
            str(folder / "a.jpg"),
            str(tmp_path / "ds"),
            str(tmp_path / "nowhere"),
            "s3://bucket/x",
            "mem://x",
            "dvc:///x",
        )
    }

    assert list(kinds.values()) == ["folder", "folder", "deeplake", "deeplake", "deeplake", "deeplake", "dvc"]
    with pytest.raises(NotFound, match="no dataset"):
        backend.resolve(uri_of(tmp_path / "nowhere"))
    assert backend.name_of(uri_of(folder)) == "folder"
    assert backend.name_of(uri_of(tmp_path / "ds")).startswith("deeplake 4.")


def test_a_dataset_that_lost_its_log_is_no_folder_of_files(run: Any, tmp_path: Path) -> None:
    """A record of Deep Lake data is never read from whatever files are at the address now."""
    dataset = deeplake.create(str(tmp_path / "ds"), schema={"x": types.Text()})
    dataset.append({"x": ["a", "b"]})
    dataset.commit("two")
    item = recorded(run, tmp_path / "ds")
    shutil.rmtree(tmp_path / "ds" / "_deeplake_log")

    found = check(item)

    assert (found.status, found.detail) == ("missing", (f"no dataset 'file://{tmp_path / 'ds'}'",))


def test_only_the_needed_package_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without extras a folder is recorded all the same; what needs one names it."""
    real = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name in ("deeplake", "dvc") else real(name, *rest))
    backend = ChoosingBackend()

    assert backend.resolve(uri_of(folder)).version.rows_total == 5
    for uri, extra in (("s3://bucket/ds", "deeplake"), ("dvc:///repository/data", "dvc")):
        with pytest.raises(MissingExtra) as caught:
            backend.resolve(uri)
        assert f"dataset-lineage[{extra}]" in str(caught.value.hint)


def test_only_deeplake_handles_and_paths_are_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other objects are refused with what was expected."""
    backend = ChoosingBackend()
    monkeypatch.chdir(folder.parent)

    assert backend.address_of(Path("pictures")) == uri_of(folder)
    with pytest.raises(UsageError, match="found dict"):
        backend.address_of({})
