"""Digest of the log files behind a Deep Lake version.

The layout ``_deeplake_log/<branch>/<version>.jsonl[.lz4]`` is private to the release (reader and writer version 4), so this is a secondary
check: content digests are the truth. Its use is to name the cause early: a torn, missing or late log file, without reading any picture.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

import deeplake
import lz4.block

from lineage.errors import IntegrityError
from lineage.model.dataset import LogManifest, local_path
from lineage.model.digest import digest_of_bytes, digest_of_json

_VERSION = re.compile(r"(\d{10})[a-z][0-9a-z]{8}")


def log_manifest(uri: str, branch_id: str, commit_id: str) -> LogManifest:
    """Manifest of every log file that replays up to ``commit_id``, following the branch's base and merges.

    ``gaps`` lists sequence numbers whose file is missing or torn: a writer claims its number before it writes, so a gap means that the
    version may still change.

    Raises:
        IntegrityError: A data file has another size than the log says. Reading it would not fail: Deep Lake gives other values, or ends the
            process (measured: a cut chunk of texts or arrays is a segmentation fault).
    """
    reader = deeplake.storage.Reader(uri, creds={})
    sizes = {item.path: item.size for item in reader.list("_deeplake_log") if ".jsonl" in item.path}
    meta = [entry for path in sorted(sizes) if "/_meta/" in path for entry in _entries_if_whole(path, bytes(reader.get(path)))]
    bases = {item["createBranch"]["id"]: item["createBranch"] for item in meta if "createBranch" in item}
    merges = [item["mergeBranch"] for item in meta if "mergeBranch" in item]
    files: list[list[Any]] = []
    gaps: list[str] = []
    data_files: dict[str, int] = {}
    waiting, seen = [(branch_id, commit_id)], set()
    while waiting:
        branch, last = waiting.pop()
        if (branch, last) in seen:
            continue
        seen.add((branch, last))
        numbers = set()
        for path in sorted(sizes):
            folder, _, name = path.rpartition("/")
            version = _VERSION.fullmatch(name.split(".")[0])
            if folder != f"_deeplake_log/{branch}" or version is None or version[0] > last:
                continue
            content = bytes(reader.get(path))
            files.append([path, sizes[path], digest_of_bytes(content)])
            try:
                data_files |= _data_files(_entries(path, content))
            except (ValueError, LookupError, lz4.block.LZ4BlockError):
                continue  # torn: Deep Lake passes over it as if it were not there
            numbers.add(int(version[1]))
        gaps += [f"{branch}:{number}" for number in range(1, int(last[:10]) + 1) if number not in numbers]
        base = bases.get(branch, {})
        if base.get("parent"):
            waiting.append((base["parent"], base["version"]))
        waiting += [
            (item["source"]["branch"], item["source"]["version"])
            for item in merges
            if item["destination"]["branch"] == branch and item["destination"]["version"] <= last
        ]
    _check_sizes(uri, data_files)
    return LogManifest(digest=digest_of_json(sorted(files)), files=len(files), gaps=tuple(gaps))


def _entries(path: str, raw: bytes) -> list[dict[str, Any]]:
    if path.endswith(".lz4"):
        # Four bytes of size, little-endian, then one LZ4 block.
        raw = lz4.block.decompress(raw[4:], uncompressed_size=int.from_bytes(raw[:4], "little"))
    return [json.loads(line) for line in raw.decode().splitlines() if line.strip()]


def _entries_if_whole(path: str, raw: bytes) -> list[dict[str, Any]]:
    try:
        return _entries(path, raw)
    except (ValueError, lz4.block.LZ4BlockError):
        return []  # torn: it shows in the digest of what it belongs to, or in the branch that is then unknown


def _data_files(entries: list[dict[str, Any]]) -> dict[str, int]:
    """Path to size in bytes of the data files that log entries name."""
    found: dict[str, int] = {}
    for entry in entries:
        if "addBlock" in entry:
            block = entry["addBlock"]["d"]
            found |= {block["x"] + path: size for path, size in zip(block["p"], block["b"], strict=True)}
        elif "updateData" in entry:
            found[entry["updateData"]["f"]["p"]] = entry["updateData"]["f"]["b"]
    return found


def _check_sizes(uri: str, data_files: Mapping[str, int]) -> None:
    folder = local_path(uri)
    if folder is None:
        return  # object stores have an object whole or not at all
    for path, size in data_files.items():
        try:
            found = os.stat(folder / path).st_size
        except FileNotFoundError:
            continue  # tidied away when nothing needs it any more; else reading it says so
        if found != size:
            raise IntegrityError(
                f"file {path} of {uri}", expected=f"{size} bytes", found=f"{found} bytes", hint="restore the dataset from a copy"
            )
