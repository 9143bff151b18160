"""A bundle: one file with a run and all it needs. Its table of contents, and what its parts are called.

The file is a tar archive that ``tar`` can list. Everything in it follows from the table of contents, which is its first member: the same
run gives the same bytes, and a byte that is not as it should be is found.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lineage.errors import IntegrityError, InvalidSource
from lineage.model.digest import Digest, canonical_json

FORMAT = 2
"""The newest that this release reads. A bundle without wheels has format 1, which older releases read, too."""
SUFFIX = ".lineage"
CONTENTS = "bundle.json"

_PART = re.compile(r"(environments|objects|wheels)/([0-9a-f]{64})|(records|metrics)/([0-9a-f]{32})")
_RUN_ID = r"^[0-9a-f]{32}$"


class Member(BaseModel):
    """A part of a bundle.

    Attributes:
        name: ``records/<run id>``: its events, a JSON array [text, chain digest] to a line; ``metrics/<run id>``: its metric points, a
            JSON array [step, seconds since the epoch, values] to a line; ``environments/<digest>``; ``objects/<digest>``;
            ``wheels/<digest>``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class BundledWheel(BaseModel):
    """An installed package as a wheel.

    Attributes:
        file: Name of the wheel.
        digest: Of the wheel.
        record: Digest of the list of files that it installs, as the record has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+!-]*\.whl$")
    digest: Digest
    record: Digest


class Wheels(BaseModel):
    """The packages of the environment, for one platform only.

    Attributes:
        platform: System and processor that they are for, for example ``Linux x86_64``.
        packages: Package name to wheel. Packages that no index serves are not among them: their wheels are objects of the record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    platform: str = Field(pattern=r"^[A-Za-z0-9]+ [A-Za-z0-9_]+$")
    packages: dict[Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")], BundledWheel]


class Contents(BaseModel):
    """A bundle's table of contents.

    Attributes:
        run: Id of the run it is for.
        head: Digest of the last event of that run's record.
        archives: Content digest of an input to the object that lists its kept rows.
        members: Every part, by name.
        wheels: The environment's packages, where the bundle has them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    run: str = Field(pattern=_RUN_ID)
    head: Digest
    archives: dict[Digest, Digest]
    members: tuple[Member, ...]
    wheels: Wheels | None = None

    def encoded(self) -> bytes:
        """The one way it is written."""
        return canonical_json(self.model_dump(mode="json", exclude=None if self.wheels is not None else {"wheels"}))

    def named(self, folder: str) -> dict[str, Member]:
        """Parts of one kind by the rest of their name."""
        return {member.name.partition("/")[2]: member for member in self.members if member.name.startswith(f"{folder}/")}


def read_contents(text: bytes, file: str) -> Contents:
    """The table of contents as it stands in ``file``.

    Raises:
        InvalidSource: It was written by a newer release.
        IntegrityError: It is no table of contents, or names a part that no bundle has, or one twice.
    """
    what = f"bundle {file}, {CONTENTS}"
    try:
        found: Any = json.loads(text)
        known = found["format"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise IntegrityError(what, expected="a table of contents", found=f"something else ({type(error).__name__})") from error
    if isinstance(known, int) and known > FORMAT:
        raise InvalidSource(
            f"bundle {file} has format {known}, this release reads formats up to {FORMAT}",
            hint="install a newer release of dataset-lineage",
        )
    try:
        contents = Contents.model_validate_json(text)
    except ValueError as error:
        lines = str(error).splitlines()
        raise IntegrityError(what, expected="a table of contents", found=" ".join(line.strip() for line in lines[1:3])) from error
    expected = 1 if contents.wheels is None else FORMAT
    if contents.format != expected:
        raise IntegrityError(what, expected=f"format {expected}", found=f"format {contents.format}")
    before = ""
    for member in contents.members:
        part = _PART.fullmatch(member.name)
        if part is None:
            raise IntegrityError(
                what, expected="names of records, metrics, environments, objects and wheels", found=f"the member {member.name!r}"
            )
        if member.name == before:
            raise IntegrityError(what, expected="every member once", found=f"{member.name!r} twice")
        if member.name < before:
            raise IntegrityError(what, expected="members in the order of their names", found=f"{member.name!r} behind {before!r}")
        if part[2] is not None and part[2] != member.sha256:
            raise IntegrityError(what, expected=f"{member.name!r} with the digest it is named by", found=member.sha256)
        before = member.name
    listed = {item.digest.partition(":")[2] for item in contents.wheels.packages.values()} if contents.wheels is not None else set()
    if listed != contents.named("wheels").keys():
        raise IntegrityError(what, expected="every wheel that it lists, and no other", found=f"{len(contents.named('wheels'))} wheels")
    if contents.encoded() != text:
        raise IntegrityError(what, expected="a table of contents in its one spelling", found="another spelling")
    return contents
