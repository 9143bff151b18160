"""``lineage store backup`` and ``restore``: while others write, into another kind of store, torn, altered, on a full disk, killed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lineage.adapters.objects.folder import FolderObjectStore
from lineage.adapters.stores.schema import MIGRATIONS
from lineage.errors import Conflict, IntegrityError, LineageError, NotFound, Unavailable, UsageError
from lineage.model.access import AuditEntry, Scope, new_token
from lineage.model.backup import File
from lineage.model.digest import digest_of_bytes
from lineage.model.materialisation import JobState, MaterialisationRequest
from lineage.model.run import RunState
from lineage.ports import Ports, RunQuery, no_progress
from lineage.ports.jobs import JobQuery
from lineage.record.start import start_run
from lineage.settings import Settings
from lineage.wiring import access_store, database_of, wire
from lineage.wiring_backup import back_up, check, restore_to
from lineage.wiring_jobs import job_queue
from tests.support.serve_process import until

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def settings(store: str | Path, folder: Path | None = None) -> Settings:
    return Settings(str(store), folder or Path(store))


def fill(ports: Ports, repository: Path, runs: int = 2) -> None:
    for number in range(runs):
        with start_run(ports, folder=repository, command=["python", "train.py"], seed=number) as run:
            run.log({"loss": number / 3, "bad": float("inf")})
            (repository / "model.bin").write_bytes(os.urandom(3000))
            run.log_artifact(repository / "model.bin", kind="model")


@pytest.fixture
def store(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    """The store of this environment, with two runs."""
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
    ports = wire(settings(tmp_path / "store"))
    fill(ports, repository)
    yield ports
    ports.runs.close()


def save(folder: Path, *, reread: bool = False) -> Any:
    return back_up(folder, reread=reread, progress=no_progress)


def load(folder: Path, target: Path | str, *, keep_tokens: bool = False) -> Any:
    return restore_to(folder, str(target), keep_tokens=keep_tokens, progress=no_progress)


def tables(chosen: Settings, tmp_path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    file = tmp_path / "dump.sqlite"
    file.unlink(missing_ok=True)
    with closing(database_of(chosen)) as database:
        database.copy_to_file(file, no_progress)
    with closing(sqlite3.connect(file)) as dump:
        names = [name for (name,) in dump.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(dump.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


def lineage(*words: str | Path, status: int = 0, limit_blocks: int | None = None, **variables: str) -> str:
    """Run a command; with a limit for the size of files in blocks of 1 KiB, as a disk that is full has one."""
    command = [sys.executable, "-m", "lineage", *map(str, words)]
    if limit_blocks is not None:
        command = ["bash", "-c", f'ulimit -f {limit_blocks}; trap "" XFSZ; exec "$@"', "bash", *command]
    told = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == status, told.stderr
    return told.stdout + told.stderr


WRITER = """
import sys
from pathlib import Path
import lineage

number = 0
while not Path(sys.argv[1]).exists():
    with lineage.start_run(project="p", job_type="written") as run:
        for step in range(20):
            run.log({"m": step / 3})
        Path("model.bin").write_text(run.id * 500)
        run.log_artifact("model.bin", kind="model")
    number += 1
    print(number, flush=True)
"""


def test_a_backup_while_somebody_records(store: Ports, repository: Path, tmp_path: Path) -> None:
    """Each backup is one state: chains hold, no record names an object that is not there, and the next one copies only what is new."""
    stop = tmp_path / "stop"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(stop)], cwd=repository, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        try:
            counts = []
            for _ in range(3):
                assert writer.stdout.readline()
                manifest, new = save(tmp_path / "backup")
                counts.append((manifest.runs, manifest.object_count, new))
                load(tmp_path / "backup", tmp_path / f"then-{len(counts)}")
        finally:
            stop.touch()
            writer.communicate(timeout=60)
    assert counts[0][0] < counts[1][0] < counts[2][0], "the writer went on"
    assert counts[2][2] < counts[2][1] / 2, "most was there"

    originals = {digest for digest, _, _ in store.objects.all()}
    shutil.rmtree(tmp_path / "store")
    for number, (runs, _, _) in enumerate(counts, 1):
        folder = tmp_path / f"then-{number}"
        restored = wire(settings(folder))
        found = restored.runs.find(RunQuery())
        assert len(found) == runs
        named = {digest for run in found for payload, _ in restored.runs.events(run.id) for digest in DIGEST.findall(payload)}
        assert len(named & originals) > runs
        assert {digest for digest in named & originals if not restored.objects.has(digest)} == set()
        assert sum(run.state is RunState.running for run in found) <= 1, "what ran is in it as far as it was"
        restored.runs.close()
    # The run that was going on is settled at the first look: whoever ran it is not here.
    lineage("verify", "--all", "--full", LINEAGE_STORE=str(tmp_path / "then-3"))


def test_what_is_recorded_meanwhile_is_whole_or_not_in_it(store: Ports, repository: Path, tmp_path: Path) -> None:
    """A run that is recorded while records, or objects, are copied: no backup has its record without what that names."""
    for moment in ("copying records", "copying objects"):

        def record(what: str, done: int, total: int, moment: str = moment, told: list[str] = []) -> None:  # noqa: B006 - once for each
            if what == moment and moment not in told:
                told.append(moment)
                fill(store, repository, runs=1)

        back_up(tmp_path / "backup", reread=False, progress=record)
        load(tmp_path / "backup", tmp_path / moment)
        restored = wire(settings(tmp_path / moment))
        outputs = [item.digest for run in restored.runs.find(RunQuery()) for item in run.outputs]
        assert len(outputs) >= 2
        assert all(restored.objects.has(digest) for digest in outputs)
        restored.runs.close()
    assert len(store.runs.find(RunQuery())) == 4


def test_postgresql_is_copied_as_it_is_at_one_moment(
    repository: Path, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table after table, while a run is recorded between two of them: it is in none of them."""
    monkeypatch.setenv("LINEAGE_STORE", postgres_url)
    monkeypatch.setenv("LINEAGE_FOLDER", str(tmp_path / "team"))
    ports = wire(settings(postgres_url, tmp_path / "team"))
    fill(ports, repository)
    before = ports.runs.find(RunQuery())

    def record(what: str, done: int, total: int) -> None:
        if what == "copying tables" and done in (9, 15):  # behind events, and behind metrics
            fill(ports, repository, runs=1)

    back_up(tmp_path / "backup", reread=False, progress=record)
    assert len(ports.runs.find(RunQuery())) == len(before) + 2
    ports.runs.close()
    assert load(tmp_path / "backup", tmp_path / "back").broken == ()
    back = wire(settings(tmp_path / "back"))
    assert back.runs.find(RunQuery()) == before
    back.runs.close()


def test_every_table_comes_back(store: Ports, repository: Path, tmp_path: Path, new_postgres_database: Callable[[], str]) -> None:
    """From SQLite to PostgreSQL to SQLite: the same rows in every table, and the same objects; tokens only when asked."""
    first = settings(tmp_path / "store")
    tokens = access_store(first)
    tokens.add_token(new_token("ada", frozenset({Scope.read}), datetime.now(UTC), None)[1])
    tokens.note(AuditEntry("ada", "POST /x", 201, datetime.now(UTC), datetime.now(UTC)))
    tokens.close()
    run = store.runs.find(RunQuery())[0]
    jobs = job_queue(first)
    jobs.enqueue(run.id, MaterialisationRequest(what="data"), by="ada", key=None)
    url = new_postgres_database()
    team = settings(url, tmp_path / "team")

    save(tmp_path / "one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_FOLDER", str(tmp_path / "team"))
        found = load(tmp_path / "one", url, keep_tokens=True)
        assert (found.tokens, found.jobs, found.broken) == (0, 1, ())
        patch.setenv("LINEAGE_STORE", url)
        before, after = tables(first, tmp_path), tables(team, tmp_path)
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"materialisations"}, "what waited is not executed by a store that was restored"
        queue = job_queue(team)
        assert [job.state for job in queue.find(JobQuery()).jobs] == [JobState.cancelled]
        queue.close()
        with pytest.raises(Conflict, match="there is something"):
            load(tmp_path / "one", url)
        save(tmp_path / "two")
    found = load(tmp_path / "two", tmp_path / "back")
    assert (found.tokens, found.jobs) == (1, 0)
    again = tables(settings(tmp_path / "back"), tmp_path)
    assert {name for name in again if again[name] != after[name]} == {"access_tokens"}
    back = access_store(settings(tmp_path / "back"))
    assert [token.is_valid(datetime.now(UTC)) for token in back.tokens()] == [False]
    back.close()
    jobs.close()
    objects = [sorted(item[0] for item in FolderObjectStore(tmp_path / name / "objects").all()) for name in ("store", "team", "back")]
    assert objects[0] == objects[1] == objects[2]
    assert len(objects[0]) > 4

    with pytest.raises(Conflict, match="there is a store"):
        load(tmp_path / "two", tmp_path / "back")


def test_a_backup_of_an_older_release(store: Ports, tmp_path: Path) -> None:
    """Its tables are brought to this release's; one of a newer release is refused with what to do."""
    folder = tmp_path / "backup"
    manifest, _ = save(folder)
    newest = folder / manifest.records.name

    def replace_records(version: int) -> None:
        aside = folder / "aside"
        aside.unlink(missing_ok=True)
        with closing(sqlite3.connect(aside)) as old, old:
            for step in [step for steps in MIGRATIONS[:version] for step in steps]:
                assert isinstance(step, str)
                old.execute(step)
            old.execute("ATTACH ? AS new", (str(newest),))
            names = [name for (name,) in old.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()]
            for name in names:
                columns = ", ".join(row[1] for row in old.execute(f"PRAGMA main.table_info({name})").fetchall())
                old.execute(f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM new.{name}")
            old.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
            old.execute("INSERT INTO schema_version VALUES (?)", (version if version == 4 else 999,))
        content = aside.read_bytes()
        aside.replace(folder / f"records-{version}.sqlite")
        file = File(name=f"records-{version}.sqlite", digest=digest_of_bytes(content), size_bytes=len(content))
        (folder / "backup.json").write_text(manifest.model_copy(update={"records": file}).sealed().model_dump_json())

    replace_records(4)
    assert load(folder, tmp_path / "back").broken == ()
    back = wire(settings(tmp_path / "back"))
    assert back.runs.find(RunQuery()) == store.runs.find(RunQuery())
    assert back.runs.briefs(RunQuery()) == store.runs.briefs(RunQuery())
    back.runs.close()
    replace_records(3)
    with pytest.raises(Unavailable, match="schema version 999") as refused:
        load(folder, tmp_path / "never")
    assert "newer release" in str(refused.value.hint)
    assert not [*(tmp_path / "never").glob("*.sqlite*")]


def test_what_was_altered_is_refused_and_mended(store: Ports, tmp_path: Path) -> None:
    """A byte of the description, of the records, of the list or of an object; an end or a file missing: named, and there is no store."""
    folder, target = tmp_path / "backup", tmp_path / "new"
    manifest, _ = save(folder)
    digest = store.runs.find(RunQuery())[0].outputs[0].digest
    plain = folder / "objects" / "sha256" / digest[7:9] / digest[9:]

    def flip(content: bytes) -> bytes:
        return content[:100] + bytes([content[100] ^ 1]) + content[101:]

    ways: list[tuple[Path, Callable[[bytes], bytes | None]]] = [
        (folder / "backup.json", lambda content: content.replace(b'"runs": 2', b'"runs": 1')),
        (folder / "backup.json", lambda content: content[:-20]),
        (folder / manifest.records.name, flip),
        (folder / manifest.records.name, lambda content: content[:-4096]),
        (folder / manifest.objects.name, lambda content: content[: content.index(b"\n") + 1]),
        (plain, flip),
        (plain, lambda content: content[:-1]),
        (plain, lambda _: None),
        (folder / manifest.objects.name, lambda _: None),
    ]
    for file, change in ways:
        content = file.read_bytes()
        file.chmod(0o644)
        changed = change(content)
        if changed is None:
            file.unlink()
        else:
            file.write_bytes(changed)
        for act in (lambda: load(folder, target), lambda: check(folder, no_progress)):
            with pytest.raises((IntegrityError, NotFound)) as refused:
                act()
            assert file.name[:12] in str(refused.value) or digest in str(refused.value) or digest[:19] in str(refused.value)
            assert not [*target.glob("*.sqlite*"), *target.glob(".partial*")]
        file.write_bytes(content)
    plain.write_bytes(flip(plain.read_bytes()))
    assert save(folder)[1] == 0
    assert save(folder, reread=True)[1] == 1, "the damaged one was copied again"
    assert load(folder, target).broken == ()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_damage_in_the_store_does_not_stop_the_backup(store: Ports, tmp_path: Path) -> None:
    """An object and a record that were altered in the store are named, by the backup and by the restored store; the rest is there."""
    runs = store.runs.find(RunQuery())
    path = store.objects.path_of(runs[0].outputs[0].digest)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(b"something else")
    with closing(sqlite3.connect(tmp_path / "store" / "lineage.sqlite")) as behind, behind:
        behind.execute("UPDATE events SET payload = REPLACE(payload, 'train.py', 'other.py') WHERE run_id = ?", (runs[1].id,))
    assert "is not in the backup" in lineage("store", "backup", tmp_path / "backup", status=9)
    told = lineage("store", "restore", tmp_path / "backup", tmp_path / "new", status=9)
    assert runs[1].id[:12] in told
    assert runs[0].id[:12] not in told
    restored = wire(settings(tmp_path / "new"))
    assert restored.runs.get(runs[0].id) == runs[0]
    assert not restored.objects.has(runs[0].outputs[0].digest)
    restored.runs.close()


def test_a_full_disk_leaves_nothing_half_written(store: Ports, repository: Path, tmp_path: Path) -> None:
    """The backup before stays whole; a restored store is not there at all; with room again both go on."""
    folder, target = tmp_path / "backup", tmp_path / "new"
    before, _ = save(folder)
    (repository / "big.bin").write_bytes(os.urandom(2 << 20))
    with start_run(store, folder=repository, command=["python", "train.py"]) as run:
        run.log_artifact(repository / "big.bin", kind="model")
    lineage("store", "backup", folder, limit_blocks=1500, status=11)
    assert check(folder, no_progress).manifest == before
    lineage("store", "backup", folder, limit_blocks=100, status=11)
    assert check(folder, no_progress).manifest == before
    assert not [*folder.rglob(".partial*")]

    assert save(folder)[0].runs == 3
    assert "cannot be written" in lineage("store", "restore", folder, target, limit_blocks=1500, status=11)
    assert not [*target.rglob("*.sqlite*"), *target.rglob(".partial*")]
    assert json.loads(lineage("store", "restore", folder, target, "--json").partition("✓")[0])["runs"] == 3


def test_a_backup_that_was_killed_goes_on(store: Ports, tmp_path: Path) -> None:
    """Killed while it copies objects: there is no backup yet, and the next call copies what is missing and tidies up."""
    for number in range(400):
        store.objects.put_bytes(f"object {number}".encode())
    folder = tmp_path / "backup"
    running = subprocess.Popen([sys.executable, "-m", "lineage", "store", "backup", str(folder)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: len([*folder.glob("objects/sha256/*")]) > 20 or None, lambda: "nothing was copied")
        running.send_signal(signal.SIGKILL)
    finally:
        running.kill()
        running.wait(20)
    assert not (folder / "backup.json").exists(), "it was too quick for this test"
    with pytest.raises(NotFound, match="no backup"):
        check(folder, no_progress)
    manifest, new = save(folder)
    assert 0 < new < manifest.object_count - 10
    assert check(folder, no_progress).manifest == manifest
    assert not [*folder.glob(".partial*")]


def test_what_is_refused(store: Ports, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with other things, one inside the store, a store that lost runs, two at once, a service: each with what to do."""
    folder = tmp_path / "backup"

    def refused(kind: type[LineageError], words: str, act: Callable[[], object]) -> None:
        with pytest.raises(kind, match=words) as error:
            act()
        assert error.value.hint

    refused(Conflict, "something else", lambda: save(repository))
    refused(UsageError, "in the store itself", lambda: save(tmp_path / "store" / "backup"))
    refused(NotFound, "no backup", lambda: load(folder, tmp_path / "new"))
    save(folder)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(Conflict, "another backup", lambda: save(folder))
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "empty"))
    refused(Conflict, "2 runs that .* does not have", lambda: save(folder))
    assert check(folder, no_progress).manifest.runs == 2, "an empty store did not replace it"
    refused(UsageError, "names a service", lambda: load(folder, "http://127.0.0.1:9"))
    refused(Unavailable, "cannot be written", lambda: load(folder, "/proc/nothing"))
    monkeypatch.setenv("LINEAGE_STORE", "http://127.0.0.1:9")
    refused(UsageError, "names a service", lambda: save(folder))
    assert "expected either TO or --check" in lineage("store", "restore", folder, status=2)
