"""Files of other runs that a run starts from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from lineage.errors import IntegrityError, NotFound
from lineage.model.digest import digest_of_file
from lineage.model.run import Run, UsedArtifact


def describe_used(file: Path, role: str, kind: str, shown: str, original: Run | None, ordinal: int) -> UsedArtifact:
    """What is recorded of a file.

    Args:
        file: The file.
        role: What it is used for.
        kind: What it is.
        shown: Its path for the record.
        original: The run that is repeated, if one is: the file must be the one it used.
        ordinal: How many were used before.

    Raises:
        NotFound: There is no such file.
        IntegrityError: It is not the one that was recorded.
    """
    if not file.is_file():
        raise NotFound("file", str(file), hint="give the path of one file")
    digest = digest_of_file(file)
    if original is not None and ordinal < len(original.uses) and original.uses[ordinal].digest != digest:
        raise IntegrityError(
            f"file {file}",
            expected=original.uses[ordinal].digest,
            found=digest,
            hint=f"run {original.id[:12]} started from another file; restore it",
        )
    return UsedArtifact(role=role, kind=kind, path=shown, digest=digest, size_bytes=file.stat().st_size, used_at=datetime.now(UTC))
