"""Going on with a training that was broken off: which checkpoint, is it the same training, and what of the record it takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lineage.errors import Conflict, NotFound, UsageError
from lineage.lookup.runs import get_run
from lineage.model.event import ArtifactMade, ArtifactUsed, Event, Resumed, RowsSeen, parse_event, replay
from lineage.model.metrics import logged
from lineage.model.run import Artifact, MetricPoint, ResumedFrom, Run, RunState, UsedArtifact
from lineage.model.steps import StepRecord
from lineage.ports import Ports
from lineage.record.step_log import read_log

CHECKPOINT = "checkpoint"
"""Kind of the artifacts that a run can be resumed from."""


@dataclass(frozen=True, slots=True)
class Resuming:
    """The run that goes on, and from where.

    Attributes:
        original: Its record.
        checkpoint: The checkpoint.
        changed: Names of configuration fields that are allowed to differ, and do.
    """

    original: Run
    checkpoint: Artifact
    changed: tuple[str, ...] = ()


def choose_checkpoint(ports: Ports, name: str) -> Resuming:
    """The last checkpoint of a run that is over.

    Args:
        ports: The outside world.
        name: Id or unique prefix of the run.

    Raises:
        NotFound: No such run, or it made no checkpoint.
        Conflict: It is still running.
        IntegrityError: Its record was altered.
    """
    run = get_run(ports.runs, ports.liveness, name)
    if run.state is RunState.running:
        raise Conflict(f"run {run.id[:12]} is still running", hint="wait for it, or end it; then resume it")
    replay(ports.runs.events(run.id), run.id, ports.runs.environment)
    found = checkpoints_of(run)
    if not found:
        raise NotFound("checkpoint", run.id[:12], detail="the run made none", hint="lineage.training.Checkpoints(run, …).save()")
    return Resuming(run, found[-1])


def recorded_checkpoint(ports: Ports, reproduced: Run, begin: str | None = None) -> Resuming | None:
    """Where a run went on that is now reproduced; ``None`` when it began at the beginning.

    Args:
        ports: The outside world.
        reproduced: The run.
        begin: Digest of a checkpoint of its own, when only a part of it is reproduced.

    Raises:
        NotFound: The run that it resumed is not in this store, or there is no such checkpoint.
    """
    if begin is not None:
        own = [item for item in checkpoints_of(reproduced) if item.digest == begin]
        if not own:
            raise NotFound("checkpoint", begin, detail=f"run {reproduced.id[:12]} has no such one")
        return Resuming(reproduced, own[-1])
    resumes = reproduced.resumes
    if resumes is None:
        return None
    original = ports.runs.get(resumes.run_id)
    found = [item for item in checkpoints_of(original) if item.digest == resumes.checkpoint]
    if not found:
        raise NotFound("checkpoint", resumes.checkpoint, detail=f"run {original.id[:12]} has no such one")
    return Resuming(original, found[-1], resumes.changed)


def checkpoints_of(run: Run) -> list[Artifact]:
    """A run's checkpoints, by step."""
    found = [item for item in run.outputs if item.kind == CHECKPOINT]
    return sorted(found, key=lambda item: (item.details.get("step", 0), item.details.get("epoch", 0), item.details.get("batches", 0)))


def check_same_training(original: Run, config: Mapping[str, Any], seed: int | None, allowed: Sequence[str]) -> tuple[str, ...]:
    """Whether a configuration is that of the run to resume.

    Args:
        original: The run.
        config: The configuration now, as it would be recorded.
        seed: The seed now; ``None`` takes the run's.
        allowed: Dotted names of fields, or sections, that may differ.

    Returns:
        Names of allowed fields that do differ.

    Raises:
        UsageError: Another field differs.
    """
    if seed is not None and seed != original.seed:
        raise UsageError(f"resume: the seed is {seed}, the run's {original.seed}", hint="leave the seed out, or begin a new run")
    recorded, now = dict(_flat(original.config)), dict(_flat(config))
    changed = [name for name in recorded | now if recorded.get(name) != now.get(name)]
    for name in changed:
        if not any(name == item or name.startswith(f"{item}.") for item in allowed):
            raise UsageError(
                f"resume: configuration field {name} was {recorded.get(name)!r} and is {now.get(name)!r}",
                hint="go on with the recorded value, or allow the change by name: then the result is another one",
            )
    return tuple(changed)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def steps_before(ports: Ports, original: Run, rank: int, step: int) -> tuple[StepRecord, ...]:
    """The first steps of a run's step log; nothing when it has none.

    Raises:
        IntegrityError: The log was altered.
    """
    for log in original.step_logs:
        if log.rank == rank:
            return read_log(ports.objects.get_bytes(log.object), f"step log of run {original.id[:12]}").up_to(step)
    return ()


def take_over(
    ports: Ports, run_id: str, resuming: Resuming, *, step: int, metric_points: int, append: Callable[[Event], Run]
) -> list[MetricPoint]:
    """Make the new record whole: everything that the first run did before its checkpoint becomes part of it.

    Args:
        ports: The outside world.
        run_id: The new run.
        resuming: What it goes on with.
        step: Optimizer steps done.
        metric_points: How many points the first run had logged.
        append: Adds an event to the new record.

    Returns:
        Those points.
    """
    original, checkpoint = resuming.original, resuming.checkpoint
    for payload, _ in ports.runs.events(original.id):
        event = parse_event.validate_json(payload, context={"find_environment": ports.runs.environment})
        if isinstance(event, RowsSeen | ArtifactMade):
            append(event.model_copy(update={"at": datetime.now(UTC)}))
        if isinstance(event, ArtifactMade) and event.artifact == checkpoint:
            break
    points = logged(ports.runs.metrics(original.id))[:metric_points]  # the checkpoint counted what the program logged
    ports.runs.add_metrics(run_id, points)
    now = datetime.now(UTC)
    used = UsedArtifact(
        role=CHECKPOINT, kind=CHECKPOINT, path=checkpoint.name, digest=checkpoint.digest, size_bytes=checkpoint.size_bytes, used_at=now
    )
    append(ArtifactUsed(at=now, artifact=used))
    resumed = ResumedFrom(run_id=original.id, step=step, checkpoint=checkpoint.digest, metric_points=len(points), changed=resuming.changed)
    append(Resumed(at=now, resumes=resumed))
    return points
