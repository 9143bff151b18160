"""What of a run was put into a DVC remote."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from lineage.model.digest import Digest


class PushedObject(BaseModel):
    """An object under both of its names.

    Attributes:
        digest: Ours.
        md5: DVC's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    size_bytes: int = Field(ge=0)


class PushListing(BaseModel):
    """Every object of a run that is in a remote; an object itself.

    Attributes:
        run_id: The run.
        objects: By digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    run_id: str
    objects: tuple[PushedObject, ...]


class Push(BaseModel):
    """A remote that holds what a run needs and made.

    Attributes:
        remote: What DVC's configuration calls it.
        address: Of the remote, without credentials.
        listing: Digest of the :class:`PushListing`.
        listing_md5: The MD5 under which the remote has it.
        objects: How many objects.
        size_bytes: Of all of them.
        at: When the last one had been read back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    remote: str
    address: str
    listing: Digest
    listing_md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    objects: int
    size_bytes: int
    at: datetime
