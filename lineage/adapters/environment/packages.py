"""Installed distributions: what their installer's lists say, and where they came from."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lineage.model.environment import Package, PackageSource
from lineage.model.secrets import redact_text

_VOLATILE = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json", "RECORD.jws", "RECORD.p7s"}


def read_packages(folders: Sequence[str] | None = None) -> tuple[dict[str, Package], dict[str, PackageSource]]:
    """Packages by normalised name, and the origin of those that no index served.

    Args:
        folders: Where they are installed; this process's module path when ``None``.
    """
    packages: dict[str, Package] = {}
    sources: dict[str, PackageSource] = {}
    for distribution in metadata.distributions() if folders is None else metadata.distributions(path=list(folders)):
        name = normalised(distribution.metadata["Name"] or "")
        if not name or name in packages:  # the first on the path is the one that is imported
            continue
        source = _source(distribution)
        if source is not None:
            sources[name] = source
        editable = source is not None and source.kind == "editable"
        record = None if editable else distribution.read_text("RECORD")
        packages[name] = Package(
            version=distribution.version, record=None if record is None else digest_of_record(record), editable=editable
        )
    return dict(sorted(packages.items())), dict(sorted(sources.items()))


def normalised(name: str) -> str:
    """A distribution's name in the form that names are compared in."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_volatile(path: str) -> bool:
    """Whether a row of a ``RECORD`` differs between two installations of the same wheel."""
    name = path.replace("\\", "/")
    if name.endswith(".pyc"):
        return True
    if ".dist-info/" in name and name.rsplit("/", 1)[1] in _VOLATILE:
        return True
    return name.startswith(("../../../bin/", "../../Scripts/"))  # their first line names the environment's folder


def digest_of_record(text: str) -> str:
    """Digest of an installer's list of files, without the rows that differ between two installations of the same wheel."""
    rows = [row for row in csv.reader(text.splitlines()) if row and not is_volatile(row[0])]
    state = hashlib.sha256("\n".join(sorted(",".join(row[:3]) for row in rows)).encode())
    return f"sha256:{state.hexdigest()}"


def _source(distribution: metadata.Distribution) -> PackageSource | None:
    try:
        told: Any = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        told = {}
    url = told.get("url") if isinstance(told, dict) else None
    if not isinstance(url, str):
        tags = [line for line in (distribution.read_text("WHEEL") or "").splitlines() if line.startswith("Tag:")]
        return PackageSource(kind="built") if any(re.search(r"-linux_\w+$", tag) for tag in tags) else None
    part = told.get("subdirectory") if isinstance(told.get("subdirectory"), str) else None
    if isinstance(vcs := told.get("vcs_info"), dict):
        return PackageSource(kind="vcs", url=redact_text(url), commit_id=vcs.get("commit_id"), subdirectory=part)
    folder = told.get("dir_info")
    if not isinstance(folder, dict):
        return PackageSource(kind="archive", url=redact_text(url), subdirectory=part)
    if not folder.get("editable"):
        return PackageSource(kind="directory", url=redact_text(url), subdirectory=part)
    return PackageSource(kind="editable", url=redact_text(url), subdirectory=part, folders=_folders(distribution, url))


def _folders(distribution: metadata.Distribution, url: str) -> tuple[str, ...]:
    """Folders that an editable installation puts on the path; its project's folder where that cannot be read."""
    found: list[str] = []
    for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        if row and row[0].endswith(".pth") and "/" not in row[0]:
            try:
                lines = Path(str(distribution.locate_file(row[0]))).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            found += [line for line in lines if os.path.isabs(line)]
    return tuple(found) or (unquote(urlsplit(url).path),)
