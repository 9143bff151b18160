"""The container files: what the check finds, and that it finds it. Images are built by nobody here: there is no container engine."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE, DOCKERFILE = (ROOT / "docker-compose.yml").read_text(), (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def check() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "check_compose.py"))


def test_schema_linter_and_rules_hold() -> None:
    """The command that `docs/operations.md` names says so."""
    told = subprocess.run([sys.executable, ROOT / "scripts" / "check_compose.py"], capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ('    ports:\n      - "127.0.0.1:${LINEAGE_PORT', '    ports:\n      - "${LINEAGE_PORT', "service publishes"),
        ("PGPASSWORD: ${LINEAGE_DB_PASSWORD:?", "PGPASSWORD: ${LINEAGE_DB_PASSWORD:-", "LINEAGE_DB_PASSWORD} has a default"),
        (
            "PGPASSWORD: ${LINEAGE_DB_PASSWORD:?choose a password for the database and set LINEAGE_DB_PASSWORD}",
            "PGPASSWORD: x",
            "PGPASSWORD",
        ),
        ('"secretKey": "${LINEAGE_S3_SECRET_KEY:?', '"secretKey": "${LINEAGE_S3_SECRET_KEY:-', "LINEAGE_S3_SECRET_KEY} has a default"),
        ("chrislusf/seaweedfs:4.48", "chrislusf/seaweedfs:latest", "names no release"),
        ("      target: worker", "      target: wroker", "does not have"),
        ("- objects:/data", "- object:/data", "no volume"),
        ("networks: [inside]", "networks: [insider]", "no network"),
        ('security_opt: ["no-new-privileges:true"]', "security_opt: []", "new privileges"),
        ("    read_only: true\n", "", "can write to its own files"),
        ("    healthcheck:\n", "    x-healthcheck:\n", "no health check"),
    ],
)
def test_what_must_not_be_is_found(check: dict[str, Any], before: str, after: str, found: str) -> None:
    """Each rule, broken once in the first place where it could be."""
    assert before in COMPOSE
    told = check["findings"](COMPOSE.replace(before, after, 1), DOCKERFILE)
    assert any(found in sentence for sentence in told), told


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("USER 10001", "USER root", "runs as root"),
        ("COPY lineage lineage", "COPY tests lineage", "kept out by .dockerignore"),
        ("COPY requirements-worker.lock", "COPY requirements-wroker.lock", "there is no requirements-wroker.lock"),
        ("FROM base AS worker", "FROM base AS other", "does not have"),
    ],
)
def test_what_must_not_be_in_the_dockerfile_is_found(check: dict[str, Any], before: str, after: str, found: str) -> None:
    """Users, files that are not there or not let in, stages."""
    assert before in DOCKERFILE
    told = check["findings"](COMPOSE, DOCKERFILE.replace(before, after, 1))
    assert any(found in sentence for sentence in told), told


def test_secrets_stay_with_those_who_need_them() -> None:
    """The service has no key of the object store; nothing but database, service and worker has the database's password."""
    services = yaml.safe_load(COMPOSE)["services"]
    holders = {
        word: {name for name, service in services.items() if any(word in str(value) for value in service.get("environment", {}).values())}
        for word in ("LINEAGE_DB_PASSWORD", "LINEAGE_S3_SECRET_KEY")
    }
    assert holders == {"LINEAGE_DB_PASSWORD": {"database", "service", "worker"}, "LINEAGE_S3_SECRET_KEY": {"worker"}}
    assert services["database"]["networks"] == ["inside"]
    assert "ports" not in services["database"]


def test_commands_of_the_containers_are_ours() -> None:
    """What the containers start, and what their health checks ask, are commands and options that this release has."""
    program = shutil.which("lineage")
    assert program is not None
    services = yaml.safe_load(COMPOSE)["services"]
    said = [services["service"]["command"], services["worker"]["command"], services["worker"]["healthcheck"]["test"][1:]]
    for words in said:
        assert words[0] == "lineage"
        names = [word for word in words[1:] if word.isalpha()][: 2 if words[1] == "jobs" else 1]
        shown = subprocess.run([program, *names, "--help"], capture_output=True, text=True, timeout=60, check=True, env={"COLUMNS": "200"})
        assert all(option in shown.stdout for option in words if option.startswith("--")), (words, shown.stdout)
