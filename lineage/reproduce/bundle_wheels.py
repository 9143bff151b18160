"""A bundle's wheels: installed packages as files, with which the environment is built again where there is no index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lineage.errors import IntegrityError
from lineage.model.bundle import BundledWheel, Member, Wheels
from lineage.model.digest import digest_of_file
from lineage.model.environment import lock_of
from lineage.model.run import Run
from lineage.ports import Ports, Progress

if TYPE_CHECKING:
    from lineage.reproduce.bundle_file import BundleFile


@dataclass(frozen=True, slots=True)
class PackedWheels:
    """Wheels that go into a bundle.

    Attributes:
        wheels: What its table of contents says of them.
        files: Their digests, hexadecimal, to where they are.
    """

    wheels: Wheels
    files: dict[str, Path]

    def members(self) -> Iterator[Member]:
        """They as parts of a bundle."""
        for digest, file in self.files.items():
            yield Member(name=f"wheels/{digest}", sha256=digest, size=file.stat().st_size)


def packed_wheels(ports: Ports, run: Run, folder: Path, problems: list[str], progress: Progress) -> PackedWheels | None:
    """Make a wheel of each package of a run's environment.

    Args:
        ports: The outside world.
        run: The run.
        folder: Gets them; they are needed until the bundle is written.
        problems: Gets a sentence for each package that cannot be made into a wheel exactly.
        progress: Told of packages.
    """
    if run.environment is None:
        problems.append("its environment was not recorded: there are no packages to take along")
        return None
    problems += [f"{name}: {reason}" for name, reason in sorted(({} if run.installed is None else run.installed.not_kept).items())]
    lock = lock_of(run.environment, run.installed)
    builder = ports.environments()
    progress("packing wheels", 0, len(lock.packages))
    found, unmade = builder.wheels(lock, folder)
    progress("packing wheels", len(lock.packages), len(lock.packages))
    problems += unmade
    packages: dict[str, BundledWheel] = {}
    files: dict[str, Path] = {}
    for name, file in sorted(found.items()):
        record, digest = lock.packages[name].record, digest_of_file(file)
        if record is not None:
            packages[name] = BundledWheel(file=file.name, digest=digest, record=record)
            files[digest.partition(":")[2]] = file
    return PackedWheels(Wheels(platform=builder.platform(), packages=packages), files)


def check_wheels(bundle: BundleFile, run: Run) -> None:
    """Compare the wheels that a bundle lists with the packages of its record.

    Raises:
        IntegrityError: One is of a package that the run did not have, or had with other files.
    """
    wheels = bundle.contents.wheels
    known = {} if run.environment is None else run.environment.packages
    for name, wheel in () if wheels is None else wheels.packages.items():
        recorded = known[name].record if name in known else None
        if recorded != wheel.record:
            raise IntegrityError(
                f"bundle {bundle.path.name}, wheel of {name}",
                expected=f"the recorded files {recorded}" if name in known else "a package of the recorded environment",
                found=wheel.record,
            )


def take_wheels(ports: Ports, bundle: BundleFile) -> None:
    """Keep a bundle's wheels for building environments; it was checked.

    Raises:
        OSError: They cannot be written.
    """
    wheels = bundle.contents.wheels
    if wheels is None:
        return
    builder, members = ports.environments(), bundle.contents.named("wheels")
    for name, wheel in wheels.packages.items():
        member = members[wheel.digest.partition(":")[2]]
        builder.take_wheel(name, wheel.record, wheels.platform, wheel.file, bundle.stream_at(member), member.size)
