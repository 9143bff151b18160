"""What a backup says of itself."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from lineage.errors import IntegrityError
from lineage.model.digest import Digest, canonical_json, digest_of_bytes

FORMAT = 1
MANIFEST = "backup.json"


class File(BaseModel):
    """A file of the backup.

    Attributes:
        name: In the backup's folder.
        digest: Of its bytes.
        size_bytes: How many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    digest: Digest
    size_bytes: int


class Manifest(BaseModel):
    """A backup: one state of the records, and the objects that they name.

    Attributes:
        format: Of the backup; a release refuses one that it does not know.
        made_at: When its records were read, UTC.
        release: Of dataset-lineage, that made it.
        source: The store, without credentials.
        runs: How many records.
        records: A SQLite database with every table of the store, whatever database that store is in.
        objects: A list of what is kept under ``objects/``: a line for each, digest and size in bytes.
        object_count: How many.
        object_bytes: Of all of them.
        damaged: Objects that were not what their digest says when they were to be copied, and are not in the backup.
        digest: Of everything above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    made_at: datetime
    release: str
    source: str
    runs: int
    records: File
    objects: File
    object_count: int
    object_bytes: int
    damaged: tuple[Digest, ...] = ()
    digest: Digest | None = None

    def sealed(self) -> Manifest:
        """The same with its digest."""
        return self.model_copy(update={"digest": self._own_digest()})

    def _own_digest(self) -> str:
        return digest_of_bytes(canonical_json(self.model_dump(mode="json", exclude={"digest"})))


def read_manifest(text: bytes, where: str) -> Manifest:
    """What a backup's own file says.

    Raises:
        IntegrityError: It was altered, or is of a format that this release does not know.
    """
    try:
        found = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise IntegrityError(f"{where}: {place}", expected="a backup's own description", found=first["msg"]) from error
    if found.format != FORMAT:
        hint = "restore it with the release that made it, or a newer one"
        raise IntegrityError(f"{where}: format", expected=str(FORMAT), found=f"{found.format}, of release {found.release}", hint=hint)
    if found.digest != (computed := found._own_digest()):
        raise IntegrityError(where, expected=found.digest or "a digest of itself", found=computed, hint="it was altered")
    return found
