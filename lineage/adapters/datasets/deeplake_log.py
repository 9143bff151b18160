"""Digest of the log files behind a Deep Lake version.

The layout ``_deeplake_log/<branch>/<version>.jsonl[.lz4]`` is private to the release (reader and writer version 4), so this is a secondary
check: content digests are the truth. Its use is to name the cause early: a torn, missing or late log file, without reading any picture.
"""

from __future__ import annotations

import json
import re
from typing import Any

import deeplake
import lz4.block

from lineage.model.dataset import LogManifest
from lineage.model.digest import digest_of_bytes, digest_of_json

_VERSION = re.compile(r"(\d{10})[a-z][0-9a-z]{8}")


def log_manifest(uri: str, branch_id: str, commit_id: str) -> LogManifest:
    """Manifest of every log file that replays up to ``commit_id``, following the branch's base and merges.

    ``gaps`` lists missing sequence numbers: a writer claims its number before it writes, so a gap means that the version may still change.
    """
    reader = deeplake.storage.Reader(uri, creds={})
    sizes = {item.path: item.size for item in reader.list("_deeplake_log") if ".jsonl" in item.path}
    meta = [entry for path in sorted(sizes) if "/_meta/" in path for entry in _entries(path, bytes(reader.get(path)))]
    bases = {item["createBranch"]["id"]: item["createBranch"] for item in meta if "createBranch" in item}
    merges = [item["mergeBranch"] for item in meta if "mergeBranch" in item]
    files: list[list[Any]] = []
    gaps: list[str] = []
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
            files.append([path, sizes[path], digest_of_bytes(bytes(reader.get(path)))])
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
    return LogManifest(digest=digest_of_json(sorted(files)), files=len(files), gaps=tuple(gaps))


def _entries(path: str, raw: bytes) -> list[dict[str, Any]]:
    if path.endswith(".lz4"):
        # Four bytes of size, little-endian, then one LZ4 block.
        raw = lz4.block.decompress(raw[4:], uncompressed_size=int.from_bytes(raw[:4], "little"))
    return [json.loads(line) for line in raw.decode().splitlines() if line.strip()]
