"""Files that a command read and wrote, as they stand in its record."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from lineage.errors import LineageError
from lineage.model.dataset import local_path
from lineage.model.digest import digest_of_file
from lineage.model.event import ArtifactUsed
from lineage.model.observed import READ
from lineage.model.run import Artifact, Run, UsedArtifact
from lineage.ports import ObjectStore, Ports
from lineage.record.literal_secrets import line_of_secret
from lineage.record.live import LiveRun
from lineage.record.observed.file_lists import FILES, ListedFile, put_list
from lineage.record.observed.spool import Opened, Seen
from lineage.record.sinks import describe_error

VOLATILE = ("*events.out.tfevents.*",)
"""Patterns that need not be given: names with a time, a host and a process in them."""

_MODELS = (".pt", ".pth", ".safetensors", ".onnx", ".ckpt", ".h5", ".keras", ".pkl", ".joblib", ".npz", ".gguf", ".tflite")
_MOST_READ, _FEW_READ = 50, 20
_MOST_WRITTEN = 200
_LARGEST_BYTES = 4 << 30  # of all contents that are kept
_LOOKED_AT_BYTES = 1 << 20
_SECRET = re.compile(r"^\.env($|\.)|^\.netrc$|^id_(rsa|dsa|ecdsa|ed25519)$|\.(pem|key|p12|pfx)$|^credentials(\.json)?$", re.IGNORECASE)
_TEMPORARY = re.compile(r"/tmp[a-z0-9_]{8}(?:[./]|$)")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was read.

    Attributes:
        size_bytes: Its size when it was opened.
        changed_ns: When it had last been written then, in nanoseconds since the epoch.
        digest: Of its content; ``None`` when it was no longer as it had been opened.
    """

    size_bytes: int
    changed_ns: int
    digest: str | None


class Reads:
    """Takes digests of files soon after they were opened, while their command goes on.

    Args:
        ports: Where the snapshot's names are asked.
        run: The run's record.
    """

    def __init__(self, ports: Ports, run: Run) -> None:
        self._ports = ports
        self._run = run
        self._names: frozenset[str] | None = None
        self._taken = 0
        self.found: dict[str, ReadFile] = {}
        self.in_snapshot: dict[str, None] = {}
        self.secret: dict[str, None] = {}

    def take(self, read: dict[str, Opened]) -> None:
        """Look at those that were not looked at yet."""
        for path in list(islice(read, self._taken, None)):
            self._taken += 1
            inside = self._inside(path)
            if inside is not None:
                self.in_snapshot[inside] = None
            elif holds_secret(path):
                self.secret[path] = None
            else:
                self.found[path] = self._digested(path, read[path])

    def late(self, path: str, opened: Opened) -> None:
        """One that was opened for writing as well, and was not written."""
        inside = self._inside(path)
        if inside is not None:
            self.in_snapshot[inside] = None
        else:
            self.found.setdefault(path, self._digested(path, opened))

    def _inside(self, path: str) -> str | None:
        code = self._run.code
        if code is None or not path.startswith(code.root + os.sep):
            return None
        if self._names is None:
            try:
                self._names = self._ports.source.names(code)
            except LineageError:  # then everything is taken by digest
                self._names = frozenset()
        name = path[len(code.root) + 1 :]
        return name if name in self._names else None

    def _digested(self, path: str, opened: Opened) -> ReadFile:
        try:
            digest = digest_of_file(Path(path))
            facts = os.stat(path)
        except OSError:
            return ReadFile(opened.size_bytes, opened.changed_ns, None)
        is_same = (facts.st_size, facts.st_mtime_ns) == (opened.size_bytes, opened.changed_ns)
        return ReadFile(opened.size_bytes, opened.changed_ns, digest if is_same else None)


def holds_secret(path: str) -> bool:
    """Whether a file is of secrets by its name, or has one in it: such a file is named in the record, not kept, and not even digested."""
    if _SECRET.search(os.path.basename(path)) is not None:
        return True
    try:
        return os.path.getsize(path) <= _LOOKED_AT_BYTES and line_of_secret(Path(path).read_bytes()) is not None
    except OSError:
        return False


def base_of(run: Run) -> Path | None:
    """The folder that recorded paths are relative to: the repository's, else the one in which the command was started."""
    if run.code is not None:
        return Path(run.code.root)
    return Path(os.path.realpath(run.working_directory)) if os.path.isabs(run.working_directory) else None


def record_reads(ports: Ports, live: LiveRun, reads: Reads, seen: Seen) -> None:
    """Add the files that were read to the record, each by digest; a folder of many as one entry."""
    base, now = base_of(live.record), datetime.now(UTC)
    began_ns = int(live.record.started_at.timestamp() * 1e9)
    run = ports.runs.get(live.id)
    known = {used.digest for used in run.uses}  # the program may have told of it itself
    inputs = [str(place) + os.sep for item in run.inputs if (place := local_path(item.uri)) is not None]  # recorded with all their rows
    found = {path: item for path, item in reads.found.items() if not path.startswith(tuple(inputs)) and not _TEMPORARY.search(path)}
    given = {path: item for path, item in found.items() if item.changed_ns < began_ns}
    kept = {_relative(path, base): item for path, item in given.items() if item.digest not in (None, *known)}
    for folder, names in _grouped(kept, _MOST_READ, _FEW_READ):
        start = 0 if folder is None else len(folder) + 1
        listed = [ListedFile(name[start:], kept[name].size_bytes, digest) for name in names if (digest := kept[name].digest) is not None]
        if folder is None:
            used = [(item.path, _kind(item.path), item.digest, item.size_bytes) for item in listed]
        else:
            used = [(folder, FILES, put_list(ports.objects, listed), sum(item.size_bytes for item in listed))]
        for path, kind, digest, size in used:
            artifact = UsedArtifact(role=READ, kind=kind, path=path, digest=digest, size_bytes=size, used_at=now)
            ports.runs.append(live.id, ArtifactUsed(at=now, artifact=artifact))
    lost = sorted(_relative(path, base) for path, item in given.items() if item.digest is None)
    if lost:
        live.note(f"{len(lost)} files were changed or deleted after they were read, so what was read is not known: {_shown(lost)}")
    if reads.secret:
        shown = _shown([_relative(path, base) for path in reads.secret])
        live.note(f"files with secrets were read, of which nothing is kept: {shown}; a reproduction does not get them")
    foreign = sorted(_relative(path, base) for path in found.keys() - given.keys() - seen.written.keys())
    if foreign:
        live.note(f"{len(foreign)} files were read that something unobserved wrote while the command ran: {_shown(foreign)}")


def record_writes(ports: Ports, live: LiveRun, seen: Seen, reads: Reads, volatile: Sequence[str]) -> None:
    """Add the files that the command left to the record; those that it deleted again are nothing. Many in a folder are one entry."""
    base = base_of(live.record)
    known = {(item.path, item.digest) for item in ports.runs.get(live.id).outputs}
    made: dict[str, Path] = {}
    extended: list[str] = []
    secret: list[str] = []
    for path, opened in _through_links(seen.written, int(live.record.started_at.timestamp() * 1e9)):
        try:
            facts = os.lstat(path)
        except OSError:
            continue
        if not os.path.isfile(path) or os.path.islink(path) or _TEMPORARY.search(path):
            continue
        if opened is not None and (facts.st_size, facts.st_mtime_ns) == (opened.size_bytes, opened.changed_ns):
            reads.late(path, opened)
            continue
        if holds_secret(path):
            secret.append(_relative(path, base))
            continue
        made[_relative(path, base)] = Path(path)
        if opened is not None and opened.size_bytes > 0:
            extended.append(_relative(path, base))
    total = 0
    lost: list[str] = []
    for folder, names in _grouped(made, _MOST_WRITTEN, _MOST_WRITTEN):
        large = []
        for name in names if folder is None else []:
            try:
                size = made[name].stat().st_size
                if total + size > _LARGEST_BYTES:
                    large.append(name)
                    continue
                digest = digest_of_file(made[name])
                if (name, digest) in known:
                    continue  # the program recorded it itself
                total += size
                live.log_artifact(made[name], _kind(name), name, _details(name, volatile))
            except (OSError, LineageError) as error:
                lost.append(f"{name} ({describe_error(error)})")
        for listed in [[name] for name in large] if folder is None else [list(names)]:
            _record_list(ports.objects, live, folder, {name: made[name] for name in listed}, volatile, lost)
    if extended:
        live.note(f"files that were there before were changed: {_shown(sorted(extended))}; what they held before is not kept")
    if secret:
        live.note(f"files with secrets were written, of which nothing is kept: {_shown(sorted(secret))}")
    if lost:
        live.note(f"{len(lost)} files that the command wrote could not be kept: {_shown(lost)}")


def _through_links(written: dict[str, Opened | None], began_ns: int) -> Iterator[tuple[str, Opened | None]]:
    """What was written; for a link, the file that it leads to, unless that is older than the run: then the link is all that is new."""
    for path, opened in written.items():
        if not os.path.islink(path):
            yield path, opened
            continue
        target = os.path.realpath(path)
        try:
            is_older = opened is None and os.stat(target).st_mtime_ns < began_ns
        except OSError:
            continue
        if not is_older and target not in written:
            yield target, opened


def _record_list(
    objects: ObjectStore, live: LiveRun, folder: str | None, files: dict[str, Path], volatile: Sequence[str], lost: list[str]
) -> None:
    listed = []
    for name, path in files.items():
        try:
            inside = path.name if folder is None else name[len(folder) + 1 :]
            listed.append(ListedFile(inside, path.stat().st_size, digest_of_file(path)))
        except OSError as error:
            lost.append(f"{name} ({describe_error(error)})")
    shown = folder if folder is not None else next(iter(files))
    live.record_output(
        Artifact(
            name=shown,
            kind=FILES,
            path=shown,
            digest=put_list(objects, listed),
            size_bytes=sum(item.size_bytes for item in listed),
            details=_details(shown, volatile) | {"files": len(listed)},
        )
    )
    live.note(f"{shown}: {len(listed)} files are recorded by digest; their contents are not kept")


def _details(name: str, volatile: Sequence[str]) -> dict[str, bool]:
    is_volatile = any(fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(Path(name).name, pattern) for pattern in volatile)
    return {"observed": True} | ({"volatile": True} if is_volatile else {})


def _kind(name: str) -> str:
    return "model" if name.lower().endswith(_MODELS) else "file"


def _relative(path: str, base: Path | None) -> str:
    return str(Path(path).relative_to(base)) if base is not None and Path(path).is_relative_to(base) else path


def _grouped(names: Iterable[str], most: int, few: int) -> list[tuple[str | None, list[str]]]:
    """(folder, its files) for folders of more than ``few`` files where there are more than ``most`` in all; (``None``, the others)."""
    ordered = sorted(names)
    if len(ordered) <= most:
        return [(None, ordered)] if ordered else []
    folders: dict[str, list[str]] = {}
    for name in ordered:
        parent = os.path.dirname(name)
        # Inside the repository the topmost folder: data sets lie in trees of folders.
        folders.setdefault(parent if os.path.isabs(name) or not parent else parent.split("/", 1)[0], []).append(name)
    single = [name for folder, found in folders.items() if not folder or len(found) <= few for name in found]
    many: list[tuple[str | None, list[str]]] = [(folder, found) for folder, found in folders.items() if folder and len(found) > few]
    return [*([(None, single)] if single else []), *many]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
