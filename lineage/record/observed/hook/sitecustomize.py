"""Tells the process that began a run which files this one opens, and what it prints. Python imports this module by its name when it starts.

It runs inside programs of others and in environments without this package: the standard library only, nothing that is not loaded anyway,
and no failure of it may be seen by the program. What it notes goes to a file at once, so that a process that is killed loses nothing.

A record is its kind, then fields, each ended by a NUL; another NUL ends the record. The other end is ``lineage.record.observed.spool``.
"""

# ruff: noqa: BLE001, SIM105 - whatever fails in here must never reach the program, and contextlib takes a millisecond

from __future__ import annotations

import os
import stat
import sys

TYPE_CHECKING = False  # as typing has it; importing that takes longer than everything here
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import FrameType, ModuleType
    from typing import Any, TextIO

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_MOST_RECORDS = 200_000  # of files, and as many of printed lines: about 20 MB
_MOST_SEEN = 50_000
_LONGEST_LINE = 1000
_CODE = (".py", ".pyc", ".pyi", ".so", ".pth", ".pyd")
_READ_CODE = ("/linecache.py", "/tokenize.py", "/inspect.py", "/runpy.py", "/pkgutil.py")
_MODELS = (".pt", ".pth", ".safetensors", ".bin", ".onnx", ".ckpt", ".h5", ".npz", ".pkl")
_PARTS = ("/__pycache__/", "/site-packages/", "/dist-packages/", "/.git/", "/wandb/", "/mlruns/", "/.ipynb_checkpoints/")
_OWN_METRICS = ("lineage", "wandb")
_DATA = ("deeplake", "wandb")
_NATIVE = ("cv2", "decord", "deeplake", "h5py", "netCDF4", "pyarrow", "rasterio", "safetensors", "tensorflow", "torchvision", "zarr")
# What writes and reads files without Python's knowing: module to (object, attribute, number of the argument with the path, kind).
_WRAPPED = {
    "torch.serialization": (("_open_zipfile_writer_file", "__init__", 1, "w"),),
    "cv2": (("", "imwrite", 0, "w"), ("", "imread", 0, "r")),
    "safetensors.torch": (("", "save_file", 1, "w"), ("", "load_file", 0, "r")),
    "safetensors.numpy": (("", "save_file", 1, "w"), ("", "load_file", 0, "r")),
    "h5py._hl.files": (("File", "__init__", 1, "u"),),
}


class _Spool:
    """The file that everything goes to. Forked processes write into the same one; each record is written at once."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, f"{os.getpid()}-{os.urandom(4).hex()}")
        self._open()

    def _open(self) -> None:
        low = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            import fcntl

            self._file = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 200)  # programs may count on low numbers
            os.close(low)
        except (ImportError, OSError):
            self._file = low
        found = os.fstat(self._file)
        self._identity = found.st_ino, found.st_dev

    def add(self, *fields: str) -> None:
        if self._file < 0:
            return
        try:
            found = os.fstat(self._file)
            is_ours = (found.st_ino, found.st_dev) == self._identity
        except OSError:
            is_ours = False
        try:
            if not is_ours:  # the program closed it, and the number may be a file of its own now
                self._open()
            os.write(self._file, b"\0".join([os.fsencode(field) or b" " for field in fields]) + b"\0\0")
        except OSError:
            self._file = -1


class _Files:
    """Takes part in Python's audit events."""

    def __init__(self, spool: _Spool, store: list[str]) -> None:
        self._spool = spool
        self._read: set[Any] = set()
        self._written: set[Any] = set()
        self._left = _MOST_RECORDS
        home = os.path.expanduser("~")
        libraries = [
            os.path.join(prefix, inner) + os.sep
            for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix}
            for inner in ("lib", "lib64", "share", "include", "etc", "bin", "pyvenv.cfg")
        ]
        try:
            self._start = os.getcwd() + os.sep  # it may itself be in a folder of such a name
        except OSError:  # it was deleted
            self._start = os.sep
        self._never = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/lib/", "/usr/share/", "/var/lib/", *libraries, _FOLDER + os.sep)
        self._stores = tuple(folder.rstrip(os.sep) + os.sep for folder in store)
        self._workspaces = tuple(folder + "workspaces" + os.sep for folder in self._stores)
        caches = os.environ.get("XDG_CACHE_HOME"), os.environ.get("XDG_CONFIG_HOME"), os.environ.get("XDG_DATA_HOME")
        self._caches = tuple(folder.rstrip(os.sep) + os.sep for folder in caches if folder)
        if home not in ("", "~", os.sep):
            self._caches += (home + os.sep + ".",)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        try:
            if event == "open":
                path, _, flags = args
                if flags & _WRITES:
                    if path not in self._written:
                        self._opened(path, "w" if flags & os.O_TRUNC else "u", self._written)
                elif path not in self._read:
                    self._opened(path, "r", self._read)
            elif event == "os.rename" or event == "os.link":
                self._written.clear()
                self._moved("m" if event == "os.rename" else "l", args[0], args[1])
            elif event == "os.chdir" or event == "os.remove":
                self._written.clear()
                if event == "os.chdir":
                    self._read.clear()
            elif event == "sqlite3.connect":
                self.note(*_of_database(args[0]))
            elif event == "os.truncate":
                self.note(args[0], "u")
            elif event == "subprocess.Popen":
                self._started(args[0], args[1], args[3])
        except Exception:
            pass

    def note(self, path: Any, kind: str) -> None:
        """One that Python does not tell of."""
        try:
            if isinstance(path, (str, bytes, os.PathLike)):
                self._opened(path, kind, set())
        except Exception:
            pass

    def _started(self, program: Any, words: Any, environment: Any) -> None:
        """A Python that cannot tell, because it does not look where this module lies: the record has to name it."""
        name = os.path.basename(os.fsdecode(program or (words[0] if words else "")))
        if name.startswith("python"):
            without = environment is not None and _FOLDER not in environment.get("PYTHONPATH", "")
            alone = any(word[:1] == "-" and word[1:2] in "IES" for word in map(os.fsdecode, words[1:2]) if word[1:])
            if without or alone:
                self._spool.add("n", f"{name} without its environment")

    def _opened(self, path: Any, kind: str, seen: set[Any]) -> None:
        if path.__class__ is int:
            return
        full = self._whole(path)
        if self._is_ignored(full):
            seen.add(path)
            return
        if full.startswith(self._caches) and (kind != "r" or not full.endswith(_MODELS)):
            seen.add(path)
            return
        if (kind == "r" and full.endswith(_CODE) and not full.endswith(".py")) or not _is_program(sys._getframe(2), full):
            return
        size, changed = -1, 0
        try:
            found = os.stat(full)
        except OSError:
            if kind == "r":
                return
        else:
            if not stat.S_ISREG(found.st_mode):
                return
            size, changed = found.st_size, found.st_mtime_ns
        if kind == "u" and size < 0:
            kind = "w"
        if len(seen) >= _MOST_SEEN:
            seen.clear()
        seen.add(path)
        self._add(kind, str(size), str(changed), full)

    def _moved(self, kind: str, source: Any, target: Any) -> None:
        full = self._whole(target)
        if not self._is_ignored(full) and not full.startswith(self._caches):
            self._add(kind, self._whole(source), full)

    def _is_ignored(self, full: str) -> bool:
        if full.startswith(self._stores) and not full.startswith(self._workspaces):
            return True
        inside = full[len(self._start) - 1 :] if full.startswith(self._start) else full
        return full.startswith(self._never) or any(part in inside for part in _PARTS)

    def _add(self, *fields: str) -> None:
        self._left -= 1
        if self._left > 0:
            self._spool.add(*fields)
        elif self._left == 0:
            self._spool.add("x", "files")

    def _whole(self, path: Any) -> str:
        text = path if path.__class__ is str else os.fsdecode(path)
        if text[:1] != os.sep:
            text = os.getcwd() + os.sep + text
        return os.path.normpath(text) if f"{os.sep}." in text or os.sep * 2 in text else text


def _of_database(named: Any) -> tuple[Any, str]:
    """The path and the kind of what SQLite connects to: a path, or an address such as ``file:data.db?mode=ro``."""
    text = os.fsdecode(named)
    if not text.startswith("file:"):
        return named, "u"
    path, _, options = text[len("file:") :].partition("#")[0].partition("?")
    if path.startswith("//"):
        path = os.sep + path[2:].partition("/")[2]
    if "%" in path:
        from urllib.parse import unquote

        path = unquote(path)
    return path, "r" if "mode=ro" in options or "immutable=1" in options else "u"


def _is_program(frame: FrameType | None, path: str) -> bool:
    """Whether it is the program that opens a file: not Python, for code to execute or to show; and not what records, which tells itself."""
    library = os.path.dirname(os.__file__) + os.sep
    for _ in range(20):
        if frame is None:
            break
        name = frame.f_code.co_filename
        if path.endswith(".py") and (name.startswith("<frozen") or name.endswith(_READ_CODE)):
            return False
        if not name.startswith((library, "<frozen")) or "/site-packages/" in name:
            module = frame.f_globals.get("__name__") or ""
            return module != "lineage" and not module.startswith("lineage.")
        frame = frame.f_back
    return True


class _Lines:
    """Takes whole lines of a text stream. A line that was drawn over, as progress bars are, counts as it was last seen."""

    left = _MOST_RECORDS

    def __init__(self, spool: _Spool, stream: TextIO) -> None:
        self._spool = spool
        self._pid = os.getpid()
        self._tail = ""
        self._write = stream.write
        stream.write = self.write  # type: ignore[method-assign]

    def write(self, text: str) -> int:
        done = self._write(text)
        try:
            self._feed(text)
        except Exception:
            pass
        return done

    def _feed(self, text: str) -> None:
        if text.__class__ is not str or os.getpid() != self._pid:
            return
        if "\n" not in text:
            self._tail = (self._tail + text)[-4 * _LONGEST_LINE :]
            return
        *lines, tail = (self._tail + text).split("\n")
        self._tail = tail[-4 * _LONGEST_LINE :]
        for line in lines:
            if "\r" in line or "\b" in line:
                line = line.replace("\b", "\r").rstrip("\r").rpartition("\r")[2]
            if 3 < len(line) <= _LONGEST_LINE and not line.isalpha() and _Lines.left > 0:
                _Lines.left -= 1
                self._spool.add("p" if _Lines.left else "x", line.replace("\0", "") or " " if _Lines.left else "lines")


class _Imports:
    """First among the finders; finds nothing by itself."""

    def __init__(self, spool: _Spool, files: _Files | None, *, with_data: bool) -> None:
        self._spool = spool
        self._files = files
        self._told: set[str] = set()
        self._note = (lambda path, kind: None) if files is None else files.note
        self._with_data = with_data

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        try:
            if name in self._told:
                return None
            if name in _OWN_METRICS or name in _NATIVE or name in _DATA or name in _WRAPPED:
                self._told.add(name)
                return self._found(name, path, target)
        except Exception:
            pass
        return None

    def _found(self, name: str, path: Any, target: ModuleType | None) -> ModuleSpec | None:
        if name in _OWN_METRICS:
            self._spool.add("j", name)
        if name in _NATIVE:
            self._spool.add("n", name)
        if name in _DATA and self._with_data:
            self._with_data = False
            self._record_data()
        elif name not in _WRAPPED or self._files is None:
            return None
        # The list of finders may have grown, so that Python's own walk through it cannot be relied on.
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target)) is not None), None)
        if spec is not None and name in _WRAPPED and self._files is not None:
            self._wrap_after(spec, name)
        return spec

    def _record_data(self) -> None:
        try:
            getattr(__import__("lineage"), "autolog")()  # noqa: B009 - an older release in the child has none
        except Exception as error:
            self._spool.add("e", f"datasets are not recorded by themselves: {type(error).__name__}: {error}"[:300])

    def _wrap_after(self, spec: Any, name: str) -> None:
        execute = spec.loader.exec_module
        note = self._note

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for owner, attribute, number, kind in _WRAPPED[name]:
                try:
                    found = sys.modules.get(name, module)
                    place = getattr(found, owner) if owner else found
                    setattr(place, attribute, _noting(getattr(place, attribute), number, kind, note))
                except Exception:
                    continue

        spec.loader.exec_module = exec_module


def _noting(function: Callable[..., Any], number: int, kind: str, note: Callable[[Any, str], None]) -> Callable[..., Any]:
    import functools

    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        if len(args) > number:
            note(args[number], kind)
        else:
            for name in ("name", "filename", "path"):
                if name in kwargs:
                    note(kwargs[name], kind)
                    break
        return function(*args, **kwargs)

    return noting


def _observe(folder: str) -> None:
    words = os.environ.get("LINEAGE_OBSERVED_WHAT", "").split(",")
    command: list[str] = getattr(sys, "orig_argv", sys.argv if hasattr(sys, "argv") else [])  # Python 3.9 has none
    if any(word.startswith("from multiprocessing.resource_tracker") for word in command):
        return  # a helper of Python's, not a part of the program
    spool = _Spool(folder)
    spool.add("s", str(os.getpid()), sys.executable or " ", sys.prefix, sys.version.split()[0], " ".join(command)[:500] or " ")
    files = None
    if "files" in words:
        store = [os.environ.get(f"LINEAGE_{name}", "") for name in ("STORE", "FOLDER", "CACHE", "KEYS")]
        files = _Files(spool, [place for place in store if place.startswith(os.sep)])
        sys.addaudithook(files.hook)
    is_worker = "--multiprocessing-fork" in command or os.environ.get("RANK", "0") not in ("", "0")
    if "printed" in words and not is_worker:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                _Lines(spool, stream)
    sys.meta_path.insert(0, _Imports(spool, files, with_data="data" in words))


def _make_way() -> None:
    """Take this folder out of the search, and run the sitecustomize that would have been found without it."""
    sys.path[:] = [entry for entry in sys.path if entry != _FOLDER]
    own = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if own is not None:
            sys.modules.setdefault("sitecustomize", own)


def _begin() -> None:
    named = os.environ.get("LINEAGE_OBSERVED")
    if named and os.path.isdir(named):
        try:
            _observe(named)
        except Exception:
            pass


if __name__ == "sitecustomize":  # imported under another name, by a test for example, it does nothing
    _begin()
    _make_way()
