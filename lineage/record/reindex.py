"""Entering records into the row index again: those of the first release, and all of them when the index was lost."""

from __future__ import annotations

from lineage.model.dataset import InputRecord
from lineage.model.run import Run
from lineage.ports import Ports, Progress, RunQuery, no_progress
from lineage.record.identity import enter_view, recorded_digests, recorded_names, recorded_rows
from lineage.record.ledger import Ledger
from lineage.record.spaces import enter_rows


def reindex_inputs(ports: Ports, progress: Progress = no_progress) -> int:
    """Make every recorded input findable by picture and sample; return how many were not.

    A record of the first release has no numbering of rows of its own: its rows get one, named after their content.

    Raises:
        NotFound: An object of a record is gone.
        IntegrityError: An object is not what its record says.
    """
    runs = ports.runs.find(RunQuery())
    unpointed = set(ports.rows.unindexed_inputs())
    entered = 0
    for number, run in enumerate(runs, 1):
        entered += _enter_run(ports, run, unpointed)
        progress("reading records", number, len(runs))
    return entered


def enter_run(ports: Ports, run: Run) -> int:
    """Make the inputs of one run findable; arguments and errors as of :func:`reindex_inputs`."""
    return _enter_run(ports, run, set(ports.rows.unindexed_inputs()))


def _enter_run(ports: Ports, run: Run, unpointed: set[tuple[str, int]]) -> int:
    entered = 0
    # Rows that somebody else digested never enter a numbering of this store's: its digests are taken over without reading.
    is_ours = ports.runs.origin(run.id) is None
    for ordinal, item in enumerate(run.inputs):
        own = item.content_digest.partition(":")[2][:32]
        placed = item if item.space is not None and is_ours else item.model_copy(update={"space": own})
        is_known = placed.view_key is not None and ports.rows.has_view(placed.view_key)
        if not is_known:
            _enter(ports, placed)
        if (run.id, ordinal) in unpointed and placed.view_key is not None:
            ports.rows.point_input(run.id, ordinal, placed.view_key)
        entered += not is_known or (run.id, ordinal) in unpointed
    return entered


def _enter(ports: Ports, item: InputRecord) -> None:
    import numpy as np

    rows = recorded_rows(ports.objects, item)
    unique, first = np.unique(rows, return_index=True)
    if item.space is not None:
        digests = recorded_digests(ports.objects, item, rows)[first]
        names = recorded_names(ports.objects, item, rows).take(first.tolist())
        saved = ports.rows.ledger(item.space)
        known = Ledger(ports.objects) if saved is None else Ledger.load(ports.objects, saved)
        enter_rows(ports.objects, ports.rows, item.space, known, saved, unique, digests, names)
    enter_view(ports.rows, item, rows)
