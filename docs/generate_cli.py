"""Writes docs/cli.md from the commands' own help and the error tree; ``--check`` only compares.

What a command says about itself is the documentation, so the two cannot differ: ``make docs`` writes, ``make check`` compares.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from lineage import errors
from lineage.cli import app

TARGET = Path(__file__).with_name("cli.md")
VERDICTS = {
    0: ["done; of `reproduce`: `identical`, or `equivalent` within a calibrated tolerance; of `leaks`: `clean`; of `verify`: intact"],
    1: ["of `reproduce` and `diff --exit-code`: something differs (`diverged`); of `leaks`: evaluated rows were trained on"],
    3: ["of `reproduce` and `leaks`: `inconclusive`; of `calibrate`: a repetition did not end well"],
    130: ["interrupted with Ctrl-C"],
}


def command_paths(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group that is not hidden, in the order of the help: ``("view", "create")``."""
    for name, command in group.commands.items():
        if not command.hidden:
            yield (*path, name)
            if isinstance(command, TyperGroup):
                yield from command_paths(command, (*path, name))


def root_group() -> TyperGroup:
    """The ``lineage`` command itself."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def help_text(path: tuple[str, ...]) -> str:
    """What ``lineage … --help`` prints in a terminal 80 columns wide (Typer's test runner fixes the width).

    Raises:
        RuntimeError: The command failed to print its help.
    """
    result = CliRunner().invoke(app, [*path, "--help"], prog_name="lineage")
    if result.exit_code != 0:
        raise RuntimeError(f"lineage {' '.join(path)} --help ended with {result.exit_code}: {result.output}") from result.exception
    return "\n".join(line.rstrip() for line in result.stdout.splitlines()).strip("\n")


def exit_codes() -> Iterator[str]:
    """Rows of the table of exit codes: verdicts, then the error tree."""
    meanings = {code: list(texts) for code, texts in VERDICTS.items()}
    for cls in vars(errors).values():
        if inspect.isclass(cls) and issubclass(cls, errors.LineageError) and cls is not errors.LineageError:
            summary = inspect.cleandoc(cls.__doc__ or "").split("\n", maxsplit=1)[0].rstrip(".")
            meanings.setdefault(cls.exit_code, []).append(f"`{cls.code}`: {re.sub('``', '`', summary)}")
    return (f"| {code} | {' · '.join(meanings[code])} |" for code in sorted(meanings))


def page() -> str:
    """The whole page."""
    parts = [
        "# Command line",
        "<!-- Made by `make docs` from the commands themselves; `make check` fails when it is out of date. -->",
        "Results go to stdout, everything else to stderr. A run may be named by any unique beginning of its id.",
    ]
    for path in [(), *command_paths(root_group())]:
        parts += [f"## `{' '.join(('lineage', *path))}`", f"```text\n{help_text(path)}\n```"]
    parts += ["## Exit codes", "| code | meaning |\n|---|---|\n" + "\n".join(exit_codes())]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Write the page, or with ``--check`` print how the file differs from it (then 1)."""
    wanted = page()
    if sys.argv[1:] != ["--check"]:
        TARGET.write_text(wanted, encoding="utf-8")
        return 0
    found = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    if found == wanted:
        print("docs/cli.md is what the commands say")
        return 0
    sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), wanted.splitlines(True), "docs/cli.md", "the commands"))
    print("docs/cli.md is out of date: run make docs")
    return 1


if __name__ == "__main__":
    sys.exit(main())
