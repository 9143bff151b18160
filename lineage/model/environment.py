"""Which interpreter, packages and machine."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lineage.model.digest import Digest


class Package(BaseModel):
    """One installed distribution.

    Attributes:
        version: Its version.
        record: Digest of its list of installed files with their hashes (``RECORD``), without paths that name the environment.
            ``None`` for an editable or record-less distribution.
        editable: Whether it is a link to a source folder; the code that counts is then in the code snapshot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    record: Digest | None = None
    editable: bool = False


class Environment(BaseModel):
    """The interpreter, its packages and the machine under it.

    Attributes:
        python: Version of the interpreter, for example ``3.11.7``.
        implementation: For example ``CPython``.
        executable: Path of the interpreter on the machine that recorded.
        packages: Distribution name (normalised) to package.
        digest: Over interpreter and packages: what a rebuilt environment must equal.
        platform: Kernel and machine, for example ``Linux-6.1-x86_64``.
        libc: C library, for example ``glibc 2.36``.
        cpu: Model name.
        cpu_count: Logical processors this process may use.
        gpus: Names of the visible GPUs, when the driver's list can be read without loading a framework.
        variables: Allow-listed variables that change numerics or paths; never secrets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str
    implementation: str
    executable: str
    packages: dict[str, Package]
    digest: Digest
    platform: str
    libc: str
    cpu: str
    cpu_count: int
    gpus: tuple[str, ...] = ()
    variables: dict[str, str] = {}
