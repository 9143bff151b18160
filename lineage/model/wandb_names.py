"""What things are called in W&B: its rules for names, and ours within them. Look-ups from there to a record need the same names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

LENGTH = 128
_REFUSED = re.compile(r"[^A-Za-z0-9_.-]+")
_RESERVED = re.compile(r"job|wandb-.*")


def plain_name(text: str) -> str:
    """A text in the letters and the length that W&B accepts; ``artifact`` when nothing is left."""
    return _REFUSED.sub("-", text).strip("-")[:LENGTH] or "artifact"


def file_artifact_name(name: str) -> str:
    """The artifact that holds an output of this name: versions of ``model.pth`` are versions of ``model``."""
    return plain_name(PurePosixPath(name).stem)


def artifact_type(kind: str) -> str:
    """The artifact's type for a kind of output; W&B keeps some words to itself."""
    word = plain_name(kind)
    return f"lineage-{word}" if _RESERVED.fullmatch(word) else word


def dataset_artifact_name(uri: str) -> str:
    """One artifact for each dataset address, whatever its length; its versions are dataset versions and views."""
    return f"dl-{plain_name(uri)[-80:].strip('-')}-{hashlib.sha256(uri.encode()).hexdigest()[:12]}"


def dataset_alias(identity: Mapping[str, Any]) -> str:
    """The alias of a dataset version, or of a view of it: ``commit-<id>``, ``commit-<id>-view-<id>``."""
    view = f"-view-{identity['view_id']}" if identity.get("view_id") else ""
    return plain_name(f"commit-{identity.get('commit_id')}{view}")
