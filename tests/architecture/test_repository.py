"""What is committed can be installed, deployed and cloned anywhere."""

from __future__ import annotations

import re
import runpy
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = (
    "requirements.lock",
    "requirements-service.lock",
    "requirements-worker.lock",
    "requirements-bootstrap.lock",
    "requirements-build.lock",
)


def locked(name: str) -> dict[str, list[tuple[Requirement, int]]]:
    """Package name to its pins (one for each Python it differs on), each with the number of its hashes."""
    pins: dict[str, list[tuple[Requirement, int]]] = {}
    text = re.sub(r"^ *#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    for entry in text.replace("\\\n", " ").splitlines():
        requirement = Requirement(entry.partition(" --hash=")[0])
        pins.setdefault(requirement.name, []).append((requirement, len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))))
    return pins


@pytest.mark.parametrize("name", FILES)
def test_every_pin_is_exact_and_hashed(name: str) -> None:
    """A lock names one version and at least one SHA-256 per package, and no address or path of anything."""
    entries = [entry for pins in locked(name).values() for entry in pins]

    assert entries
    assert [
        str(requirement) for requirement, hashes in entries if hashes == 0 or not re.fullmatch(r"==[^*,]+", str(requirement.specifier))
    ] == []
    assert re.findall(r"://|^-|@ ", (ROOT / name).read_text(), flags=re.MULTILINE) == []


def test_the_lock_satisfies_the_declared_dependencies() -> None:
    """A dependency added or raised in pyproject.toml without ``make lock`` is noticed."""
    pins = locked("requirements.lock")
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = [Requirement(text) for group in groups for text in group]

    wrong = {
        str(wanted): [str(pin.specifier) for pin, _ in pins.get(wanted.name, [])]
        for wanted in declared
        if wanted.name != PROJECT["name"]
        and not (
            wanted.name in pins and all(wanted.specifier.contains(str(pin.specifier)[2:], prereleases=True) for pin, _ in pins[wanted.name])
        )
    }

    assert wrong == {}, "run make lock"


@pytest.mark.parametrize("name", FILES[1:4])
def test_smaller_locks_agree_with_the_whole_one(name: str) -> None:
    """The service image and the installer use the versions that the tests ran with."""
    whole = {str(pin) for pins in locked("requirements.lock").values() for pin, _ in pins}

    # The same package may be needed on fewer platforms by fewer extras: compare name and version, not the marker.
    versions = {pin.partition(";")[0].strip() for pin in whole}
    assert {str(pin).partition(";")[0].strip() for pins in locked(name).values() for pin, _ in pins} <= versions


def test_the_service_image_has_no_framework_for_training() -> None:
    """The service answers look-ups without torch."""
    assert locked("requirements-service.lock").keys().isdisjoint({"torch", "torchvision", "albumentations", "wandb"})


def test_compose_publishes_on_loopback_and_holds_no_secret() -> None:
    """Without access tokens nothing may be reached from outside; every password comes from the caller, or it does not start."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    secrets = [
        value
        for service in services.values()
        for name, value in service.get("environment", {}).items()
        if "PASSWORD" in name or "SECRET" in name or "TOKEN" in name
    ]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert secrets
    assert all(re.fullmatch(r"\$\{\w+:\?.+\}", value) for value in secrets)
    assert all("healthcheck" in service for service in services.values())


@pytest.mark.parametrize(
    "line",
    ["index = https://" + "py" + "pi.org/x", "cd " + "/ro" + "ot/project", "find = /op" + "t/wheels/a.whl", "/ho" + "me/someone/data"],
)
def test_an_address_of_one_machine_is_found(line: str, tmp_path: Path) -> None:
    """``make check`` reports file and line of a registry host or a machine's path."""
    findings = runpy.run_path(str(ROOT / "scripts" / "check_committed.py"))["findings"]
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "notes.md").write_text(f"fine: /usr/bin/env python3\n{line}\n")

    assert [sentence.partition(": ")[0] for sentence in findings(tmp_path)] == ["notes.md:2"]
