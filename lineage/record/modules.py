"""Which files Python loaded in this process, and what they held at that moment.

``sys.modules`` tells which modules there are, not what their files held when they were read. A loader of our own, for folders of code that
is not installed, remembers it: the file's time of change, and the content where the file was changed after the run had begun. Folders of
installed packages keep Python's own loader, so importing them costs nothing more.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lineage.record.worker_loads import is_asked, tell, tell_as_worker, told

if TYPE_CHECKING:
    from _typeshed.importlib import PathEntryFinderProtocol

LARGEST_BYTES = 16 << 20
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_CHECKOUT = os.path.dirname(_PACKAGE)
# Installed as a link to a checkout, all of that is the environment's: a wheel of it is kept there.
_OWN_FOLDER = (_CHECKOUT if os.path.isfile(os.path.join(_CHECKOUT, "pyproject.toml")) else _PACKAGE) + os.sep


@dataclass(frozen=True, slots=True)
class Load:
    """A file at the moment it was loaded.

    Attributes:
        changed_ns: When its content, name or mode had last been changed, in nanoseconds since the epoch. Unlike the time of modification
            it cannot be set, so that a file that was copied or moved here with its times is seen to be new.
        content: Its bytes, when it had been changed after the run began.
    """

    changed_ns: int
    content: bytes | None = None


_changed_ns: dict[str, int] = {}
_contents: dict[str, bytes] = {}
_since_ns: list[int] = []


class _Loader(SourceFileLoader):
    """Python's own, which also remembers what it loads."""

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        facts = os.stat(path)
        changed_ns = _changed_ns[path] = facts.st_ctime_ns
        tell(path, changed_ns)
        if changed_ns > _since_ns[0] and facts.st_size <= LARGEST_BYTES:
            _contents[path] = super().get_data(path)
            setattr(self, "get_data", self._remember)  # noqa: B010 - of this module only: others are read as fast as ever
        return {"mtime": facts.st_mtime, "size": facts.st_size}

    def _remember(self, path: Any) -> bytes:
        content = super().get_data(path)
        if path in _contents:  # these very bytes are compiled
            _contents[path] = bytes(content)
        return content


def remember_loads(since_ns: int) -> None:
    """Remember from now on what is loaded; once for each process.

    Args:
        since_ns: When the code was captured, in nanoseconds since the epoch: contents of files that were changed later are kept in memory.
    """
    if _since_ns:
        return
    _since_ns.append(since_ns)
    finder = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, SOURCE_SUFFIXES), (SourcelessFileLoader, BYTECODE_SUFFIXES)
    )

    def hook(path: str) -> PathEntryFinderProtocol:
        if is_installed(path + os.sep):
            raise ImportError("installed packages keep Python's own loader")
        return finder(path)

    sys.path_hooks.insert(0, hook)
    folders: dict[str, Any] = dict(sys.path_importer_cache)
    for folder, known in folders.items():
        if type(known) is FileFinder and not is_installed(folder + os.sep):
            del sys.path_importer_cache[folder]


def load_of(path: str) -> Load | None:
    """What was remembered of a file, named as Python names it; ``None`` when it was loaded before, or not by a module's import."""
    return Load(_changed_ns[path], _contents.get(path)) if path in _changed_ns else None


def _namespace(module: ModuleType) -> dict[str, Any]:
    try:
        found: dict[str, Any] = object.__getattribute__(module, "__dict__")
    except AttributeError:  # extension modules may put objects of their own among the modules; those of cffi have none
        return {}
    return found


def imported_files() -> list[str]:
    """Files of the script and of all modules that are not installed packages, as Python names them; those of worker processes, too."""
    of_workers = told()
    for path, changed_ns in of_workers.items():
        _changed_ns.setdefault(path, changed_ns)
    own = [file for file in _module_files() if not is_installed(file)]
    return own if not of_workers else list(dict.fromkeys((*own, *(file for file in of_workers if not is_installed(file)))))


def tell_if_worker() -> None:
    """In a worker process that began anew: tell the run's process what is loaded already, and from now on what will be."""
    asked = is_asked()
    if asked is None:
        return
    tell_as_worker(asked[1])
    remember_loads(asked[0])
    for file in imported_files():
        with contextlib.suppress(OSError):
            tell(file, os.stat(file).st_ctime_ns)


def installed_files() -> list[str]:
    """Files of all modules of this process that are installed packages or lie in the standard library, as Python names them."""
    return [file for file in _module_files() if is_installed(file)]


def _module_files() -> list[str]:
    found: dict[str, None] = {}
    modules: list[Any] = list(sys.modules.values())
    for module in modules:
        if not isinstance(module, ModuleType):
            continue
        # Asked in the usual way, modules that are loaded late would be loaded now.
        file = _namespace(module).get("__file__")
        if isinstance(file, str):
            found[os.path.normpath(file) if f"{os.sep}." in file else file] = None
    return list(found)


def is_own(path: str) -> bool:
    """Whether a file is part of what records."""
    return path.startswith(_OWN_FOLDER)


def is_installed(path: str) -> bool:
    """Whether a path lies in the standard library or among installed packages, which the environment's record covers."""
    return path.startswith(_installed()) or "/site-packages/" in path or "/dist-packages/" in path or path[0:1] == "<"


@functools.cache
def _installed() -> tuple[str, ...]:
    import site
    import sysconfig

    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")}
    folders |= {os.path.dirname(os.__file__), site.getusersitepackages()}
    folders |= {os.path.join(prefix, inner) for prefix in (sys.prefix, sys.base_prefix) for inner in ("bin", "lib", "lib64")}
    folders |= {os.path.realpath(folder) for folder in folders}
    return tuple(folder + os.sep for folder in sorted(folders) if folder)


def process_began_ns() -> int | None:
    """When this process was started, in nanoseconds since the epoch, at most 20 ms late; ``None`` where the system does not tell."""
    try:
        with open("/proc/self/stat", "rb") as stream:
            ticks = int(stream.read().rpartition(b")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        return None
    return time.time_ns() - int(age_s * 1e9) + 20 * 10**6  # ticks are whole hundredths; nothing is loaded so early
