"""Where a reproduction left its original: step, phase, and the batch with its rows, names and pictures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from lineage.errors import IntegrityError, LineageError, NotFound
from lineage.lookup.results import flat_points
from lineage.lookup.steps import compare_steps
from lineage.model.comparison import BatchRow, FirstDifference
from lineage.model.run import MetricPoint, Run
from lineage.model.steps import StepRowsShown, StepsCompared
from lineage.ports import Ports
from lineage.record.identity import digests_at, recorded_rows

_NO_PICTURE = hashlib.sha256().hexdigest()


def compare_all_steps(ports: Ports, original: Run, replica: Run) -> tuple[StepsCompared, ...]:
    """The step logs of every process, where both runs have one that can be read."""
    found = []
    for log in original.step_logs:
        try:
            found.append(compare_steps(ports, original, replica, log.rank))
        except (NotFound, IntegrityError):  # the report says at its end which were not compared
            continue
    return tuple(found)


def first_parting(
    ports: Ports,
    original: Run,
    replica: Run,
    steps: Sequence[StepsCompared],
    metrics: tuple[Sequence[MetricPoint], Sequence[MetricPoint]],
) -> FirstDifference | None:
    """The earliest difference that the step logs tell, else the first one in the metrics; ``None`` without any."""
    parted = [(log.first.step, log.rank, log) for log in steps if log.first is not None]
    if not parted:
        return None if any(log.first is None for log in steps) else _in_metrics(*metrics)
    _, rank, log = min(parted, key=lambda item: item[:2])
    found = log.first
    if found is None:
        return None
    ours = _rows(ports, original, found.rows_a)
    theirs = _rows(ports, replica, found.rows_b)
    # The sentence of one process among several would not say which.
    where = f" in process {rank}" if len(steps) > 1 else ""
    return FirstDifference(
        step=found.step,
        phase=found.phase,
        rank=rank,
        sentence=found.sentence + where,
        rows_original=ours,
        rows_replica=() if theirs == ours else theirs,
        losses_original=_numbers(found.losses_a),
        losses_replica=_numbers(found.losses_b),
    )


def _in_metrics(original: Sequence[MetricPoint], replica: Sequence[MetricPoint]) -> FirstDifference | None:
    for a, b in zip(flat_points(original), flat_points(replica), strict=False):
        if a[:3] != b[:3]:
            told = f"first difference at step {a[0]}: {a[1]}"
            values = {"losses_original": _numbers([a[3]]), "losses_replica": _numbers([b[3]])}
            return FirstDifference(step=a[0], phase="metric", sentence=told, **values)
    return None


def _numbers(values: Sequence[float]) -> tuple[float | str, ...]:
    return tuple(value if math.isfinite(value) else str(value) for value in values)


def _rows(ports: Ports, run: Run, batch: Sequence[StepRowsShown]) -> tuple[BatchRow, ...]:
    found: list[BatchRow] = []
    for shown in batch:
        count = len(shown.rows)
        pictures = _pictures(ports, run, shown.role, shown.positions[:count])
        for number, position in enumerate(shown.positions[:count]):
            found.append(
                BatchRow(
                    role=shown.role,
                    position=position,
                    row=shown.rows[number],
                    sample_id=shown.sample_ids[number],
                    picture=pictures[number] if pictures else None,
                )
            )
        found += [BatchRow(role=shown.role, position=position) for position in shown.positions[count:]]
    return tuple(found)


def _pictures(ports: Ports, run: Run, role: str, positions: Sequence[int]) -> list[str | None]:
    items = [item for item in run.inputs if item.role == role]
    if len(items) != 1 or not positions:  # of several inputs with one role it is not known here which was read
        return []
    import numpy as np

    try:
        rows = recorded_rows(ports.objects, items[0])[np.asarray(positions, np.int64)]
        digests = digests_at(ports.objects, items[0], rows, slice(0, len(rows)))
    except (LineageError, IndexError):
        return []  # names of rows are enough; what is lost is reported by `lineage verify`
    named = (bytes(digest).hex() for digest in digests.pictures)
    return [None if name == _NO_PICTURE else f"sha256:{name}" for name in named]
