"""Bundles: one file that is enough on another machine; whatever is wrong with one is found before anything is written."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lineage.errors import CaptureError, Conflict, IntegrityError, InvalidSource, LineageError, NotFound, UsageError
from lineage.model.bundle import CONTENTS, Contents, Member
from lineage.model.code import KeptCode
from lineage.model.digest import canonical_json, digest_of_bytes, digest_of_file
from lineage.model.event import Noted, chain_digest
from lineage.model.run import Run, RunState
from lineage.ports import Ports
from lineage.record.archive import ArchiveReader
from lineage.reproduce.bundle import bundle_run
from lineage.reproduce.bundle_file import BundleFile, header_of, write_bundle_file
from lineage.reproduce.bundle_import import import_bundle
from lineage.reproduce.materialise import materialise
from lineage.reproduce.verify import Verifier
from lineage.settings import Settings
from lineage.wiring import exporter, wire

TRAIN = """
import hashlib
import lineage

with lineage.start_run(project="parking", job_type="train", seed=7, config={"epochs": 2}) as run:
    run.use_artifact("base.bin", role="base")
    view = run.use_dataset("DATASET", role="train", query="select * where row_number() < 5")
    state = hashlib.sha256(open("base.bin", "rb").read())
    for epoch in range(2):
        for position in range(len(view)):
            row = view[position]
            state.update(row["images"] + row["labels"].tobytes())
            run.log({"loss": int.from_bytes(state.digest()[:4], "big") / 2**32})
    open("model.bin", "wb").write(state.digest())
    run.log_artifact("model.bin", kind="model")
print(run.id)
"""


@dataclass(frozen=True)
class Made:
    """A run whose repository, data and store are gone; what is left is its bundle."""

    file: Path
    again: Path
    run: Run
    lost: tuple[Path, ...]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def command(*words: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=os.environ | {"WANDB_MODE": "disabled"} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def lineage_command(*words: str | Path, folder: Path, expect: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    done = command("-m", "lineage", *words, folder=folder, **variables)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def make_rows(folder: Path, labels: list[Any]) -> None:
    rows = deeplake.create(
        str(folder), schema={"images": types.Image(sample_compression="png"), "labels": types.Array("int64", 1), "sample_id": types.Text()}
    )
    pictures = []
    for number in range(8):
        buffer = BytesIO()
        Image.fromarray(np.full((9, 7, 3), number * 20, np.uint8)).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    rows.append({"images": pictures, "labels": labels, "sample_id": [f"frame_{n}" for n in range(8)]})
    rows.commit("made")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A training on Deep Lake rows and base weights in a dirty repository, bundled twice; then all it came from is deleted."""
    place = tmp_path_factory.mktemp("origin")
    repository, data, store = place / "repository", place / "data", place / "store"
    repository.mkdir()
    make_rows(data, [np.array([number]) for number in range(8)])
    (repository / ".gitignore").write_text("*.bin\n")
    (repository / "train.py").write_text("print('not yet')\n")
    git(repository, "init", "--quiet")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "first")
    (repository / "train.py").write_text(TRAIN.replace("DATASET", str(data)))
    (repository / "base.bin").write_bytes(bytes(range(200)))
    done = command("train.py", folder=repository, LINEAGE_STORE=str(store))
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.strip()
    again = [place / "one.lineage", place / "two.lineage"]
    for file in again:
        lineage_command("bundle", run_id, file, folder=repository, LINEAGE_STORE=str(store))
    run = wire(Settings(str(store), store)).runs.get(run_id)
    for folder in (repository, data, store):
        shutil.rmtree(folder)
    return Made(again[0], again[1], run, (repository, data, store))


@pytest.fixture
def store(tmp_path: Path) -> Ports:
    return wire(Settings(str(tmp_path / "store"), tmp_path / "store"))


def everything(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if not path.name.startswith("lineage.sqlite") and path.name != ".gitignore")


def refused(ports: Ports, file: Path) -> LineageError:
    """The one error that a bundle is refused with; nothing was written."""
    before = everything(ports.folder)
    with pytest.raises((IntegrityError, InvalidSource)) as caught, BundleFile(file) as bundle:
        import_bundle(ports, bundle)
    assert everything(ports.folder) == before
    assert ports.runs.ids_with_prefix("", 5) == []
    assert ports.rows.archives() == []
    assert "\n" not in caught.value.message
    return caught.value


def test_a_bundle_is_enough_on_another_machine(made: Made, tmp_path: Path) -> None:
    """Repository, dataset and store are deleted, the account is another: the result is the same bit for bit, and nothing is left behind."""
    assert not any(folder.exists() for folder in made.lost)
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    account = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "TMPDIR": str(temporary)}

    shown = json.loads(lineage_command("show", made.file, "--json", folder=home, **account).stdout)
    checked = lineage_command("verify", made.file, folder=home, **account)
    asked = lineage_command("reproduce", made.file, folder=home, expect=4, **account)
    done = lineage_command("reproduce", made.file, "--yes", "--json", folder=home, **account)
    report = json.loads(done.stdout)

    assert shown["id"] == made.run.id
    assert "changed" not in checked.stdout
    assert "python train.py" in asked.stderr
    assert "unsigned" in asked.stdout
    assert report["verdict"] == "identical"
    assert {change["subject"] for change in report["comparison"]["changes"]} >= {"data train", "metrics", "output model.bin"}
    assert list(temporary.glob("lineage-bundle-*")) == []
    assert not (home / ".lineage").exists()


def test_rows_of_an_imported_run_come_from_the_bundle(made: Made, store: Ports, tmp_path: Path) -> None:
    """The address that the record names is not even looked at: where it leads is its maker's choice."""
    asked: list[str] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(store.datasets(), name)

    with BundleFile(made.file) as opened:
        run = import_bundle(store, opened).run
    watched: Any = Watched

    (written,) = materialise(replace(store, datasets=watched), run, tmp_path / "out", exporter=exporter)

    assert (written.origin, asked) == ("archive", ["write", "open"]), "the new dataset, and no other"


def test_the_same_record_gives_the_same_bytes(made: Made) -> None:
    """Bundled twice, with another name: nothing in the file depends on when or where it was written."""
    assert digest_of_file(made.file) == digest_of_file(made.again)
    assert subprocess.run(["tar", "-tf", made.file], check=True, capture_output=True, text=True).stdout.splitlines()[0] == CONTENTS


def test_a_bundle_holds_what_is_needed_and_no_more(made: Made) -> None:
    """Pictures of the five rows that were read, base weights, code; not the model, of which the digest is enough."""
    with BundleFile(made.file) as bundle:
        used, output = made.run.uses[0].digest, made.run.outputs[0].digest
        assert bundle.has(used)
        assert not bundle.has(output)
        assert all(bundle.has(digest) for digest in made.run.code_packs)
        pictures = [digest for digest in bundle.objects if bundle.get_bytes(f"sha256:{digest}").startswith(b"\x89PNG")]
        assert len(pictures) == 5


def test_an_imported_run_is_whole_and_marked(made: Made, store: Ports) -> None:
    """Letter by letter the same chain; verified without opening the recorded addresses; done again, nothing changes."""
    with BundleFile(made.file) as bundle:
        first = import_bundle(store, bundle)
        chain = store.runs.events(made.run.id)
        again = import_bundle(store, bundle)
        head = bundle.contents.head

    assert (first.new, first.grown) == ((made.run.id,), ())
    assert (again.new, again.grown) == ((), ())
    assert store.runs.get(made.run.id) == made.run
    assert chain[-1][1] == head
    assert store.runs.events(made.run.id) == chain
    assert store.runs.origin(made.run.id) is not None
    verified = Verifier(store, "full").verify(store.runs.get(made.run.id))
    assert verified.is_intact, verified
    assert any("not opened" in line for check in verified.checks for line in check.detail)


def test_a_record_that_went_another_way_is_a_conflict(made: Made, store: Ports) -> None:
    """What the store has stays as it is."""
    with BundleFile(made.file) as bundle:
        events = read_events(bundle)
        altered = rechained([*events[:-1], json.loads(events[-1]) | {"summary": {"loss": 0.0}}])
        altered_file = rebuilt(bundle, made.file.parent / "altered.lineage", events=altered)
        import_bundle(store, bundle)
    before = store.runs.events(made.run.id)

    with BundleFile(altered_file) as bundle, pytest.raises(Conflict, match="another record"):
        import_bundle(store, bundle)

    altered_file.unlink()
    assert store.runs.events(made.run.id) == before


def test_an_imported_record_grows_with_its_origin_and_an_own_one_does_not(made: Made, store: Ports, tmp_path: Path) -> None:
    """A later bundle of the same run adds what came since, where the record came from there; never to a record of the store's own."""
    with BundleFile(made.file) as bundle:
        note = {"at": "2030-01-01T00:00:00Z", "kind": "noted", "note": "seen again"}
        later = rebuilt(bundle, tmp_path / "later.lineage", events=rechained([*read_events(bundle), note]))
        import_bundle(store, bundle)
    with BundleFile(later) as bundle:
        grown = import_bundle(store, bundle)
    with BundleFile(made.file) as bundle:
        older = import_bundle(store, bundle)

    assert grown.grown == (made.run.id,)
    assert store.runs.get(made.run.id).notes[-1] == "seen again"
    assert (older.new, older.grown) == ((), ())
    own = wire(Settings(str(tmp_path / "own"), tmp_path / "own"))
    events = store.runs.events(made.run.id)[:-1]
    assert own.runs.origin(made.run.id) is None
    with own.runs._database.writing() as execute:  # type: ignore[attr-defined]  # as if it had been recorded here
        execute("SELECT 1", ())
    own.runs.adopt(made.run.id, events, _environments(store, made.run), store.runs.metrics(made.run.id), "here")
    with own.runs._database.writing() as execute:  # type: ignore[attr-defined]
        execute("DELETE FROM adopted", ())
    with BundleFile(later) as bundle:
        assert import_bundle(own, bundle).grown == ()
    assert own.runs.events(made.run.id) == events


def _environments(ports: Ports, run: Run) -> dict[str, str]:
    named = json.loads(ports.runs.events(run.id)[0][0])["run"]["environment"]
    return {named: ports.runs.environment_text(named)}


# --- making one ----------------------------------------------------------------------------------------------------------------


def test_everything_that_is_missing_is_named_at_once(made: Made, store: Ports, tmp_path: Path) -> None:
    """Base weights, code and a picture are gone: three lines, and no file."""
    with BundleFile(made.file) as bundle:
        import_bundle(store, bundle)
        (content,) = bundle.contents.archives
        reader = ArchiveReader(store.objects, bundle.contents.archives[content], made.run.inputs[0])
        picture = list(reader.objects())[-1]
    for digest in (made.run.uses[0].digest, made.run.code_packs[0], picture):
        store.objects.delete(digest)

    with pytest.raises(InvalidSource) as caught:
        bundle_run(store, store.runs.get(made.run.id), tmp_path / "again.lineage")

    told = "\n".join(caught.value.problems)
    assert all(digest in told for digest in (made.run.uses[0].digest, made.run.code_packs[0], picture))
    assert "the file base.bin, used as base" in told
    assert not list(tmp_path.glob("*.lineage")), "a bundle was left behind"


def test_a_bundle_never_replaces_a_file(made: Made, store: Ports, tmp_path: Path) -> None:
    """Nor is one written for a run that goes on, or into a folder that is not there."""
    with BundleFile(made.file) as bundle:
        run = import_bundle(store, bundle).run
    taken = tmp_path / "taken.lineage"
    taken.write_text("mine")

    with pytest.raises(Conflict, match="exists"):
        bundle_run(store, run, taken)
    with pytest.raises(UsageError, match="no folder"):
        bundle_run(store, run, tmp_path / "none" / "x.lineage")
    with pytest.raises(Conflict, match="still running"):
        bundle_run(store, run.model_copy(update={"state": RunState.running}), tmp_path / "x.lineage")

    assert taken.read_text() == "mine"


def test_a_bundle_of_an_imported_run_is_the_same_file(made: Made, store: Ports, tmp_path: Path) -> None:
    """Taken over and given on, it keeps every byte."""
    with BundleFile(made.file) as bundle:
        run = import_bundle(store, bundle).run

    bundle_run(store, run, tmp_path / "again.lineage")

    assert digest_of_file(tmp_path / "again.lineage") == digest_of_file(made.file)


# --- hostile ones --------------------------------------------------------------------------------------------------------------


def read_events(bundle: BundleFile) -> list[str]:
    member = bundle.contents.named("records")[bundle.contents.run]
    return [json.loads(line)[0] for line in bundle.read(member).splitlines()]


def rechained(events: list[Any]) -> list[tuple[str, str]]:
    """Events with a chain that fits them, as an attacker makes it."""
    made: list[tuple[str, str]] = []
    for event in events:
        payload = event if isinstance(event, str) else json.dumps(event)
        made.append((payload, chain_digest(made[-1][1] if made else None, payload)))
    return made


def rebuilt(
    bundle: BundleFile,
    target: Path,
    *,
    events: list[tuple[str, str]] | None = None,
    drop: str | None = None,
    add: dict[str, bytes] | None = None,
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """A well-formed bundle with other parts; ``change`` edits the table of contents."""
    parts = {member.name: bundle.read(member) for member in bundle.contents.members if member.name != drop}
    contents = bundle.contents
    if events is not None:
        parts[f"records/{contents.run}"] = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        contents = contents.model_copy(update={"head": events[-1][1] if events else contents.head})
    parts |= add or {}
    members = [Member(name=name, sha256=hashlib.sha256(text).hexdigest(), size=len(text)) for name, text in sorted(parts.items())]
    value = json.loads(contents.model_copy(update={"members": tuple(members)}).encoded())
    if change is not None:
        change(value)
        value = json.loads(json.dumps(value))
        with target.open("wb") as stream:
            text = canonical_json(value)
            stream.write(header_of(CONTENTS, len(text)) + text + bytes(-len(text) % 512))
            for name, part in sorted(parts.items()):
                stream.write(header_of(name, len(part)) + part + bytes(-len(part) % 512))
            stream.write(bytes(1024))
        return target
    with target.open("wb") as stream:
        write_bundle_file(stream, Contents.model_validate_json(json.dumps(value)), lambda member: io.BytesIO(parts[member.name]))
    return target


def tar_of(target: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return target


def special(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([("../../evil", b"x")], "first member must be the file 'bundle.json', found the file '../../evil'"),
        ([special("bundle.json", tarfile.SYMTYPE, "/etc/passwd")], "found the symbolic link 'bundle.json' to '/etc/passwd'"),
        ([special("bundle.json", tarfile.LNKTYPE, "/etc/passwd")], "found the hard link"),
        ([special("bundle.json", tarfile.CHRTYPE)], "found the device"),
        ([special("bundle.json", tarfile.DIRTYPE)], "found the folder"),
        ([], "is no bundle"),
    ],
)
def test_other_tar_archives_are_no_bundles(store: Ports, tmp_path: Path, members: list[Any], told: str) -> None:
    assert told in refused(store, tar_of(tmp_path / "x.lineage", *members)).message


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, b"\0" * 4096, b"\x1f\x8b" + b"y" * 2000], ids=["empty", "short", "zeros", "compressed"]
)
def test_other_files_are_no_bundles(store: Ports, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.lineage").write_bytes(content)
    assert "is no bundle" in refused(store, tmp_path / "x.lineage").message


def test_a_zip_archive_is_no_bundle(store: Ports, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.lineage", "w") as archive:
        archive.writestr("bundle.json", "{}" * 500)
    assert "is no bundle" in refused(store, tmp_path / "x.lineage").message


@pytest.mark.parametrize(
    "member",
    [
        special("objects/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("objects/link", tarfile.LNKTYPE, "../../../etc/passwd"),
        special("objects/device", tarfile.BLKTYPE),
        special("objects/pipe", tarfile.FIFOTYPE),
        ("/etc/cron.d/evil", b"x"),
        ("../../evil", b"x"),
    ],
    ids=["symlink", "hard link", "device", "pipe", "absolute", "parents"],
)
def test_a_header_that_says_something_else_than_the_contents_is_refused(made: Made, store: Ports, tmp_path: Path, member: Any) -> None:
    """One member of a good bundle is exchanged for something that an extracting program would follow."""
    raw = made.file.read_bytes()
    with BundleFile(made.file) as bundle:
        at = bundle._places[bundle.contents.members[3].name] - 512
    header = member.tobuf() if isinstance(member, tarfile.TarInfo) else header_of(*member[:1], len(member[1]))
    (tmp_path / "x.lineage").write_bytes(raw[:at] + header[:512] + raw[at + 512 :])

    error = refused(store, tmp_path / "x.lineage")

    assert f"byte {at}" in error.message
    assert isinstance(error, IntegrityError)
    assert "found the " in error.message


def set_name(name: str) -> Callable[[dict[str, Any]], None]:
    def change(contents: dict[str, Any]) -> None:
        contents["members"][0]["name"] = name

    return change


def set_field(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda contents: contents.__setitem__(field, value)


def twice(contents: dict[str, Any]) -> None:
    contents["members"].insert(1, contents["members"][0])


def huge(contents: dict[str, Any]) -> None:
    contents["members"][0]["size"] = 1 << 60


def other_digest(contents: dict[str, Any]) -> None:
    member = next(item for item in contents["members"] if item["name"].startswith("metrics/"))
    member["sha256"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (set_name("../../evil"), "found the member '../../evil'"),
        (set_name("/etc/passwd"), "found the member '/etc/passwd'"),
        (set_name("objects/../../evil"), "found the member"),
        (twice, "twice"),
        (huge, "it was cut short"),
        (other_digest, "expected 0000"),
        (set_field("format", 3), "this release reads formats up to 2"),
        (set_field("format", 2), "expected format 1"),
        (set_field("format", 0), "expected format 1"),
        (set_field("more", 1), "Extra inputs"),
        (set_field("head", "sha256:" + "0" * 64), "expected a record that ends in sha256:0000"),
        (set_field("run", "0" * 32), "expected the record of run 0000"),
        (set_field("run", "../../x"), "run"),
        (set_field("archives", {}), "kept rows of every input"),
        (set_field("members", []), "its end after"),
        (set_field("members", None), "members"),
    ],
)
def test_contents_that_lie_are_refused(made: Made, store: Ports, tmp_path: Path, change: Any, told: str) -> None:
    with BundleFile(made.file) as bundle:
        file = rebuilt(bundle, tmp_path / "x.lineage", change=change)
    error = refused(store, file)
    assert told in f"{error.message} {error.hint}"


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{}", b"null", b'{"format":', b'{"format":"1"}', b"\xff\xfe"])
def test_contents_that_are_none_are_refused(store: Ports, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.lineage").write_bytes(header_of(CONTENTS, len(text)) + text + bytes(-len(text) % 512) + bytes(1024))
    assert "table of contents" in refused(store, tmp_path / "x.lineage").message


def test_a_bundle_is_refused_wherever_it_is_cut_short(made: Made, store: Ports, tmp_path: Path) -> None:
    """At any length; and with one byte more."""
    raw = made.file.read_bytes()
    for length in (0, 1, 511, 512, 700, len(raw) // 2, len(raw) - 1024, len(raw) - 1):
        (tmp_path / "x.lineage").write_bytes(raw[:length])
        refused(store, tmp_path / "x.lineage")
    (tmp_path / "x.lineage").write_bytes(raw + b"\0")
    assert "its end after" in refused(store, tmp_path / "x.lineage").message


def test_objects_that_are_missing_or_that_nothing_mentions_are_refused(made: Made, store: Ports, tmp_path: Path) -> None:
    extra = b"something to hide"
    with BundleFile(made.file) as bundle:
        missing = rebuilt(bundle, tmp_path / "missing.lineage", drop=f"objects/{made.run.code_packs[0].partition(':')[2]}")
        name = f"objects/{digest_of_bytes(extra).partition(':')[2]}"
        more = rebuilt(bundle, tmp_path / "more.lineage", add={name: extra})
        stranger = rebuilt(bundle, tmp_path / "stranger.lineage", add={f"records/{'0' * 32}": b"", f"metrics/{'0' * 32}": b""})

    assert made.run.code_packs[0] in refused(store, missing).message
    assert digest_of_bytes(extra) in refused(store, more).message
    assert "only records that the run needs" in refused(store, stranger).message


def started(events: list[str], **changes: Any) -> list[Any]:
    first = json.loads(events[0])
    for place, value in changes.items():
        target = first["run"]
        *way, last = place.split("__")
        for step in way:
            target = target[step]
        target[last] = value
    return [first, *events[1:]]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"working_directory": "../../../etc"}, "paths inside its folder"),
        ({"code__snapshot_sha": "--upload-pack=evil"}, "git's names of commits"),
        ({"id": "0" * 32}, "found that of run 0000"),
        ({"command": ["python", "evil.py\x1b[2K\rpython train.py"]}, "a command that can be shown"),
        ({"command": ["python", "\u202eyp.niart"]}, "a command that can be shown"),
        ({"environment": "sha256:" + "0" * 64}, "environment"),
        ({"surprise": 1}, "an event that this release knows"),
    ],
)
def test_records_that_lead_elsewhere_are_refused(made: Made, store: Ports, tmp_path: Path, changes: Any, told: str) -> None:
    """Even with a chain that fits: a record from anybody names no path outside, no option of git's, and no other run."""
    with BundleFile(made.file) as bundle:
        file = rebuilt(bundle, tmp_path / "x.lineage", events=rechained(started(read_events(bundle), **changes)))
    assert told in refused(store, file).message


def test_a_broken_chain_names_the_first_altered_event(made: Made, store: Ports, tmp_path: Path) -> None:
    with BundleFile(made.file) as bundle:
        member = bundle.contents.named("records")[made.run.id]
        events = [tuple(json.loads(line)) for line in bundle.read(member).splitlines()]
        events[2] = (events[2][0].replace('"at":"2', '"at":"3', 1), events[2][1])
        altered = rebuilt(bundle, tmp_path / "altered.lineage", events=events)
        shorter = rebuilt(bundle, tmp_path / "shorter.lineage", events=[*events[:1], *events[3:]])
        running = rebuilt(bundle, tmp_path / "running.lineage", events=rechained(read_events(bundle)[:2]))

    assert "event 2: expected" in refused(store, altered).message
    assert "event 1: expected" in refused(store, shorter).message
    assert "a run that is over" in refused(store, running).message


def test_metrics_that_were_changed_are_refused(made: Made, store: Ports, tmp_path: Path) -> None:
    with BundleFile(made.file) as bundle:
        name = f"metrics/{made.run.id}"
        lines = bundle.read(bundle.contents.named("metrics")[made.run.id]).splitlines()
        point = json.loads(lines[0])
        point[2]["loss"] = 0.0
        altered = rebuilt(bundle, tmp_path / "x.lineage", add={name: b"\n".join([json.dumps(point).encode(), *lines[1:]])})
        none = rebuilt(bundle, tmp_path / "y.lineage", add={name: b""})
        strange = rebuilt(bundle, tmp_path / "z.lineage", add={name: b'{"a": 1}'})
    for file in (altered, none, strange):
        assert "metric" in refused(store, file).message


@pytest.fixture(scope="module")
def reader(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], None]:
    """Opens bytes as a bundle and reads all of it, without a store."""
    from lineage.reproduce.bundle_import import read_bundle

    file = tmp_path_factory.mktemp("flipped") / "x.lineage"

    def read(content: bytes) -> None:
        file.write_bytes(content)
        with BundleFile(file) as bundle:
            read_bundle(bundle)

    read(made.file.read_bytes())
    return read


@given(data=st.data())
@settings(max_examples=150, deadline=None)
@example(data=None)
def test_any_flipped_byte_is_found(made: Made, reader: Callable[[bytes], None], data: Any) -> None:
    """Header, contents, object, padding or end: no byte of a bundle is free."""
    raw = bytearray(made.file.read_bytes())
    at, other = (0, 1) if data is None else (data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, 255)))
    raw[at] ^= other
    with pytest.raises((IntegrityError, InvalidSource)):
        reader(bytes(raw))


def test_what_is_no_file_is_said_so(store: Ports, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        BundleFile(tmp_path / "none.lineage")
    with pytest.raises(InvalidSource, match="cannot be read"):
        BundleFile(tmp_path)


def test_a_note_does_not_change_what_is_bundled_but_the_record(made: Made, store: Ports, tmp_path: Path) -> None:
    """A record that grew gives another file; its objects stay the same."""
    with BundleFile(made.file) as bundle:
        run = import_bundle(store, bundle).run
        objects = set(bundle.objects)
    grown = store.runs.append(run.id, Noted(at=run.started_at, note="looked at"))

    bundle_run(store, grown, tmp_path / "again.lineage")

    with BundleFile(tmp_path / "again.lineage") as bundle:
        assert set(bundle.objects) == objects
        assert len(read_events(bundle)) == len(store.runs.events(run.id))


def test_pictures_of_an_imported_run_are_found(made: Made, tmp_path: Path) -> None:
    """In the own store: which models saw this picture; the rows of others never join a numbering of the store's own."""
    ports = wire(Settings(str(tmp_path / "store"), tmp_path / "store"))
    here = {"folder": tmp_path, "LINEAGE_STORE": str(tmp_path / "store")}
    with BundleFile(made.file) as bundle:
        digests = [digest for digest in bundle.objects if bundle.get_bytes(f"sha256:{digest}").startswith(b"\x89PNG")]

    printed = lineage_command("import", made.file, **here).stdout
    again = json.loads(lineage_command("import", made.file, "--json", **here).stdout)
    found = json.loads(lineage_command("models", "--image", f"sha256:{digests[0]}", "--json", **here).stdout)

    assert printed.strip() == made.run.id
    assert (again["new"], again["grown"]) == ([], [])
    assert [item["run_id"] for item in found] == [made.run.id]
    assert made.run.inputs[0].space not in dict(ports.rows.ledgers())
    assert ports.rows.unindexed_inputs() == []
    assert "verdict" not in lineage_command("doctor", **here).stdout


ELSEWHERE = """
import sys
import lineage

with lineage.start_run(seed=1) as run:
    run.use_artifact(sys.argv[1], role="base")
    run.log({"loss": float(len(open(sys.argv[1], "rb").read()))})
print(run.id)
"""


def test_base_weights_from_outside_the_repository_come_along(repository: Path, tmp_path: Path) -> None:
    """The command names them by a path that is not there any more: it is led to the copy, which does not become part of the code."""
    weights, store, file = tmp_path / "downloads" / "base.pth", tmp_path / "store", tmp_path / "run.lineage"
    weights.parent.mkdir()
    weights.write_bytes(bytes(1000))
    (repository / "train.py").write_text(ELSEWHERE)
    done = command("train.py", weights, folder=repository, LINEAGE_STORE=str(store))
    assert done.returncode == 0, done.stderr
    lineage_command("bundle", done.stdout.strip(), file, folder=repository, LINEAGE_STORE=str(store))
    for folder in (weights.parent, repository, store):
        shutil.rmtree(folder)

    kept = tmp_path / "kept"
    report = json.loads(lineage_command("reproduce", file, "--yes", "--json", "--store", kept, folder=tmp_path).stdout)

    assert report["verdict"] == "identical"
    replica = wire(Settings(str(kept), kept)).runs.get(report["replica_id"])
    assert replica.code is not None
    assert not replica.code.is_dirty


def test_a_list_that_swells_is_refused(made: Made, store: Ports, tmp_path: Path) -> None:
    """64 MiB of zeros in 64 KiB, where five row numbers should be; and an archive whose block does the like is bounded, too."""
    bomb = zlib.compress(bytes(64 << 20), 9)
    digest = digest_of_bytes(bomb)
    with BundleFile(made.file) as bundle:
        events = [json.loads(text) for text in read_events(bundle)]
        used = next(event for event in events if event["kind"] == "input_used")
        old = used["input"]["rows_object"]
        used["input"]["rows_object"] = digest
        file = rebuilt(
            bundle,
            tmp_path / "x.lineage",
            events=rechained(events),
            drop=f"objects/{old.partition(':')[2]}",
            add={f"objects/{digest.partition(':')[2]}": bomb},
        )

    tracemalloc.start()
    error = refused(store, file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "expected at most 40 bytes, found more, once decompressed" in error.message
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("listing", "told"),
    [
        (b"[]", "lists of kept rows"),
        (b"[" * 100_000, "lists of kept rows"),
        (b'{"rows":5,"columns":[],"blocks":[7]}', "lists of kept rows"),
        (b'{"rows":5,"columns":[{"name":"x","kind":"text","evil":1}],"blocks":[]}', "lists of kept rows"),
    ],
)
def test_lists_of_rows_that_are_none_are_refused(made: Made, store: Ports, tmp_path: Path, listing: bytes, told: str) -> None:
    digest = digest_of_bytes(listing)
    with BundleFile(made.file) as bundle:
        ((content, old),) = bundle.contents.archives.items()
        parts = {member.name: bundle.read(member) for member in bundle.contents.members if member.name != f"objects/{old[7:]}"}
        parts[f"objects/{digest[7:]}"] = listing
        contents = bundle.contents.model_copy(update={"archives": {content: digest}})
        target = tmp_path / "x.lineage"
        members = [Member(name=name, sha256=hashlib.sha256(text).hexdigest(), size=len(text)) for name, text in sorted(parts.items())]
        with target.open("wb") as stream:
            contents = contents.model_copy(update={"members": tuple(members)})
            write_bundle_file(stream, contents, lambda member: io.BytesIO(parts[member.name]))
    assert told in refused(store, target).message


def test_a_full_disk_leaves_no_record(made: Made, store: Ports) -> None:
    """Objects that came in before stay for a second try or for gc; one error says so."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with BundleFile(made.file) as bundle, pytest.raises(CaptureError, match="cannot be taken into"):
            import_bundle(store, bundle)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert store.runs.ids_with_prefix("", 5) == []
    with BundleFile(made.file) as bundle:
        assert import_bundle(store, bundle).new == (made.run.id,)


def test_contents_have_one_spelling(made: Made, store: Ports, tmp_path: Path) -> None:
    """The same contents with blanks between: two files that mean one thing would have two digests."""
    with BundleFile(made.file) as bundle:
        text = json.dumps(json.loads(bundle.contents.encoded()), sort_keys=True).encode()
        parts = [(member, bundle.read(member)) for member in bundle.contents.members]
    with (tmp_path / "x.lineage").open("wb") as stream:
        stream.write(header_of(CONTENTS, len(text)) + text + bytes(-len(text) % 512))
        for member, part in parts:
            stream.write(header_of(member.name, member.size) + part + bytes(-member.size % 512))
        stream.write(bytes(1024))
    assert "another spelling" in refused(store, tmp_path / "x.lineage").message


def test_a_wheel_that_leads_elsewhere_is_refused(made: Made, store: Ports, tmp_path: Path) -> None:
    with BundleFile(made.file) as bundle:
        events = [json.loads(text) for text in read_events(bundle)]
        known = next(event for event in events if isinstance(event.get("installed"), dict))
        known["installed"]["wheels"] = {"x": {"file": "../../x.whl", "digest": made.run.code_packs[0]}}
        file = rebuilt(bundle, tmp_path / "x.lineage", events=rechained(events))
    assert "plain names of wheels" in refused(store, file).message


def test_code_of_an_inner_repository_that_is_kept_nowhere_is_named(repository: Path, tmp_path: Path) -> None:
    """The outer repository's packs do not hold a submodule's code: without packs of its own there is no bundle."""
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "--quiet")
    (library / "term.py").write_text("TERM = 1\n")
    git(library, "add", "--all")
    git(library, "commit", "--quiet", "--message", "first")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    (repository / "train.py").write_text("import lineage\nwith lineage.start_run() as run:\n    pass\nprint(run.id)\n")
    store = tmp_path / "store"
    run_id = command("train.py", folder=repository, LINEAGE_STORE=str(store)).stdout.strip()
    ports = wire(Settings(str(store), store))
    run = ports.runs.get(run_id)
    assert run.packs_of("lib")

    with pytest.raises(InvalidSource) as caught:
        bundle_run(ports, run.model_copy(update={"kept_code": KeptCode()}), tmp_path / "run.lineage")

    assert caught.value.problems == ("the code of lib is in its repository only, not in the object store",)
    assert bundle_run(ports, run, tmp_path / "run.lineage").objects > 0
