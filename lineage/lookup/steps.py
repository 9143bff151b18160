"""Step logs of runs, and where two of them part."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lineage.errors import NotFound
from lineage.model.dataset import InputRecord
from lineage.model.run import Run
from lineage.model.steps import PHASES, START, Phase, StepDifference, StepRecord, StepRowsShown, StepsCompared
from lineage.ports import Ports
from lineage.record.identity import recorded_names, recorded_rows
from lineage.record.step_log import StepLog, read_log
from lineage.record.steps import files_of

_SHOWN = 64
DIGESTS = ("batch", "input", "gradient", "parameters")
"""What a step has a digest of, in the order of the training."""


def read_steps(ports: Ports, run: Run, rank: int = 0) -> StepLog:
    """The step log of one process of a run, also of one that is still running on this machine.

    Raises:
        NotFound: It logged no steps; or not with this rank.
        IntegrityError: The log was altered.
    """
    name = f"step log of run {run.id[:12]}"
    for log in run.step_logs:
        if log.rank == rank:
            return replace(read_log(ports.objects.get_bytes(log.object), name), torn=log.torn)
    for file in files_of(ports.folder, run.id):
        if file.stem.endswith(f"-{rank}"):
            return read_log(file.read_bytes(), name)
    ranks = ", ".join(str(log.rank) for log in run.step_logs)
    detail = f"process {rank} logged none; those of {ranks} did" if ranks else "nothing was watched"
    raise NotFound("step log", run.id[:12], detail=detail, hint="run.watch(model, optimizer) keeps one")


def losses_of(record: StepRecord) -> list[float]:
    """Losses of a step as numbers; not a number for types that are not floats of 16, 32 or 64 bits."""
    found: list[float] = []
    for loss in record.losses:
        kind, raw = loss[:1], loss[1:]
        size = {b"f": 4, b"d": 8, b"e": 2, b"b": 2}.get(kind, 0)
        for begin in range(0, len(raw) if size else 0, size or 1):
            word = raw[begin : begin + size]
            # bfloat16 is the upper half of a float32.
            found.append(struct.unpack("<f", b"\0\0" + word)[0] if kind == b"b" else struct.unpack(f"<{kind.decode()}", word)[0])
        if not size:
            found.append(float("nan"))
    return found


def first_difference(a: StepLog, b: StepLog) -> tuple[int, Phase, int | None] | None:
    """Where two logs part: step, phase, and the last step before it in which parameters were compared (``None``: at this very step).

    Logs with the same cadence are searched by halves over their chain digests; others field by field where both have one. A log that
    ends earlier is no difference here.
    """
    count = min(len(a.records), len(b.records))
    if a.header.every == b.header.every:
        low, high = 0, count  # records before `low` agree
        while low < high:
            middle = (low + high) // 2
            if a.heads[middle] == b.heads[middle]:
                low = middle + 1
            else:
                high = middle
        if low == count:
            return None
        return _parted(a, low, b.records[low])
    by_step = {record.step: record for record in b.records}
    for place, record in enumerate(a.records):
        other = by_step.get(record.step)
        if other is not None and _phase(record, other, common=True) is not None:
            return _parted(a, place, other)
    return None


def compare_steps(ports: Ports, a: Run, b: Run, rank: int = 0) -> StepsCompared:
    """Compare the step logs of two runs.

    Raises:
        NotFound: One of them has none.
        IntegrityError: A log was altered.
    """
    left, right = read_steps(ports, a, rank), read_steps(ports, b, rank)
    found = first_difference(left, right)
    difference = None
    if found is not None:
        step, phase, since = found
        ours, theirs = (next(record for record in log.records if record.step == step) for log in (left, right))
        difference = StepDifference(
            step=step,
            phase=phase,
            since=since,
            rows_a=shown_rows(ports, a, ours),
            rows_b=shown_rows(ports, b, theirs),
            losses_a=tuple(losses_of(ours)),
            losses_b=tuple(losses_of(theirs)),
        )
    return StepsCompared(
        a=a.id,
        b=b.id,
        rank=rank,
        steps_a=left.steps,
        steps_b=right.steps,
        compared=min(left.steps, right.steps),
        every=max(left.header.every, right.header.every),
        first=difference,
        torn_a=left.torn,
        torn_b=right.torn,
    )


def told_steps(ports: Ports, run: Run, records: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """Steps as JSON values: rows with their names, losses as numbers (words where they are not finite), digests in hexadecimal."""
    names = RowNames(ports)
    return [
        {
            "step": record.step,
            "rows": [rows.model_dump(mode="json") for rows in shown_rows(ports, run, record, names)],
            "losses": [loss if math.isfinite(loss) else str(loss) for loss in losses_of(record)],
            **{name: None if (digest := getattr(record, name)) is None else digest.hex() for name in DIGESTS},
        }
        for record in records
    ]


def shown_rows(ports: Ports, run: Run, record: StepRecord, names_of: RowNames | None = None) -> tuple[StepRowsShown, ...]:
    """Rows of a step with their names, as far as the record knows them."""
    names_of = names_of or RowNames(ports)
    shown = []
    for rows in record.rows:
        item = run.inputs[rows.ordinal] if rows.ordinal < len(run.inputs) else None
        names = names_of.of(item, rows.positions[:_SHOWN]) if item is not None else {}
        shown.append(
            StepRowsShown(
                role=item.role if item is not None else "?",
                epoch=rows.epoch,
                positions=rows.positions,
                rows=tuple(names[position][0] for position in rows.positions[:_SHOWN] if position in names),
                sample_ids=tuple(names[position][1] for position in rows.positions[:_SHOWN] if position in names),
            )
        )
    return tuple(shown)


class RowNames:
    """Source rows and sample ids of inputs; what an input's lists of them say is read once."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._known: dict[tuple[str | None, ...], tuple[Any, Sequence[str | None] | None]] = {}

    def of(self, item: InputRecord, positions: Sequence[int]) -> Mapping[int, tuple[int, str | None]]:
        """Source row and sample id for positions of an input."""
        key = (item.rows_object, item.ledger_object, item.digests_object)
        if key not in self._known:
            rows = recorded_rows(self._ports.objects, item)
            self._known[key] = rows, recorded_names(self._ports.objects, item, rows).sample_ids
        rows, ids = self._known[key]
        return {position: (int(rows[position]), None if ids is None else ids[position]) for position in positions if position < len(rows)}


def _parted(log: StepLog, place: int, other: StepRecord) -> tuple[int, Phase, int | None]:
    record = log.records[place]
    phase = _phase(record, other, common=True) or _phase(record, other, common=False)
    if phase is None:  # chains part at records that agree: they were begun with another cadence
        phase = "rows"
    since = None
    if log.header.every > 1 and phase not in ("start", "rows"):
        since = max((item.step for item in log.records[:place] if item.parameters is not None), default=START)
        since = None if since == record.step - 1 else since
    return record.step, phase, since


def _phase(ours: StepRecord, theirs: StepRecord, *, common: bool) -> Phase | None:
    if ours.step == START:
        return "start" if ours.parameters != theirs.parameters else None
    pairs: dict[Phase, tuple[Any, Any]] = {
        "rows": (ours.rows, theirs.rows),
        "batch": (ours.batch, theirs.batch),
        "input": (ours.input, theirs.input),
        "loss": (ours.losses, theirs.losses),
        "gradient": (ours.gradient, theirs.gradient),
        "parameters": (ours.parameters, theirs.parameters),
    }
    for phase in PHASES[1:]:
        left, right = pairs[phase]
        if left != right and not (common and (left is None or right is None)):
            return phase
    return None
