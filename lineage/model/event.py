"""Events: how a record grows. A run's record is the fold of its events; nothing is ever edited.

Each event is chained to the one before it by digest, so that a changed, missing or reordered event is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from lineage.errors import IntegrityError
from lineage.model.calibration import Calibration
from lineage.model.code import KeptCode, LoadedCode
from lineage.model.dataset import InputRecord
from lineage.model.digest import Digest, digest_of_bytes
from lineage.model.dvc import DvcRecord
from lineage.model.environment import InstalledCode
from lineage.model.observed import Observed
from lineage.model.push import Push
from lineage.model.run import Artifact, FindEnvironment, Reproduction, ResumedFrom, RowsRead, Run, RunState, Signature, UsedArtifact
from lineage.model.steps import LoaderRecord, StepLogRecord
from lineage.model.sweep import StoppedEarly, with_parameters


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime


class Started(_Event):
    """The record begins: everything known before the first step."""

    kind: Literal["started"] = "started"
    run: Run


class Described(_Event):
    """Facts that became known after the start. ``None`` leaves a fact as it is; mappings are merged."""

    kind: Literal["described"] = "described"
    name: str | None = None
    project: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] = ()
    seed: int | None = None
    config: dict[str, Any] = {}
    determinism: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    trackers: dict[str, dict[str, Any]] = {}
    axes: dict[str, str] = {}


class InputUsed(_Event):
    """A dataset view was opened."""

    kind: Literal["input_used"] = "input_used"
    input: InputRecord


class RowsSeen(_Event):
    """Rows of an input were read."""

    kind: Literal["rows_seen"] = "rows_seen"
    reads: RowsRead


class ArtifactUsed(_Event):
    """A file was read that decides the result: base weights, for example."""

    kind: Literal["artifact_used"] = "artifact_used"
    artifact: UsedArtifact


class LoaderMade(_Event):
    """Batches of an input are about to be made in this way."""

    kind: Literal["loader_made"] = "loader_made"
    loader: LoaderRecord


class StepsLogged(_Event):
    """A step log was completed, or sealed after its process was killed."""

    kind: Literal["steps_logged"] = "steps_logged"
    log: StepLogRecord


class CodeKept(_Event):
    """The code's objects are in the object store: it can be checked out where its repository is lost."""

    kind: Literal["code_kept"] = "code_kept"
    packs: tuple[Digest, ...]
    also: KeptCode = KeptCode()


class CodeLoaded(_Event):
    """Which files of modules ran that no snapshot holds."""

    kind: Literal["code_loaded"] = "code_loaded"
    loaded: LoadedCode


class InstalledChecked(_Event):
    """Loaded files of installed packages were compared with what was installed; packages that no index serves were kept."""

    kind: Literal["installed_checked"] = "installed_checked"
    installed: InstalledCode


class SecretsNamed(_Event):
    """The code names variables that held secrets: by name, never with their values."""

    kind: Literal["secrets_named"] = "secrets_named"
    names: tuple[str, ...]


class DvcDescribed(_Event):
    """The DVC repository around the run, as far as it is known by now."""

    kind: Literal["dvc_described"] = "dvc_described"
    dvc: DvcRecord


class CommandObserved(_Event):
    """A command ended that was observed from outside."""

    kind: Literal["command_observed"] = "command_observed"
    observed: Observed


class Resumed(_Event):
    """The state of another run was restored, before the first step."""

    kind: Literal["resumed"] = "resumed"
    resumes: ResumedFrom


class ArtifactMade(_Event):
    """A file, or a dataset version, was made."""

    kind: Literal["artifact_made"] = "artifact_made"
    artifact: Artifact


class TrackerTold(_Event):
    """A tracker has what was recorded, or told how it calls the run; may come after the run's end. Facts are merged into those known.

    Attributes:
        tracker: Its name, a key of ``Run.trackers``.
        facts: For example ``delivered_at`` and ``url``.
    """

    kind: Literal["tracker_told"] = "tracker_told"
    tracker: str
    facts: dict[str, Any]


class Pushed(_Event):
    """A DVC remote holds what the run made and needs."""

    kind: Literal["pushed"] = "pushed"
    push: Push


class Noted(_Event):
    """Something that could not be recorded, or that a reader should know."""

    kind: Literal["noted"] = "noted"
    note: str


class TrialStopped(_Event):
    """The sweep of the run ended it early."""

    kind: Literal["trial_stopped"] = "trial_stopped"
    stopped: StoppedEarly


class Ended(_Event):
    """The run is over, once."""

    kind: Literal["ended"] = "ended"
    state: Literal[RunState.finished, RunState.failed, RunState.aborted]
    summary: dict[str, Any] = {}
    error: str | None = None
    metrics_digest: Digest | None = None


class Reproduced(_Event):
    """A later run repeated this one."""

    kind: Literal["reproduced"] = "reproduced"
    reproduction: Reproduction


class Calibrated(_Event):
    """The run was repeated several times, to learn how much its results differ by themselves. The newest one counts."""

    kind: Literal["calibrated"] = "calibrated"
    calibration: Calibration


class Signed(_Event):
    """Somebody signed the record, as far as it had got."""

    kind: Literal["signed"] = "signed"
    signature: Signature


Event = Annotated[
    Started
    | Described
    | InputUsed
    | RowsSeen
    | ArtifactUsed
    | LoaderMade
    | StepsLogged
    | CodeKept
    | CodeLoaded
    | InstalledChecked
    | SecretsNamed
    | DvcDescribed
    | CommandObserved
    | Resumed
    | ArtifactMade
    | TrackerTold
    | Pushed
    | Noted
    | TrialStopped
    | Ended
    | Reproduced
    | Calibrated
    | Signed,
    Field(discriminator="kind"),
]
parse_event: TypeAdapter[Event] = TypeAdapter(Event)


def apply(run: Run | None, event: Event) -> Run:
    """The record after ``event``.

    Raises:
        ValueError: The event does not fit: a second start, or one after the end that only a running run may have.
    """
    if isinstance(event, Started):
        if run is not None:
            raise ValueError(f"run {run.id[:12]} was started twice")
        return event.run
    if run is None:
        raise ValueError(f"the first event of a record must be 'started', found '{event.kind}'")
    if run.state is not RunState.running and not isinstance(event, Reproduced | Calibrated | Signed | TrackerTold | Pushed | Noted):
        raise ValueError(f"run {run.id[:12]} is {run.state}; nothing can be added to it any more")
    match event:
        case Described():
            words = {key: value for key in ("name", "project", "group", "job_type", "seed") if (value := getattr(event, key)) is not None}
            return run.model_copy(
                update=words
                | {
                    "tags": (*run.tags, *(tag for tag in event.tags if tag not in run.tags)),
                    # A trial stays what its sweep made it, whatever its program says later.
                    "config": with_parameters(run.config | event.config, {} if run.sweep is None else run.sweep.parameters),
                    "determinism": run.determinism | event.determinism,
                    "summary": run.summary | event.summary,
                    "trackers": run.trackers | event.trackers,
                    "axes": run.axes | event.axes,
                }
            )
        case InputUsed():
            return run.model_copy(update={"inputs": (*run.inputs, event.input)})
        case RowsSeen():
            return run.model_copy(update={"reads": _merged(run.reads, event.reads)})
        case ArtifactUsed():
            return run.model_copy(update={"uses": (*run.uses, event.artifact)})
        case LoaderMade():
            return run if event.loader in run.loaders else run.model_copy(update={"loaders": (*run.loaders, event.loader)})
        case StepsLogged():
            others = tuple(log for log in run.step_logs if log.rank != event.log.rank)
            return run.model_copy(update={"step_logs": tuple(sorted((*others, event.log), key=lambda log: log.rank))})
        case CodeKept():
            return run.model_copy(update={"code_packs": event.packs, "kept_code": event.also})
        case CodeLoaded():
            return run.model_copy(update={"loaded": event.loaded})
        case InstalledChecked():
            return run.model_copy(update={"installed": event.installed})
        case SecretsNamed():
            return run.model_copy(update={"secret_variables": tuple(sorted({*run.secret_variables, *event.names}))})
        case DvcDescribed():
            return run.model_copy(update={"dvc": event.dvc})
        case CommandObserved():
            return run.model_copy(update={"observed": event.observed})
        case Resumed():
            return run.model_copy(update={"resumes": event.resumes})
        case ArtifactMade():
            kept = tuple(item for item in run.outputs if item.name != event.artifact.name)
            return run.model_copy(update={"outputs": (*kept, event.artifact)})
        case TrackerTold():
            return run.model_copy(update={"trackers": run.trackers | {event.tracker: run.trackers.get(event.tracker, {}) | event.facts}})
        case Pushed():
            elsewhere = tuple(item for item in run.pushes if item.address != event.push.address)
            return run.model_copy(update={"pushes": (*elsewhere, event.push)})
        case Noted():
            return run.model_copy(update={"notes": (*run.notes, event.note)})
        case TrialStopped():
            return run.model_copy(update={"stopped_early": event.stopped})
        case Ended():
            told = {name: getattr(event, name) for name in ("state", "error", "metrics_digest")}
            return run.model_copy(update=told | {"ended_at": event.at, "summary": run.summary | event.summary})
        case Signed():
            return run.model_copy(update={"signatures": (*run.signatures, event.signature)})
        case Reproduced():
            return run.model_copy(update={"reproductions": (*run.reproductions, event.reproduction)})
        case Calibrated():
            return run.model_copy(update={"calibration": event.calibration})


def _merged(known: tuple[RowsRead, ...], new: RowsRead) -> tuple[RowsRead, ...]:
    # A hundred epochs over the same rows are one entry.
    for number, item in enumerate(known):
        if item.last_epoch is not None and item.model_copy(update={"first_epoch": None, "last_epoch": None}) == new.model_copy(
            update={"first_epoch": None, "last_epoch": None}
        ):
            if new.first_epoch == item.last_epoch + 1:
                return (*known[:number], item.model_copy(update={"last_epoch": new.last_epoch}), *known[number + 1 :])
            if new.first_epoch == item.first_epoch and new.last_epoch == item.last_epoch:
                return known
    return (*known, new)


def chain_digest(previous: str | None, payload: str) -> str:
    """Digest of an event's text and of the one before it."""
    return digest_of_bytes((previous or "").encode(), b"\n", payload.encode())


def replay(events: Iterable[tuple[str, str]], run_id: str, find_environment: FindEnvironment | None = None) -> Run:
    """Fold stored events and check their chain; arguments and errors as of :func:`fold`."""
    run: Run | None = None
    for _, run in fold(events, run_id, find_environment):  # noqa: B007 - the last one is the record
        pass
    if run is None:
        raise IntegrityError(f"record {run_id[:12]}", expected="at least one event", found="none")
    return run


def _check_times(*times: datetime) -> None:
    for at in times:
        if at.utcoffset() is None:
            raise ValueError(f"a time without a zone: {at}")
        try:
            at.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"a time that cannot be told in UTC: {at}") from None


def fold(events: Iterable[tuple[str, str]], run_id: str, find_environment: FindEnvironment | None = None) -> Iterator[tuple[Event, Run]]:
    """Every event with the record after it; their chain is checked on the way.

    Args:
        events: (payload text, stored chain digest) in order.
        run_id: Named in errors.
        find_environment: For events that name their environment by digest (``RunStore.environment``).

    Raises:
        IntegrityError: An event was changed, lost, put elsewhere, or cannot be read by this release; its number is named. Or its
            environment is not what its digest says.
    """
    previous: str | None = None
    run: Run | None = None
    for number, (payload, stored) in enumerate(events):
        found = chain_digest(previous, payload)
        if found != stored:
            raise IntegrityError(
                f"record {run_id[:12]}, event {number}", expected=stored, found=found, hint="the record was altered after it was written"
            )
        try:
            event = parse_event.validate_json(payload, context={"find_environment": find_environment})
            run = apply(run, event)
            _check_times(event.at, run.started_at)
        except IntegrityError as error:
            raise IntegrityError(
                f"record {run_id[:12]}, event {number}, {error.what}", expected=error.expected, found=error.found, hint=error.hint
            ) from error
        except ValueError as error:
            raise IntegrityError(
                f"record {run_id[:12]}, event {number}",
                expected="an event that this release knows and that fits the record",
                found=str(error).splitlines()[0],
                hint="it was written by a newer release of dataset-lineage, or made up",
            ) from error
        previous = stored
        yield event, run
