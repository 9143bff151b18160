"""Verifying without executing: is everything that a record relies on still there, and still the same?"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable, Iterator

from lineage.errors import IntegrityError, LineageError, NotFound, Unavailable
from lineage.lookup.runs import find_runs, get_run
from lineage.model.dataset import InputRecord
from lineage.model.event import apply, parse_event
from lineage.model.run import Run
from lineage.model.verification import Checked, Status, Verification
from lineage.ports import DatasetBackend, Ports, Progress, RunQuery, no_progress
from lineage.record.code_packs import code_missing
from lineage.record.identity import objects_of
from lineage.record.opening import locate
from lineage.record.recheck import Level
from lineage.record.signing import check_signatures
from lineage.reproduce.bundle_needs import expected_outputs
from lineage.reproduce.plan import check_record

_SHOWN = 3
_UNSIGNED = "not checked: unsigned; a record that was written anew as a whole, chain and all, looks like the first one"
_MOST_RUNS = 1 << 31


def _not_opened() -> DatasetBackend:
    # The addresses in a record from elsewhere lead where its maker likes.
    raise Unavailable("its address is not opened: the record came from elsewhere")


def _looked(subject: str, look: Callable[[], list[Checked]]) -> list[Checked]:
    """What a check found. A document that nobody can read is one row, and ends no other check."""
    try:
        return look()
    except (LineageError, OSError, ValueError, LookupError, TypeError, zlib.error) as error:
        why = error.message if isinstance(error, LineageError) else f"{type(error).__name__}: {error}"
        return [Checked(subject=subject, status="changed", found="cannot be read", detail=(why,))]


def _as_told(ports: Ports, run_id: str) -> Run | None:
    """The record that a run's events tell up to the first that cannot be read, altered or not; only good for finding what it relies on."""
    run: Run | None = None
    for payload, _ in ports.runs.events(run_id):
        try:
            run = apply(run, parse_event.validate_json(payload, context={"find_environment": _no_environment}))
        except ValueError:
            break
    return run


def _no_environment(digest: str) -> None:
    """Stands in for an environment: it may be what cannot be read."""


def runs_to_verify(ports: Ports) -> list[Run | str]:
    """Every run of a store, newest first; those whose stored record cannot be read, by id, at the end."""
    try:
        return [*find_runs(ports.runs, ports.liveness, RunQuery())]
    except LineageError:  # one record is enough for that: they are looked at one by one
        pass
    found: list[Run] = []
    broken: list[str] = []
    for run_id in ports.runs.ids_with_prefix("", _MOST_RUNS):
        try:
            found.append(get_run(ports.runs, ports.liveness, run_id))
        except LineageError:
            broken.append(run_id)
    return [*sorted(found, key=lambda run: run.started_at, reverse=True), *broken]


class Verifier:
    """Verifies runs of one store; what several runs share is checked once.

    Args:
        ports: The outside world.
        level: ``quick``: names, manifests, counts and presence. ``full``: every byte of data and objects.
        progress: Told of rows read.
    """

    def __init__(self, ports: Ports, level: Level = "quick", progress: Progress = no_progress) -> None:
        self._ports = ports
        self._level: Level = level
        self._progress = progress
        self._inputs: dict[tuple[str | bool, ...], Checked] = {}
        self._objects: dict[str, LineageError | None] = {}

    def verify(self, run: Run) -> Verification:
        """Check one run."""
        checks = _looked("record", lambda: [self._record(run)]) + _looked("code", lambda: self._code(run))
        for item in run.inputs:
            checks += _looked(f"data {item.role}", functools.partial(self._input, run, item))
        checks += _looked("objects", lambda: [self._kept(run)]) + _looked("signature", lambda: self._signatures(run))
        return Verification(run_id=run.id, run_name=run.name, level=self._level, checks=tuple(checks))

    def verify_all(self, runs: Iterable[Run | str]) -> Iterator[Verification]:
        """Check many runs, one after the other; one whose record cannot be read is given by its id."""
        return (self.verify(run) if isinstance(run, Run) else self.verify_unreadable(run) for run in runs)

    def verify_unreadable(self, run_id: str) -> Verification:
        """Check a run whose stored record cannot be read: what its events tell, as far as they can be read, is looked at all the same."""
        run = _as_told(self._ports, run_id)
        if run is None:
            try:
                self._ports.runs.get(run_id)
                why: tuple[str, ...] = ("no event of it can be read",)
            except LineageError as error:
                why = (error.message,)
            broken = Checked(subject="record", status="changed", found="cannot be read", detail=why)
            return Verification(run_id=run_id, run_name="unknown", level=self._level, checks=(broken,))
        return self.verify(run)

    def _record(self, run: Run) -> Checked:
        found = check_record(self._ports, run)
        status: Status = "intact" if found.status == "ready" else "changed"
        return Checked(subject="record", status=status, found=found.found, detail=(*found.detail, *([] if run.signatures else [_UNSIGNED])))

    def _code(self, run: Run) -> list[Checked]:
        if run.code is None:
            return []
        reason = code_missing(self._ports, run, self._object)
        if reason is not None:
            return [Checked(subject="code", status="missing", found="not found", detail=(reason,))]
        where = "reachable" if self._ports.source.has(run.code) is None else "kept in the object store"
        return [Checked(subject="code", status="intact", found=f"snapshot {run.code.snapshot_sha[:10]} {where}")]

    def _signatures(self, run: Run) -> list[Checked]:
        found = check_signatures(self._ports, run)
        if not found and self._ports.runs.origin(run.id) is not None:
            return [Checked(subject="signature", status="intact", found="none", detail=("it came from elsewhere, and nobody signed it",))]
        words: dict[str, Status] = {"valid": "intact", "wrong": "changed", "unchecked": "missing"}
        return [Checked(subject="signature", status=words[check.status], found=check.words) for check in found]

    def _input(self, run: Run, item: InputRecord) -> list[Checked]:
        is_ours = self._ports.runs.origin(run.id) is None
        key = (item.uri, item.branch, item.commit_id, item.rows_digest, item.content_digest, item.dataset_id, is_ours)
        if key not in self._inputs:
            self._inputs[key] = self._check_input(item, is_ours=is_ours)
        return [self._inputs[key].model_copy(update={"subject": f"data {item.role}"})]

    def _check_input(self, item: InputRecord, *, is_ours: bool) -> Checked:
        ports = self._ports
        check, place = locate(
            ports.datasets if is_ours else _not_opened, ports.objects, ports.rows, item, None, self._progress, level=self._level
        )
        if place is not None:
            return Checked(subject="data", status="intact", found=check.found, detail=check.detail)
        status: Status = "missing" if check.status == "missing" else "changed"
        return Checked(subject="data", status=status, found=check.found, detail=check.detail)

    def _kept(self, run: Run) -> Checked:
        needed = {digest for item in run.inputs for digest in self._objects_of(item)}
        needed |= expected_outputs(self._ports, run)
        needed |= {item.positions_object for item in run.reads if item.positions_object is not None}
        needed |= {log.object for log in run.step_logs} | run.code_objects()
        needed |= {item.envelope for item in run.signatures}
        needed |= {loader.code_object for loader in run.loaders if loader.code_object is not None}
        wrong = [error for digest in sorted(needed) if (error := self._object(digest)) is not None]
        if not wrong:
            found = f"{len(needed)} {'present' if self._level == 'quick' else 'read and equal'}"
            return Checked(subject="objects", status="intact", found=found)
        status: Status = "missing" if any(isinstance(error, NotFound) for error in wrong) else "changed"
        lines = tuple(error.message for error in wrong[:_SHOWN])
        return Checked(subject="objects", status=status, found=f"{len(wrong)} of {len(needed)} missing or changed", detail=lines)

    def _objects_of(self, item: InputRecord) -> set[str]:
        try:
            return objects_of(self._ports.objects, item)
        except IntegrityError:  # a listing that cannot be read is itself among what is checked
            return {digest for digest in (item.rows_object, item.ledger_object, item.digests_object) if digest is not None}

    def _object(self, digest: str) -> LineageError | None:
        if digest not in self._objects:
            self._objects[digest] = self._check_object(digest)
        return self._objects[digest]

    def _check_object(self, digest: str) -> LineageError | None:
        if self._level == "quick":
            return None if self._ports.objects.has(digest) else NotFound("object", digest)
        try:
            self._ports.objects.check(digest)
        except LineageError as error:
            return error
        return None
