"""What every object store promises: bytes under their digest, whole or not at all. Of a folder, and of a service behind one."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineage.adapters.objects.folder import FolderObjectStore
from lineage.adapters.stores.http_client import HttpClient
from lineage.adapters.stores.http_objects import FetchingObjectStore, HttpObjects
from lineage.errors import IntegrityError, NotFound
from lineage.ports import ObjectStore
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app
from tests.support.serving import serving

# Writes an object block by block from a pipe that never ends.
CHILD = """
import sys
import tempfile
from pathlib import Path
from lineage.adapters.objects.folder import FolderObjectStore
print("ready", flush=True)
FolderObjectStore(Path(sys.argv[1])).put_file(Path("/dev/stdin"))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[HttpObjects]:
    """Objects of an empty service."""
    ports = wire(Settings(str(tmp_path / "service"), tmp_path / "service"))
    with serving(create_app(ports)) as address, closing(HttpClient(address, patience_s=0.5)) as client:
        yield HttpObjects(client)
    ports.runs.close()


class Elsewhere:
    """Puts at the service, and gets from there on a machine that has nothing yet."""

    def __init__(self, there: HttpObjects, folder: Path) -> None:
        self._there, self._folder = there, folder

    def put_bytes(self, content: bytes) -> str:
        self._there.put_bytes(content, digest(content))
        return digest(content)

    def put_file(self, path: Path) -> tuple[str, int]:
        name = digest(path.read_bytes())
        self._there.put_file(path, name)
        return name, path.stat().st_size

    def here(self) -> FetchingObjectStore:
        empty = Path(tempfile.mkdtemp(dir=self._folder))
        return FetchingObjectStore(FolderObjectStore(empty), self._there, empty / "cache")

    def get_bytes(self, name: str) -> bytes:
        return self.here().get_bytes(name)

    def has(self, name: str) -> bool:
        return self.here().has(name)

    def path_of(self, name: str) -> Path | None:
        return self.here().path_of(name)


@pytest.fixture(params=["folder", "http"])
def objects(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> ObjectStore:
    if request.param == "http":
        return FetchingObjectStore(FolderObjectStore(folder), request.getfixturevalue("service"), tmp_path / "cache")
    return FolderObjectStore(folder)


@pytest.fixture(params=["objects", "elsewhere"])
def anywhere(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Any:
    """A store on this machine, or one that only the service has."""
    if request.param == "elsewhere":
        return Elsewhere(request.getfixturevalue("service"), tmp_path)
    return FolderObjectStore(folder)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def files(folder: Path) -> list[Path]:
    """Every file in the store, unfinished ones included."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_bytes_come_back(anywhere: Any, content: bytes) -> None:
    """What is put is got, under the digest that ``sha256sum`` would print."""
    assert anywhere.put_bytes(content) == digest(content)
    assert anywhere.get_bytes(digest(content)) == content
    assert anywhere.has(digest(content))


def test_a_file_comes_back_byte_for_byte(anywhere: Any, tmp_path: Path) -> None:
    """A file of several blocks is kept with its digest and size; the original stays, and may change later."""
    content = os.urandom((2 << 20) + 17)
    source = tmp_path / "model.pth"
    source.write_bytes(content)

    assert anywhere.put_file(source) == (digest(content), len(content))
    source.write_bytes(b"other")
    assert anywhere.get_bytes(digest(content)) == content
    kept = anywhere.path_of(digest(content))
    assert kept is not None
    assert kept.read_bytes() == content


def test_what_is_not_there_is_not_found(anywhere: Any) -> None:
    """An unknown digest is absent; getting it names it; a word that is no digest is refused before any path is built from it."""
    unknown = digest(b"never put")

    assert not anywhere.has(unknown)
    assert anywhere.path_of(unknown) is None
    with pytest.raises(NotFound, match=unknown):
        anywhere.get_bytes(unknown)
    for word in ("", "sha256:abc", "sha256:" + "../" * 22, unknown.upper()):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            anywhere.has(word)


@pytest.mark.parametrize("damage", [b"", b"weights of epoch", b"weights of epoch 4", b"weights of epoch 3 and more"])
def test_a_damaged_object_is_found(objects: ObjectStore, damage: bytes) -> None:
    """Emptied, cut, changed or lengthened: never handed out."""
    name = objects.put_bytes(b"weights of epoch 3")
    path = objects.path_of(name)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(damage)

    with pytest.raises(IntegrityError, match=digest(damage)):
        objects.get_bytes(name)


@pytest.mark.parametrize("by_file", [False, True])
def test_putting_a_damaged_object_again_mends_it(objects: ObjectStore, tmp_path: Path, by_file: bool) -> None:
    """The content is at hand, so the store must hold it afterwards: a damaged file of its name does not pass for it."""
    source = tmp_path / "model.pth"
    source.write_bytes(b"weights")
    name = objects.put_bytes(b"weights")
    path = objects.path_of(name)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(b"damaged")

    assert (objects.put_file(source)[0] if by_file else objects.put_bytes(b"weights")) == name
    assert objects.get_bytes(name) == b"weights"


def test_the_same_content_is_kept_once(objects: ObjectStore, folder: Path, tmp_path: Path) -> None:
    """From bytes or from files of any name: one object, which is not even written again."""
    for number in range(3):
        (tmp_path / f"{number}.pth").write_bytes(b"weights")
        objects.put_file(tmp_path / f"{number}.pth")
        objects.put_bytes(b"weights")
        if number == 0:
            first = files(folder)[0].stat()
    objects.put_bytes(b"other weights")

    assert len(files(folder)) == 2
    path = objects.path_of(digest(b"weights"))
    assert path is not None
    assert path.stat().st_ino == first.st_ino  # not written again; its time is that of the last put, for clean-up


def test_objects_are_write_protected(objects: ObjectStore) -> None:
    """Nobody edits an object by a slip: its file allows reading only."""
    path = objects.path_of(objects.put_bytes(b"weights"))

    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_killed_put_leaves_no_object(objects: ObjectStore, folder: Path) -> None:
    """A process that is killed in the middle leaves nothing under any digest; the same content can be put afterwards."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    content = b"x" * (3 << 20)
    child.stdin.write(content)
    child.stdin.flush()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()

    assert not (folder / "sha256").exists()
    assert not objects.has(digest(content))
    assert objects.get_bytes(objects.put_bytes(content)) == content


def test_a_failed_put_leaves_no_file(objects: ObjectStore, folder: Path, tmp_path: Path) -> None:
    """A source that cannot be read, or a disk without room, leaves nothing behind: no object and no unfinished file."""
    with pytest.raises(FileNotFoundError):
        objects.put_file(tmp_path / "absent.pth")
    (tmp_path / "large.pth").write_bytes(b"x" * 100_000)
    with limited_file_size(4096):
        with pytest.raises(OSError, match="File too large"):
            objects.put_bytes(b"x" * 100_000)
        with pytest.raises(OSError, match="File too large"):
            objects.put_file(tmp_path / "large.pth")

    assert files(folder) == []
    assert not objects.has(digest(b"x" * 100_000))


@contextmanager
def limited_file_size(size_bytes: int) -> Iterator[None]:
    """Let the kernel refuse larger files, as it does when a disk or a quota is full."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_many_may_put_the_same_content_at_once(folder: Path) -> None:
    """Eight threads with a store each: one whole object, no error, no unfinished file."""
    content = os.urandom(300_000)

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: FolderObjectStore(folder).put_bytes(content), range(32)))

    assert set(names) == {digest(content)}
    assert [path.read_bytes() for path in files(folder)] == [content]


def test_a_stream_is_kept_up_to_its_size_when_it_is_what_was_said(objects: ObjectStore, folder: Path) -> None:
    """The next so many bytes and no more; other content, or less of it, leaves nothing."""
    stream = io.BytesIO(b"one" + b"two" + b"three")

    objects.put_stream(stream, 3, digest(b"one"))
    objects.put_stream(stream, 3, digest(b"two"))

    assert stream.read() == b"three"
    assert objects.get_bytes(digest(b"two")) == b"two"
    before = files(folder)
    with pytest.raises(IntegrityError, match="expected sha256"):
        objects.put_stream(io.BytesIO(b"four"), 4, digest(b"five"))
    with pytest.raises(IntegrityError, match="2 of 9 bytes"):
        objects.put_stream(io.BytesIO(b"ab"), 9, digest(b"ab"))
    assert files(folder) == before
