"""The environment of this very process, and small installations made for the purpose."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from base64 import urlsafe_b64encode
from importlib import metadata
from pathlib import Path

import pytest

from lineage.adapters.environment.local import LocalEnvironmentProbe
from lineage.model.environment import Environment


def describe(cache: Path | None = None) -> Environment:
    return LocalEnvironmentProbe(cache).describe()


def install(site: Path, name: str = "tiny-package", version: str = "1.0", code: str = "x = 1\n", extra: str = "") -> Path:
    """What an installer leaves of a wheel with one module (PEP 376); returns the ``.dist-info`` folder."""
    module = name.replace("-", "_")
    (site / f"{module}.py").write_text(code)
    info = site / f"{module}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text("pip\n")
    hashed = urlsafe_b64encode(hashlib.sha256(code.encode()).digest()).rstrip(b"=").decode()
    record = [f"{module}.py,sha256={hashed},{len(code)}", f"{info.name}/METADATA,sha256=abc,5", f"{info.name}/INSTALLER,sha256=ghi,4"]
    record += [f"{info.name}/RECORD,,", *filter(None, [extra])]
    (info / "RECORD").write_text("\n".join(record) + "\n")
    return info


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on this process's path that packages can be installed into."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_the_cached_description_is_the_real_one(tmp_path: Path) -> None:
    """Without a cache, with an empty one and with a filled one: the same environment, field by field."""
    fresh = describe()
    first, second = describe(tmp_path / "cache"), describe(tmp_path / "cache")

    assert fresh == first == second
    assert len(list((tmp_path / "cache").glob("packages-*.json"))) == 1


def test_it_describes_this_process() -> None:
    """Interpreter, machine and the packages that Python itself lists, each with its version."""
    found = describe()

    assert (found.python, found.implementation, found.executable) == (platform.python_version(), "CPython", sys.executable)
    assert found.cpu
    assert found.libc
    assert found.cpu_count == len(os.sched_getaffinity(0))
    listed = {item.metadata["Name"].lower().replace("_", "-").replace(".", "-"): item.version for item in metadata.distributions()}
    assert {name: item.version for name, item in found.packages.items()} == listed
    assert found.packages["numpy"].record is not None
    assert found.packages["dataset-lineage"].editable
    assert found.packages["dataset-lineage"].record is None


def test_another_process_finds_the_same_environment() -> None:
    """The digest is about what is installed, not about the process that looks."""
    program = "from lineage.adapters.environment.local import LocalEnvironmentProbe as P; print(P(None).describe().digest)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")

    assert done.stdout.strip() == describe().digest


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_changed_record_changes_the_digest(site: Path, tmp_path: Path, is_cached: bool) -> None:
    """The same version with other files, another version, or a package less: another digest; putting it back gives the old one."""
    cache = tmp_path / "cache" if is_cached else None
    bare = describe(cache).digest
    install(site)
    original = describe(cache)
    info = install(site, code="x = 2\n")
    patched = describe(cache)
    install(site)
    again = describe(cache)

    assert original.packages["tiny-package"].version == patched.packages["tiny-package"].version == "1.0"
    assert original.packages["tiny-package"].record != patched.packages["tiny-package"].record
    assert len({bare, original.digest, patched.digest}) == 3
    assert again == original
    info.rename(site / "tiny_package-1.1.dist-info")
    (site / "tiny_package-1.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.1\n")
    assert describe(cache).packages["tiny-package"].version == "1.1"


def test_what_differs_between_two_installations_does_not_count(site: Path) -> None:
    """Compiled files, the installer's name, its notes and scripts that name the environment's folder leave the digest alone."""
    info = install(site)
    first = describe().digest
    for row in ("__pycache__/tiny_package.cpython-311.pyc,,", f"{info.name}/direct_url.json,sha256=z,9", "../../../bin/tiny,sha256=q,200"):
        install(site, extra=row)
        assert describe().digest == first
    install(site, extra="tiny_data.json,sha256=z,9")
    assert describe().digest != first


def test_the_package_that_is_imported_counts(site: Path) -> None:
    """Of two installations of one name the first on the path is described."""
    install(site, name="numpy", version="0.0.1")

    assert describe().packages["numpy"].version == "0.0.1"


def test_an_editable_package_is_marked_and_not_digested(site: Path) -> None:
    """Its code is in the code snapshot; moving the checkout does not make another environment."""
    info = install(site)
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///somewhere", "dir_info": {"editable": True}}))
    first = describe()
    install(site, code="x = 2\n")

    assert first.packages["tiny-package"].editable
    assert describe().digest == first.digest


def test_a_package_without_a_record_is_described(site: Path, tmp_path: Path) -> None:
    """An old ``.egg-info`` has a version and no digest; a new version is seen although the folder's name stays."""
    info = site / "old_package.egg-info"
    info.mkdir()
    for version in ("1.0", "2.0"):
        (info / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: Old_Package\nVersion: {version}\n")
        os.utime(info / "PKG-INFO", ns=(0, int(float(version) * 1e9)))
        found = describe(tmp_path / "cache").packages["old-package"]
        assert (found.version, found.record, found.editable) == (version, None, False)


@pytest.mark.parametrize("damage", ["", "{", '{"numpy": {"version": 1}}'])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    """A torn cache file costs time, never a wrong record."""
    expected = describe(tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("packages-*.json")
    kept.write_text(damage)

    assert describe(tmp_path / "cache") == expected
    assert describe(tmp_path / "cache") == expected
    assert len(kept.read_text()) > 100


def test_variables_that_change_numbers_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, libraries' switches, hash seed, time zone and rank: by name, with their value; others are not recorded."""
    wanted = {
        "OMP_NUM_THREADS": "3",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Tokyo",
        "MKL_CBWR": "COMPATIBLE",
        "WORLD_SIZE": "2",
        "TORCH_HOME": "/cache/ü",
    }
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MY_OMP_NUM_THREADS", "9")
    monkeypatch.setenv("RANKING", "9")
    monkeypatch.setenv("EDITOR", "vi")
    found = describe().variables

    assert {name: found.get(name) for name in wanted} == wanted
    assert found.keys().isdisjoint({"MY_OMP_NUM_THREADS", "RANKING", "EDITOR", "PATH", "HOME"})


def test_secrets_are_never_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a variable that holds a secret, even under an allowed prefix, nor a secret inside an allowed variable."""
    for name in ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "TORCH_AUTH_TOKEN", "CUDA_PASSWORD", "NVIDIA_API_KEY"):
        monkeypatch.setenv(name, "hunter22-hunter22")
    monkeypatch.setenv("TORCH_HOME", "https://kim:hunter22@example.org/x")
    monkeypatch.setenv("TORCH_LOGS", "token hunter22-hunter22")

    assert "hunter22" not in describe().model_dump_json()


def test_variables_do_not_change_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest names what is installed: a rebuilt environment must reach it, whatever is set there."""
    before = describe().digest
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    assert describe().digest == before
