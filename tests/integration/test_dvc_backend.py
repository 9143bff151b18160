"""DVC-tracked data as inputs: a git revision names them, the cache holds them, the work tree is never read."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import operator
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from dvc.repo import Repo
from dvc.utils.serialize import dumps_yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import lineage
from lineage.adapters.datasets.choose import ChoosingBackend, is_tracked, locked_outputs
from lineage.adapters.datasets.dvc import DvcBackend
from lineage.errors import IntegrityError, InvalidQuery, NotFound, Unavailable, UncommittedData, UsageError
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.ports import KnownVersion
from lineage.record.identity import recorded_digests, recorded_rows
from lineage.record.recheck import DataCheck, check_input
from lineage.wiring import wire

PATIENCE_S = 120  # a child process that hangs or dies is an error, not a wait for ever

# A library that DVC uses warns of its own future whenever DVC adds data.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

NAMES = [".hidden", "a.jpg", "b.jpg", "deep/with space.jpg", "deep/ü\n駐.txt", "deep-1.jpg"]
STAGES = """stages:
  prepare:
    cmd: cp -r data/train made
    outs:
    - made
  count:
    cmd: echo 6 > count.txt
    outs:
    - count.txt:
        cache: false
"""


def picture(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    return {name: picture(number) if name.endswith(".jpg") else f"car {number}\n".encode() for number, name in enumerate(NAMES)}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)  # a link into DVC's cache must not be written through
        (folder / name).write_bytes(content)
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def add(folder: Path, *targets: str) -> None:
    """``dvc add`` from the repository's root."""
    with Repo(str(folder)) as repo:
        repo.add([str(folder / target) for target in targets])


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, _isolated_session: None) -> Path:
    """A git and DVC repository with one tracked folder, one tracked file, and two outputs of stages, all committed and tagged ``v1``."""
    folder = tmp_path_factory.mktemp("dvc") / "template"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder.parent / "site"))
        git(folder, "init", "--quiet")
        Repo.init(str(folder)).close()
        fill(folder / "data" / "train", contents())
        fill(folder, {"data/boxes.csv": b"1,2,3\n", "plain/x.txt": b"x\n", "dvc.yaml": STAGES.encode()})
        add(folder, "data/train", "data/boxes.csv")
        patch.chdir(folder)
        with Repo(str(folder)) as repo:
            repo.reproduce()
        commit(folder, "first")
        git(folder, "tag", "v1")
    return folder


@pytest.fixture
def repo(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the template, and the current folder."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    folder = Path(shutil.copytree(template, tmp_path / "repository", symlinks=True))
    git(folder, "update-index", "--refresh")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(repo: Path) -> Any:
    with lineage.start_run(project="parking", job_type="train", seed=7) as live:
        yield live


@pytest.fixture
def backend() -> DvcBackend:
    return DvcBackend()


def uri_of(path: Path) -> str:
    return f"dvc://{path}"


def recorded(run: Any, path: Any = "data/train", **which: Any) -> InputRecord:
    run.use_dataset(path, role="train", **which)
    return run.record.inputs[-1]


def check(item: InputRecord, uri: str | None = None) -> DataCheck:
    ports = wire()
    return check_input(ports.datasets(), ports.objects, item, uri)


def change(folder: Path, **files: bytes) -> str:
    """Another revision of ``data/train``: files by name (``b_jpg`` for ``b.jpg``)."""
    fill(folder / "data" / "train", {name.replace("_", "."): content for name, content in files.items()})
    add(folder, "data/train")
    return commit(folder, "changed")


def cached(folder: Path, content: bytes) -> Path:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def paths_in(folder: Path) -> dict[str, bytes]:
    skipped = (".lineage", ".git", ".dvc/tmp")
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(skipped)}


# --- what is recorded -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["data/train", "data/train.dvc", "data/../data/train/", "dvc://data/train", "file://data/train.dvc"])
def test_one_address_however_it_is_typed(run: Any, repo: Path, typed: str) -> None:
    """The folder, its .dvc file or an address: one recorded address, at the full id of HEAD."""
    view = run.use_dataset(typed, role="train")
    item = run.record.inputs[0]

    assert (item.uri, item.kind, item.branch, item.branch_id) == (uri_of(repo / "data" / "train"), "dvc", "main", "")
    assert item.commit_id == git(repo, "rev-parse", "HEAD")
    assert item.backend.startswith("dvc 3.")
    assert {sample["path"]: sample["content"] for sample in view} == contents()
    assert [sample["sample_id"] for sample in view] == sorted(NAMES)
    assert check(item).status == "ready"


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("data/boxes.csv", {"boxes.csv": b"1,2,3\n"}),
        ("data/train/a.jpg", {"a.jpg": picture(1)}),
        ("data/train/deep", {"with space.jpg": picture(3), "ü\n駐.txt": b"car 4\n"}),
        ("made", None),
        ("count.txt", {"count.txt": b"6\n"}),
    ],
)
def test_files_parts_and_outputs_of_stages(run: Any, repo: Path, path: str, files: dict[str, bytes] | None) -> None:
    """A tracked file, a part of a tracked folder, an output in dvc.lock, cached or kept in git: the same rows and columns."""
    view = run.use_dataset(path, role="train")

    assert {sample["path"]: sample["content"] for sample in view} == (contents() if files is None else files)
    assert [sample["md5"] for sample in view] == [hashlib.md5(sample["content"], usedforsecurity=False).hexdigest() for sample in view]
    assert run.record.inputs[0].kind == "dvc"


def test_a_picture_has_one_digest_wherever_it_is_kept(run: Any, repo: Path, tmp_path: Path) -> None:
    """Tracked by DVC, stored in Deep Lake, or a file in a folder: found by the same digest."""
    pictures = [picture(1), picture(2)]
    fill(tmp_path / "folder", {"1.jpg": pictures[0], "2.jpg": pictures[1]})
    dataset = deeplake.create(str(tmp_path / "ds"), schema={"images": types.Image(sample_compression="jpeg"), "sample_id": types.Text()})
    dataset.append({"images": pictures, "sample_id": ["x", "y"]})
    dataset.commit("two")
    ports = wire()

    digests = []
    for path, query in ((repo / "data" / "train", "[ab].jpg"), (tmp_path / "ds", None), (tmp_path / "folder", None)):
        item = recorded(run, path, query=query)
        digests.append(recorded_digests(ports.objects, item, recorded_rows(ports.objects, item)).pictures.tobytes())

    assert digests[0] == digests[1] == digests[2] == b"".join(hashlib.sha256(content).digest() for content in pictures)
    assert [item.kind for item in run.record.inputs] == ["dvc", "deeplake", "folder"]


def test_nothing_is_written_into_the_repository(repo: Path) -> None:
    """Neither the work tree, the cache, git's index nor DVC's files change."""
    before, index = paths_in(repo), git(repo, "ls-files", "--stage")

    with lineage.start_run(project="parking", job_type="train", seed=7) as run:
        recorded(run)
        recorded(run, commit_id="v1")

    assert paths_in(repo) == before
    assert git(repo, "ls-files", "--stage") == index
    assert git(repo, "status", "--porcelain") == ""


# --- revisions ------------------------------------------------------------------------------------------------------------


def test_a_revision_is_a_tag_a_branch_or_a_commit(repo: Path, backend: DvcBackend) -> None:
    """Each name leads to the full id of a git commit, and to its rows."""
    first = git(repo, "rev-parse", "HEAD")
    git(repo, "branch", "old")
    second = change(repo, b_jpg=b"other")
    uri = uri_of(repo / "data" / "train")

    found = {
        name: backend.resolve(uri, **which).version
        for name, which in {
            "now": {},
            "tag": {"commit_id": "v1"},
            "short": {"commit_id": first[:10]},
            "relative": {"commit_id": "HEAD~1"},
            "branch": {"branch": "old"},
            "other": {"branch": "main"},
        }.items()
    }

    assert {name: version.commit_id for name, version in found.items()} == {
        "now": second, "tag": first, "short": first, "relative": first, "branch": first, "other": second,
    }  # fmt: skip
    assert {name: version.branch for name, version in found.items()} == {
        "now": "main", "tag": "HEAD", "short": "HEAD", "relative": "HEAD", "branch": "old", "other": "main",
    }  # fmt: skip
    assert len({version.dataset_id for version in found.values()}) == 1


@pytest.mark.parametrize("which", [{"commit_id": "nowhere"}, {"commit_id": "--all"}, {"branch": "nowhere"}, {"commit_id": "0" * 40}])
def test_an_unknown_revision_is_named(repo: Path, backend: DvcBackend, which: dict[str, str]) -> None:
    """What git does not know is no revision, whatever it looks like."""
    with pytest.raises(NotFound, match=next(iter(which.values()))) as caught:
        backend.resolve(uri_of(repo / "data" / "train"), **which)

    assert caught.value.kind == ("dataset branch" if "branch" in which else "dataset commit")


def test_a_revision_must_be_in_the_branch_it_is_asked_of(repo: Path, backend: DvcBackend) -> None:
    """Both named: they have to fit, or the record would claim what is not so."""
    git(repo, "branch", "old")
    second = change(repo, b_jpg=b"other")
    uri = uri_of(repo / "data" / "train")

    assert backend.resolve(uri, branch="main", commit_id="v1").version.branch == "main"
    with pytest.raises(NotFound, match=r"branch 'old' .* does not hold it"):
        backend.resolve(uri, branch="old", commit_id=second)


def one_byte(folder: Path) -> str:
    content = bytearray(picture(2))
    content[100] ^= 1
    return change(folder, b_jpg=bytes(content))


def renamed(folder: Path) -> str:
    (folder / "data" / "train" / "b.jpg").rename(folder / "data" / "train" / "z.jpg")
    return change(folder)


def added(folder: Path) -> str:
    return change(folder, aa_jpg=picture(9))


def removed(folder: Path) -> str:
    (folder / "data" / "train" / "b.jpg").unlink()
    return change(folder)


@pytest.mark.parametrize("edit", [one_byte, renamed, added, removed])
def test_a_record_is_of_its_revision(run: Any, repo: Path, edit: Callable[[Path], str]) -> None:
    """A byte, a name, a file more or less is another content; the recorded rows stay readable as they were."""
    view = run.use_dataset("data/train", role="train")
    before = run.record.inputs[0]

    edit(repo)
    after = recorded(run)

    assert after.content_digest != before.content_digest
    assert after.manifest != before.manifest
    assert check(before).status == "ready"
    assert {sample["path"]: sample["content"] for sample in view} == contents()
    assert check(before, uri_of(repo / "made")).status == "ready"


def test_another_revision_in_the_work_tree_changes_nothing(run: Any, repo: Path) -> None:
    """``git checkout`` and ``dvc checkout`` of an older revision: the record goes on reading its own."""
    content = picture(7)
    change(repo, b_jpg=content)
    view = run.use_dataset("data/train", role="train")
    git(repo, "checkout", "--quiet", "v1")
    with Repo(str(repo)) as tracked:
        tracked.checkout()
    assert (repo / "data" / "train" / "b.jpg").read_bytes() == picture(2)

    assert view[sorted(NAMES).index("b.jpg")]["content"] == content
    again = recorded(run)
    assert (again.commit_id, again.branch) == (git(repo, "rev-parse", "v1"), "HEAD")


def test_a_commit_that_leaves_the_data_alone_is_no_other_data(run: Any, repo: Path) -> None:
    """Code moves on: the same manifest, the same digests, not read again."""
    before = recorded(run)
    fill(repo, {"train.py": b"print(1)\n"})
    commit(repo, "code")
    told: list[Any] = []

    after = recorded(run, progress=lambda *said: told.append(said))

    assert before.commit_id != after.commit_id
    assert (before.manifest, before.content_digest, before.space) == (after.manifest, after.content_digest, after.space)
    assert told == []


@pytest.mark.parametrize(("files", "appended"), [({}, True), ({"zz_jpg": b"1"}, True), ({"aa_jpg": b"1"}, False), ({"b_jpg": b"1"}, False)])
def test_appending_is_told_from_changing(repo: Path, backend: DvcBackend, files: dict[str, bytes], appended: bool) -> None:
    """Files behind the last one leave the others' rows as they are; others do not; and never backwards."""
    uri = uri_of(repo / "data" / "train")
    older = backend.resolve(uri).version
    fill(repo, {"train.py": b"print(1)\n"})
    change(repo, **files)
    newer = backend.resolve(uri).version

    def known(version: Any) -> KnownVersion:
        return KnownVersion(uri, version.dataset_id, "", version.commit_id, "", None, version.rows_total, "")

    assert backend.only_appended(known(older), newer) is appended
    assert backend.only_appended(known(newer), older) is (files == {})


def test_the_id_survives_a_clone(repo: Path, backend: DvcBackend, tmp_path: Path) -> None:
    """Another clone of the repository holds the same dataset; another path in it another one."""
    git(tmp_path, "clone", "--quiet", str(repo), "clone")
    shutil.copytree(repo / ".dvc" / "cache", tmp_path / "clone" / ".dvc" / "cache")

    here = backend.resolve(uri_of(repo / "data" / "train")).version
    there = backend.resolve(uri_of(tmp_path / "clone" / "data" / "train")).version

    assert (here.dataset_id, here.commit_id, here.rows_total) == (there.dataset_id, there.commit_id, there.rows_total)
    assert backend.resolve(uri_of(repo / "made")).version.dataset_id != here.dataset_id


def test_a_repository_in_a_folder_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: DvcBackend) -> None:
    """``dvc init --subdir``, reached through a link: addresses stay as typed."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    folder = tmp_path / "mono"
    (folder / "team").mkdir(parents=True)
    git(folder, "init", "--quiet")
    Repo.init(str(folder / "team"), subdir=True).close()
    fill(folder / "team" / "data", {"x.txt": b"x\n"})
    add(folder / "team", "data")
    sha = commit(folder, "first")
    (tmp_path / "link").symlink_to(folder / "team")

    version = backend.resolve(uri_of(tmp_path / "link" / "data")).version

    assert (version.uri, version.commit_id) == (uri_of(tmp_path / "link" / "data"), sha)
    assert backend.open(version.uri, version.branch, sha).read([0])["content"] == [b"x\n"]
    assert is_tracked(tmp_path / "link" / "data")


# --- refused --------------------------------------------------------------------------------------------------------------


def edited(folder: Path) -> None:
    fill(folder / "data" / "train", {"b.jpg": b"edited"})


def more(folder: Path) -> None:
    fill(folder / "data" / "train", {"new.jpg": b"new"})


def fewer(folder: Path) -> None:
    (folder / "data" / "train" / "b.jpg").unlink()


def added_only(folder: Path) -> None:
    edited(folder)
    add(folder, "data/train")


def staged_only(folder: Path) -> None:
    added_only(folder)
    git(folder, "add", "--all")


@pytest.mark.parametrize("dirty", [edited, more, fewer, added_only, staged_only])
def test_uncommitted_data_are_refused(run: Any, repo: Path, dirty: Callable[[Path], None]) -> None:
    """What the folder shows is in no revision: refused with what to do, but for a revision that is named."""
    dirty(repo)

    with pytest.raises(UncommittedData, match="uncommitted changes") as caught:
        run.use_dataset("data/train", role="train")

    assert "git" in str(caught.value.hint)
    assert {sample["path"]: sample["content"] for sample in run.use_dataset("data/train", role="train", commit_id="HEAD")} == contents()


def test_data_that_git_has_never_seen_are_refused(repo: Path, backend: DvcBackend, tmp_path: Path) -> None:
    """A new .dvc file, and a repository without a commit."""
    fill(repo, {"new/x.txt": b"x"})
    add(repo, "new")
    with pytest.raises(UncommittedData):
        backend.resolve(uri_of(repo / "new"))

    (tmp_path / "fresh").mkdir()
    git(tmp_path / "fresh", "init", "--quiet")
    Repo.init(str(tmp_path / "fresh")).close()
    with pytest.raises(UncommittedData):
        backend.resolve(uri_of(tmp_path / "fresh" / "data"))


def test_data_need_not_be_checked_out(run: Any, repo: Path) -> None:
    """On a machine that has the cache and no work tree of data, the rows are the same."""
    shutil.rmtree(repo / "data" / "train")

    assert {sample["path"]: sample["content"] for sample in run.use_dataset("data/train", role="train")} == contents()


def test_what_is_not_tracked_is_not_found(repo: Path, backend: DvcBackend, tmp_path: Path) -> None:
    """A folder of git's, a path that is nowhere, an older revision without it, a place outside of any repository."""
    fill(repo, {"new/x.txt": b"x"})
    add(repo, "new")
    commit(repo, "new")

    for path, which, detail in (
        (repo / "plain", {}, "DVC tracks no such output"),
        (repo / "data" / "train" / "none.jpg", {}, "DVC tracks no such output"),
        (repo / "new", {"commit_id": "v1"}, "DVC tracks no such output at revision"),
        (tmp_path / "elsewhere", {}, "no DVC repository"),
    ):
        with pytest.raises(NotFound, match=detail):
            backend.resolve(uri_of(path), **which)
        assert which or not backend.exists(uri_of(path))
    assert backend.exists(uri_of(repo / "new"))


def test_without_git_there_is_no_revision(tmp_path: Path, backend: DvcBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DVC repository alone: its data are plain files, and ``dvc://`` says why not."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    (tmp_path / "alone").mkdir()
    Repo.init(str(tmp_path / "alone"), no_scm=True).close()
    fill(tmp_path / "alone" / "data", {"x.txt": b"x"})
    add(tmp_path / "alone", "data")

    with pytest.raises(UsageError, match="in no git repository"):
        backend.resolve(uri_of(tmp_path / "alone" / "data"))
    assert ChoosingBackend().kind_of(f"file://{tmp_path / 'alone' / 'data'}") == "folder"


def test_views_writing_and_queries_that_are_none(repo: Path, backend: DvcBackend) -> None:
    """DVC keeps no views and is only read; a query is a pattern."""
    uri = uri_of(repo / "data" / "train")

    with pytest.raises(NotFound, match="keeps none"):
        backend.resolve(uri, view="cars")
    with pytest.raises(InvalidQuery, match="by their contents"):
        backend.resolve(uri, query="select * where labels == 'car'")
    with pytest.raises(UsageError, match="no saved views"):
        backend.save_view(uri, "*.jpg", "name", "message")
    with pytest.raises(UsageError, match="only read"):
        ChoosingBackend().write(uri, [], source={})


# --- where the bytes are --------------------------------------------------------------------------------------------------


def test_what_was_collected_is_missing_by_name(run: Any, repo: Path) -> None:
    """After ``dvc gc`` a kept record says what is missing, and never reads the work tree in its place."""
    change(repo, b_jpg=b"for one revision")
    item = recorded(run)
    change(repo, b_jpg=b"other")
    with Repo(str(repo)) as tracked:
        tracked.gc(workspace=True, force=True)
    assert not cached(repo, b"for one revision").exists()
    program = (
        "import sys; from lineage.adapters.datasets.choose import ChoosingBackend\n"
        "try: ChoosingBackend().open(*sys.argv[1:])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    found = check(item)
    fresh = subprocess.run(
        [sys.executable, "-c", program, item.uri, item.branch, item.commit_id], capture_output=True, text=True, check=True
    )

    assert found.status == "missing"
    assert found.detail[0].startswith("no file 'b.jpg (MD5 ")
    assert "neither DVC's cache nor a remote gives it" in found.detail[0]
    assert fresh.stdout.startswith("NotFound no file 'the list of files ")


def test_an_emptied_cache_is_missing(run: Any, repo: Path) -> None:
    """Without cache and remote there is nothing to read, although the work tree has the files."""
    item = recorded(run)

    shutil.rmtree(repo / ".dvc" / "cache")

    assert check(item).status == "missing"
    assert "neither DVC's cache nor a remote gives it" in check(item).detail[0]


def test_a_remote_that_cannot_be_asked_is_told_from_a_missing_file(run: Any, repo: Path) -> None:
    """What DVC needs for this kind of remote is not installed: unavailable, in one sentence that says so."""
    fill(repo, {".dvc/config": b"[core]\n    remote = shelf\n['remote \"shelf\"']\n    url = s3://bucket/shelf\n"})
    commit(repo, "remote")
    cached(repo, picture(2)).unlink()

    with pytest.raises(Unavailable, match=r"could not fetch b\.jpg.*s3"):
        run.use_dataset("data/train", role="train", commit_id="HEAD")


@pytest.mark.parametrize("lost", ["one file", "everything"])
def test_a_remote_serves_what_the_cache_lacks(run: Any, repo: Path, tmp_path: Path, lost: str) -> None:
    """Bytes are read from the remote; nothing is put into the cache."""
    fill(repo, {".dvc/config": f"[core]\n    remote = shelf\n['remote \"shelf\"']\n    url = {tmp_path / 'shelf'}\n".encode()})
    commit(repo, "remote")
    with Repo(str(repo)) as tracked:
        tracked.push()
    if lost == "everything":
        shutil.rmtree(repo / ".dvc" / "cache")
        shutil.rmtree(repo / "data" / "train")
    else:
        cached(repo, picture(2)).unlink()

    view = run.use_dataset("data/train", role="train")

    assert {sample["path"]: sample["content"] for sample in view} == contents()
    assert not cached(repo, picture(2)).exists()


def test_a_damaged_cache_is_found_when_it_is_read(run: Any, repo: Path) -> None:
    """Every read compares the MD5 that DVC tracks: a flipped bit is an error that names the file, also in the first record."""
    target = cached(repo, picture(2))
    target.chmod(0o644)
    content = bytearray(target.read_bytes())
    content[50] ^= 1
    target.write_bytes(content)

    with pytest.raises(IntegrityError, match=r"b\.jpg.*expected MD5") as caught:
        run.use_dataset("data/train", role="train", commit_id="HEAD")

    assert "dvc fetch" in str(caught.value.hint)


def test_the_signature_tells_a_touched_cache(repo: Path, backend: DvcBackend) -> None:
    """Equal while DVC's cache is left alone; other when a file in it was written or is gone."""
    version = backend.resolve(uri_of(repo / "data" / "train")).version
    target = cached(repo, picture(2))
    seen = [backend.signature(version), backend.signature(version)]
    os.utime(target, (1, 1))
    seen.append(backend.signature(version))
    target.unlink()
    seen.append(backend.signature(version))

    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_same_rows_in_another_process(run: Any, repo: Path, method: str) -> None:
    """A child process reads the recorded revision, whatever is checked out by then."""
    view = run.use_dataset("data/train", role="train", query="**/*.jpg")
    here = [view[position]["content"] for position in range(4)]
    change(repo, a_jpg=b"other", aa_jpg=b"new")

    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert [pool.submit(operator.getitem, view, position).result(PATIENCE_S)["content"] for position in range(4)] == here


def test_a_pickled_view_opens_in_a_fresh_process(run: Any, repo: Path, tmp_path: Path) -> None:
    """Its pickle holds address, revision and rows; Deep Lake is not needed for it."""
    (tmp_path / "view.pickle").write_bytes(pickle.dumps(run.use_dataset("data/train", role="train", query="*.jpg")))
    program = (
        "import json, pickle, sys; view = pickle.load(open(sys.argv[1], 'rb'));"
        "print(json.dumps([[s['path'] for s in view], 'deeplake' in sys.modules]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "view.pickle")], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == [["a.jpg", "b.jpg", "deep-1.jpg"], False]


# --- which technology -----------------------------------------------------------------------------------------------------


def test_what_dvc_tracks_is_told_from_what_it_does_not(repo: Path) -> None:
    """By .dvc files and dvc.lock, also for what lies inside an output; git's own folders and the whole repository are plain."""
    backend = ChoosingBackend()

    kinds = {
        path: backend.kind_of(normalise_uri(path))
        for path in ("data/train", "data/train/deep", "data/boxes.csv", "made", "made/a.jpg", "count.txt", "data", "plain", ".", "nowhere")
    }

    assert kinds == {
        "data/train": "dvc",
        "data/train/deep": "dvc",
        "data/boxes.csv": "dvc",
        "made": "dvc",
        "made/a.jpg": "dvc",
        "count.txt": "dvc",
        "data": "folder",
        "plain": "folder",
        ".": "folder",
        "nowhere": "deeplake",
    }


@pytest.mark.parametrize(
    ("typed", "uri"),
    [
        ("data/train.dvc", "dvc:///base/data/train"),
        ("file:///data/train.dvc", "dvc:///data/train"),
        ("DVC://data/train.dvc/", "dvc:///base/data/train"),
        ("dvc:///data/../a b/ü#1?x@y", "dvc:///a b/ü#1?x@y"),
        ("data/.dvc", "file:///base/data/.dvc"),
        ("data/train", "file:///base/data/train"),
    ],
)
def test_a_dvc_address_has_one_spelling(typed: str, uri: str) -> None:
    """Absolute, without the ending of the .dvc file; nothing quoted or dropped."""
    assert normalise_uri(typed, Path("/base")) == uri
    assert normalise_uri(uri) == uri


NAME = st.text(st.characters(exclude_characters="\0\x85", exclude_categories=["Cs", "Zl", "Zp"]), min_size=1, max_size=120)


@settings(deadline=None)  # importing DVC counts to the first
@given(deps=st.lists(NAME, max_size=2), outs=st.lists(NAME, min_size=1, max_size=3), command=NAME)
def test_a_lock_file_is_read_as_dvc_writes_it(
    tmp_path_factory: pytest.TempPathFactory, deps: list[str], outs: list[str], command: str
) -> None:
    """Whatever the names need: quotes, escapes, several lines. Dependencies and parameters named ``outs`` are no outputs."""
    folder = tmp_path_factory.mktemp("lock")
    stage = {
        "cmd": command,
        "deps": [{"path": path, "hash": "md5", "md5": "0" * 32} for path in deps],
        "params": {"params.yaml": {"outs": [{"path": "a parameter"}]}},
        "outs": [{"path": path, "hash": "md5", "md5": "0" * 32, "size": 1} for path in outs],
    }
    (folder / "dvc.lock").write_text(dumps_yaml({"schema": "2.0", "stages": {"first": stage, "second@1": stage}}), encoding="utf-8")

    assert locked_outputs(folder) == {os.path.normpath(path) for path in outs}
