"""The log files behind a Deep Lake version: their digest, and what they say.

The layout ``_deeplake_log/<branch>/<version>.jsonl[.lz4]`` is private to the release (reader and writer version 4), so this is a secondary
check: content digests are the truth. Its use is to name the cause early: a torn, missing or late log file, without reading any picture.
What follows from the entries (appended only? which data files?) is in ``deeplake_history``.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deeplake
import lz4.block

from lineage.model.dataset import LogManifest, local_path
from lineage.model.digest import digest_of_bytes, digest_of_json

_FOLDER = "_deeplake_log"
_VERSION = re.compile(r"(?P<number>\d{10})(?P<kind>[a-z])(?P<rest>[0-9a-z]{8})")
_SETTLED_NS = 2_000_000_000
_KEPT_DATASETS = 4


@dataclass(frozen=True, slots=True)
class LogFile:
    """One log file.

    Attributes:
        path: Inside the dataset, with slashes.
        size: In bytes.
        digest: Of its bytes.
        version: Version that it makes; empty for files that make none.
        entries: What it says, without statistics; ``None`` when it is torn. Deep Lake passes over such a file as if it were not there.
    """

    path: str
    size: int
    digest: str
    version: str
    entries: tuple[dict[str, Any], ...] | None

    @property
    def branch(self) -> str:
        """Id of the branch it belongs to; ``_meta`` for what belongs to the dataset."""
        return self.path.split("/")[1]

    @property
    def number(self) -> int:
        """Sequence number of its version."""
        return int(self.version[:10])

    @property
    def kind(self) -> str:
        """``m`` and ``c`` ordinary, ``o`` compaction, ``u`` heavy compaction, ``w`` revert."""
        return self.version[10]

    def each(self, kind: str) -> Iterator[dict[str, Any]]:
        """Entries of a kind."""
        return (entry[kind] for entry in self.entries or () if kind in entry)


@dataclass(frozen=True, slots=True)
class Log:
    """Every log file of a dataset, by path."""

    files: Mapping[str, LogFile]

    def meta(self, kind: str) -> list[dict[str, Any]]:
        """Entries of a kind that belong to the dataset as a whole, in order."""
        return [entry for path in sorted(self.files) if self.files[path].branch == "_meta" for entry in self.files[path].each(kind)]


@dataclass(frozen=True, slots=True)
class Replay:
    """What a version replays from, in no special order.

    Attributes:
        files: Log files.
        gaps: ``branch:number`` of sequence numbers whose file is missing or torn: a writer claims its number before it writes, so a gap
            means that the version may still change.
        merges: (branch, version) that other branches were merged into.
    """

    files: tuple[LogFile, ...]
    gaps: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    @property
    def manifest(self) -> LogManifest:
        """Digest of the files."""
        listed = sorted([item.path, item.size, item.digest] for item in self.files)
        return LogManifest(digest=digest_of_json(listed), files=len(self.files), gaps=self.gaps)


def replay(log: Log, branch_id: str, commit_id: str) -> Replay:
    """Every log file that replays up to ``commit_id``, following the branch's base and merges."""
    bases = {item["id"]: item for item in log.meta("createBranch")}
    merges = log.meta("mergeBranch")
    of_branch: dict[str, list[LogFile]] = {}
    for path in sorted(log.files):
        if log.files[path].version:
            of_branch.setdefault(log.files[path].branch, []).append(log.files[path])
    files: list[LogFile] = []
    gaps: list[str] = []
    merged: list[tuple[str, str]] = []
    waiting, seen = [(branch_id, commit_id)], set()
    while waiting:
        branch, last = waiting.pop()
        if (branch, last) in seen:
            continue
        seen.add((branch, last))
        own = [item for item in of_branch.get(branch, ()) if item.version <= last]
        files += own
        numbers = {item.number for item in own if item.entries is not None}
        # A heavy compaction claims the number behind the one in its name as well.
        numbers |= {item.number + 1 for item in own if item.kind == "u"}
        gaps += [f"{branch}:{number}" for number in range(1, int(last[:10]) + 1) if number not in numbers]
        base = bases.get(branch, {})
        if base.get("parent"):
            waiting.append((base["parent"], base["version"]))
        for item in merges:
            if item["destination"]["branch"] == branch and item["destination"]["version"] <= last:
                merged.append((branch, item["destination"]["version"]))
                waiting.append((item["source"]["branch"], item["source"]["version"]))
    return Replay(tuple({item.path: item for item in files}.values()), tuple(gaps), tuple(merged))


# --- reading ----------------------------------------------------------------------------------------------------------

_known: OrderedDict[str, dict[tuple[str, str], LogFile]] = OrderedDict()
"""Log files read before in this process: address to (path, stamp) to file. They are written once and never change."""


def read_log(uri: str) -> Log:
    """Read the log files of a dataset; those that this process knows, and that still have the same size and times, are not read again."""
    folder = local_path(uri)
    found = _local(uri, folder) if folder is not None else _remote(uri)
    files = dict(sorted(found.items()))
    return Log({path: item for path, (_, item) in files.items()})


def _remembered(uri: str, found: dict[str, tuple[str | None, LogFile]]) -> None:
    _known[uri] = {(path, stamp): item for path, (stamp, item) in found.items() if stamp is not None}
    _known.move_to_end(uri)
    while len(_known) > _KEPT_DATASETS:
        _known.popitem(last=False)


def _local(uri: str, folder: Path) -> dict[str, tuple[str | None, LogFile]]:
    known, now = _known.get(uri, {}), time.time_ns()
    found: dict[str, tuple[str | None, LogFile]] = {}
    with os.scandir(folder / _FOLDER) as branches:
        names = sorted(item.name for item in branches if item.is_dir())
    for name in names:
        with os.scandir(folder / _FOLDER / name) as listing:
            for item in listing:
                if ".jsonl" not in item.name:
                    continue
                path, stat = f"{_FOLDER}/{name}/{item.name}", item.stat()
                stamp = f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"
                kept = known.get((path, stamp))
                # A file that was changed just now may change again without another time.
                settled = now - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED_NS
                found[path] = (stamp if settled else None, kept or _read(path, Path(item.path).read_bytes()))
    _remembered(uri, found)
    return found


def _remote(uri: str) -> dict[str, tuple[str | None, LogFile]]:
    known = _known.get(uri, {})
    reader = deeplake.storage.Reader(uri, creds={})
    found: dict[str, tuple[str | None, LogFile]] = {}
    for item in reader.list(_FOLDER):
        if ".jsonl" in item.path:
            stamp = f"{item.size}:{item.etag}" if item.etag else None
            kept = known.get((item.path, stamp)) if stamp is not None else None
            found[item.path] = (stamp, kept or _read(item.path, bytes(reader.get(item.path))))
    _remembered(uri, found)
    return found


def _read(path: str, content: bytes) -> LogFile:
    name = path.rpartition("/")[2].split(".")[0]
    try:
        entries = tuple(_lean(entry) for entry in _entries(path, content))
    except (ValueError, LookupError, TypeError, lz4.block.LZ4BlockError):
        entries = None
    version = name if _VERSION.fullmatch(name) and "/_meta/" not in path else ""
    return LogFile(path, len(content), digest_of_bytes(content), version, entries)


def _entries(path: str, raw: bytes) -> list[dict[str, Any]]:
    if path.endswith(".lz4"):
        # Four bytes of size, little-endian, then one LZ4 block.
        raw = lz4.block.decompress(raw[4:], uncompressed_size=int.from_bytes(raw[:4], "little"))
    return [json.loads(line) for line in raw.decode().splitlines() if line.strip()]


def _lean(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without its statistics, which are most of it."""
    if "addBlock" in entry:
        block = entry["addBlock"]["d"]
        if not len(block["p"]) == len(block["b"]) == len(block["n"]):
            raise ValueError("a block with another number of sizes than files")
        kept = {key: block[key] for key in ("x", "p", "b", "n", "s", "fo", "fl") if key in block}
        return {"addBlock": {"c": entry["addBlock"]["c"], "b": entry["addBlock"]["b"], "d": kept}}
    if "updateData" in entry:
        data = entry["updateData"]
        return {"updateData": {"c": data["c"], "r": data["r"], "f": {key: data["f"][key] for key in ("p", "b", "s")}}}
    return entry
