"""Starting git, so that nothing of the user's is changed by it and nothing of theirs changes what it does."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lineage.errors import CaptureError
from lineage.ports.children import completed

_TEXT = ("utf-8", "surrogateescape")  # names of files are bytes
# Hooks of the user's are not run, line ends that a round trip would change are no error.
CONFIG = ("-c", "core.quotePath=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.safecrlf=false")
NO_FETCH = ("-c", "protocol.allow=never")
"""Before a command: nothing is fetched that a partial clone lacks. What fetches is named by the repository's own settings."""
OBJECT_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""A commit or tree by its whole name."""
# `git rev-parse --local-env-vars`: set inside a hook, where they name another repository than the folder's, and by nobody else.
REPOSITORY_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)


def command_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Variables of a git command."""
    environment = {name: value for name, value in os.environ.items() if name not in REPOSITORY_VARIABLES}
    # No optional locks: `git status` would otherwise refresh, that is rewrite, the user's index.
    return environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **extra}


def start(folder: Path, arguments: tuple[str, ...], extra: Mapping[str, str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Execute git in a folder, whatever comes of it.

    Raises:
        CaptureError: git is not installed.
    """
    command = ["git", *CONFIG, "-C", str(folder), *arguments]
    try:
        ended = completed(command, env=command_environment(extra), given=None if given is None else given.encode(*_TEXT))
    except FileNotFoundError as error:
        raise CaptureError("git is not installed", hint="install git; the code of a run is recorded with it") from error
    return subprocess.CompletedProcess(command, ended.returncode, ended.stdout.decode(*_TEXT), ended.stderr.decode(*_TEXT))


def output(folder: Path, *arguments: str, extra: Mapping[str, str] | None = None, given: str | None = None) -> str:
    """What a command prints.

    Raises:
        CaptureError: It failed.
    """
    answer = start(folder, arguments, extra or {}, given)
    if answer.returncode != 0:
        reason = (answer.stderr.strip() or f"status {answer.returncode}").splitlines()[0]
        raise CaptureError(f"git {arguments[0]} in {folder}: {reason}")
    return answer.stdout


def lines(folder: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> list[str]:
    """Lines that a command prints."""
    return output(folder, *arguments, extra=extra).split("\n")[:-1]


def raw(folder: Path, *arguments: str, given: bytes | None = None) -> bytes:
    """What a command writes, byte for byte.

    Raises:
        CaptureError: It failed.
    """
    ended = completed(["git", *CONFIG, "-C", str(folder), *arguments], env=command_environment({}), given=given)
    if ended.returncode != 0:
        raise CaptureError(f"git {arguments[0]} in {folder}: {ended.stderr.decode(errors='replace').strip()}")
    stdout: bytes = ended.stdout
    return stdout
