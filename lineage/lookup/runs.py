"""Finding runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lineage.errors import AmbiguousId, Conflict, NotFound, UsageError
from lineage.lookup.tracked import is_tracked_name, tracked_run
from lineage.model.dataset import normalise_uri
from lineage.model.digest import digest_of_file, looks_like_digest
from lineage.model.event import Ended
from lineage.model.run import Artifact, Run, RunState
from lineage.ports import Liveness, RunQuery, RunStore

if TYPE_CHECKING:
    from lineage.model.listing import RunBrief

_ID = re.compile(r"[0-9a-f]{1,32}")


def get_run(runs: RunStore, liveness: Liveness, name: str) -> Run:
    """The run with this id or unique prefix, or what W&B calls it: ``wandb:<run id>``, ``wandb:<artifact>``, the address of a page.

    Raises:
        NotFound: There is none.
        AmbiguousId: The prefix fits several.
        UsageError: It is no id.
    """
    if is_tracked_name(name):
        return settle(runs, liveness, tracked_run(runs, name))
    prefix = name.strip().lower().replace("-", "")
    if not _ID.fullmatch(prefix):
        raise UsageError(f"'{name}' is no run id", hint="ids are hexadecimal; `lineage runs` lists them")
    if len(prefix) == 32:
        return settle(runs, liveness, runs.get(prefix))
    found = runs.ids_with_prefix(prefix, 6)
    if not found:
        raise NotFound("run", name, hint="`lineage runs` lists what this store holds")
    if len(found) > 1:
        raise AmbiguousId(name, found)
    return settle(runs, liveness, runs.get(found[0]))


def find_runs(runs: RunStore, liveness: Liveness, query: RunQuery) -> list[Run]:
    """Runs that fit, newest first, each in its true state."""
    if query.state in (RunState.running, RunState.aborted):
        for run in runs.find(RunQuery(state=RunState.running)):
            settle(runs, liveness, run)  # or a run that just died would be missed, or listed as running
        return runs.find(query)
    return [settle(runs, liveness, run) for run in runs.find(query)]


def find_briefs(runs: RunStore, liveness: Liveness, query: RunQuery) -> list[RunBrief]:
    """Runs that fit in short, newest first, each in its true state; reads no whole record but of those that seem to run."""
    return [settle_brief(runs, liveness, item) for item in runs.briefs(query)]


def settle_brief(runs: RunStore, liveness: Liveness, item: RunBrief) -> RunBrief:
    """As :func:`settle`, of a run in short."""
    from lineage.model.listing import brief  # a run that records lists nothing

    return brief(settle(runs, liveness, runs.get(item.id))) if item.state is RunState.running else item


def settle(runs: RunStore, liveness: Liveness, run: Run) -> Run:
    """The run, after noting the end of one whose process is gone without a word."""
    if run.state is not RunState.running or liveness.is_alive(run) is not False:
        return run
    points = runs.metrics(run.id)
    last = max([run.started_at, *(item.used_at for item in run.inputs), *(datetime.fromtimestamp(point.at, UTC) for point in points[-1:])])
    try:
        for event in liveness.leavings(run.id):
            runs.append(run.id, event)
        return runs.append(
            run.id,
            Ended(
                at=last,
                state=RunState.aborted,
                error="its process ended without a word; this is its last trace",
                metrics_digest=runs.metrics_digest(run.id),
            ),
        )
    except Conflict:
        return runs.get(run.id)  # it ended properly between the two looks


def runs_behind(runs: RunStore, liveness: Liveness, model_or_run: str) -> tuple[list[Run], str | None]:
    """The runs that made a model, newest first.

    Args:
        runs: Store.
        liveness: Of its runs.
        model_or_run: Run id or prefix, artifact digest, or path of a weights file.

    Returns:
        (runs, digest of the model; ``None`` when a run was named).

    Raises:
        NotFound: Nothing recorded has this id or content.
    """
    if looks_like_digest(model_or_run):
        digest: str | None = model_or_run
    elif Path(model_or_run).is_file():
        digest = digest_of_file(Path(model_or_run))
    elif is_tracked_name(model_or_run) or _ID.fullmatch(model_or_run.strip().lower().replace("-", "")):
        return [get_run(runs, liveness, model_or_run)], None
    else:
        raise NotFound(
            "model or run",
            model_or_run,
            detail="it is neither a file, nor a digest, nor a run id",
            hint="`lineage runs` lists what this store holds",
        )
    found = find_runs(runs, liveness, RunQuery(output_digest=digest))
    if not found:
        raise NotFound(
            "model", model_or_run, detail=f"no recorded run made {digest}", hint="it was made untracked, or recorded in another store"
        )
    return found, digest


def models_using(
    runs: RunStore, liveness: Liveness, uri: str, *, commit_id: str | None = None, view: str | None = None
) -> Iterator[tuple[Run, Artifact]]:
    """Every model made from a dataset, newest first: (run, model).

    Args:
        runs: Store.
        liveness: Of its runs.
        uri: The dataset's address.
        commit_id: Only runs that used this commit.
        view: Only runs that used the view of this name or id.
    """
    address = normalise_uri(uri)
    for run in find_runs(runs, liveness, RunQuery(dataset_uri=address, commit_id=commit_id)):
        if view is None or any(item.uri == address and view in (item.view_id, item.view_name) for item in run.inputs):
            yield from ((run, item) for item in _models(run.outputs))


def _models(outputs: Iterable[Artifact]) -> Iterator[Artifact]:
    return (item for item in outputs if item.kind == "model")
