"""Commands of the package and others, run as a user runs them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lineage.cli import app
from lineage.cli.output import fail
from lineage.errors import LineageError

PATIENCE_S = 120


def command(folder: Path, *words: str, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; it must end with this exit status."""
    environment = {**os.environ, **variables}
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=environment, timeout=PATIENCE_S)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def lineage(folder: Path, *words: str, status: int = 0, **variables: str) -> Any:
    """What a command of ``lineage`` answers as JSON; what it says, where it answers nothing."""
    done = command(folder, sys.executable, "-m", "lineage", *words, "--json", status=status, **variables)
    return json.loads(done.stdout) if done.stdout else done.stderr


@dataclass(frozen=True)
class Looked:
    """What a look-up said."""

    status: int
    stdout: str
    stderr: str


def looked(folder: Path, *words: str | Path, status: int | None = 0, **variables: str) -> Looked:
    """The same command in this process: starting one takes ten times as long as most look-ups. Not for commands that execute code."""
    out, talk = io.StringIO(), io.StringIO()
    with (
        warnings.catch_warnings(action="ignore", category=ResourceWarning),  # a command leaves its store to the end of the process
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(talk),
    ):
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            app([str(word) for word in words], prog_name="lineage")
            found = 0
        except SystemExit as ended:
            found = int(ended.code or 0)
        except LineageError as error:
            fail(error)
            found = error.exit_code
    assert status is None or found == status, out.getvalue() + talk.getvalue()
    return Looked(found, out.getvalue(), talk.getvalue())


def looked_up(folder: Path, *words: str | Path, status: int = 0, **variables: str) -> Any:
    """As :func:`lineage`, in this process."""
    done = looked(folder, *words, "--json", status=status, **variables)
    return json.loads(done.stdout) if done.stdout else done.stderr


def only_run(folder: Path) -> dict[str, Any]:
    """The one run of the folder's store, as ``lineage runs`` tells it."""
    (run,) = looked_up(folder, "runs")
    return dict(run)
