"""Files of installed packages against the hashes they were installed with, and wheels made of what is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest

import lineage
from lineage.adapters.environment.installed import altered_files
from lineage.adapters.environment.packages import digest_of_record
from lineage.adapters.environment.wheels import pack
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.errors import CaptureError, IntegrityError
from lineage.model.environment import Environment, InstalledCode, PackageSource
from lineage.record.installed import loaded_paths, pack_paths


def install(site: Path, name: str, files: dict[str, str], scripts: str = "") -> Path:
    """What an installer leaves of a wheel; returns the ``.dist-info`` folder."""
    info = site / f"{name}-1.0.dist-info"
    files = files | {
        f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info.name}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if scripts:
        files[f"{info.name}/entry_points.txt"] = scripts
    rows = []
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
        rows.append(f"{path},sha256={urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}")
    (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,"]) + "\n")
    return info


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    install(folder, "tiny", {"tiny/__init__.py": "x = 1\n", "tiny/part.py": "y = 2\n"})
    return folder


def altered(site: Path, cache: Path | None, *files: str) -> list[tuple[str | None, str]]:
    found = altered_files(cache, [str(site / file) for file in files] if files else None)
    return [(item.package, item.path) for item in found if item.file.is_relative_to(site)]


@pytest.mark.parametrize("is_cached", [False, True])
def test_an_edited_file_is_found(site: Path, tmp_path: Path, is_cached: bool) -> None:
    """Of the files that were loaded, those that differ; others are not looked at. Put back, it is as installed again."""
    cache = tmp_path / "cache" if is_cached else None
    assert altered(site, cache, "tiny/__init__.py", "tiny/part.py") == []
    (site / "tiny/part.py").write_text("y = 3\n")

    assert altered(site, cache, "tiny/__init__.py") == []
    assert altered(site, cache, "tiny/__init__.py", "tiny/part.py") == [("tiny", "tiny/part.py")]
    (site / "tiny/part.py").write_text("y = 2\n")
    assert altered(site, cache, "tiny/__init__.py", "tiny/part.py") == []


def test_an_edit_of_the_same_size_and_time_is_found(site: Path, tmp_path: Path) -> None:
    """Size and time of modification can be kept by whoever edits; the time of change cannot."""
    state = (site / "tiny/part.py").stat()
    assert altered(site, tmp_path / "cache", "tiny/part.py") == []
    (site / "tiny/part.py").write_text("y = 9\n")
    os.utime(site / "tiny/part.py", ns=(state.st_atime_ns, state.st_mtime_ns))

    assert altered(site, tmp_path / "cache", "tiny/part.py") == [("tiny", "tiny/part.py")]


def test_a_file_that_no_package_lists_is_found(site: Path, tmp_path: Path) -> None:
    """But not what tools leave in every environment, and not where a package has no list: nothing is known there."""
    for name in ("dropped.py", "_virtualenv.py"):
        (site / name).write_text("z = 1\n")
    assert altered(site, tmp_path / "cache", "dropped.py", "_virtualenv.py") == [(None, "dropped.py")]
    (site / "old.egg-info").mkdir()

    assert altered(site, tmp_path / "cache", "dropped.py") == []


def test_a_new_installation_is_looked_at_again(site: Path, tmp_path: Path) -> None:
    """The same file under another list of hashes."""
    (site / "tiny/part.py").write_text("y = 3\n")
    assert altered(site, tmp_path / "cache", "tiny/part.py") == [("tiny", "tiny/part.py")]
    install(site, "tiny", {"tiny/__init__.py": "x = 1\n", "tiny/part.py": "y = 3\n"})

    assert altered(site, tmp_path / "cache", "tiny/part.py") == []


def test_files_that_earlier_runs_loaded_are_known(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan looks at them as they are now, without loading anything."""
    monkeypatch.syspath_prepend(str(site))
    assert altered(site, tmp_path / "cache", "tiny/part.py") == []
    (site / "tiny/part.py").write_text("y = 3\n")
    (site / "tiny/__init__.py").write_text("x = 3\n")

    assert altered(site, tmp_path / "cache") == [("tiny", "tiny/part.py")]


def test_they_stay_known_after_an_installation(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package came; an edit to a file that runs load is found all the same, and what is as installed is no finding."""
    monkeypatch.syspath_prepend(str(site))
    assert altered(site, tmp_path / "cache", "tiny/part.py", "tiny/__init__.py") == []
    install(site, "more", {"more.py": "z = 1\n"})
    (site / "tiny/part.py").write_text("y = 3\n")

    assert altered(site, tmp_path / "cache") == [("tiny", "tiny/part.py")]


def test_files_that_a_record_names_are_looked_at(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine on which nothing was ever loaded; a path of a stranger's that leads elsewhere is not followed."""
    monkeypatch.syspath_prepend(str(site))
    (site / "tiny/part.py").write_text("y = 3\n")
    store = FolderObjectStore(tmp_path / "objects")
    listed = store.put_bytes(pack_paths(["tiny/part.py", "../outside.py", "/etc/passwd", "absent.py"]))
    known = loaded_paths(store, InstalledCode(loaded=listed))
    assert known == ["tiny/part.py", "absent.py"]

    for cache in (None, tmp_path / "cache"):
        found = altered_files(cache, None, known)
        assert [(item.package, item.path) for item in found if item.file.is_relative_to(site)] == [("tiny", "tiny/part.py")]
    for damaged in (b"no stream", pack_paths(["a"])[:-2]):
        with pytest.raises(IntegrityError):
            loaded_paths(store, InstalledCode(loaded=store.put_bytes(damaged)))


@pytest.mark.parametrize("damage", ["", "{", '{"listing": 1}', "[]"])
def test_a_damaged_cache_is_made_anew(site: Path, tmp_path: Path, damage: str) -> None:
    """It costs time, never an answer."""
    (site / "tiny/part.py").write_text("y = 3\n")
    altered(site, tmp_path / "cache", "tiny/part.py")
    for kept in (tmp_path / "cache").iterdir():
        kept.write_text(damage)

    assert altered(site, tmp_path / "cache", "tiny/part.py") == [("tiny", "tiny/part.py")]


def test_libraries_that_no_module_names_are_looked_at(tmp_path: Path) -> None:
    """An extension module maps other libraries of its package: they are among the files of this process."""
    import numpy as np  # noqa: F401 - loaded for its libraries

    altered_files(tmp_path / "cache", [])
    known = {path for kept in (tmp_path / "cache").iterdir() for path in json.loads(kept.read_text())["files"]}

    assert any(path.startswith("numpy") and ".so" in path for path in known)


def test_a_wheel_of_what_is_installed_installs_the_same(site: Path, tmp_path: Path) -> None:
    """Packages, data, scripts of both kinds: installed by uv from the wheel, the list of files has the same digest; twice the same."""
    prefix = tmp_path / "prefix"
    site = prefix / "lib" / "python3" / "site-packages"
    info = install(site, "whole", {"whole/__init__.py": "x = 1\n", "whole/data,1.txt": "1,2\n"}, "[console_scripts]\nmade = whole:main\n")
    (prefix / "bin").mkdir()
    (prefix / "share").mkdir()
    (prefix / "bin" / "made").write_text(f"#!{sys.executable}\nmade by the installer\n")
    (prefix / "bin" / "own").write_text(f"#!{sys.executable}\nprint('own')\n")
    (prefix / "share" / "whole.txt").write_text("shared\n")
    record = (info / "RECORD").read_text().replace("whole/data,1.txt", '"whole/data,1.txt"')
    hashed = urlsafe_b64encode(sha256(b"shared\n").digest()).rstrip(b"=").decode()
    record += f"../../../bin/made,,\n../../../bin/own,,\n../../../share/whole.txt,sha256={hashed},7\n"
    (info / "RECORD").write_text(record)
    (distribution,) = metadata.distributions(path=[str(site)])
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    first, second = (pack(distribution, None, None, tmp_path / str(number)) for number in (1, 2))
    uv = [sys.executable, "-m", "uv"]
    for arguments in (
        ["venv", "--no-project", "--offline", str(tmp_path / "venv")],
        ["pip", "install", "--offline", "--no-index", "--python", str(tmp_path / "venv/bin/python"), str(first)],
    ):
        done = subprocess.run([*uv, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
        assert done.returncode == 0, done.stderr
    (again,) = metadata.distributions(path=[str(next((tmp_path / "venv").glob("lib/*/site-packages")))])

    assert first.read_bytes() == second.read_bytes()
    assert digest_of_record(again.read_text("RECORD") or "") == digest_of_record(record)
    assert (tmp_path / "venv/bin/own").read_text().splitlines()[1] == "print('own')"
    assert "whole" in (tmp_path / "venv/bin/made").read_text()


def test_an_altered_package_is_not_packed_as_if_it_were_whole(site: Path, tmp_path: Path) -> None:
    """A wheel of an edited file would pass for what was installed; so would one that lacks a file."""
    (distribution,) = metadata.distributions(path=[str(site)])
    (site / "tiny/part.py").write_text("y = 3\n")
    with pytest.raises(CaptureError, match=r"tiny/part\.py is not the file that was installed"):
        pack(distribution, None, None, tmp_path)
    (site / "tiny/part.py").unlink()
    with pytest.raises(CaptureError, match=r"part\.py, which it installed, is not there"):
        pack(distribution, None, None, tmp_path)
    install(site, "outside", {})
    with (site / "outside-1.0.dist-info" / "RECORD").open("a") as record:
        record.write("../../../../../etc/hosts,,\n")
    (found,) = [item for item in metadata.distributions(path=[str(site)]) if item.name == "outside"]
    with pytest.raises(CaptureError, match="outside its environment"):
        pack(found, None, None, tmp_path)


def test_code_in_the_repository_is_left_out_of_a_wheel(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the snapshot; what an editable package has elsewhere is not."""
    project = tmp_path / "project"
    (project / "mine_for_a_test").mkdir(parents=True)
    (project / "mine_for_a_test" / "__init__.py").write_text("")
    (project / "never_loaded").mkdir()
    (project / "never_loaded" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(project))
    __import__("mine_for_a_test")
    source = PackageSource(kind="editable", url=project.as_uri(), folders=(str(project),))
    (distribution,) = metadata.distributions(path=[str(site)])
    names = {}
    for kind, without in (("elsewhere", None), ("inside", str(tmp_path))):
        (tmp_path / kind).mkdir()
        with zipfile.ZipFile(pack(distribution, source, without, tmp_path / kind)) as wheel:
            names[kind] = {name for name in wheel.namelist() if ".dist-info" not in name}
    del sys.modules["mine_for_a_test"]

    assert names == {"elsewhere": {"mine_for_a_test/__init__.py"}, "inside": set()}


def test_a_run_that_ends_with_its_process_is_looked_at(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At that time no thread can be started any more."""
    (repository / "train.py").write_text("import lineage, numpy\nlineage.start_run(project='p')\n")
    monkeypatch.chdir(repository)
    done = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    (run,) = lineage.runs()

    assert run.installed is not None
    assert run.installed.altered == ()


def test_a_record_of_an_earlier_release_is_read() -> None:
    """Without the fields that came later."""
    text = (
        '{"python":"3.11.7","implementation":"CPython","executable":"/p","packages":{"x":{"version":"1"}},'
        f'"digest":"sha256:{"0" * 64}","platform":"L","libc":"g","cpu":"c","cpu_count":2}}'
    )
    found = Environment.model_validate_json(text)

    assert (found.sources, found.cpu_features, found.gpu_driver) == ({}, (), "")
