"""Environments rebuilt from records by a real uv, offline, from small real wheels."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pydantic
import pytest

import lineage
from lineage.adapters.environment.local import LocalEnvironmentProbe
from lineage.adapters.environment.packages import read_packages
from lineage.adapters.environment.uv import UvEnvironmentBuilder
from lineage.adapters.environment.uv_program import call_uv
from lineage.adapters.environment.wheelhouse import make_wheels
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.errors import Conflict, IntegrityError, Unavailable
from lineage.model.bundle import Contents
from lineage.model.environment import AlteredFile, Lock, LockedPackage, lock_of
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.installed import loaded_paths
from lineage.reproduce.bundle_file import BundleFile, write_bundle_file
from lineage.reproduce.bundle_import import import_bundle
from lineage.reproduce.compare import compare_runs
from lineage.reproduce.environment import ChosenEnvironment, Interpreter, Mode
from lineage.settings import Settings
from lineage.wiring import wire

TRAIN = """
import lineage
import tiny_package

with lineage.start_run(project="parking", job_type="train", seed=7) as run:
    run.log({"loss": tiny_package.VALUE})
print(run.id)
"""
OFFLINE = {"UV_LINK_MODE": "hardlink", "UV_OFFLINE": "1", "UV_NO_INDEX": "1"}
NEEDED = ("pydantic", "pydantic_core", "typing_inspection", "annotated_types", "typing_extensions.py")


def make_wheel(folder: Path, name: str = "tiny-package", version: str = "1.0", files: Mapping[str, str] | None = None) -> Path:
    """A wheel with one module, or with the given files."""
    stem = f"{name.replace('-', '_')}-{version}"
    content = dict(files if files is not None else {f"{name.replace('-', '_')}.py": "VALUE = 1.25\n"})
    content[f"{stem}.dist-info/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    content[f"{stem}.dist-info/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    rows = []
    for path, text in content.items():
        hashed = urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={hashed},{len(text.encode())}")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
        archive.writestr(f"{stem}.dist-info/RECORD", "\n".join([*rows, f"{stem}.dist-info/RECORD,,"]) + "\n")
    return wheel


@dataclass(frozen=True)
class Place:
    """A repository, an environment made by uv with one small package, and a folder of wheels that stands for an index."""

    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def wheels(self) -> Path:
        return self.folder / "wheels"

    @property
    def site(self) -> Path:
        (found,) = self.folder.glob("venv/lib/*/site-packages")
        return found

    @property
    def ports(self) -> Ports:
        store = self.repository / ".lineage"
        return wire(Settings(str(store), store))

    def uv(self, *arguments: str | Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "uv", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60, cwd=self.folder
        )
        assert done.returncode == 0, done.stderr

    def install(self, *packages: str | Path) -> None:
        self.uv("pip", "install", "--python", self.folder / "venv/bin/python", "--reinstall", "--no-deps", *packages)

    def train(self) -> Run:
        done = subprocess.run(
            [self.folder / "venv/bin/python", "train.py"], cwd=self.repository, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return self.ports.runs.get(done.stdout.split()[-1])

    def reproduce(self, run: Run, *arguments: str, expect: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "lineage", "reproduce", run.id, "--json", *arguments],
            cwd=self.repository,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def made_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place in a folder with a repository; the variables are for its commands."""
    # Without lists of files: what the layer itself needs is not part of the environment that the test is about.
    layer = folder / "layer" / "site-packages"
    layer.mkdir(parents=True)
    (layer / "lineage").symlink_to(Path(lineage.__file__).parent)
    for name in NEEDED:
        (layer / name).symlink_to(Path(pydantic.__file__).parents[1] / name)
    made = Place(folder)
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(layer))
    monkeypatch.setenv("UV_CACHE_DIR", str(folder / "uv-cache"))
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UV_FIND_LINKS", str(made.wheels))
    make_wheel(made.wheels)
    made.uv("venv", "--no-project", "--python", getattr(sys, "_base_executable"), folder / "venv")  # noqa: B009 - not in typeshed
    made.install("tiny-package==1.0")
    (made.repository / "train.py").write_text(TRAIN)
    return made


@pytest.fixture
def place(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    assert repository == tmp_path / "repository"
    return made_place(tmp_path, monkeypatch)


def row(report: dict[str, Any]) -> dict[str, Any]:
    """What the plan says of the environment."""
    (found,) = [item for item in report["plan"]["ingredients"] if item["name"] == "environment"]
    return dict(found)


def lock(*names: str) -> Lock:
    """A lock for this interpreter."""
    here = LocalEnvironmentProbe(None).describe()
    packages = {name: LockedPackage(version="1.0", record=None) for name in names or ("tiny-package",)}
    return Lock(implementation=here.implementation, python=here.python, packages=packages)


def builder(place: Place) -> UvEnvironmentBuilder:
    store = place.repository / ".lineage"
    return UvEnvironmentBuilder(store / "environments", FolderObjectStore(store / "objects"), LocalEnvironmentProbe(None))


def test_a_deleted_environment_is_rebuilt(place: Place) -> None:
    """Built from the record, file by file the same, and the run in it is identical; the next time it is there already."""
    run = place.train()
    shutil.rmtree(place.folder / "venv")
    first = place.reproduce(run)
    second = place.reproduce(run, "--env", "recorded")

    assert (first["verdict"], row(first)["status"]) == ("identical", "ready")
    assert row(first)["found"] == "rebuilt from the record, just now, the same packages file by file"
    assert row(second)["found"] == "rebuilt from the record, before, the same packages file by file"
    assert not any("not rebuilt" in line for line in first["comparison"]["not_checked"])
    replica = place.ports.runs.get(first["replica_id"])
    assert replica.environment is not None
    assert run.environment is not None
    assert replica.environment.digest == run.environment.digest
    assert replica.environment.executable.startswith(str(place.repository / ".lineage" / "environments"))
    assert len(place.ports.environments().all()) == 1


def test_a_build_that_nobody_wants_any_more_ends(tmp_path: Path) -> None:
    """Whoever waits for uv is asked twice a second, and what it raises ends uv: a job that was called off does not install for minutes."""
    asked: list[float] = []

    def waiting() -> None:
        asked.append(time.monotonic())
        if (tmp_path / "began").exists():
            raise KeyboardInterrupt

    program = f"import pathlib, time; pathlib.Path({str(tmp_path / 'began')!r}).touch(); time.sleep(300)"
    with pytest.raises(KeyboardInterrupt):
        call_uv(["run", "--no-project", "--offline", "--python", sys.executable, "python", "-c", program], tmp_path, 120, waiting=waiting)

    assert asked
    with pytest.raises(Unavailable, match="uv run took longer than 1 s"):
        call_uv(["run", "--no-project", "--offline", "--python", sys.executable, "python", "-c", program], tmp_path, 1)


def test_a_plan_builds_nothing(place: Place) -> None:
    """It says what would be done."""
    run = place.train()
    report = place.reproduce(run, "--plan")

    assert row(report)["found"] == "will be rebuilt, from what is at hand"
    assert place.ports.environments().all() == []
    assert list((place.repository / ".lineage" / "environments").glob("*")) == []


def test_the_current_environment_is_taken_when_asked_for(place: Place) -> None:
    """With a warning for each package that differs, and what that can change; here the run cannot even begin."""
    run = place.train()
    report = place.reproduce(run, "--env", "current", expect=3)

    assert (row(report)["status"], row(report)["severity"]) == ("different", "warning")
    lines = row(report)["detail"]
    assert any("torch absent → " in line and "computes: may change any number" in line for line in lines), lines
    assert any("not rebuilt" in line for line in report["comparison"]["not_checked"])


@pytest.mark.parametrize("mode", ["auto", "recorded"])
def test_a_lost_wheel_is_named(place: Place, mode: Mode) -> None:
    """Nowhere to be had: this environment with a warning, or nothing is run when the recorded one was asked for."""
    run = place.train()
    shutil.rmtree(place.wheels)
    place.wheels.mkdir()
    shutil.rmtree(place.folder / "uv-cache")
    (found,) = ChosenEnvironment(place.ports, run, mode).rows()

    assert found.severity == ("warning" if mode == "auto" else "blocker")
    assert "tiny-package 1.0: no index has it, and no copy is kept" in found.detail[0]
    if mode == "recorded":
        assert place.reproduce(run, "--env", mode, expect=4)["replica_id"] is None


def test_another_build_of_the_same_version_is_named(place: Place) -> None:
    """The name and the version agree and the files do not: built, and told."""
    run = place.train()
    shutil.rmtree(place.folder / "uv-cache")
    make_wheel(place.wheels, files={"tiny_package.py": "VALUE = 1.5\n"})
    report = place.reproduce(run, "--env", "recorded", expect=1)

    assert (row(report)["status"], row(report)["severity"]) == ("different", "warning")
    assert row(report)["detail"][0] == "tiny-package 1.0: another build of it, with other files"
    assert "tiny-package 1.0: another build" in report["comparison"]["likely_causes"][0]


def test_files_that_were_altered_by_hand_are_recorded_and_come_back(place: Place) -> None:
    """An edit inside an installed package, and a module that no package lists: kept, named, and part of the rebuilt environment."""
    module = place.site / "tiny_package.py"
    module.unlink()  # not through the link that it shares with uv's cache
    module.write_text("import dropped\nVALUE = dropped.HERE\n")
    (place.site / "dropped.py").write_text("HERE = 2.5\n")
    run = place.train()
    shutil.rmtree(place.folder / "venv")
    report = place.reproduce(run)

    assert run.installed is not None
    assert [(item.package, item.path) for item in run.installed.altered or ()] == [
        (None, "dropped.py"),
        ("tiny-package", "tiny_package.py"),
    ]
    assert any("not what was installed: dropped.py (listed by no package), tiny_package.py (tiny-package)" in note for note in run.notes)
    assert report["verdict"] == "identical"
    replica = place.ports.runs.get(report["replica_id"])
    assert replica.installed is not None
    assert replica.installed.altered == run.installed.altered


def test_a_file_that_was_altered_between_two_runs_is_named(place: Place) -> None:
    """The same versions and the same lists, and other numbers: the file is the first of the likely causes."""
    first = place.train()
    module = place.site / "tiny_package.py"
    module.unlink()
    module.write_text("VALUE = 9.5\n")
    second = place.train()
    store = place.ports.runs
    found = compare_runs(first, second, store.metrics(first.id), store.metrics(second.id))

    assert first.environment is not None
    assert second.environment is not None
    assert first.environment.digest == second.environment.digest
    assert found.likely_causes[0] == "environment: tiny_package.py (tiny-package) was not what was installed in the second run"
    assert compare_runs(first, first, store.metrics(first.id), store.metrics(first.id)).likely_causes == ()


def test_an_altered_file_with_a_secret_is_not_kept(place: Place) -> None:
    """Only its digest is recorded."""
    module = place.site / "tiny_package.py"
    module.unlink()
    module.write_text('VALUE = 1.0\napi_key = "hunter22-hunter22"\n')
    run = place.train()

    assert run.installed is not None
    (altered,) = run.installed.altered or ()
    assert not altered.is_kept
    assert not place.ports.objects.has(altered.digest)
    assert run.environment is not None
    assert lock_of(run.environment, run.installed).altered == ()


def test_an_untouched_environment_says_so(place: Place) -> None:
    """Looked at and nothing found, which is not the same as not looked at; the second run reads no file again."""
    first, second = place.train(), place.train()

    assert first.installed is not None
    assert second.installed is not None
    assert first.installed.altered == second.installed.altered == ()
    assert loaded_paths(place.ports.objects, first.installed)
    assert first.fingerprint == second.fingerprint


def test_a_package_from_a_local_wheel_is_kept(place: Place) -> None:
    """No index serves it: its wheel is made of the installed files, once, and an environment is built of it."""
    wheel = make_wheel(
        place.folder / "home", "local-package", files={"local_package/__init__.py": "V = 1\n", "local_package/data.txt": "x"}
    )
    place.install(wheel)
    (place.repository / "train.py").write_text(TRAIN.replace("import tiny_package", "import tiny_package, local_package"))
    run, again = place.train(), place.train()
    shutil.rmtree(place.folder / "home")
    shutil.rmtree(place.folder / "venv")
    report = place.reproduce(run)

    assert run.environment is not None
    assert run.environment.sources["local-package"].kind == "archive"
    assert run.installed is not None
    assert run.installed.wheels.keys() == {"local-package"}
    assert again.installed is not None
    assert again.installed.wheels == run.installed.wheels
    assert report["verdict"] == "identical"
    assert row(report)["status"] == "ready"


def test_an_editable_package_from_elsewhere_is_kept(place: Place) -> None:
    """Its code as it was, although its folder is gone."""
    project = place.folder / "project"
    (project / "mine").mkdir(parents=True)
    (project / "mine" / "__init__.py").write_text("from mine.part import V\n")
    (project / "mine" / "part.py").write_text("V = 4.5\n")
    make_wheel(place.folder / "home", "mine", files={"_mine.pth": f"{project}\n"})
    place.install(place.folder / "home" / "mine-1.0-py3-none-any.whl")
    told = {"url": project.as_uri(), "dir_info": {"editable": True}}
    (place.site / "mine-1.0.dist-info" / "direct_url.json").write_text(json.dumps(told))
    (place.repository / "train.py").write_text(TRAIN.replace("tiny_package.VALUE", "__import__('mine').V"))
    run = place.train()
    shutil.rmtree(project)
    report = place.reproduce(run)

    assert run.environment is not None
    assert run.environment.sources["mine"].folders == (str(project),)
    assert run.installed is not None
    assert "mine" in run.installed.wheels
    assert report["verdict"] == "identical"


def test_a_package_is_built_of_its_source_only_where_that_is_allowed(place: Place) -> None:
    """Building executes the package's own code: workers, which do it outside their sandbox, refuse it."""
    backend = f"""
import pathlib, shutil
def build_wheel(folder, config_settings=None, metadata_directory=None):
    pathlib.Path({str(place.folder / "executed")!r}).touch()
    wheel = {str(make_wheel(place.folder / "hidden", "only-source"))!r}
    shutil.copy(wheel, folder)
    return pathlib.Path(wheel).name
"""
    project = (
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "only-source"\nversion = "1.0"\n'
    )
    files = {"pyproject.toml": project, "backend.py": backend, "PKG-INFO": "Metadata-Version: 2.1\nName: only-source\nVersion: 1.0\n"}
    with tarfile.open(place.wheels / "only_source-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"only_source-1.0/{name}")
            member.size = len(text.encode())
            archive.addfile(member, BytesIO(text.encode()))
    store = place.repository / ".lineage"
    careful = UvEnvironmentBuilder(store / "environments", FolderObjectStore(store / "objects"), LocalEnvironmentProbe(None), builds=False)

    with pytest.raises(Unavailable, match="cannot install the recorded packages") as caught:
        careful.build(lock("tiny-package", "only-source"))
    assert caught.value.hint == "a worker started with --builds executes packages' own builds"
    assert not (place.folder / "executed").exists()
    assert careful.build(lock("tiny-package")).python.exists()

    assert builder(place).build(lock("tiny-package", "only-source")).python.exists()
    assert (place.folder / "executed").exists()


def test_an_altered_environment_is_built_anew(place: Place) -> None:
    """What somebody changed in a kept environment is found before it is used."""
    made = builder(place).build(lock())
    (module,) = made.python.parents[1].glob("lib/*/site-packages/tiny_package.py")
    module.unlink()
    module.write_text("VALUE = 66\n")

    assert builder(place).find(lock()) is None
    again = builder(place).build(lock())
    assert not again.was_there
    assert module.read_text() == "VALUE = 1.25\n"
    (module.parent / "added.py").write_text("")
    assert builder(place).find(lock()) is None


def test_a_damaged_cache_of_uv_is_found(place: Place) -> None:
    """uv links files into environments: an edit in one reaches its cache, and every environment that is made later."""
    made = builder(place).build(lock())
    (module,) = made.python.parents[1].glob("lib/*/site-packages/tiny_package.py")
    with module.open("r+") as stream:
        stream.write("VALUE = 6.6\n")
    assert builder(place).find(lock()) is None

    with pytest.raises(IntegrityError, match=r"tiny_package\.py") as caught:
        builder(place).build(lock())
    assert caught.value.hint == "uv's cache was altered; `uv cache clean tiny-package` deletes that copy"
    assert builder(place).all() == []


def test_two_that_build_the_same_share_it(place: Place) -> None:
    """One builds, the other waits and takes it."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(builder(place).build(lock()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(item.was_there for item in found) == [False, True]
    assert len({item.python for item in found}) == 1


def test_a_killed_build_leaves_nothing_in_the_way(place: Place) -> None:
    """Killed at any moment: nothing that looks whole is there, and the next one is."""
    run = place.train()
    for number in range(30):
        make_wheel(place.wheels, f"filler-{number}", files={f"filler_{number}/m{part}.py": "x = 1\n" for part in range(40)})
    wanted = lock("tiny-package", *(f"filler-{number}" for number in range(30)))
    program = f"from tests_rebuild import build; build({str(place.folder)!r}, {wanted.model_dump_json()!r})"
    (place.folder / "tests_rebuild.py").write_text(BUILD)
    environments = place.repository / ".lineage" / "environments"
    for wait_s in (0.0, 0.1, 0.3):
        child = subprocess.Popen([sys.executable, "-c", program], cwd=place.folder, env=os.environ | {"PYTHONPATH": ""})
        limit = time.monotonic() + 30
        while not list(environments.glob(".partial-*")) and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(wait_s)
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    built = builder(place).build(wanted)

    assert built.differences == ()
    assert len(list(built.python.parents[1].glob("lib/*/site-packages/filler_*"))) >= 30
    assert list(environments.glob(f".partial-{built.python.parents[1].name}-*")) == []
    assert run.installed is not None


BUILD = """
from pathlib import Path
from lineage.adapters.environment.local import LocalEnvironmentProbe
from lineage.adapters.environment.uv import UvEnvironmentBuilder
from lineage.adapters.environment.uv_program import call_uv
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.model.environment import Lock

def build(folder, lock):
    store = Path(folder, "repository", ".lineage")
    objects = FolderObjectStore(store / "objects")
    UvEnvironmentBuilder(store / "environments", objects, LocalEnvironmentProbe(None)).build(Lock.model_validate_json(lock))
"""


def test_an_interpreter_that_cannot_be_had_is_named(place: Place) -> None:
    """Another patch release is not taken in its place."""
    wanted = lock().model_copy(update={"python": "3.11.99"})

    assert builder(place).check(wanted).problems == ("CPython 3.11.99 is not here, and uv cannot fetch it",)
    with pytest.raises(Unavailable, match=r"CPython 3\.11\.99 is not here"):
        builder(place).build(wanted)


def test_without_uv_it_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` goes on in this environment and tells why; ``recorded`` does not run."""
    run = place.train()
    monkeypatch.setattr(sys, "executable", str(place.folder / "elsewhere" / "python"))
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(place.folder))
    ports = place.ports
    (auto,) = ChosenEnvironment(ports, run, "auto").rows()
    (recorded,) = ChosenEnvironment(ports, run, "recorded").rows()

    assert auto.detail[0] == "it cannot be rebuilt, so this one is used: uv is not installed, and environments are rebuilt with it"
    assert (auto.severity, recorded.severity) == ("warning", "blocker")


def test_an_environment_in_use_is_not_deleted(place: Place) -> None:
    """Not by a clean-up, and not because it was altered."""
    made = builder(place).build(lock())
    folder = made.python.parents[1]
    variables = Interpreter(made.python).variables(dict(os.environ))
    child = subprocess.Popen(
        [made.python, "-c", "print(1, flush=True); input()"], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    (next(folder.glob("lib/*/site-packages")) / "added.py").write_text("")
    assert builder(place).delete(folder) == 0
    with pytest.raises(Conflict, match="a reproduction is running in"):
        builder(place).find(lock())
    child.communicate(b"\n", timeout=30)

    assert builder(place).find(lock()) is None
    assert not folder.exists()


def test_environments_are_listed_and_deleted(place: Place) -> None:
    """``lineage doctor`` tells of uv and of what is kept, ``lineage gc`` deletes it when it is asked to."""
    builder(place).build(lock())

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lineage", *arguments], cwd=place.repository, capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout

    told = {item["subject"]: item["detail"] for item in json.loads(command("doctor", "--json"))}
    assert told["uv"].startswith("uv ")
    assert told["environments"].startswith("1 rebuilt")
    kept = json.loads(command("gc", "--json"))
    assert len(kept["environments"]) == 1
    assert len(builder(place).all()) == 1
    assert json.loads(command("gc", "--environments", "--json"))["freed_bytes"] > 0
    assert builder(place).all() == []


@pytest.mark.parametrize(
    "change",
    [
        {"packages": {"x\n--index-url https://elsewhere.example": LockedPackage(version="1.0", record=None)}},
        {"packages": {"--editable": LockedPackage(version="1.0", record=None)}},
        {"packages": {"x": LockedPackage(version="1.0\n-r /etc/passwd", record=None)}},
        {"packages": {"x": LockedPackage(version="1.0", record=None, address="https://a.example/x\n--pre")}},
        {"implementation": "--directory=/"},
        {"python": "3.11.7 --offline"},
    ],
)
def test_words_of_a_record_are_no_orders(place: Place, change: dict[str, Any]) -> None:
    """Whoever wrote it: a line or an option that is smuggled in is refused before uv sees it."""
    wanted = lock().model_copy(update=change)
    for act in (builder(place).find, builder(place).check, builder(place).build):
        with pytest.raises(IntegrityError, match="in the record: expected something of the form"):
            act(wanted)


def test_an_altered_file_stays_inside_the_environment(place: Place) -> None:
    """A record that wants a file put elsewhere is refused, and nothing is left behind."""
    digest = place.ports.objects.put_bytes(b"x")
    wanted = lock().model_copy(update={"altered": (AlteredFile(package=None, path="../../../../../outside.py", digest=digest),)})

    with pytest.raises(IntegrityError, match="a path inside the environment"):
        builder(place).build(wanted)
    assert builder(place).all() == []
    assert list(place.folder.rglob("outside.py")) == []


def test_no_credential_reaches_a_lock(place: Place) -> None:
    """Addresses are recorded without them; a package whose address needs one is asked of an index."""
    for name, told in {
        "open": {"url": "https://git.example.org/open.git", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}, "subdirectory": "py"},
        "closed": {"url": "https://kim:hunter22@git.example.org/closed.git", "vcs_info": {"vcs": "git", "commit_id": "b" * 40}},
    }.items():
        place.install(make_wheel(place.wheels, name))
        (place.site / f"{name}-1.0.dist-info" / "direct_url.json").write_text(json.dumps(told))
    run = place.train()
    assert run.environment is not None
    text = lock_of(run.environment).requirements()

    assert "hunter22" not in run.model_dump_json()
    assert text == f"closed==1.0\nopen @ git+https://git.example.org/open.git@{'a' * 40}#subdirectory=py\ntiny-package==1.0\n"


# --- wheels in a bundle ---------------------------------------------------------------------------------------------------------


def bundled(place: Place, run: Run, *, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "lineage", "bundle", run.id, str(place.folder / "run.lineage"), "--wheels"],
        cwd=place.repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def rewritten(place: Place, change: Callable[[Contents], Contents]) -> Path:
    """The bundle with another table of contents."""
    with BundleFile(place.folder / "run.lineage") as old, (place.folder / "other.lineage").open("wb") as target:
        parts = {member.name: old.read(member) for member in old.contents.members}
        write_bundle_file(target, change(old.contents), lambda member: BytesIO(parts[member.name]))
    return place.folder / "other.lineage"


def of_file(place: Place, file: Path, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """A reproduction of a bundle on a machine without anything: no repository, store, cache of uv, wheels or environment."""
    words = [sys.executable, "-m", "lineage", "reproduce", str(file), "--yes", "--json", "--env", "recorded", *arguments]
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"}
    variables = kept | {"UV_CACHE_DIR": str(place.folder / "new-cache"), "TMPDIR": str(elsewhere)}
    done = subprocess.run(words, cwd=elsewhere, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == expect, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A bundle with wheels of a package with a module, a script, a file of data and a name with a space; all it came from is deleted."""
    folder = tmp_path_factory.mktemp("carried")
    (folder / "repository").mkdir()
    (folder / "repository" / ".gitignore").write_text(".lineage/\n")
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *words], cwd=folder / "repository", check=True)
    stem = "tiny_package-1.0"
    files = {
        "tiny_package.py": "VALUE = 1.25\n",
        "tiny_package_parts/a b.txt": "text\n",
        f"{stem}.data/scripts/tiny": "#!python\nprint('tiny')\n",
        f"{stem}.data/data/share/tiny/table.txt": "1 2 3\n",
        f"{stem}.dist-info/entry_points.txt": "[console_scripts]\ntiny-entry = tiny_package:main\n",
    }
    with pytest.MonkeyPatch.context() as patch:
        place = made_place(folder, patch)
        make_wheel(place.wheels, files=files)
        shutil.rmtree(folder / "uv-cache")
        place.install("tiny-package==1.0")
        run = place.train()
        place.reproduce(run, "--env", "recorded")
        told = bundled(place, run)
    assert f"1 wheels, for {platform.system()} {platform.machine()} only" in told.stderr
    for name in ("venv", "wheels", "uv-cache", "repository"):
        shutil.rmtree(folder / name)
    return place


@pytest.fixture
def elsewhere(carried: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The bundle alone, on a machine of the test's own."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(carried.folder / "layer" / "site-packages"))
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    shutil.copyfile(carried.folder / "run.lineage", tmp_path / "run.lineage")
    return Place(tmp_path)


def test_a_bundle_with_wheels_needs_neither_index_nor_cache(elsewhere: Place) -> None:
    """The environment is built from the bundle alone, file by file the recorded one; the plan says for which platform the wheels are."""
    plan = of_file(elsewhere, elsewhere.folder / "run.lineage", "--plan")
    report = of_file(elsewhere, elsewhere.folder / "run.lineage")

    assert row(plan)["found"] == (
        f"will be rebuilt, from what is at hand; 1 wheels came with a bundle, for {platform.system()} {platform.machine()}"
    )
    assert report["verdict"] == "identical"
    assert row(report)["found"] == "rebuilt from the record, just now, the same packages file by file"


def test_wheels_for_another_platform_are_not_used(elsewhere: Place) -> None:
    """They are kept apart, and the plan says why they do not help."""

    def change(contents: Contents) -> Contents:
        assert contents.wheels is not None
        return contents.model_copy(update={"wheels": contents.wheels.model_copy(update={"platform": "Plan9 mips"})})

    report = of_file(elsewhere, rewritten(elsewhere, change), "--plan", expect=4)

    missing, why = row(report)["detail"]
    assert missing == "tiny-package 1.0: no index has it, and no copy is kept"
    assert why.startswith("1 wheels that came with a bundle are for Plan9 mips, this is ")


def test_a_bundle_that_lies_about_its_wheels_is_refused(elsewhere: Place, tmp_path: Path) -> None:
    """A wheel of a package that the run did not have, or of other files than the recorded ones."""

    def other(**changes: str) -> Callable[[Contents], Contents]:
        def change(contents: Contents) -> Contents:
            assert contents.wheels is not None
            (wheel,) = contents.wheels.packages.values()
            name = changes.get("name", "tiny-package")
            kept = {name: wheel.model_copy(update={"record": changes.get("record", wheel.record)})}
            return contents.model_copy(update={"wheels": contents.wheels.model_copy(update={"packages": kept})})

        return change

    ports = wire(Settings(str(tmp_path / "new"), tmp_path / "new"))
    for change, told in (
        (other(name="os"), "a package of the recorded environment"),
        (other(record="sha256:" + "0" * 64), "recorded files"),
    ):
        with BundleFile(rewritten(elsewhere, change)) as opened, pytest.raises(IntegrityError, match=told):
            import_bundle(ports, opened)
    assert ports.runs.ids_with_prefix("", 1) == []


def test_a_package_that_cannot_be_had_again_is_named(place: Place) -> None:
    """The environment was deleted and not rebuilt: no bundle with wheels is written, and the package is named."""
    run = place.train()
    shutil.rmtree(place.folder / "venv")

    told = bundled(place, run, expect=7).stderr

    assert "tiny-package 1.0: what is installed here is not what the run had" in told
    assert not (place.folder / "run.lineage").exists()


def test_an_edited_package_gives_no_wheel(place: Place) -> None:
    """What would be taken along is not what the installer's list says."""
    (place.site / "tiny_package.py").write_text("VALUE = 99\n")
    site: list[Path | None] = [place.site]
    packages, _ = read_packages([str(place.site)])
    wanted = LockedPackage(version="1.0", record=packages["tiny-package"].record)
    here = lock().model_copy(update={"packages": {"tiny-package": wanted}})

    made, problems = make_wheels(here, {}, site, place.folder / "repository")

    assert (made, problems) == ({}, ["tiny-package 1.0: package tiny-package: tiny_package.py is not the file that was installed"])


def test_real_packages_become_wheels_of_the_recorded_files(tmp_path: Path) -> None:
    """Packages of this environment with extension modules, scripts and plenty of files; each wheel has the recorded list of files."""
    found, _ = read_packages()
    chosen = {name: found[name] for name in ("numpy", "pydantic-core", "typer", "rich", "cryptography", "pytest") if name in found}
    packages = {name: LockedPackage(version=item.version, record=item.record) for name, item in chosen.items()}

    made, problems = make_wheels(lock().model_copy(update={"packages": packages}), {}, [None], tmp_path)

    assert problems == []
    assert made.keys() == chosen.keys()
