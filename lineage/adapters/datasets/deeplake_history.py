"""What a Deep Lake log tells of a version without reading a row: its data files, and whether a newer version only appended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import deeplake

from lineage.adapters.datasets.deeplake_log import LogFile, read_log, replay
from lineage.errors import IntegrityError
from lineage.model.dataset import DatasetVersion, LogManifest, local_path
from lineage.model.digest import digest_of_json
from lineage.ports.rows import KnownVersion

_ADDS = {"commit", "addBlock", "setColumnMetadata2"}
"""Entries that leave the rows before them as they are: new rows behind, and what the numbers in a column mean."""
_ORDINARY = ("m", "c")
"""Letters of ordinary commits: small ones, and those of about a thousand rows or more. What they do is in their entries."""
_COMPACTS = _ADDS | {"createColumn", "updateData", "deleteRows"}
"""Entries that a compaction repeats from the log files it stands for."""


def log_manifest(uri: str, branch_id: str, commit_id: str) -> LogManifest:
    """Manifest of every log file that replays up to ``commit_id``.

    Raises:
        IntegrityError: A data file has another size than the log says. Reading it would not fail: Deep Lake gives other values, or ends the
            process (measured: a cut chunk of texts or arrays is a segmentation fault).
    """
    version = replay(read_log(uri), branch_id, commit_id)
    _check_sizes(uri, data_files(version.files))
    return version.manifest


def data_files(files: Iterable[LogFile]) -> dict[str, int]:
    """Path to size in bytes of every data file that the log files name."""
    found: dict[str, int] = {}
    for file in files:
        for added in file.each("addBlock"):
            block = added["d"]
            for name, size in zip(block["p"], block["b"], strict=True):
                found[block["x"] + name] = size
        for updated in file.each("updateData"):
            found[updated["f"]["p"]] = updated["f"]["b"]
    return found


def _check_sizes(uri: str, files: dict[str, int]) -> None:
    folder = local_path(uri)
    if folder is None:
        return  # object stores have an object whole or not at all
    for path, size in files.items():
        try:
            found = os.stat(folder / path).st_size
        except FileNotFoundError:
            continue  # tidied away when nothing needs it any more; else reading it says so
        if found != size:
            raise IntegrityError(
                f"file {path} of {uri}", expected=f"{size} bytes", found=f"{found} bytes", hint="restore the dataset from a copy"
            )


def files_signature(uri: str, branch_id: str, commit_id: str) -> str | None:
    """Digest over path, size and times (an object store's etag) of every data file of a version; ``None`` when the store has no etags."""
    wanted = data_files(replay(read_log(uri), branch_id, commit_id).files)
    folder = local_path(uri)
    stamps: dict[str, list[Any]] = {}
    if folder is not None:
        base = f"{folder}/"
        for path in wanted:
            try:
                stat = os.stat(base + path)
            except FileNotFoundError:
                continue  # being gone is a state too, and it shows
            # The time of the last change of any kind besides: tools that put the time of writing back cannot set it.
            stamps[path] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    else:
        for item in deeplake.storage.Reader(uri, creds={}).list(""):
            if item.path in wanted:
                if not item.etag:
                    return None
                stamps[item.path] = [item.size, item.etag]
    return digest_of_json([[path, *stamps.get(path, ["gone"])] for path in sorted(wanted)])


def only_appended(older: KnownVersion, newer: DatasetVersion) -> bool:
    """Whether every entry between two versions of a branch adds rows behind, and the log of the older one is what it was.

    What is not known to append is taken not to: updates, deletions, columns that come or go, merges, reverts, heavy compactions, entries of
    a kind that is not known, gaps and torn files. A compaction is known to keep rows when it repeats, block by block, the files it is for.
    """
    same_branch = (older.uri, older.dataset_id, older.branch_id) == (newer.uri, newer.dataset_id, newer.branch_id)
    if not same_branch or not older.manifest or newer.rows_total < older.rows_total:
        return False
    log = read_log(newer.uri)
    past, now = replay(log, newer.branch_id, older.commit_id), replay(log, newer.branch_id, newer.commit_id)
    if past.manifest.digest != older.manifest:
        return False
    before = {file.path for file in past.files}
    if not before <= {file.path for file in now.files}:
        return False
    added = sorted((file for file in now.files if file.path not in before), key=lambda file: file.version)
    if set(now.gaps) - set(past.gaps) or set(now.merges) - set(past.merges):
        return False
    rows = 0
    for file in added:
        if file.branch != newer.branch_id or file.entries is None:
            return False
        if file.kind == "o":
            if not _repeats(file, [item for item in now.files if item.branch == newer.branch_id and item.kind != "o"]):
                return False
        elif file.kind in _ORDINARY and (count := _appended_rows(file)) is not None:
            rows += count
        else:
            return False
    return older.rows_total + rows == newer.rows_total


def _kinds(file: LogFile) -> set[str]:
    return {kind for entry in file.entries or () for kind in entry}


def _appended_rows(file: LogFile) -> int | None:
    """Number of rows that a log file appends; ``None`` when it does anything else."""
    if not _kinds(file) <= _ADDS:
        return None
    rows: dict[int, dict[int, int]] = {}
    for added in file.each("addBlock"):
        of_column = rows.setdefault(added["c"], {})
        of_column[added["b"]] = of_column.get(added["b"], 0) + sum(added["d"]["n"])
    blocks = list(rows.values())
    if any(item != blocks[0] for item in blocks):
        return None  # columns of different length: not a form that is known
    return sum(blocks[0].values()) if blocks else 0


def _repeats(compaction: LogFile, ordinary: list[LogFile]) -> bool:
    """Whether a compaction says the same as the log files it stands for: from the number in its name's last part to its own."""
    if not _kinds(compaction) <= _COMPACTS:
        return False
    first, last = int(compaction.version[11:], 16), compaction.number
    covered = sorted((item for item in ordinary if first <= item.number <= last), key=lambda item: item.version)
    whole = [item for item in covered if item.entries is not None and item.kind in _ORDINARY and _kinds(item) <= _COMPACTS]
    if [item.number for item in whole] != list(range(first, last + 1)) or len(whole) != len(covered):
        return False
    return _said([compaction]) == _said(whole)


def _said(files: list[LogFile]) -> dict[str, Any]:
    """Columns, blocks of rows, updates and deletions, in an order that does not depend on how they are spread over files."""
    blocks: dict[int, list[Any]] = {}
    updates: dict[int, list[Any]] = {}
    deleted: list[Any] = []
    metadata: dict[tuple[int, str], Any] = {}
    columns: list[str] = []
    for file in files:
        for added in file.each("addBlock"):
            block = added["d"]
            # A compaction puts many files into one: where each was is in "fo", how long it was in "fl".
            sizes = block.get("fl", block["b"])
            blocks.setdefault(added["c"], []).append((added["b"], block["n"], block["s"], sizes))
        for updated in file.each("updateData"):
            updates.setdefault(updated["c"], []).append((updated["r"], updated["f"]["s"], updated["f"]["b"]))
        for item in file.each("deleteRows"):
            deleted += [json.dumps(row) for row in item["rowIds"]]
        for item in file.each("setColumnMetadata2"):
            metadata |= {(item["i"], key): value for key, value in item["d"].items()}
        columns += [json.dumps(item, sort_keys=True) for item in file.each("createColumn")]
    return {"blocks": blocks, "updates": updates, "deleted": sorted(deleted), "metadata": metadata, "columns": sorted(columns)}
