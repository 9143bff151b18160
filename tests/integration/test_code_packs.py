"""Code kept in the object store: a run can be checked out, planned and repeated where its repository is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import lineage
from lineage.adapters.source import git_packs
from lineage.errors import IntegrityError
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.code_packs import code_missing, put_code
from lineage.reproduce.plan import make_plan
from lineage.wiring import wire


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout


def record() -> Run:
    with lineage.start_run(seed=1) as run:
        run.log({"loss": 1.0})
    return lineage.get(run.id)


@pytest.fixture
def ports(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Ports:
    """A store outside the repository, which is the current folder."""
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(repository)
    return wire()


def lose(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = repository.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    monkeypatch.chdir(elsewhere)
    shutil.rmtree(repository)


def chain(ports: Ports) -> dict[str, list[str]]:
    (index,) = (ports.folder / "code").glob("*.json")
    return dict(json.loads(index.read_bytes()))


def test_a_dirty_folder_comes_back_whole_without_its_repository(
    ports: Ports, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed, untracked, binary, executable and linked files, at their recorded commit; the repository is deleted."""
    (repository / "train.py").write_text("print('changed')\n")
    (repository / "new" / "deep").mkdir(parents=True)
    (repository / "new" / "deep" / "täble.bin").write_bytes(bytes(range(256)) * 30)
    (repository / "go.sh").write_text("#!/bin/sh\n")
    (repository / "go.sh").chmod(0o755)
    (repository / "link").symlink_to("new/deep")
    before = git(repository, "status", "--porcelain")
    run = record()
    assert git(repository, "status", "--porcelain") == before
    lose(repository, monkeypatch)

    assert code_missing(ports, run) is None
    put_code(ports, run, tmp_path / "out")

    assert run.code is not None
    assert git(tmp_path / "out", "rev-parse", "HEAD").strip() == run.code.snapshot_sha
    assert git(tmp_path / "out", "status", "--porcelain") == ""
    assert (tmp_path / "out" / "train.py").read_text() == "print('changed')\n"
    assert (tmp_path / "out" / "new" / "deep" / "täble.bin").read_bytes() == bytes(range(256)) * 30
    assert (tmp_path / "out" / "go.sh").stat().st_mode & 0o111
    assert (tmp_path / "out" / "link").readlink() == Path("new/deep")
    code = next(item for item in make_plan(ports, run).ingredients if item.name == "code")
    assert (code.status, code.found) == ("ready", f"snapshot {run.code.snapshot_sha[:10]} kept in the object store; its repository is lost")


def test_every_run_of_a_changing_repository_can_be_had(
    ports: Ports, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each snapshot adds what is new; a commit of the same files adds only the commit."""
    runs = [record()]
    for number in range(3):
        (repository / "train.py").write_text(f"print({number})\n")
        runs.append(record())
    git(repository, "commit", "--quiet", "--all", "--message", "the same files")
    runs.append(record())
    lose(repository, monkeypatch)

    assert [len(run.code_packs) for run in runs] == [1, 2, 3, 4, 5]
    sizes = [ports.objects.path_of(digest).stat().st_size for digest in runs[-1].code_packs]  # type: ignore[union-attr]  # it is there
    assert max(sizes[1:]) < sizes[0]
    for number, run in enumerate(runs):
        put_code(ports, run, tmp_path / f"out{number}")
    assert [(tmp_path / f"out{number}" / "train.py").read_text() for number in range(5)] == [
        "print('trained')\n",
        "print(0)\n",
        "print(1)\n",
        "print(2)\n",
        "print(2)\n",
    ]


@pytest.mark.parametrize("is_dirty", [False, True])
def test_unchanged_code_is_kept_once(ports: Ports, repository: Path, is_dirty: bool) -> None:
    """The same files on the same commit are the same snapshot, whenever it is taken."""
    if is_dirty:
        (repository / "train.py").write_text("print('changed')\n")

    first, second = record(), record()

    assert first.code_packs == second.code_packs
    assert len(first.code_packs) == 1
    assert first.code is not None
    assert second.code is not None
    assert first.code.snapshot_sha == second.code.snapshot_sha


def test_a_long_chain_begins_anew(ports: Ports, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check-out never needs more than 16 packs, however long the repository's history with us."""
    lengths = []
    for number in range(18):
        (repository / "train.py").write_text(f"print({number})\n")
        last = record()
        lengths.append(len(last.code_packs))

    assert lengths == [*range(1, 17), 1, 2]
    lose(repository, monkeypatch)
    put_code(ports, last, tmp_path / "out")
    assert (tmp_path / "out" / "train.py").read_text() == "print(17)\n"


def test_packs_that_are_gone_are_not_built_upon(ports: Ports, repository: Path) -> None:
    """A store that lost an object, or a damaged index: the next run is kept whole."""
    first = record()
    ports.objects.delete(first.code_packs[0])
    (repository / "train.py").write_text("print(1)\n")
    second = record()
    assert len(second.code_packs) == 1

    (index,) = (ports.folder / "code").glob("*.json")
    index.write_text('{"tree": 3')
    (repository / "train.py").write_text("print(2)\n")
    assert len(record().code_packs) == 1


def test_a_base_that_git_has_pruned_is_not_built_upon(
    ports: Ports, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References deleted, garbage collected: what the repository no longer knows cannot be left out."""
    (repository / "train.py").write_text("print(1)\n")
    record()
    for ref in git(repository, "for-each-ref", "--format=%(refname)", "refs/lineage").split():
        git(repository, "update-ref", "-d", ref)
    git(repository, "gc", "--quiet", "--prune=now")
    (repository / "train.py").write_text("print(2)\n")
    run = record()

    assert len(run.code_packs) == 1
    lose(repository, monkeypatch)
    put_code(ports, run, tmp_path / "out")
    assert (tmp_path / "out" / "train.py").read_text() == "print(2)\n"


def test_a_damaged_or_lost_pack_is_said(ports: Ports, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged: nothing is checked out. Lost: the plan is blocked before."""
    run = record()
    kept = ports.objects.path_of(run.code_packs[0])
    assert kept is not None
    lose(repository, monkeypatch)
    kept.chmod(0o644)
    content = kept.read_bytes()
    kept.write_bytes(content[:-30] + b"x" * 30)
    with pytest.raises(IntegrityError):
        put_code(ports, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert any("1 of its 1 packs are damaged" in blocker for blocker in make_plan(ports, run).blockers)

    kept.unlink()
    assert any("1 of its 1 packs are not in the object store" in blocker for blocker in make_plan(ports, run).blockers)


def test_code_too_large_to_keep_is_noted(ports: Ports, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on; its record says that the code is in its repository only."""
    monkeypatch.setattr(git_packs, "_LARGEST_BYTES", 10)

    run = record()

    assert run.code_packs == ()
    assert any(note.startswith("the code is kept in its repository only: CaptureError: the tracked files take") for note in run.notes)


def test_a_repository_with_longer_names_of_objects(ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SHA-256 repositories are kept and put back as such."""
    folder = tmp_path / "longer"
    folder.mkdir()
    git(folder, "init", "--quiet", "--object-format=sha256")
    (folder / "train.py").write_text("print(1)\n")
    monkeypatch.chdir(folder)
    run = record()
    lose(folder, monkeypatch)

    put_code(ports, run, tmp_path / "out")

    assert run.code is not None
    assert git(tmp_path / "out", "rev-parse", "HEAD").strip() == run.code.snapshot_sha
    assert len(run.code.snapshot_sha) == 64


def test_a_lost_repository_is_no_obstacle_for_a_reproduction(ports: Ports, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another folder, by the command: identical, and the reproduction keeps no second copy."""
    (repository / "train.py").write_text(
        "import lineage\nfrom helper import loss\nwith lineage.start_run(seed=1) as run:\n    run.log({'loss': loss()})\n"
    )
    (repository / "helper.py").write_text("def loss():\n    return 0.25\n")
    done = subprocess.run(["lineage", "run", "--", "python", "train.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = lineage.runs()
    lose(repository, monkeypatch)

    again = subprocess.run(["lineage", "reproduce", run.id, "--json"], capture_output=True, text=True, check=False)

    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert report["verdict"] == "identical"
    assert lineage.get(report["replica_id"]).code_packs == lineage.get(run.id).code_packs
