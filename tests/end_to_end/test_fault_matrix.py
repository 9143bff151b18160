"""The matrix of injected faults: one thing is broken after a run, and the verdict, the exit code and the sentence are as the table says.

``docs/faults.md`` is made from the cases below: run this file as a program to write it.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineage.model.event import chain_digest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
TIMEOUT_S = 60
ROWS = 8
VIEW = "select * where value < 7"

PLAIN = """
import os
import sys
import time
from pathlib import Path

import numpy as np

import lineage
import tables
from helper import FACTOR
from lib.term import TERM
from shared import OFFSET

what, folder = sys.argv[1], Path(sys.argv[2])
seed = {"unseeded": None}.get(what, 7)
with lineage.start_run(project="faults", job_type="train", seed=seed, config={"rate": 0.1}) as run:
    run.use_artifact("base.npy", role="base")
    data = run.use_dataset(folder / "data", view="random" if what == "random" else "small", role="train")
    rng = np.random.default_rng(seed)
    state = np.load("base.npy") * FACTOR + TERM + OFFSET + tables.SHIFT + len(Path("weights.bin").read_bytes())
    if what == "clock":
        state += time.time()
    if what == "threads":
        state *= int(os.environ["OMP_NUM_THREADS"])
    if what == "scale":
        state *= float(os.environ["SCALE"])
    if what == "unrecorded":
        state *= float((folder / "unrecorded.txt").read_text())
    for number, row in enumerate(rng.permutation(len(data))):
        sample = data[int(row)]
        state += sample["pixels"].mean() * rng.normal() + sample["label"]
        run.log({"loss": float(state.sum())})
        if what == "edited" and number == 2:
            Path("helper.py").write_text("FACTOR = 99.0\\n")
        if what == "killed" and number == 2:
            os.kill(os.getpid(), 9)
        if what == "fails" and (folder / "full").exists():
            sys.exit("no space left")
    np.save("model.npy", state)
    run.log_artifact("model.npy", kind="model")
print(run.id)
"""

STEPS = """
import sys
from pathlib import Path

import torch

import lineage
from lineage.training import Checkpoints, make_deterministic

what, folder = sys.argv[1], Path(sys.argv[2])
with lineage.start_run(project="faults", job_type="train", seed=3) as run:
    make_deterministic(run, threads=1)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    run.watch(model, optimizer)
    checkpoints = Checkpoints(run, model=model, optimizer=optimizer, every_steps=4)
    for step in range(checkpoints.restore().step, 8):
        factor = float((folder / "factor").read_text()) if step >= 5 else 1.0
        loss = (model(torch.rand(3, 4)) * factor).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log({"loss": loss})
        checkpoints.step()
    torch.save(model.state_dict(), "model.pth")
    run.log_artifact("model.pth", kind="model")
print(run.id)
"""


FILES = """
import sys
from pathlib import Path

import lineage

with lineage.start_run(project="faults", job_type="train", seed=7) as run:
    data = run.use_dataset(sys.argv[1], role="train")
    for row in data:
        run.log({"loss": sum(row["content"]) / 7})
    Path("model.npy").write_bytes(b"".join(row["content"] for row in data))
    run.log_artifact("model.npy", kind="model")
print(run.id)
"""


@dataclass(frozen=True)
class Place:
    """A user's machine: repository, data, a helper beside the repository, an installed package, a store; always at the same path."""

    root: Path
    run_id: str = ""

    def execute(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        home = self.root / "home"
        known = {
            "HOME": str(home),
            **{f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "STATE")},
            "LINEAGE_STORE": str(self.root / "store"),
            "PYTHONPATH": str(self.root / "outside"),
            "WANDB_MODE": "disabled",
            "OMP_NUM_THREADS": "2",
            "COLUMNS": "1000",
        }
        folder = self.root / "repository"
        return subprocess.run(
            [str(self.root / "venv" / "bin" / "python"), *map(str, words)],
            cwd=folder if folder.is_dir() else self.root,
            env={**os.environ, **known, **variables},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def lineage(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.execute("-m", "lineage", *words, **variables)

    def train(self, what: str, script: str = "train.py", expect: int = 0, **variables: str) -> str:
        done = self.execute(script, what, self.root, **variables)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout.strip() or self.newest()

    def newest(self) -> str:
        return self.sql("SELECT id FROM runs ORDER BY rowid DESC LIMIT 1")[0][0]

    def sql(self, statement: str, *values: Any) -> list[Any]:
        database = sqlite3.connect(self.root / "store" / "lineage.sqlite")
        try:
            found = database.execute(statement, values).fetchall()
            database.commit()
        finally:
            database.close()
        return found

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.sql("SELECT document FROM runs WHERE id = ?", self.run_id)[0][0])
        return found

    def object(self, digest: str) -> Path:
        plain = digest.partition(":")[2]
        return next((self.root / "store").rglob(f"sha256/*/*{plain[2:]}"))


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "protocol.file.allow=always", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S).stdout


def picture(number: int) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(np.full((6, 5, 3), number * 20, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def make_data(
    folder: Path, change: Callable[[dict[str, list[Any]]], None] | None = None, *, names: tuple[str, ...] = ("car", "van")
) -> None:
    import deeplake
    from deeplake import types

    columns: dict[str, list[Any]] = {
        "picture": [picture(row) for row in range(ROWS)],
        "pixels": [np.full(4, row, "float32") for row in range(ROWS)],
        "label": [row % 2 for row in range(ROWS)],
        "value": list(range(ROWS)),
        "sample_id": [f"frame_{row}" for row in range(ROWS)],
    }
    if change is not None:
        change(columns)
    made = deeplake.create(
        str(folder),
        schema={
            "picture": types.Image(sample_compression="png"),
            "pixels": types.Array("float32", 1),
            "label": types.ClassLabel(types.UInt32()),
            "value": types.Int32(),
            "sample_id": types.Text(),
        },
    )
    made["label"].metadata["class_names"] = list(names)
    made.append(columns)
    made.commit("made")
    made.query(VIEW).tag("small", "")
    made.query("select * order by random() limit 5").tag("random", "")


def site_of(root: Path) -> Path:
    return root / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def make_venv(root: Path) -> None:
    """A virtual environment that sees the packages of this one, and can have packages of its own."""
    (root / "venv" / "bin").mkdir(parents=True)
    site_of(root).mkdir(parents=True)
    base = Path(sys.executable).resolve()
    (root / "venv" / "bin" / "python").symlink_to(base)
    (root / "venv" / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    (site_of(root) / "packages.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")


def install(root: Path, version: str, shift: str) -> None:
    """What an installer leaves of a wheel."""
    uninstall(root)
    site = site_of(root)
    info = f"tables-{version}.dist-info"
    (site / info).mkdir(parents=True)
    files = {
        "tables.py": f"SHIFT = {shift}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tables\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{info}/RECORD,,"]
    for path, text in files.items():
        (site / path).write_text(text)
        rows.append(f"{path},sha256={urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}")
    (site / info / "RECORD").write_text("\n".join(rows) + "\n")


def uninstall(root: Path) -> None:
    for found in site_of(root).glob("tables*"):
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink()


def make_place(root: Path) -> Place:
    """The machine before any run: a dirty tree with an untracked helper, a submodule, a file in Git LFS."""
    from lineage.adapters.source.git_lfs import lfs_settings
    from lineage.adapters.source.lfs_filter import pointer

    for name in ("repository", "library", "outside", "home"):
        (root / name).mkdir(parents=True)
    (root / "library" / "term.py").write_text("TERM = 1.0\n")
    (root / "outside" / "shared.py").write_text("OFFSET = 2.0\n")
    make_venv(root)
    install(root, "1.0", "3.0")
    make_data(root / "data")
    repository = root / "repository"
    for folder in (root / "library", repository):
        git(folder, "init", "--quiet")
    git(root / "library", "add", "--all")
    git(root / "library", "commit", "--quiet", "--message", "first")
    (repository / ".gitignore").write_text("__pycache__/\n*.npy\n*.pth\n")
    (repository / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (repository / "train.py").write_text(PLAIN)
    (repository / "steps.py").write_text(STEPS)
    content = b"weights" * 100
    (repository / "weights.bin").write_bytes(pointer(sha256(content).hexdigest(), len(content)))
    git(repository, "submodule", "--quiet", "add", str(root / "library"), "lib")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "first")
    (repository / "weights.bin").write_bytes(content)
    git(repository, *lfs_settings(), "add", "weights.bin")
    git(repository, "switch", "--quiet", "--create", "work")
    (repository / "notes.txt").write_text("on a branch\n")
    git(repository, "add", "notes.txt")
    git(repository, "commit", "--quiet", "--message", "work")
    (repository / "helper.py").write_text("FACTOR = 0.5\n")
    np.save(repository / "base.npy", np.arange(4.0))
    (root / "factor").write_text("1.0")
    (root / "unrecorded.txt").write_text("1.0")
    return Place(root)


# --- faults: what is done to a place after its run -----------------------------------------------------------------------------

Words = tuple[str | Path, ...]
Fault = Callable[[Place], "Words | None"]


def other_data(change: Callable[[dict[str, list[Any]]], None] | None = None, **settings: Any) -> Fault:
    def fault(place: Place) -> None:
        shutil.rmtree(place.root / "data")
        make_data(place.root / "data", change, **settings)

    return fault


def one_label(columns: dict[str, list[Any]]) -> None:
    columns["label"][3] = 0


def one_pixel(columns: dict[str, list[Any]]) -> None:
    columns["pixels"][3][2] = np.nextafter(columns["pixels"][3][2], np.float32(9))


def one_picture(columns: dict[str, list[Any]]) -> None:
    columns["picture"][3] = picture(11)


def one_name(columns: dict[str, list[Any]]) -> None:
    columns["sample_id"][3] = "frame_x"


def two_swapped(columns: dict[str, list[Any]]) -> None:
    for values in columns.values():
        values[1], values[2] = values[2], values[1]


def one_row_less(columns: dict[str, list[Any]]) -> None:
    for values in columns.values():
        del values[4]


def in_dataset(change: Callable[[Any], None]) -> Fault:
    def fault(place: Place) -> None:
        import deeplake

        handle = deeplake.open(str(place.root / "data"))
        change(handle)

    return fault


def append(handle: Any) -> None:
    handle.append(
        {
            "picture": [picture(9)],
            "pixels": [np.full(4, 9, "float32")],
            "label": [1],
            "value": [0],
            "sample_id": ["frame_9"],
        }
    )
    handle.commit("more")


def relabel(handle: Any) -> None:
    handle["label"][3] = 0
    handle.delete(5)
    handle.commit("relabelled")


def delete_view(handle: Any) -> None:
    handle.tags["small"].delete()


def redirect_view(handle: Any) -> None:
    handle.tags["small"].delete()
    handle.query("select * where value > 3").tag("small", "")


def data_deleted(place: Place) -> None:
    shutil.rmtree(place.root / "data")


def data_archived_and_deleted(place: Place) -> None:
    assert place.lineage("archive", place.run_id).returncode == 0
    shutil.rmtree(place.root / "data")


def data_relabelled_but_archived(place: Place) -> None:
    assert place.lineage("archive", place.run_id).returncode == 0
    other_data(one_label)(place)


def archive_damaged(place: Place) -> None:
    before = set((place.root / "store").rglob("sha256/*/*"))
    data_archived_and_deleted(place)
    for file in set((place.root / "store").rglob("sha256/*/*")) - before:
        damage(file)


def data_moved(place: Place) -> Words:
    (place.root / "data").rename(place.root / "moved")
    return ("reproduce", place.run_id, "--data", f"train={place.root / 'moved'}")


def data_moved_and_relabelled(place: Place) -> Words:
    shutil.rmtree(place.root / "data")
    make_data(place.root / "moved", one_label)
    return ("reproduce", place.run_id, "--data", f"train={place.root / 'moved'}")


def file_of_data_lost(place: Place) -> None:
    max((file for file in (place.root / "data").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size).unlink()


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


def write(path: str, text: str) -> Fault:
    def fault(place: Place) -> None:
        (place.root / path).write_text(text)

    return fault


def delete(*paths: str) -> Fault:
    def fault(place: Place) -> None:
        for path in paths:
            found = place.root / path
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()

    return fault


def committed_since(place: Place) -> None:
    (place.root / "repository" / "helper.py").write_text("FACTOR = 99.0\n")
    (place.root / "repository" / "train.py").write_text("raise SystemExit('rewritten')\n")
    git(place.root / "repository", "add", "--all")
    git(place.root / "repository", "commit", "--quiet", "--message", "rewrite")


def branch_deleted(place: Place) -> None:
    repository = place.root / "repository"
    git(repository, "switch", "--quiet", "--force", "main")
    git(repository, "branch", "--quiet", "--delete", "--force", "work")
    git(repository, "reflog", "expire", "--expire=now", "--all")
    git(repository, "gc", "--quiet", "--prune=now")


def refs_pruned(place: Place) -> None:
    repository = place.root / "repository"
    for name in git(repository, "for-each-ref", "--format=%(refname)", "refs/lineage").split():
        git(repository, "update-ref", "-d", name)
    branch_deleted(place)


def repository_deleted(place: Place) -> None:
    shutil.rmtree(place.root / "repository")
    (place.root / "repository").mkdir()
    np.save(place.root / "repository" / "base.npy", np.arange(4.0))  # git ignores it, so it is kept nowhere else


def repository_and_library_deleted(place: Place) -> None:
    shutil.rmtree(place.root / "library")
    repository_deleted(place)


def repository_and_packs_deleted(place: Place) -> None:
    repository_deleted(place)
    for digest in place.record()["code_packs"]:
        place.object(digest).unlink()


def pack_damaged(place: Place) -> None:
    for digest in place.record()["code_packs"]:
        damage(place.object(digest))
    repository_deleted(place)


def submodule_moved_on(place: Place) -> None:
    library = place.root / "repository" / "lib"
    (library / "term.py").write_text("TERM = 99.0\n")
    git(library, "commit", "--quiet", "--all", "--message", "moved on")
    git(place.root / "repository", "commit", "--quiet", "--all", "--message", "with the new library")


def lfs_content_dropped(place: Place) -> None:
    content = b"weights" * 100
    (place.root / "repository" / "weights.bin").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(content).hexdigest()}\nsize {len(content)}\n"
    )


def of(what: str, after: Fault | None = None, *, expect: int = 0, **variables: str) -> Fault:
    def fault(place: Place) -> Words:
        run_id = place.train(what, expect=expect, **variables)
        if after is not None:
            after(place)
        return ("reproduce", run_id)

    return fault


def scale_changed(place: Place) -> Words:
    return ("SCALE=3.0", "reproduce", place.train("scale", SCALE="2.0"))


def threads_changed(place: Place) -> Words:
    return ("OMP_NUM_THREADS=5", "reproduce", place.run_id)


def undeclared_helper_edited(place: Place) -> Words:
    (place.root / "repository" / "helper.py").write_text("FACTOR = 0.75\n")
    return ("diff", place.run_id, place.train("plain"), "--exit-code")


def package_changed(place: Place) -> Words:
    install(place.root, "2.0", "4.0")
    return ("reproduce", place.run_id, "--env", "current")


def package_edited(place: Place) -> Words:
    (site_of(place.root) / "tables.py").write_text("SHIFT = 4.0\n")
    return ("reproduce", place.run_id, "--env", "current")


def package_removed(place: Place) -> Words:
    uninstall(place.root)
    return ("reproduce", place.run_id, "--env", "current")


def secret_in_command(place: Place) -> Words:
    done = place.lineage("run", "--", place.root / "venv" / "bin" / "python", "-c", "pass", "--token", "hush-1234-hush")
    assert done.returncode == 0, done.stderr
    return ("reproduce", place.newest())


def secret_given(place: Place) -> Words:
    done = place.execute("train.py", "plain", place.root, "--token", "hush-1234-hush")
    assert done.returncode == 0, done.stderr
    return ("TOKEN=hush-1234-hush", "reproduce", done.stdout.strip())


def event_altered(place: Place) -> None:
    statement = """UPDATE events SET payload = replace(payload, '"seed":7', '"seed":8') WHERE run_id = ? AND number = 0 RETURNING payload"""
    assert '"seed":8' in place.sql(statement, place.run_id)[0][0]


def altered_and_mended(place: Place, old: str, new: str) -> None:
    """As somebody alters a record who knows how: the chain and the stored record agree with the altered event."""
    previous: str | None = None
    rows = place.sql("SELECT number, payload FROM events WHERE run_id = ? ORDER BY number", place.run_id)
    for number, payload in rows:
        altered = payload.replace(old, new)
        previous = chain_digest(previous, altered)
        place.sql("UPDATE events SET payload = ?, digest = ? WHERE run_id = ? AND number = ?", altered, previous, place.run_id, number)
    place.sql("UPDATE runs SET document = replace(document, ?, ?) WHERE id = ?", old, new, place.run_id)


def unsigned_chain_mended(place: Place) -> Words:
    altered_and_mended(place, '"seed":7', '"seed":8')
    return ("verify", place.run_id)


def written_by_a_newer_release(place: Place) -> None:
    altered_and_mended(place, '"schema_version":1', '"schema_version":9')


def two_at_once(place: Place) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: place.lineage("reproduce", place.run_id), range(2)))
    assert ["verdict: identical" in item.stdout for item in done] == [True, True], [item.stdout + item.stderr for item in done]


def recorded_environment_lost(place: Place) -> Words:
    uninstall(place.root)
    return ("UV_OFFLINE=1", "UV_NO_INDEX=1", "reproduce", place.run_id, "--env", "recorded")


def with_files(place: Place, data: str) -> str:
    """A run that reads files as they are."""
    (place.root / "repository" / "files.py").write_text(FILES)
    for number in range(3):
        (place.root / data / "deep").mkdir(parents=True, exist_ok=True)
        (place.root / data / "deep" / f"{number}.txt").write_text(f"{number}\n")
    return str(place.root / data)


def files_changed(place: Place) -> Words:
    run_id = place.train(with_files(place, "files"), "files.py")
    (place.root / "files" / "deep" / "1.txt").write_text("9\n")
    return ("reproduce", run_id)


def dvc(place: Place, *words: str) -> None:
    done = place.execute("-m", "dvc", "--quiet", *words, DVC_SITE_CACHE_DIR=str(place.root / "home" / "site"), DVC_NO_ANALYTICS="1")
    assert done.returncode == 0, done.stderr


def tracked_changed(place: Place, *, loses_cache: bool) -> Words:
    repository = place.root / "repository"
    dvc(place, "init")
    with_files(place, "repository/tracked")
    dvc(place, "add", "tracked")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "tracked by DVC")
    run_id = place.train("tracked", "files.py")
    if loses_cache:
        shutil.rmtree(repository / ".dvc" / "cache")
    shutil.rmtree(repository / "tracked")
    with_files(place, "repository/tracked")
    (repository / "tracked" / "deep" / "1.txt").write_text("9\n")
    dvc(place, "add", "tracked")
    git(repository, "commit", "--quiet", "--all", "--message", "other data")
    return ("reproduce", run_id)


def without_event(before_last: int) -> Fault:
    def fault(place: Place) -> None:
        ((last,),) = place.sql("SELECT max(number) FROM events WHERE run_id = ?", place.run_id)
        place.sql("DELETE FROM events WHERE run_id = ? AND number = ?", place.run_id, last - before_last)

    return fault


def events_swapped(place: Place) -> None:
    for before, after in ((1, -1), (2, 1), (-1, 2)):
        place.sql("UPDATE events SET number = ? WHERE run_id = ? AND number = ?", after, place.run_id, before)


def metric_altered(place: Place) -> None:
    place.sql("UPDATE metrics SET payload = replace(payload, ': ', ': 1') WHERE run_id = ? AND number = 3", place.run_id)


def metric_deleted(place: Place) -> None:
    place.sql("DELETE FROM metrics WHERE run_id = ? AND number = 3", place.run_id)


def chain_mended(place: Place) -> Words:
    assert place.lineage("keys", "new").returncode == 0
    assert place.lineage("sign", place.run_id).returncode == 0
    altered_and_mended(place, '"seed":7', '"seed":8')
    return ("verify", place.run_id)


def document_altered(place: Place) -> None:
    place.sql("UPDATE runs SET document = replace(document, '\"rate\":0.1', '\"rate\":0.2') WHERE id = ?", place.run_id)


def environment_altered(place: Place) -> None:
    place.sql('UPDATE environments SET payload = replace(payload, \'"python":"3\', \'"python":"4\')')


def verified(fault: Fault) -> Fault:
    def verify(place: Place) -> Words:
        fault(place)
        return ("verify", place.run_id)

    return verify


def object_of(find: Callable[[dict[str, Any]], str], act: Callable[[Path], None]) -> Fault:
    def fault(place: Place) -> None:
        act(place.object(find(place.record())))

    return fault


def rows_object(record: dict[str, Any]) -> str:
    return str(record["inputs"][0]["rows_object"])


def digests_object(record: dict[str, Any]) -> str:
    return str(record["inputs"][0]["digests_object"])


def step_log(record: dict[str, Any]) -> str:
    return str(record["step_logs"][0]["object"])


def lfs_object(record: dict[str, Any]) -> str:
    return str(record["kept_code"]["large"][0]["digest"])


def outside_helper(record: dict[str, Any]) -> str:
    return str(record["loaded"]["outside"][0]["digest"])


def a_checkpoint(record: dict[str, Any]) -> str:
    return str(next(item["digest"] for item in record["outputs"] if item["name"].startswith("checkpoint")))


def base_altered(place: Place) -> None:
    np.save(place.root / "repository" / "base.npy", np.arange(4.0) + 1)


def bundle(place: Place) -> Path:
    file = place.root / "run.lineage"
    done = place.lineage("bundle", place.run_id, file)
    assert done.returncode == 0, done.stderr
    return file


def bundled(change: Callable[[bytearray], bytes], *options: str) -> Fault:
    def fault(place: Place) -> Words:
        file = place.root / "run.lineage"
        file.write_bytes(change(bytearray(file.read_bytes())))
        for name in ("store", "repository", "data"):
            shutil.rmtree(place.root / name)
        return ("reproduce", file, *options)

    return fault


def signed_bundle(place: Place) -> Words:
    assert place.lineage("keys", "new").returncode == 0
    assert place.lineage("sign", place.run_id).returncode == 0
    (place.root / "run.lineage").unlink()
    bundle(place)
    return bundled(as_it_was)(place) or ()


def as_it_was(content: bytearray) -> bytes:
    return bytes(content)


def flipped(content: bytearray) -> bytes:
    content[len(content) // 2] ^= 1
    return bytes(content)


def truncated(content: bytearray) -> bytes:
    return bytes(content[: len(content) // 2])


def longer(content: bytearray) -> bytes:
    return bytes(content) + b"more"


def linked(content: bytearray) -> bytes:
    """An object's place taken by a link that leads out of the folder."""
    at = next(at for at in range(0, len(content), 512) if content[at : at + 8] == b"objects/" and content[at + 257 : at + 262] == b"ustar")
    link = tarfile.TarInfo(bytes(content[at : at + 72]).decode())
    link.type, link.linkname = tarfile.SYMTYPE, "../../../etc/passwd"
    content[at : at + 512] = link.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")
    return bytes(content)


def climbing(content: bytearray) -> bytes:
    return bytes(content).replace(b"objects/", b"../../x/")


# --- the matrix ------------------------------------------------------------------------------------------------------------------

EXIT = {
    "identical": 0,
    "diverged": 1,
    "different": 1,
    "inconclusive": 3,
    "blocked": 4,
    "altered": 9,
    "refused": 9,
    "intact": 0,
    "unreadable": 7,
}
"""Some are no verdicts: ``lineage diff --exit-code`` found a difference (``different``), ``lineage verify`` found one (``altered``) or none
(``intact``), or an error came before (``refused``, ``unreadable``)."""


VERDICTS = ("identical", "diverged", "inconclusive", "blocked")


@dataclass(frozen=True)
class Case:
    """A fault, and what has to be said of it.

    Attributes:
        says: Each is a part of one line of the report.
    """

    area: str
    what: str
    fault: Fault
    verdict: str
    says: tuple[str, ...] = ()
    workload: str = "plain"


EQUAL, SNAPSHOT, KEPT = "every row equal", "reachable", "kept in the object store; its repository is lost"
LABEL = "data differ in 1 of 7 rows: row 3 (frame_3: annotations)"
CASES = (
    Case("data", "nothing: the run as it was recorded", lambda place: None, "identical", ("chain intact", EQUAL, SNAPSHOT)),
    Case("data", "a label edited", other_data(one_label), "blocked", (LABEL,)),
    Case("data", "the last bit of one number changed", other_data(one_pixel), "blocked", (LABEL,)),
    Case("data", "one picture replaced", other_data(one_picture), "blocked", ("data differ in 1 of 7 rows: row 3 (frame_3: picture)",)),
    Case("data", "one sample renamed", other_data(one_name), "blocked", ("row 3 (frame_x: its sample_id was 'frame_3')",)),
    Case("data", "two rows swapped", other_data(two_swapped), "blocked", ("row 1 (frame_2: picture), row 2 (frame_1: picture)",)),
    Case("data", "a row left out of a dataset made anew", other_data(one_row_less), "blocked", ("row 4 (frame_5: picture)",)),
    Case("data", "class names exchanged", other_data(names=("van", "car")), "blocked", ("class 0 of 'label' was 'car', is 'van'",)),
    Case("data", "rows appended and committed since", in_dataset(append), "identical", (EQUAL,)),
    Case("data", "a label edited, a row deleted, and both committed since", in_dataset(relabel), "identical", (EQUAL,)),
    Case("data", "the view deleted", in_dataset(delete_view), "identical", (EQUAL,)),
    Case("data", "the view's name given to other rows", in_dataset(redirect_view), "identical", (EQUAL,)),
    Case("data", "a view that is random each time it is asked for", of("random"), "identical", (EQUAL, "5 rows · 5 rows")),
    Case("data", "the dataset deleted", data_deleted, "blocked", ("data: train missing: no dataset",)),
    Case("data", "the dataset deleted, the run archived before", data_archived_and_deleted, "identical", ("read from the archive",)),
    Case("data", "a label edited, the run archived before", data_relabelled_but_archived, "identical", ("read from the archive", LABEL)),
    Case("data", "the dataset deleted, its archive damaged", archive_damaged, "blocked", ("no dataset", "its archive cannot be used")),
    Case("data", "the dataset moved, its new place named", data_moved, "identical", (f"{EQUAL} at file://",)),
    Case("data", "the place that was named holds an edited label", data_moved_and_relabelled, "blocked", (LABEL,)),
    Case("data", "a file of the dataset lost", file_of_data_lost, "blocked", ("data: train missing",)),
    Case("data", "a file of a plain folder changed", files_changed, "blocked", ("deep/1.txt",)),
    Case(
        "data",
        "data tracked by DVC changed and committed since",
        lambda place: tracked_changed(place, loses_cache=False),
        "identical",
        (EQUAL,),
    ),
    Case(
        "data",
        "the same, and DVC's copy of the old data lost",
        lambda place: tracked_changed(place, loses_cache=True),
        "blocked",
        ("data: train missing",),
    ),
    Case("code", "an untracked helper edited", write("repository/helper.py", "FACTOR = 99.0\n"), "identical", (SNAPSHOT,)),
    Case("code", "an untracked helper deleted", delete("repository/helper.py"), "identical", (SNAPSHOT,)),
    Case("code", "script and helper rewritten and committed since", committed_since, "identical", (SNAPSHOT,)),
    Case("code", "an imported helper that nobody declared edited, run again", undeclared_helper_edited, "different", ("helper.py",)),
    Case("code", "the repository and its submodule's source deleted", repository_and_library_deleted, "identical", (KEPT,)),
    Case("code", "the branch deleted and collected as garbage", branch_deleted, "identical", (SNAPSHOT,)),
    Case("code", "the branch and the run's reference deleted and collected", refs_pruned, "identical", (KEPT,)),
    Case("code", "the repository and what was kept of it deleted", repository_and_packs_deleted, "blocked", ("1 of its 1 packs are not",)),
    Case("code", "the repository deleted, what was kept of it damaged", pack_damaged, "blocked", ("1 of its 1 packs are damaged",)),
    Case("code", "the submodule moved on", submodule_moved_on, "identical", (SNAPSHOT,)),
    Case("code", "a Git LFS file replaced by its pointer", lfs_content_dropped, "identical", (SNAPSHOT,)),
    Case(
        "code",
        "the content of a Git LFS file lost",
        object_of(lfs_object, Path.unlink),
        "blocked",
        ("not in the object store: weights.bin",),
    ),
    Case("code", "a helper edited while the run was going", of("edited"), "identical", ("edited while the run was going: helper.py",)),
    Case(
        "code",
        "a helper outside the repository edited",
        write("outside/shared.py", "OFFSET = 99.0\n"),
        "identical",
        ("shared.py is another file now; the recorded one is used",),
    ),
    Case("code", "a helper outside the repository deleted", delete("outside"), "identical", ("shared.py is gone; the recorded one",)),
    Case("code", "such a helper lost from the object store", object_of(outside_helper, Path.unlink), "blocked", ("shared.py",)),
    Case("environment", "a package in another version", package_changed, "diverged", ("environment: tables 1.0 → 2.0",)),
    Case("environment", "a file of an installed package edited", package_edited, "diverged", ("environment: tables.py (tables)",)),
    Case("environment", "a package removed", package_removed, "inconclusive", ("tables 1.0 → absent", "No module named 'tables'")),
    Case(
        "environment",
        "a package removed that cannot be had again, the recorded environment asked for",
        recorded_environment_lost,
        "blocked",
        ("tables 1.0: no index has it, and no copy is kept",),
    ),
    Case("environment", "a known variable that changes numbers", of("threads", OMP_NUM_THREADS="3"), "identical", (EQUAL,)),
    Case(
        "environment",
        "a variable that no list knows",
        scale_changed,
        "diverged",
        ("not checked", "environment variables that the program reads, beyond those known to change numbers"),
    ),
    Case("environment", "another number of threads", threads_changed, "identical", ("8 steps · 8 steps",), "steps"),
    Case("environment", "a secret in the command", secret_in_command, "blocked", ("set the variable TOKEN, or say --secret TOKEN",)),
    Case("environment", "a secret in the command, given again", secret_given, "identical", ("given in the variable TOKEN",)),
    Case("record", "the seed altered in the stored event", event_altered, "blocked", ("record changed", "event 0: expected sha256:")),
    Case("record", "the same, looked for offline", verified(event_altered), "altered", ("event 0: expected sha256:",)),
    Case("record", "the same, the chain mended, the record signed before", chain_mended, "altered", ("signature of 'default'",)),
    Case("record", "the same, the chain mended, the record not signed", unsigned_chain_mended, "intact", ("not checked: unsigned",)),
    Case("record", "written by a newer release", written_by_a_newer_release, "unreadable", ("has schema version 9", "install that one")),
    Case("record", "an event deleted", verified(without_event(1)), "altered", ("a broken one",)),
    Case("record", "the last event deleted", verified(without_event(0)), "altered", ("record             changed",)),
    Case("record", "two events exchanged", verified(events_swapped), "altered", ("a broken one",)),
    Case("record", "a logged value altered", verified(metric_altered), "altered", ("logged values were changed, added or lost",)),
    Case("record", "a logged value deleted", metric_deleted, "blocked", ("logged values were changed, added or lost",)),
    Case("record", "the stored record altered, not its events", document_altered, "blocked", ("not what its events add up to",)),
    Case(
        "record",
        "the environment's description altered",
        verified(environment_altered),
        "altered",
        ("table of environments was", "read and equal"),
    ),
    Case("objects", "the list of rows lost", object_of(rows_object, Path.unlink), "blocked", ("data: train missing: no object",)),
    Case("objects", "the list of rows damaged", object_of(rows_object, damage), "blocked", ("data: train missing: object",)),
    Case("objects", "the digests of the rows damaged", verified(object_of(digests_object, damage)), "altered", ("missing or changed",)),
    Case("objects", "base weights altered where they were", base_altered, "blocked", ("file: base changed", "base.npy: expected sha256:")),
    Case("objects", "base weights lost", delete("repository/base.npy"), "blocked", ("file: base missing", "base.npy: expected sha256:")),
    Case("objects", "the repository deleted, base weights with it", delete("repository"), "blocked", ("file: base missing",)),
    Case("objects", "the step log damaged", verified(object_of(step_log, damage)), "altered", ("missing or changed",), "steps"),
    Case("objects", "a checkpoint lost", verified(object_of(a_checkpoint, Path.unlink)), "altered", ("no object",), "steps"),
    Case("training", "nothing, but two reproductions of it at once before", two_at_once, "identical", (EQUAL,)),
    Case("training", "no seed", of("unseeded"), "diverged", ("first difference at step 0: loss", "seed: random numbers will differ")),
    Case("training", "a result that depends on the time", of("clock"), "diverged", ("first difference at step 0: loss",)),
    Case("training", "a file read, not recorded", of("unrecorded", write("unrecorded.txt", "2")), "diverged", ("at step 0: loss",)),
    Case("training", "such a file, from the sixth step on", write("factor", "1.001"), "diverged", ("at step 5, phase loss",), "steps"),
    Case("training", "the disk full when it is repeated", of("fails", write("full", "")), "inconclusive", ("status 1: no space left",)),
    Case("training", "the run killed in the middle", of("killed", expect=-9), "inconclusive", ("the original ended as aborted",)),
    Case("bundle", "store, repository and data deleted", bundled(as_it_was, "--yes"), "identical", ("whoever said --yes",)),
    Case("bundle", "not signed", bundled(as_it_was), "blocked", ("unsigned: nobody whom this account trusts",)),
    Case("bundle", "signed by a key that is trusted", signed_bundle, "identical", ("signed by 'default'",)),
    Case("bundle", "one bit flipped", bundled(flipped), "refused", ("run.lineage",)),
    Case("bundle", "cut in the middle", bundled(truncated), "refused", ("run.lineage",)),
    Case("bundle", "bytes added at its end", bundled(longer), "refused", ("run.lineage",)),
    Case("bundle", "a link to a file outside in it", bundled(linked), "refused", ("the symbolic link", "etc/passwd")),
    Case("bundle", "names that lead out of the folder", bundled(climbing), "refused", ("run.lineage",)),
)


@dataclass(frozen=True)
class Machines:
    """Recorded runs, each with all that they came from, to be put back at the one path that their records name."""

    root: Path
    kept: dict[str, tuple[Path, str]]

    def put_back(self, workload: str) -> Place:
        folder, run_id = self.kept[workload]
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(folder, self.root, symlinks=True)
        return Place(self.root, run_id)

    def keep(self, workload: str, run_id: str) -> None:
        self.kept[workload] = (self.root.with_name(workload), run_id)
        shutil.copytree(self.root, self.kept[workload][0], symlinks=True)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    made = Machines(tmp_path_factory.mktemp("faults") / "machine", {})
    made.keep("plain", make_place(made.root).train("plain"))
    # Made in a copy: it also archives the data, which most faults must not find.
    shutil.copyfile(bundle(made.put_back("plain")), made.kept["plain"][0] / "run.lineage")
    return made


def name_of(case: Case) -> str:
    return f"{case.area}: {case.what}"


def exit_of(case: Case) -> int:
    return EXIT[case.verdict]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name_of(case), marks=[pytest.mark.slow] if case.workload == "steps" else []) for case in CASES]
)
def test_a_fault_gets_its_verdict(machines: Machines, case: Case) -> None:
    """Verdict, exit code, and the sentence that names what was changed; a secret is never printed."""
    if case.workload not in machines.kept:
        machines.keep(case.workload, machines.put_back("plain").train(case.workload, "steps.py"))
    place = machines.put_back(case.workload)
    words = list(case.fault(place) or ("reproduce", place.run_id))
    variables: dict[str, str] = {}
    while "=" in str(words[0]):
        variable, _, value = str(words.pop(0)).partition("=")
        variables[variable] = value

    done = place.lineage(*words, **variables)

    told = done.stdout + done.stderr
    assert done.returncode == exit_of(case), told
    assert [part for part in case.says if part not in told] == [], told
    assert (f"verdict: {case.verdict}" in done.stdout) == (case.verdict in VERDICTS), told
    assert "hush-1234" not in told
    assert "Traceback" not in done.stderr or case.verdict == "inconclusive"


# --- the page ------------------------------------------------------------------------------------------------------------------


def page() -> str:
    """docs/faults.md."""
    lines = [
        "# Faults, and what is said of them",
        "",
        "One thing is changed after a run was recorded; then `lineage reproduce` is asked, or `lineage verify`, which executes nothing.",
        f"Each of the {len(CASES)} rows is a test (`tests/end_to_end/test_fault_matrix.py`) that keeps this page true. The last column",
        "has parts of the report, as the test looks for them.",
        "",
        "`identical` means that the fault does not matter: the reproduction used what was recorded. `altered` is the answer of",
        "`lineage verify`, and `intact` the one where it found nothing; `different` is that of `lineage diff --exit-code`. `refused` and",
        "`unreadable` are errors before the recorded command was executed.",
        "",
        *(line for area in dict.fromkeys(case.area for case in CASES) for line in _section(area)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _section(area: str) -> Iterator[str]:
    yield from (f"## {area.capitalize()}", "", "| fault | verdict (exit code) | the report says |", "|---|---|---|")
    for case in CASES:
        if case.area == area:
            says = " … ".join(f"`{' '.join(part.split())}`" for part in case.says)
            yield f"| {case.what} | `{case.verdict}` ({exit_of(case)}) | {says} |"
    yield ""


def test_the_page_is_what_the_cases_say() -> None:
    """docs/faults.md is made from the cases, byte for byte."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run this file as a program: it writes the page"


def test_the_matrix_covers_every_verdict_and_area() -> None:
    """At least forty faults, no two of one name, each with a sentence that is asked for."""
    assert len({name_of(case) for case in CASES}) == len(CASES) >= 40
    assert {case.verdict for case in CASES} == set(EXIT)
    assert {case.area for case in CASES} == {"data", "code", "environment", "record", "objects", "training", "bundle"}
    assert [name_of(case) for case in CASES if not case.says] == []


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
