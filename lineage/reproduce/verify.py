"""Verifying without executing: is everything that a record relies on still there, and still the same?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lineage.errors import IntegrityError, LineageError, NotFound, Unavailable
from lineage.model.dataset import InputRecord
from lineage.model.run import Run
from lineage.model.verification import Checked, Status, Verification
from lineage.ports import DatasetBackend, Ports, Progress, no_progress
from lineage.record.code_packs import code_missing
from lineage.record.identity import objects_of
from lineage.record.opening import locate
from lineage.record.recheck import Level
from lineage.record.signing import check_signatures
from lineage.reproduce.bundle_needs import expected_outputs
from lineage.reproduce.plan import check_record

_SHOWN = 3


def _not_opened() -> DatasetBackend:
    # The addresses in a record from elsewhere lead where its maker likes.
    raise Unavailable("its address is not opened: the record came from elsewhere")


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
        checks = [self._record(run), *self._code(run), *(self._input(run, item) for item in run.inputs), self._kept(run)]
        checks += self._signatures(run)
        return Verification(run_id=run.id, run_name=run.name, level=self._level, checks=tuple(checks))

    def verify_all(self, runs: Iterable[Run]) -> Iterator[Verification]:
        """Check many runs, one after the other."""
        return (self.verify(run) for run in runs)

    def _record(self, run: Run) -> Checked:
        found = check_record(self._ports, run)
        status: Status = "intact" if found.status == "ready" else "changed"
        return Checked(subject="record", status=status, found=found.found, detail=found.detail)

    def _code(self, run: Run) -> list[Checked]:
        if run.code is None:
            return []
        reason = code_missing(self._ports, run)
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

    def _input(self, run: Run, item: InputRecord) -> Checked:
        is_ours = self._ports.runs.origin(run.id) is None
        key = (item.uri, item.branch, item.commit_id, item.rows_digest, item.content_digest, item.dataset_id, is_ours)
        if key not in self._inputs:
            self._inputs[key] = self._check_input(item, is_ours=is_ours)
        return self._inputs[key].model_copy(update={"subject": f"data {item.role}"})

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
