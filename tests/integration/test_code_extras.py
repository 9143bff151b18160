"""Code that one repository's snapshot misses: inner repositories, Git LFS, modules from elsewhere, edits during a run; code in no git."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import lineage
from lineage.adapters.source.git import GitSourceControl
from lineage.adapters.source.git_lfs import lfs_settings
from lineage.adapters.source.lfs_filter import pointer
from lineage.errors import IntegrityError
from lineage.model.code import CodeFile, InnerRepository
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.code_packs import code_missing, put_code
from lineage.record.literal_secrets import line_of_secret
from lineage.reproduce.plan import make_plan
from lineage.wiring import wire

TIMEOUT_S = 60


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S).stdout


def new_repository(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def record() -> Run:
    with lineage.start_run(seed=1) as run:
        run.log({"loss": 1.0})
    return lineage.get(run.id)


def execute(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env={**os.environ, **variables}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def reproduce(run: Run, folder: Path, **variables: str) -> dict[str, Any]:
    done = subprocess.run(
        ["lineage", "reproduce", run.id, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, **variables},
    )
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def the_run(ports: Ports) -> Run:
    (run,) = lineage.runs()
    return run


def ingredient(ports: Ports, run: Run, name: str) -> Any:
    return next(item for item in make_plan(ports, run).ingredients if item.name == name)


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ports:
    """A store outside all code."""
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
    return wire()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder in no repository."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def nested(repository: Path, tmp_path: Path) -> Path:
    """``repository`` with submodule ``lib``, which has submodule ``deep``."""
    deep = new_repository(tmp_path / "sources" / "deep", deep="VALUE = 1\n")
    lib = new_repository(tmp_path / "sources" / "lib", lib="VALUE = 1\n")
    git(lib, "submodule", "--quiet", "add", str(deep), "deep")
    git(lib, "commit", "--quiet", "--message", "with deep")
    git(repository, "submodule", "--quiet", "add", str(lib), "lib")
    git(repository, "submodule", "--quiet", "update", "--init", "--recursive")
    git(repository, "commit", "--quiet", "--message", "with lib")
    return repository


def test_submodules_are_captured_as_they_are(nested: Path, tmp_path: Path) -> None:
    """Changed, staged and untracked files of a submodule and of one inside it come back; nothing of them is touched."""
    source = GitSourceControl()
    clean = source.describe(nested, "a" * 32)
    (nested / "lib" / "lib.py").write_text("VALUE = 2\n")
    (nested / "lib" / "deep" / "new.py").write_text("NEW = 1\n")
    watched = [nested, nested / "lib", nested / "lib" / "deep"]
    before = [(git(folder, "status", "--porcelain=v2"), git(folder, "rev-parse", "HEAD"), git(folder, "reflog")) for folder in watched]

    code = source.describe(nested, "b" * 32)
    source.check_out(code, tmp_path / "out")
    source.check_out(clean, tmp_path / "clean")

    after = [(git(folder, "status", "--porcelain=v2"), git(folder, "rev-parse", "HEAD"), git(folder, "reflog")) for folder in watched]
    assert after == before
    assert [(item.path, item.is_submodule, item.code.is_dirty) for item in code.inner] == [("lib", True, True), ("lib/deep", True, True)]
    assert (clean.is_dirty, clean.left_out, clean.snapshot_sha) == (False, (), clean.git_sha)
    assert (code.is_dirty, code.left_out) == (True, ())
    assert (tmp_path / "out" / "lib" / "lib.py").read_text() == "VALUE = 2\n"
    assert (tmp_path / "out" / "lib" / "deep" / "new.py").read_text() == "NEW = 1\n"
    assert (tmp_path / "clean" / "lib" / "lib.py").read_text() == "VALUE = 1\n"
    assert not (tmp_path / "clean" / "lib" / "deep" / "new.py").exists()
    assert len({clean.tree_sha, code.tree_sha}) == 2
    again = source.describe(tmp_path / "out", "c" * 32)
    assert (again.tree_sha, again.content, again.is_dirty) == (code.tree_sha, code.content, False)


def test_a_submodule_that_was_not_fetched_misses_nothing(nested: Path) -> None:
    """The program saw an empty folder, and so does a reproduction."""
    git(nested, "submodule", "--quiet", "deinit", "--force", "lib")

    code = GitSourceControl().describe(nested, "a" * 32)

    assert (code.inner, code.left_out, code.is_dirty) == ((), (), False)


def test_lost_submodules_come_from_the_store(ports: Ports, nested: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository with everything in it is deleted; a lost pack of a submodule blocks, and is named."""
    (nested / "lib" / "deep" / "deep.py").write_text("VALUE = 3\n")
    monkeypatch.chdir(nested)
    run = record()
    monkeypatch.chdir(elsewhere)
    shutil.rmtree(nested)

    assert code_missing(ports, run) is None
    put_code(ports, run, elsewhere / "out")

    assert (elsewhere / "out" / "lib" / "lib.py").read_text() == "VALUE = 1\n"
    assert (elsewhere / "out" / "lib" / "deep" / "deep.py").read_text() == "VALUE = 3\n"
    ports.objects.delete(run.kept_code.inner["lib/deep"][0])
    assert any("lib/deep: commit" in blocker for blocker in make_plan(ports, run).blockers)


@pytest.mark.parametrize("has_commit", [False, True])
def test_a_clone_beside_the_code_is_captured(
    ports: Ports, repository: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, has_commit: bool
) -> None:
    """No submodule, not ignored: captured and kept like one; committed or not."""
    inner = repository / "third_party" / "tool"
    if has_commit:
        new_repository(inner, tool="x = 1\n")
    else:
        inner.mkdir(parents=True)
        git(inner, "init", "--quiet")
    (inner / "tool.py").write_text("x = 2\n")
    (repository / "new.py").write_text("new\n")
    monkeypatch.chdir(repository)
    run = record()
    monkeypatch.chdir(elsewhere)
    shutil.rmtree(repository)

    put_code(ports, run, elsewhere / "out")

    assert run.code is not None
    assert [(item.path, item.is_submodule) for item in run.code.inner] == [("third_party/tool", False)]
    assert run.code.left_out == ()
    assert (elsewhere / "out" / "third_party" / "tool" / "tool.py").read_text() == "x = 2\n"
    assert (elsewhere / "out" / "new.py").read_text() == "new\n"


def test_a_changed_submodule_is_other_code(ports: Ports, nested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fingerprints tell two runs apart that differ in a submodule, or in a clone beside the code, only."""
    monkeypatch.chdir(nested)
    runs = [record()]
    (nested / "lib" / "deep" / "deep.py").write_text("VALUE = 2\n")
    runs.append(record())
    clone = new_repository(nested / "clone", tool="x = 1\n")
    runs.append(record())
    (clone / "tool.py").write_text("x = 2\n")
    runs.append(record())
    runs.append(record())

    changed = [lineage.diff(first, second).code for first, second in pairwise(run.id for run in runs)]
    assert [[(file.status, file.path) for file in code.files or ()] for code in changed] == [
        [("modified", "lib/deep/deep.py")],
        [("added", "clone/")],
        [("modified", "clone/tool.py")],
        [],
    ]
    contents = [run.code.content for run in runs if run.code is not None]
    assert len(set(contents[:4])) == 4
    assert contents[3] == contents[4]


def make_lfs(repository: Path, content: bytes) -> str:
    """Commit ``weights.bin`` as git-lfs does, with the content in the folder."""
    sha256 = hashlib.sha256(content).hexdigest()
    (repository / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (repository / "weights.bin").write_bytes(pointer(sha256, len(content)))
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "weights")
    (repository / "weights.bin").write_bytes(content)
    git(repository, *lfs_settings(), "add", "weights.bin")  # git knows the file's size now, as after a check-out by git-lfs
    assert git(repository, *lfs_settings(), "status", "--porcelain") == ""
    return f"sha256:{sha256}"


def test_the_content_behind_an_lfs_pointer_comes_back(
    ports: Ports, repository: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without git-lfs: the tree keeps pointers, the store contents, of a changed file, too; a check-out has what the program saw."""
    digest = make_lfs(repository, b"a" * 5000)
    monkeypatch.chdir(repository)
    clean = record()
    (repository / "weights.bin").write_bytes(b"b" * 300_000)
    objects = sorted((repository / ".git" / "lfs").rglob("*"))
    changed = record()
    assert sorted((repository / ".git" / "lfs").rglob("*")) == objects
    monkeypatch.chdir(elsewhere)
    shutil.rmtree(repository)

    put_code(ports, clean, elsewhere / "clean")
    put_code(ports, changed, elsewhere / "changed")

    assert clean.code is not None
    assert changed.code is not None
    assert (clean.code.is_dirty, changed.code.is_dirty) == (False, True)
    assert clean.kept_code.large == (CodeFile(path="weights.bin", digest=digest, size_bytes=5000),)
    assert (elsewhere / "clean" / "weights.bin").read_bytes() == b"a" * 5000
    assert (elsewhere / "changed" / "weights.bin").read_bytes() == b"b" * 300_000
    pointed = git(elsewhere / "changed", "show", "HEAD:weights.bin").encode()
    assert pointed == pointer(hashlib.sha256(b"b" * 300_000).hexdigest(), 300_000)
    again = GitSourceControl().describe(elsewhere / "changed", "c" * 32)
    assert (again.tree_sha, again.is_dirty) == (changed.code.tree_sha, False)


def test_a_pointer_in_the_folder_stays_one(ports: Ports, repository: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where contents were never fetched, the program read the pointer, and a reproduction gives it the same."""
    make_lfs(repository, b"a" * 5000)
    (repository / "weights.bin").unlink()
    git(repository, "checkout", "--quiet", "--", "weights.bin")
    monkeypatch.chdir(repository)
    run = record()

    put_code(ports, run, elsewhere / "out")

    assert run.kept_code.large == ()
    assert not any("LFS" in note for note in run.notes)
    assert (elsewhere / "out" / "weights.bin").read_bytes() == pointer(hashlib.sha256(b"a" * 5000).hexdigest(), 5000)


def test_lfs_contents_too_large_to_keep_are_named(ports: Ports, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on; its record says which."""
    from lineage.record import code_packs

    monkeypatch.setattr(code_packs, "_LARGEST_LFS_BYTES", 4999)
    make_lfs(repository, b"a" * 5000)
    monkeypatch.chdir(repository)

    run = record()

    assert run.kept_code.large == ()
    assert any("1 Git LFS files are not kept" in note and "weights.bin" in note for note in run.notes)


SCRIPT = """
import lineage
import warnings
warnings.simplefilter("ignore")
from helper import loss
with lineage.start_run(seed=1) as run:
    run.log({"loss": loss()})
"""


@pytest.mark.parametrize("wrapped", [False, True])
def test_without_git_the_script_and_its_modules_are_kept(ports: Ports, elsewhere: Path, tmp_path: Path, wrapped: bool) -> None:
    """A folder in no repository, a module from ``PYTHONPATH``: all deleted, and reproduced identical from the store."""
    work, library = elsewhere / "work", elsewhere / "library"
    (work / "package").mkdir(parents=True)
    library.mkdir()
    (work / "train.py").write_text(SCRIPT)
    (work / "helper.py").write_text("from package.inner import VALUE\nimport far\ndef loss():\n    return VALUE + far.VALUE\n")
    (work / "package" / "__init__.py").write_text("")
    (work / "package" / "inner.py").write_text("VALUE = 0.25\n")
    (library / "far.py").write_text("VALUE = 0.5\n")
    start = ["lineage", "run", "--"] if wrapped else []
    execute(work, *start, "python", "train.py", PYTHONPATH=str(library))
    run = the_run(ports)
    assert run.code is None
    assert run.loaded is not None
    assert run.loaded.how == "imported"
    assert [file.path for file in run.loaded.outside] == [
        "library/far.py",
        "work/helper.py",
        "work/package/__init__.py",
        "work/package/inner.py",
        "work/train.py",
    ]
    code = ingredient(ports, run, "code")
    assert (code.status, code.severity) == ("ready", "warning")
    assert "files that are no modules" in code.detail[0]
    shutil.rmtree(work)
    shutil.rmtree(library)

    report = reproduce(run, tmp_path)

    assert report["verdict"] == "identical"
    replica = lineage.get(report["replica_id"])
    assert replica.loaded is not None
    assert replica.loaded.files == run.loaded.files
    ports.objects.delete(run.loaded.outside[0].digest)
    assert any("library/far.py" in blocker for blocker in make_plan(ports, run).blockers)


def test_a_script_that_never_imports_this_package_is_read(ports: Ports, elsewhere: Path) -> None:
    """``lineage run`` follows its import statements, relative ones too, and the plan says what that can miss."""
    (elsewhere / "package").mkdir()
    (elsewhere / "package" / "__init__.py").write_text("")
    (elsewhere / "package" / "first.py").write_text("from . import second\n")
    (elsewhere / "package" / "second.py").write_text("import json, numpy\n")
    (elsewhere / "unused.py").write_text("")
    (elsewhere / "train.py").write_text("def main():\n    import package.first\nmain()\n")

    execute(elsewhere, "lineage", "run", "--", "python", "-u", "train.py", "--rate", "0.1")

    run = the_run(ports)
    assert run.loaded is not None
    assert run.loaded.how == "import statements"
    assert [file.path for file in run.loaded.outside] == ["package/__init__.py", "package/first.py", "package/second.py", "train.py"]
    assert "by a computed name" in ingredient(ports, run, "code").detail[0]


@pytest.fixture
def outside(repository: Path, tmp_path: Path) -> Path:
    """``repository`` uses a module beside it, one that git ignores, and its own; the folder of the module beside it is returned."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "far.py").write_text("VALUE = 0.5\n")
    (repository / ".gitignore").write_text(".lineage/\n__pycache__/\n_version.py\n")
    (repository / "_version.py").write_text("VALUE = 0.125\n")
    (repository / "helper.py").write_text("import far, _version\ndef loss():\n    return far.VALUE + _version.VALUE\n")
    (repository / "train.py").write_text(SCRIPT)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "train")
    return library


def test_modules_from_outside_and_ignored_ones_are_put_back(ports: Ports, repository: Path, outside: Path, tmp_path: Path) -> None:
    """Changed since: the plan names the file, the recorded content runs, and the reproduction has the same code."""
    execute(repository, "python", "train.py", PYTHONPATH=str(outside))
    run = the_run(ports)
    assert run.loaded is not None
    assert [file.path for file in run.loaded.outside] == ["far.py"]
    assert [file.path for file in run.loaded.inside] == ["_version.py"]
    assert run.loaded.edited == ()
    assert ingredient(ports, run, "modules").severity == "none"
    (outside / "far.py").write_text("VALUE = 99\n")
    (repository / "_version.py").unlink()

    modules = ingredient(ports, run, "modules")
    report = reproduce(run, tmp_path, PYTHONPATH=str(outside))

    assert (modules.status, modules.severity) == ("ready", "note")
    assert f"{outside / 'far.py'} is another file now" in modules.detail[0]
    assert report["verdict"] == "identical"
    assert lineage.get(report["replica_id"]).fingerprint == run.fingerprint


def test_another_module_outside_is_a_difference(ports: Ports, repository: Path, outside: Path) -> None:
    """The repository is the same, a file beside it is not: ``diff`` names it."""
    execute(repository, "python", "train.py", PYTHONPATH=str(outside))
    (outside / "far.py").write_text("VALUE = 0.75\n")
    execute(repository, "python", "train.py", PYTHONPATH=str(outside))
    second, first = lineage.runs()

    code = lineage.diff(first.id, second.id).code

    assert (code.is_same, [(file.status, file.path) for file in code.files or ()]) == (False, [("modified", "far.py")])
    assert first.fingerprint != second.fingerprint


def test_a_script_outside_the_repository_runs_again(ports: Ports, repository: Path, outside: Path, tmp_path: Path) -> None:
    """A command that names a script beside the repository, by a relative path: its kept copy runs."""
    (outside / "tool.py").write_text(SCRIPT)
    execute(repository, "python", os.path.relpath(outside / "tool.py", repository), PYTHONPATH=str(repository))
    run = the_run(ports)
    (outside / "tool.py").write_text("raise SystemExit('not this one')\n")

    assert reproduce(run, tmp_path, PYTHONPATH=str(repository))["verdict"] == "identical"


EDITING = """
import warnings
import early
import lineage
warnings.simplefilter("ignore")
with lineage.start_run(seed=1) as run:
    if run.reproduced is None:
        for name in ("early", "late", "later"):
            with open(f"{name}.py", "w") as stream:
                stream.write(f"VALUE = 2  # {name}\\n")
    import late
    import later
    if run.reproduced is None:
        with open("later.py", "w") as stream:
            stream.write("VALUE = 3\\n")
    run.log({"loss": early.VALUE * 100 + late.VALUE * 10 + later.VALUE})
"""


def test_files_edited_while_the_run_is_going(ports: Ports, repository: Path, tmp_path: Path) -> None:
    """What was loaded counts, whether the edit came before or after it; the record, the plan and the report name the files."""
    for name in ("early", "late", "later", "never"):
        (repository / f"{name}.py").write_text("VALUE = 1\n")
    (repository / "train.py").write_text(EDITING)

    execute(repository, "python", "train.py")

    run = the_run(ports)
    assert run.loaded is not None
    assert run.loaded.edited == (
        "early.py (after it was loaded)",
        "late.py (before it was loaded)",
        "later.py (before it was loaded, and after)",
    )
    kept = {file.path: ports.objects.get_bytes(file.digest) for file in run.loaded.inside}
    assert kept == {"late.py": b"VALUE = 2  # late\n", "later.py": b"VALUE = 2  # later\n"}
    assert any(note.startswith("edited while the run was going: early.py") for note in run.notes)
    report = reproduce(run, tmp_path)
    assert report["verdict"] == "identical"
    modules = next(item for item in report["plan"]["ingredients"] if item["name"] == "modules")
    assert modules["detail"][0] == "edited while the run was going: early.py (after it was loaded)"
    assert lineage.get(report["replica_id"]).fingerprint == run.fingerprint


def test_a_file_that_keeps_its_times_is_seen_to_be_another(ports: Ports, repository: Path) -> None:
    """Moved into place with an old time of modification and the same size."""
    (repository / "late.py").write_text("VALUE = 1\n")
    os.utime(repository / "late.py", (1_000_000_000, 1_000_000_000))
    (repository / "train.py").write_text(
        "import os, lineage\n"
        "with lineage.start_run(seed=1) as run:\n"
        "    facts = os.stat('late.py')\n"
        "    open('late.tmp', 'w').write('VALUE = 2\\n')\n"
        "    os.utime('late.tmp', ns=(facts.st_atime_ns, facts.st_mtime_ns))\n"
        "    os.replace('late.tmp', 'late.py')\n"
        "    import late\n"
        "    assert late.VALUE == 2\n"
    )

    execute(repository, "python", "-B", "train.py")

    loaded = the_run(ports).loaded
    assert loaded is not None
    assert loaded.edited == ("late.py (before it was loaded)",)


def test_a_touched_file_is_no_edit(ports: Ports, repository: Path) -> None:
    """Another time, the same content."""
    (repository / "early.py").write_text("VALUE = 1\n")
    (repository / "late.py").write_text("VALUE = 1\n")
    (repository / "train.py").write_text(
        "import os, early, lineage\n"
        "with lineage.start_run(seed=1) as run:\n"
        "    os.utime('early.py')\n"
        "    os.utime('late.py')\n"
        "    import late\n"
    )

    execute(repository, "python", "train.py")

    assert the_run(ports).loaded is None


def test_a_plain_run_records_no_loose_code(ports: Ports, repository: Path) -> None:
    """All modules are the snapshot's, or installed: nothing is added to the record, and no module's loader changes but our own code's."""
    (repository / "helper.py").write_text("VALUE = 1\n")
    (repository / "train.py").write_text(
        "import lineage\nwith lineage.start_run(seed=1):\n"
        "    import helper, wsgiref.util\n    print(type(wsgiref.util.__loader__).__module__)\n"
    )

    done = execute(repository, "python", "train.py")

    assert the_run(ports).loaded is None
    assert "lineage" not in done.stdout


@pytest.mark.parametrize("path", ["../out.py", "/etc/out.py", "a/../../out.py", ".git/hooks/post-checkout", "lib/.git/config"])
def test_a_path_that_leads_out_is_no_record(path: str) -> None:
    """A stranger's record cannot name a place outside the workspace, or inside git's own folder."""
    code = GitSourceControl  # the snapshot does not matter
    with pytest.raises(ValidationError, match="inside the code's folder"):
        CodeFile(path=path, digest="sha256:" + "0" * 64, size_bytes=1)
    with pytest.raises(ValidationError, match="inside the code's folder"):
        InnerRepository.model_validate({"path": path, "is_submodule": True, "code": code})


def test_a_link_cannot_lead_an_inner_repository_out(nested: Path, tmp_path: Path) -> None:
    """A snapshot with a link where the record puts an inner repository: refused, nothing is written behind the link."""
    source = GitSourceControl()
    (tmp_path / "victim").mkdir()
    (nested / "link").symlink_to(tmp_path / "victim")
    code = source.describe(nested, "a" * 32)
    forged = code.model_copy(update={"inner": (code.inner[0].model_copy(update={"path": "link/x"}),)})

    with pytest.raises(IntegrityError, match="a link that leads out"):
        source.check_out(forged, tmp_path / "out")

    assert list((tmp_path / "victim").iterdir()) == []


def test_older_records_are_read(ports: Ports, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record without the newer fields, as earlier releases wrote it, has the same fingerprint."""
    monkeypatch.chdir(repository)
    run = record()
    document = run.model_dump(mode="json", exclude={"kept_code", "loaded", "duration_s", "fingerprint"})
    del document["code"]["inner"]

    assert Run.model_validate(document).fingerprint == run.model_copy(update={"loaded": None}).fingerprint


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import os\nAPI_KEY = 'abcdefgh12'\n", 2),
        ("connect(password='correcthorse')\n", 1),
        ("CONFIG = {'a': 1,\n  'auth_token': b'abcdefgh12'}\n", 2),
        ("config['secret'] = 'abcdefgh12'\n", 1),
        ("def f(*, password='correcthorse'): ...\n", 1),
        ("\n\nURL = 'postgresql://kim:correct@db/x'\n", 3),
        ("x = 'value-of-a-variable'\n", 1),
        ("pad_token = '<pad-pad>'\nkey = 'a longer sentence'\ntoken = read('tokens.txt')\n", None),
        ("URL = f'postgresql://{user}:{password}@db'\nmax_tokens = 'abcdefgh12'\n", None),
        ("def key(:", None),
    ],
)
def test_literal_secrets_are_seen(monkeypatch: pytest.MonkeyPatch, text: str, line: int | None) -> None:
    """Under a secret's name, in an address, or the value of a secret variable; programs that only speak of tokens are kept."""
    monkeypatch.setenv("SOME_API_KEY", "value-of-a-variable")

    assert line_of_secret(text.encode()) == line


def test_a_module_with_a_secret_is_not_kept(ports: Ports, repository: Path) -> None:
    """Ignored by git because of what is in it: no byte of it reaches the store; the record and the plan name it."""
    (repository / ".gitignore").write_text("__pycache__/\nlocal.py\n")
    (repository / "local.py").write_text("PASSWORD = 'correcthorsebattery'\n")
    (repository / "train.py").write_text("import lineage, local\nwith lineage.start_run(seed=1):\n    pass\n")

    execute(repository, "python", "train.py")

    run = the_run(ports)
    assert run.loaded is not None
    assert (run.loaded.inside, run.loaded.not_kept) == ((), ("local.py: line 1 holds what looks like a secret",))
    assert not any(b"correcthorse" in file.read_bytes() for file in ports.folder.rglob("*") if file.is_file())
    modules = ingredient(ports, run, "modules")
    assert (modules.status, modules.severity) == ("missing", "warning")
    assert "local.py" in modules.detail[0]
