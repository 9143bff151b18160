"""Code that no snapshot holds: modules from outside the repository, ignored by git, or edited before they were loaded. Without git: all.

Found out when the run ends, from what Python really loaded. A file is looked at first and read only when it has to be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from lineage.errors import LineageError
from lineage.model.code import CodeFile, CodeVersion, LoadedCode
from lineage.model.event import CodeLoaded, SecretsNamed
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.code_packs import CodeKeeper
from lineage.record.exit_status import watch_exit
from lineage.record.joining import is_secondary
from lineage.record.literal_secrets import line_of_secret
from lineage.record.modules import LARGEST_BYTES, imported_files, is_own, load_of, process_began_ns, remember_loads
from lineage.record.named_secrets import named_secrets
from lineage.record.recording import Recording
from lineage.record.sinks import describe_error
from lineage.record.worker_loads import ask_workers, silent_workers

PLACED = ".lineage-code"
"""Folder of a reproduction's workspace for modules from outside the repository; git does not look into it."""

_MOST_FILES = 5000
_CAPTURE_NS = 10**9  # a capture takes less: what was changed within it is compared with the snapshot
_SHOWN = 5


class CodeRecord:
    """Everything that a live run records of its code after the start.

    Args:
        recording: The record.
        keeps: Whether this process keeps the snapshot.
        loads_here: Whether the code runs in this process. Else it runs in a child, whose script is read unless the child tells itself.
    """

    def __init__(self, recording: Recording, *, keeps: bool, loads_here: bool) -> None:
        self._ports, self._run, self._original = recording.ports, recording.run, recording.original
        self._append, self._note = recording.append, recording.note
        self._pid = os.getpid()
        self._is_open = (keeps or loads_here) and not is_secondary()
        self._loads_here = loads_here
        self._keeper = CodeKeeper(recording) if keeps and recording.run.code is not None else None
        if loads_here:
            watch_exit()
            remember_loads(_since_ns(recording.run))
            ask_workers(os.path.abspath(recording.ports.folder / "loads" / recording.run.id), _since_ns(recording.run))

    def close(self) -> None:
        """Wait until the snapshot is kept, and record what was loaded beside it."""
        if os.getpid() != self._pid or not self._is_open:
            return
        self._is_open = False
        if self._keeper is not None:
            self._keeper.close()
        try:
            loaded = self._imported() if self._loads_here else self._read()
        except (LineageError, OSError, ValueError) as error:
            self._note(f"what modules held when they were loaded is not recorded: {describe_error(error)}")
            return
        if self._loads_here and (way := silent_workers()) is not None:
            self._note(f"worker processes were started by {way}, and none imports lineage: modules that only they load are not recorded")
        if loaded is not None:
            self._append(CodeLoaded(at=datetime.now(UTC), loaded=loaded))
            if loaded.edited:
                self._note(f"edited while the run was going: {_shown(loaded.edited)}; what counts is what was loaded")
            if loaded.not_kept:
                self._note(f"files of modules are not kept with the code: {_shown(loaded.not_kept)}")

    def _imported(self) -> LoadedCode | None:
        search = [os.path.abspath(entry) for entry in sys.path]
        files = imported_files()
        self._name_secrets(files)
        return loaded_code(self._ports, self._run, files, search, "imported")

    def _read(self) -> LoadedCode | None:
        if self._ports.runs.get(self._run.id).loaded is not None:
            return None  # the child told
        from lineage.record.import_statements import imports_of, script_of, search_folders

        root = "" if self._run.code is None else self._run.code.root
        script = script_of(self._run.command, Path(root, self._run.working_directory))
        if script is None:
            return None
        search = search_folders(script[1], os.environ.get("PYTHONPATH", ""))
        if self._original is not None and self._original.loaded is not None:
            placed = Path(root, PLACED) if root else Path(self._run.working_directory)
            search += [placed / entry for entry in self._original.loaded.search]
        files = [str(file) for file in imports_of(script[0], search)]
        self._name_secrets(files)
        return loaded_code(self._ports, self._run, files, [str(folder) for folder in search], "import statements")

    def _name_secrets(self, files: Sequence[str]) -> None:
        if names := named_secrets(file for file in files if not is_own(file)):
            self._append(SecretsNamed(at=datetime.now(UTC), names=names))


def loaded_code(
    ports: Ports, run: Run, files: Iterable[str], search: Sequence[str], how: Literal["imported", "import statements"]
) -> LoadedCode | None:
    """Keep what no snapshot holds; ``None`` when that is nothing.

    Args:
        ports: The outside world.
        run: The run; its code was captured before any of the files could change unseen.
        files: Of modules, by whole path.
        search: Where modules were looked for.
        how: How the files are known.

    Raises:
        CaptureError: The snapshot's files cannot be listed.
    """
    root = None if run.code is None else run.code.root + os.sep
    inside: dict[str, None] = {}
    outside: dict[str, None] = {}
    not_named: list[str] = []
    for file in files:
        # Links are followed only where they may lead elsewhere: in a large repository that would take longest.
        real = file if root is not None and file.startswith(root) else os.path.realpath(file)
        if not real.isascii() and real.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") != real:
            not_named.append(f"{real.encode('utf-8', 'backslashreplace').decode()}: its name is no UTF-8 text")
        elif root is not None and real.startswith(root) and not real.startswith(f"{root}{PLACED}{os.sep}"):
            inside[real] = None
        elif not is_own(real):
            outside[real] = None
    began_ns = process_began_ns() if how == "imported" else None
    kept = _Kept(ports, _since_ns(run), _since_ns(run) if began_ns is None else began_ns)
    kept.not_kept += not_named
    kept_inside = [] if run.code is None else kept.inside(run.code, list(inside))
    chosen = sorted(outside)[:_MOST_FILES]
    top, folders = _top(run, chosen, search)
    kept_outside = kept.loose(chosen, top)
    if len(outside) > _MOST_FILES:
        kept.not_kept.append(f"{len(outside) - _MOST_FILES} more outside the repository: too many")
    if not (kept_inside or kept_outside or kept.edited or kept.not_kept):
        return None
    return LoadedCode(
        how=how,
        top=top if kept_outside else "",
        search=tuple(os.path.relpath(folder, top) for folder in folders) if kept_outside else (),
        outside=tuple(kept_outside),
        inside=tuple(kept_inside),
        edited=tuple(kept.edited),
        not_kept=tuple(kept.not_kept),
    )


class _Kept:
    """Reads and keeps files; collects what was edited, and what could not be kept.

    Args:
        ports: The outside world.
        since_ns: Files that were not changed after this moment are what the snapshot has.
        began_ns: What was not changed after this moment cannot have been loaded before it was.
    """

    def __init__(self, ports: Ports, since_ns: int, began_ns: int) -> None:
        self._ports = ports
        self._since_ns = since_ns
        self._began_ns = began_ns
        self.edited: list[str] = []
        self.not_kept: list[str] = []

    def inside(self, code: CodeVersion, files: Sequence[str]) -> list[CodeFile]:
        """Files of the repository whose loaded content its snapshot does not have."""
        if not files:
            return []
        known, start = self._ports.source.names(code), len(code.root) + 1
        kept = self.loose([file for file in files if file[start:] not in known], code.root)
        suspects: dict[str, int | None] = {}
        for file in files:
            changed_ns = _changed_ns(file)
            if file[start:] in known and not self._is_settled(file, changed_ns):
                suspects[file] = changed_ns
        if not suspects:
            return kept
        differing = self._ports.source.differing(code, [file[start:] for file in suspects if suspects[file] is not None])
        for file, changed_ns in suspects.items():
            name = file[start:]
            is_same = changed_ns is not None and name not in differing
            content, when = self._suspect(code, name, file, changed_ns, is_same=is_same)
            self.edited += [f"{name} ({when})"] if when else []
            kept += self._keep(name, content) if content is not None else []
        return kept

    def _is_settled(self, file: str, changed_ns: int | None) -> bool:
        load = load_of(file)
        return changed_ns is not None and changed_ns <= self._since_ns and changed_ns <= (load.changed_ns if load else self._began_ns)

    def _suspect(
        self, code: CodeVersion, name: str, file: str, changed_ns: int | None, *, is_same: bool
    ) -> tuple[bytes | None, str | None]:
        """(content to keep, when the file was edited) of one that may have been changed after it was captured or loaded."""
        load, is_after = load_of(file), changed_ns is None or changed_ns > self._since_ns
        if load is not None and load.content is not None:
            if load.content == self._ports.source.content(code, name):
                return None, None if is_same else "after it was loaded"
            return load.content, "before it was loaded" if load.content == _bytes(file) else "before it was loaded, and after"
        if not is_after:
            return None, "after it was loaded and before its code was captured: what ran may not be what the snapshot has"
        if is_same:
            return None, None
        if load is None and changed_ns is not None and changed_ns <= self._began_ns:
            return self._content(name, file, None), "before it was loaded"
        return None, "after it was loaded"

    def loose(self, files: Sequence[str], top: str) -> list[CodeFile]:
        """Files that no snapshot has, with paths relative to ``top``."""
        kept: list[CodeFile] = []
        for file in files:
            name, load, changed_ns = os.path.relpath(file, top), load_of(file), _changed_ns(file)
            content = self._content(name, file, None if load is None else load.content)
            if content is None:
                continue
            kept += self._keep(name, content)
            if changed_ns is None or changed_ns > (self._began_ns if load is None else load.changed_ns):
                what = (
                    "what was loaded is kept" if load is not None and load.content is not None else "what is kept is its content at the end"
                )
                self.edited.append(f"{name} (in no snapshot; {what})")
        return kept

    def _content(self, name: str, file: str, loaded: bytes | None) -> bytes | None:
        content = loaded if loaded is not None else _bytes(file)
        if content is None:
            self.not_kept.append(f"{name}: gone, unreadable or larger than {LARGEST_BYTES >> 20} MiB")
        return content

    def _keep(self, name: str, content: bytes) -> list[CodeFile]:
        line = line_of_secret(content)
        if line is not None:
            self.not_kept.append(f"{name}: line {line} holds what looks like a secret")
            return []
        return [CodeFile(path=name, digest=self._ports.objects.put_bytes(content), size_bytes=len(content))]


def _top(run: Run, outside: Sequence[str], search: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that holds them all, and those folders of ``search`` that lead to one of them."""
    folders = []
    for entry in dict.fromkeys(map(os.path.realpath, search)):
        is_repository = run.code is not None and Path(entry).is_relative_to(run.code.root)
        if is_repository and run.code is not None and not Path(entry).is_relative_to(Path(run.code.root, PLACED)):
            continue
        if any(file.startswith(entry.rstrip(os.sep) + os.sep) for file in outside):
            folders.append(entry)
    places = {os.path.dirname(file) for file in outside} | set(folders)
    if run.code is None:
        places.add(run.working_directory)
    return (os.path.commonpath(places) if places else ""), folders


def _since_ns(run: Run) -> int:
    return int(run.started_at.timestamp() * 1e9) - _CAPTURE_NS


def _changed_ns(file: str) -> int | None:
    try:
        return os.stat(file).st_ctime_ns
    except OSError:
        return None


def _bytes(file: str) -> bytes | None:
    try:
        if os.stat(file).st_size > LARGEST_BYTES:
            return None
        with open(file, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
