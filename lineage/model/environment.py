"""Which interpreter, packages and machine; and what it takes to build the same again."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lineage.model.digest import Digest, digest_of_json


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


class PackageSource(BaseModel):
    """Where a package came from that no index served.

    Attributes:
        kind: ``vcs``; ``archive`` (a wheel or source archive by path or address); ``directory``; ``editable``; ``built`` (compiled on this
            machine, from whatever source).
        url: Address or path, without credentials; empty for ``built``.
        commit_id: The commit of a version control system.
        subdirectory: Part of the repository that was installed.
        folders: Of an editable one: folders that it puts on the module path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["vcs", "archive", "directory", "editable", "built"]
    url: str = ""
    commit_id: str | None = None
    subdirectory: str | None = None
    folders: tuple[str, ...] = ()


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
        sources: Package name to its origin, for those that came from no index.
        cpu_features: Instruction sets that numeric code chooses by, for example ``avx2``; empty when not known.
        gpu_driver: Version of the GPU driver; empty when there is none.
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
    sources: dict[str, PackageSource] = {}
    cpu_features: tuple[str, ...] = ()
    gpu_driver: str = ""


class AlteredFile(BaseModel):
    """A file of an installed package that was loaded, and that is not what was installed.

    Attributes:
        package: Name of the distribution; ``None`` for a file that none of them lists.
        path: Relative to the folder that packages are installed in, with ``/``.
        digest: Of its content.
        is_kept: Whether the content is in the object store.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: str | None
    path: str
    digest: Digest
    is_kept: bool = True


class KeptWheel(BaseModel):
    """An installed package as a wheel in the object store.

    Attributes:
        file: Name of the wheel.
        digest: The object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    digest: Digest


class InstalledCode(BaseModel):
    """What is known of installed packages when a run ends, beyond the lists of their installer.

    Attributes:
        altered: Loaded files that are not what was installed; ``None`` when that was not looked at.
        wheels: Package name to wheel, for packages that no index serves.
        not_kept: Package name to the reason why there is no wheel of it.
        loaded: Object that lists the files of packages that were loaded (``lineage.record.installed``); ``None`` when it is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    altered: tuple[AlteredFile, ...] | None = None
    wheels: dict[str, KeptWheel] = {}
    not_kept: dict[str, str] = {}
    loaded: Digest | None = None

    def objects(self) -> set[str]:
        """Digests of the objects that it names."""
        lists = set() if self.loaded is None else {self.loaded}
        return lists | {item.digest for item in self.altered or () if item.is_kept} | {item.digest for item in self.wheels.values()}


class LockedPackage(BaseModel):
    """One package of a lock.

    Attributes:
        version: Its version.
        record: What the list of its installed files must be; ``None`` for an editable one.
        address: Where a version control system or an archive has it; ``None`` for an index.
        wheel: Its wheel, when it is kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    record: Digest | None
    address: str | None = None
    wheel: KeptWheel | None = None


class Lock(BaseModel):
    """An environment that can be built again: exactly these packages, for exactly this interpreter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    implementation: str
    python: str
    packages: dict[str, LockedPackage]
    altered: tuple[AlteredFile, ...] = ()

    @property
    def key(self) -> str:
        """Digest that names the environment: equal keys, equal environments."""
        return digest_of_json(self.model_dump(mode="json"))

    def requirements(self) -> str:
        """The packages as text for an installer, without the address of any index. Packages with a kept wheel are named with its file."""
        lines = [
            f"{name} @ {item.address}" if item.address is not None and item.wheel is None else f"{name}=={item.version}"
            for name, item in sorted(self.packages.items())
        ]
        return "".join(f"{line}\n" for line in lines)


def lock_of(environment: Environment, installed: InstalledCode | None = None) -> Lock:
    """The lock of a recorded environment.

    Args:
        environment: As it was recorded.
        installed: What the run's end told of it.
    """
    installed = installed or InstalledCode()
    return Lock(
        implementation=environment.implementation,
        python=environment.python,
        packages={
            name: LockedPackage(
                version=item.version,
                record=item.record,
                address=_address(environment.sources.get(name)),
                wheel=installed.wheels.get(name),
            )
            for name, item in environment.packages.items()
            if not item.editable or name in installed.wheels
        },
        altered=tuple(item for item in installed.altered or () if item.is_kept),
    )


def _address(source: PackageSource | None) -> str | None:
    if source is None or not source.url or "<" in source.url:  # credentials are not recorded: an index may have it, too
        return None
    part = "" if source.subdirectory is None else f"#subdirectory={source.subdirectory}"
    if source.kind == "vcs" and source.commit_id is not None:
        return f"git+{source.url}@{source.commit_id}{part}"
    return f"{source.url}{part}" if source.kind == "archive" else None
