"""Which files a Python command would load, from its script and the import statements in it, without executing anything.

For programs that do not use this package themselves, and so cannot tell. Imports by a computed name are not seen.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lineage.record.modules import is_installed

_MOST_FILES = 5000
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")


def script_of(command: Sequence[str], folder: Path) -> tuple[Path, Path] | None:
    """The script that a command starts and the folder in which its imports are looked for first; ``None`` when there is none.

    Args:
        command: Program and arguments; an interpreter of Python.
        folder: Where it is started.
    """
    if not command or re.fullmatch(r"python(3(\.\d+)?)?", Path(command[0]).name) is None:
        return None
    words = iter(command[1:])
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif word == "-m":
            found = _find(next(words, ""), [folder])
            package = [] if found is None else [found[-1].with_name("__main__.py")] if found[-1].name == "__init__.py" else [found[-1]]
            return (package[0], folder) if package and package[0].is_file() else None
        elif not word.startswith("-"):
            script = folder / word
            return (script.resolve(), script.resolve().parent) if script.is_file() else None
        elif word == "-c" or word == "-":
            return None
    return None


def imports_of(script: Path, search: Sequence[Path]) -> list[Path]:
    """The script and the files that its import statements lead to in folders that hold no installed packages, at most 5,000.

    Args:
        script: Where to begin.
        search: Folders in which modules are looked for, in order.
    """
    found: dict[Path, None] = {}
    waiting = [script]
    while waiting and len(found) < _MOST_FILES:
        file = waiting.pop()
        if file in found or is_installed(str(file)):
            continue
        found[file] = None
        for name in _names(file, search):
            waiting += _find(name, search) or ()
    return list(found)


def _names(file: Path, search: Sequence[Path]) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(file, node.level, search) if node.level else ""
            if base is None:
                continue
            module = ".".join(filter(None, [base, node.module or ""]))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names if alias.name != "*")


def _base(file: Path, level: int, search: Sequence[Path]) -> str | None:
    """The package that a relative import counts from."""
    package = file.parent
    for _ in range(level - 1):
        package = package.parent
    for folder in search:
        if package != folder and package.is_relative_to(folder):
            return ".".join(package.relative_to(folder).parts)
    return None


def _find(name: str, search: Sequence[Path]) -> list[Path] | None:
    """Files that importing a module loads: those of its packages, and its own; ``None`` when it is not there or is installed."""
    parts = name.split(".")
    if not all(parts):
        return None
    for folder in search:
        files: list[Path] = []
        place = folder
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            if (place / part / "__init__.py").is_file():
                files.append(place / part / "__init__.py")
            elif is_last and (place / f"{part}.py").is_file():
                files.append(place / f"{part}.py")
            elif is_last and files:
                break  # a name inside the package, not a module
            elif not (place / part).is_dir():
                files = []
                break
            place = place / part
        if files:
            return files
    return None


def search_folders(first: Path, variables: str) -> list[Path]:
    """Folders in which Python looks for modules before installed ones.

    Args:
        first: The script's folder.
        variables: ``PYTHONPATH``.
    """
    return [first, *(Path(entry).absolute() for entry in variables.split(os.pathsep) if entry)]
