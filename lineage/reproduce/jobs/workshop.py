"""What a worker works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lineage.model.materialisation import JobError, MaterialisationRequest
from lineage.ports import Exporter, ObjectStore, Ports
from lineage.ports.executor import Executor, Limits
from lineage.ports.jobs import JobQueue


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a worker works with.

    Attributes:
        ports: The team's store, and the outside world.
        queue: Where jobs come from.
        executor: Runs recorded code.
        folder: Of the jobs; a folder for each.
        limits: What one job may take at most.
        allows_network: Whether recorded code may reach the network when somebody asked for it.
        lease_s: Seconds after which a worker that is silent loses its job.
        name: Of this worker, as jobs show it.
        open_store: Opens a store in a folder, with nothing of the team's in it.
        exporter: Gives an exporter by name.
        send_objects: Copies every object that a text names from one store to another.
        readable: Folders that the layer itself needs to run.
        variables: Environment variables for recorded code: nothing secret.
        cache: What is known of installed packages on this machine.
    """

    ports: Ports
    queue: JobQueue
    executor: Executor
    folder: Path
    limits: Limits
    allows_network: bool
    lease_s: float
    name: str
    open_store: Callable[[Path], Ports]
    exporter: Callable[[str], Exporter]
    send_objects: Callable[[ObjectStore, ObjectStore, str], None]
    readable: Sequence[Path] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None

    def limits_of(self, request: MaterialisationRequest) -> Limits:
        """What one job may take: what was asked for, never more than this worker allows."""

        def least(*values: float | None) -> float | None:
            return min((value for value in values if value is not None), default=None)

        memory, disk = least(self.limits.memory_bytes, request.memory_bytes), least(self.limits.disk_bytes, request.disk_bytes)
        return Limits(
            seconds=least(self.limits.seconds, request.seconds),
            memory_bytes=None if memory is None else int(memory),
            disk_bytes=None if disk is None else int(disk),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job came out.

    Attributes:
        error: Why it failed; ``None`` when it succeeded.
        path: Folder of the result; it is kept.
    """

    error: JobError | None = None
    verdict: str | None = None
    result_run_id: str | None = None
    path: Path | None = None
    size_bytes: int | None = None
