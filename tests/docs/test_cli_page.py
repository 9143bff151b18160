"""The commands and their page are the same thing."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))
PATHS = [(), *GENERATOR["command_paths"](GENERATOR["root_group"]())]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    """docs/cli.md has a section for each command that is not hidden."""
    assert f"\n## `{' '.join(('lineage', *path))}`\n" in PAGE


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    """Each command says what it does, and each of its options and arguments what it is for."""
    command = GENERATOR["root_group"]()
    for word in path:
        command = command.commands[word]

    assert command.help
    assert [parameter.name for parameter in command.params if not parameter.hidden and not getattr(parameter, "help", None)] == []


def test_the_page_is_up_to_date() -> None:
    """docs/cli.md is, byte for byte, what the commands print, whatever the terminal of the reader looks like."""
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "57", "FORCE_COLOR": "1", "GITHUB_ACTIONS": "true"}

    done = subprocess.run(
        [sys.executable, "docs/generate_cli.py", "--check"], cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8"
    )

    assert done.returncode == 0, done.stdout + done.stderr
