"""Code captured from real repositories, without touching them, and put back."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lineage.adapters.source.git import GitSourceControl
from lineage.errors import CaptureError, IntegrityError, NotFound
from lineage.model.code import CodeVersion

RUN = "0123456789abcdef0123456789abcdef"


def git(folder: Path, *arguments: str, given: bytes | None = None) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(errors="surrogateescape")


def describe(folder: Path, run: str = RUN) -> CodeVersion:
    return GitSourceControl().describe(folder, run)


def check_out(code: CodeVersion, folder: Path) -> Path:
    GitSourceControl().check_out(code, folder)
    return folder


def working_files(folder: Path) -> dict[str, tuple[str, str]]:
    """Every file but git's own: name to (kind and executable bit, content or target)."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name == ".git" or name.startswith(".git/"):
            continue
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_file():
            found[name] = ("program" if os.access(path, os.X_OK) else "file", hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def make_every_kind_of_change(folder: Path) -> None:
    """Staged, unstaged, both, untracked, deleted, mode, link, binary, odd names, renamed; and an ignored file."""
    for name in ("staged.py", "both.py", "unstaged.py", "deleted.py", "removed.py", "mode.sh", "old name.py", "kind"):
        (folder / name).write_text(f"{name} 1\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "second")
    (folder / "staged.py").write_text("staged 2\n")
    (folder / "both.py").write_text("both 2\n")
    git(folder, "add", "staged.py", "both.py")
    (folder / "both.py").write_text("both 3\n")
    (folder / "unstaged.py").write_text("unstaged 2\n")
    (folder / "deleted.py").unlink()
    git(folder, "rm", "--quiet", "removed.py")
    (folder / "mode.sh").chmod(0o755)
    git(folder, "mv", "old name.py", "new name.py")
    (folder / "kind").unlink()
    (folder / "kind").symlink_to("train.py")
    (folder / "intended.py").write_text("intended\n")
    git(folder, "add", "--intent-to-add", "intended.py")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "駐車場 ü\t\"quoted\" 'x' *[a]?.txt").write_text("odd name")
    (folder / "deep" / "er" / ":(exclude)magic").write_text("a name that looks like a pattern")
    (folder / "line\nbreak.txt").write_text("odder")
    (folder / "-leading.txt").write_text("dash")
    (folder / "binary.bin").write_bytes(bytes(range(256)) * 40 + b"\r\n\n\r")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "empty").write_text("")
    (folder / ".gitignore").write_text(".lineage/\n*.ignored\n")
    (folder / "x.ignored").write_text("not kept")
    (folder / ".lineage").mkdir()
    (folder / ".lineage" / "lineage.sqlite").write_text("not kept")


def state_of(folder: Path) -> dict[str, object]:
    """What a capture must leave alone: bytes and times of git's own files, what git says, and every working file."""
    inner = Path(git(folder, "rev-parse", "--absolute-git-dir").strip())
    watched = [inner / name for name in ("index", "HEAD", "config", "ORIG_HEAD", "logs/HEAD", "logs/refs/heads/main", "refs/heads/main")]
    return {
        "files": {path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in watched if path.exists()},
        "times": {str(path): path.lstat().st_mtime_ns for path in sorted(folder.rglob("*")) if ".git" not in path.parts},
        "working": working_files(folder),
        "refs": [line for line in git(folder, "for-each-ref").splitlines() if "refs/lineage/" not in line],
        "stash": git(folder, "stash", "list"),
        "reflog": git(folder, "reflog"),
        "branches": git(folder, "branch", "--all", "--verbose"),
        "status": subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch"],
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            check=True,
        ).stdout,
    }


def test_a_capture_touches_nothing(repository: Path) -> None:
    """Index bytes and times, HEAD, reflog, configuration, refs, stash, status and every working file: as before."""
    make_every_kind_of_change(repository)
    before = state_of(repository)

    describe(repository)
    describe(repository, "f" * 32)

    assert state_of(repository) == before
    assert git(repository, "for-each-ref", "--format=%(refname)", "refs/lineage").split() == [
        f"refs/lineage/{RUN}",
        f"refs/lineage/{'f' * 32}",
    ]


def test_every_kind_of_change_comes_back(repository: Path, tmp_path: Path) -> None:
    """The snapshot holds exactly the files of the folder: content, links, executable bits, odd names; ignored files are left out."""
    make_every_kind_of_change(repository)

    code = describe(repository)
    expected = {name: facts for name, facts in working_files(repository).items() if not name.endswith((".ignored", ".sqlite"))}

    assert working_files(check_out(code, tmp_path / "out")) == expected
    assert code.is_dirty
    assert code.git_sha == git(repository, "rev-parse", "HEAD").strip()
    assert code.tree_sha == git(repository, "rev-parse", f"{code.snapshot_sha}^{{tree}}").strip()
    assert git(repository, "rev-parse", f"{code.snapshot_sha}^").strip() == code.git_sha
    assert code.left_out == ()
    assert {"both.py", "deleted.py", "removed.py", "mode.sh", "kind", "line\nbreak.txt", "intended.py", "old name.py"} <= set(code.changed)
    assert not any("ignored" in name or "sqlite" in name for name in code.changed)


def test_a_clean_folder_is_its_commit(repository: Path, tmp_path: Path) -> None:
    """Nothing changed: the snapshot is HEAD itself, and it is kept under the run's ref."""
    (repository / "x.pyc").touch()
    (repository / ".git" / "info" / "exclude").write_text("*.pyc\n")

    code = describe(repository)
    head = git(repository, "rev-parse", "HEAD").strip()

    assert (code.git_sha, code.snapshot_sha, code.branch, code.is_dirty, code.changed) == (head, head, "main", False, ())
    assert git(repository, "rev-parse", str(code.ref)).strip() == head
    assert sorted(working_files(check_out(code, tmp_path / "out"))) == [".gitignore", "README.md", "train.py"]


def test_the_same_files_have_the_same_tree(repository: Path) -> None:
    """Committing what was captured dirty changes the commit, not the tree: code is compared by tree."""
    (repository / "train.py").write_text("print('better')\n")
    dirty = describe(repository)
    git(repository, "commit", "--quiet", "--all", "--message", "better")
    clean = describe(repository)

    assert dirty.tree_sha == clean.tree_sha
    assert dirty.snapshot_sha != clean.snapshot_sha == clean.git_sha
    assert (dirty.is_dirty, clean.is_dirty) == (True, False)


def test_a_file_edited_in_the_second_of_the_commit_is_seen(repository: Path) -> None:
    """Same size and time as the index knows: git's own rule for such files (index not newer than the file) holds for its copy too."""
    git(repository, "config", "core.trustctime", "false")
    script, index = repository / "train.py", repository / ".git" / "index"
    known = script.stat().st_mtime_ns - 100 * 10**9
    os.utime(script, ns=(known, known))
    git(repository, "update-index", "--refresh")
    script.write_text("print('TRAINED')\n")
    for path in (script, index):
        os.utime(path, ns=(known, known))

    code = describe(repository)

    assert git(repository, "show", f"{code.snapshot_sha}:train.py") == "print('TRAINED')\n"


def test_a_capture_starts_anywhere_inside(repository: Path) -> None:
    """From a subfolder the whole repository is captured."""
    (repository / "sub" / "folder").mkdir(parents=True)
    (repository / "sub" / "folder" / "x.py").write_text("x\n")
    (repository / "top.py").write_text("top\n")

    code = describe(repository / "sub" / "folder")

    assert set(code.changed) == {"sub/folder/x.py", "top.py"}
    assert code.root == str(repository)


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_changes_that_git_was_told_to_overlook_are_captured(repository: Path, tmp_path: Path, mark: str) -> None:
    """``git status`` hides such a file, but it is the one that ran. The user's index keeps its mark."""
    git(repository, "update-index", mark, "train.py")
    clean = describe(repository)
    (repository / "train.py").write_text("print('hidden change')\n")
    before = state_of(repository)

    code = describe(repository)

    assert not clean.is_dirty
    assert code.is_dirty
    assert code.changed == ("train.py",)
    assert (check_out(code, tmp_path / "out") / "train.py").read_text() == "print('hidden change')\n"
    assert state_of(repository) == before
    assert git(repository, "ls-files", "-v", "train.py")[0] != "H"


def test_a_sparse_checkout_keeps_what_it_does_not_show(repository: Path, tmp_path: Path) -> None:
    """Files that the user chose not to have in the folder are those of HEAD, not deletions."""
    git(repository, "sparse-checkout", "set", "--no-cone", "train.py", ".gitignore")
    assert not (repository / "README.md").exists()
    (repository / "train.py").write_text("changed\n")

    out = check_out(describe(repository), tmp_path / "out")

    assert (out / "README.md").exists()
    assert (out / "train.py").read_text() == "changed\n"


def test_large_untracked_files_are_left_out_and_named(repository: Path, tmp_path: Path) -> None:
    """Data beside the code does not end up in git; the record says what is missing."""
    (repository / "weights [1].pth").write_bytes(b"x" * 2000)
    (repository / "small.py").write_text("x\n")
    source = GitSourceControl(largest_untracked_bytes=1000)

    code = source.describe(repository, RUN)
    source.check_out(code, tmp_path / "out")

    assert code.left_out == ("weights [1].pth",)
    assert code.is_dirty
    assert "weights [1].pth" in code.changed
    assert sorted(working_files(tmp_path / "out")) == [".gitignore", "README.md", "small.py", "train.py"]


def test_only_a_large_untracked_file_makes_no_commit(repository: Path) -> None:
    """HEAD is the snapshot then; the folder still counts as changed."""
    (repository / "weights.pth").write_bytes(b"x" * 2000)

    code = GitSourceControl(largest_untracked_bytes=1000).describe(repository, RUN)

    assert code.snapshot_sha == code.git_sha
    assert (code.is_dirty, code.left_out) == (True, ("weights.pth",))


def test_many_large_files_are_no_problem(repository: Path) -> None:
    """3000 long names do not overflow a command line."""
    folder = repository / "a-rather-long-folder-name-for-pictures" / "and-another-level-of-it"
    folder.mkdir(parents=True)
    for number in range(3000):
        (folder / f"picture-with-a-long-name-{number:040d}.jpg").write_bytes(b"xx")

    code = GitSourceControl(largest_untracked_bytes=1).describe(repository, RUN)

    assert len(code.left_out) == 3000
    assert len(code.changed) == 100
    assert code.snapshot_sha == code.git_sha


def test_a_repository_inside_that_cannot_be_captured_is_named(repository: Path, tmp_path: Path) -> None:
    """A folder with git's own folder in it that git cannot read: it is said, and the rest is captured. (Others: ``test_code_extras``.)"""
    inner = repository / "third_party" / "lib"
    inner.mkdir(parents=True)
    git(inner, "init", "--quiet")
    (inner / "lib.py").write_text("x = 1\n")
    (inner / ".git" / "index").write_text("damaged")
    (repository / "new.py").write_text("new\n")

    code = describe(repository)

    assert code.left_out == ("third_party/lib/",)
    assert code.is_dirty
    assert sorted(working_files(check_out(code, tmp_path / "out"))) == [".gitignore", "README.md", "new.py", "train.py"]


def test_a_detached_head(repository: Path, tmp_path: Path) -> None:
    """Without a branch the commit is recorded and ``branch`` is empty."""
    git(repository, "checkout", "--quiet", "--detach")
    (repository / "train.py").write_text("detached\n")

    code = describe(repository)

    assert code.branch is None
    assert code.git_sha == git(repository, "rev-parse", "HEAD").strip()
    assert (check_out(code, tmp_path / "out") / "train.py").read_text() == "detached\n"


@pytest.mark.parametrize("files", [{}, {"train.py": "x\n"}])
def test_before_the_first_commit(tmp_path: Path, files: dict[str, str]) -> None:
    """A repository without any commit, even an empty one, has a snapshot without parent."""
    folder = tmp_path / "new"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for name, text in files.items():
        (folder / name).write_text(text)

    code = describe(folder)

    assert (code.git_sha, code.branch) == (None, "main")
    assert code.is_dirty == bool(files)
    assert git(folder, "rev-list", "--count", code.snapshot_sha).strip() == "1"
    assert {name: (check_out(code, tmp_path / "out") / name).read_text() for name in files} == files


def test_a_linked_worktree(repository: Path, tmp_path: Path) -> None:
    """Its own files and branch are captured; it can go away afterwards, the repository keeps the snapshot."""
    other = tmp_path / "other"
    git(repository, "worktree", "add", "--quiet", "-b", "feature", str(other))
    (other / "train.py").write_text("in the worktree\n")
    before = state_of(repository), state_of(other)

    code = describe(other)

    assert (state_of(repository), state_of(other)) == before
    assert code.branch == "feature"
    assert code.root == str(other)
    assert (check_out(code, tmp_path / "out") / "train.py").read_text() == "in the worktree\n"
    git(repository, "worktree", "remove", "--force", str(other))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        assert (check_out(code, tmp_path / "again") / "train.py").read_text() == "in the worktree\n"


def test_a_shallow_repository(repository: Path, tmp_path: Path) -> None:
    """A checkout of depth 1, as build servers make it, is captured and put back, uncommitted changes included."""
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "second")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", repository.as_uri(), str(shallow))
    (shallow / "train.py").write_text("on the build server\n")

    code = describe(shallow)

    assert (check_out(code, tmp_path / "out") / "train.py").read_text() == "on the build server\n"


def test_a_repository_with_long_hashes(tmp_path: Path) -> None:
    """Repositories in git's SHA-256 format work the same."""
    folder = tmp_path / "long"
    folder.mkdir()
    git(folder, "init", "--quiet", "--object-format=sha256")
    (folder / "train.py").write_text("x\n")

    code = describe(folder)

    assert len(code.snapshot_sha) == 64
    assert (check_out(code, tmp_path / "out") / "train.py").read_text() == "x\n"


def test_a_split_index(repository: Path, tmp_path: Path) -> None:
    """An index in two files (``core.splitIndex``) is copied whole."""
    git(repository, "update-index", "--split-index")
    (repository / "staged.py").write_text("staged\n")
    git(repository, "add", "staged.py")
    (repository / "untracked.py").write_text("untracked\n")
    before = state_of(repository)

    out = check_out(describe(repository), tmp_path / "out")

    assert {"staged.py", "untracked.py", "train.py"} <= set(working_files(out))
    assert state_of(repository) == before


def test_while_git_holds_the_index(repository: Path, tmp_path: Path) -> None:
    """Another git command at work (``index.lock``) neither stops a capture nor loses its lock."""
    lock = repository / ".git" / "index.lock"
    lock.write_text("held")
    (repository / "train.py").write_text("meanwhile\n")

    code = describe(repository)

    assert lock.read_text() == "held"
    assert (check_out(code, tmp_path / "out") / "train.py").read_text() == "meanwhile\n"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://kim:hunter22@example.org/team/repo.git", "https://example.org/team/repo.git"),
        ("https://hunter22@example.org:8443/repo.git", "https://example.org:8443/repo.git"),
        ("https://example.org/repo.git?private_token=hunter22", "https://example.org/repo.git"),
        ("ssh://git:hunter22@example.org/repo.git", "ssh://example.org/repo.git"),
        ("ftps://kim:hunter22@example.org/repo.git", "ftps://example.org/repo.git"),
        ("git@example.org:team/repo.git", "git@example.org:team/repo.git"),
        ("../elsewhere", "../elsewhere"),
    ],
)
def test_the_remote_is_recorded_without_credentials(repository: Path, url: str, kept: str) -> None:
    """User names, passwords and tokens in the address of ``origin`` never reach a record."""
    git(repository, "remote", "add", "origin", url)

    code = describe(repository)

    assert code.repository == kept
    assert "hunter22" not in code.model_dump_json()


def test_without_a_remote_the_folder_is_named(repository: Path) -> None:
    """A repository that lives on one machine is known by its folder."""
    assert describe(repository).repository == str(repository)


def install_hooks(folder: Path, trace: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-commit", "post-commit", "post-merge"):
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> '{trace}'\n")
        (folder / name).chmod(0o755)


def test_no_hook_runs(repository: Path, tmp_path: Path) -> None:
    """Neither the repository's hooks nor those of the user's template or ``core.hooksPath`` run: on capture or on check-out."""
    trace = tmp_path / "trace"
    install_hooks(repository / ".git" / "hooks", trace)
    install_hooks(tmp_path / "template" / "hooks", trace)
    (repository / "train.py").write_text("hooked\n")
    config = Path(os.environ["HOME"]) / "hooked"
    config.write_text(Path(os.environ["GIT_CONFIG_GLOBAL"]).read_text() + f"[init]\n\ttemplateDir = {tmp_path / 'template'}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        check_out(describe(repository), tmp_path / "out")

        assert not trace.exists()
        git(repository, "commit", "--quiet", "--all", "--message", "the hooks do work")
        assert trace.exists()


def test_inside_a_hook_the_folders_repository_counts(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git names its own repository in variables while a hook runs; a run started there is about the folder it is in."""
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(repository), str(other))
    (repository / "train.py").write_text("mine\n")
    for name, value in {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git" / "index"}.items():
        monkeypatch.setenv(name, str(value))

    code = describe(repository)
    out = check_out(code, tmp_path / "out")

    assert code.root == str(repository)
    assert code.changed == ("train.py",)
    assert (out / "train.py").read_text() == "mine\n"


def test_strict_line_ends_do_not_stop_a_capture(repository: Path) -> None:
    """``core.safecrlf=true`` makes ``git add`` fail on mixed line ends; a capture must not."""
    git(repository, "config", "core.autocrlf", "input")
    git(repository, "config", "core.safecrlf", "true")
    (repository / "dos.txt").write_bytes(b"a\r\nb\n")

    assert "dos.txt" in describe(repository).changed


def test_names_that_are_no_text_are_recorded(repository: Path, tmp_path: Path) -> None:
    """A file name in another encoding is kept byte for byte, and the record of it can be stored."""
    name = b"caf\xe9.txt"
    (repository / os.fsdecode(name)).write_text("x")

    code = describe(repository)

    assert CodeVersion.model_validate_json(code.model_dump_json()) == code
    assert code.changed == ("caf\\xe9.txt",)
    assert name in os.listdir(os.fsencode(check_out(code, tmp_path / "out")))


def lose_branches(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--orphan", "new")
    git(repository, "commit", "--quiet", "--message", "start over")
    git(repository, "branch", "--quiet", "-D", "main")


@pytest.mark.parametrize("dirty", [False, True])
def test_a_snapshot_survives_the_loss_of_its_branch(repository: Path, tmp_path: Path, dirty: bool) -> None:
    """Deleting the branch, expiring the reflog and ``git gc --prune=now`` leave it; it has its own ref."""
    if dirty:
        (repository / "train.py").write_text("never committed\n")
    text = (repository / "train.py").read_text()
    code = describe(repository)
    git(repository, "checkout", "--quiet", "--force", "main")
    lose_branches(repository)
    git(repository, "reflog", "expire", "--expire=now", "--all")
    git(repository, "gc", "--quiet", "--prune=now")

    assert GitSourceControl().has(code) is None
    assert (check_out(code, tmp_path / "out") / "train.py").read_text() == text


def test_a_lost_snapshot_is_said(repository: Path, tmp_path: Path) -> None:
    """Without its ref and objects, ``has`` gives the reason, and a check-out is one clear error."""
    (repository / "train.py").write_text("soon lost\n")
    code = describe(repository)
    git(repository, "update-ref", "-d", str(code.ref))
    git(repository, "gc", "--quiet", "--prune=now")

    assert code.snapshot_sha[:12] in str(GitSourceControl().has(code))
    with pytest.raises(NotFound, match=code.snapshot_sha):
        check_out(code, tmp_path / "out")


def test_a_workspace_shares_nothing_that_could_change_the_original(repository: Path, tmp_path: Path) -> None:
    """Editing, committing and collecting garbage in the workspace leave the original as it is; the workspace can be captured itself."""
    (repository / "train.py").write_text("captured\n")
    code = describe(repository)
    before = state_of(repository)
    out = check_out(code, tmp_path / "out")

    again = describe(out, "e" * 32)
    assert (again.tree_sha, again.is_dirty, again.repository) == (code.tree_sha, False, code.repository)
    (out / "train.py").write_text("changed in the workspace\n")
    git(out, "commit", "--quiet", "--all", "--message", "in the workspace")
    git(out, "gc", "--quiet", "--prune=now")

    assert state_of(repository) == before
    assert "refs/lineage/" + "e" * 32 not in git(repository, "for-each-ref")


def test_a_recorded_tree_that_is_another_is_refused(repository: Path, tmp_path: Path) -> None:
    """A check-out whose files are not the recorded ones is an integrity error."""
    code = describe(repository)
    with pytest.raises(IntegrityError, match="code snapshot"):
        check_out(code.model_copy(update={"tree_sha": "0" * 40}), tmp_path / "out")


def not_inside(folder: Path) -> None:
    assert subprocess.run(["git", "-C", str(folder), "rev-parse"], capture_output=True).returncode != 0


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: git(folder, "init", "--quiet", "--bare", ".")])
def test_outside_a_working_tree_the_reason_is_given(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A plain folder or a bare repository holds no code of a run: one clear error with git's reason."""
    not_inside(tmp_path)
    make(tmp_path)

    with pytest.raises(CaptureError, match="git rev-parse"):
        describe(tmp_path)


def test_without_git_the_reason_is_given(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No git on the path: the error says so and what to do."""
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(CaptureError, match="git is not installed"):
        describe(repository)
