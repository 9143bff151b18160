"""Where a sample, a picture or the rows of a query went: every view, run and model, and how to make them again without it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lineage.errors import LineageError, UsageError
from lineage.lookup.graph import Relative, descendants
from lineage.lookup.input_rows import epochs_with, rows_read, steps
from lineage.lookup.models import occurrences_of
from lineage.lookup.retraining import make_retraining_plan
from lineage.lookup.rows import Exposure, Occurrence, described, exposures
from lineage.model.dataset import normalise_uri
from lineage.model.findings import AffectedInput, AffectedModel, AffectedRun, ImpactReport
from lineage.model.run import Run
from lineage.ports import Ports, Progress, no_progress
from lineage.record.identity import recorded_rows
from lineage.record.row_keys import digests_of_nothing, picture_key
from lineage.record.spaces import digested_rows

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

EVALUATED = ("validation", "test")
"""Roles whose rows a model is not fitted to. Any other word is taken for training: to miss one would be worse."""
_IDS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Subject:
    """What to look for.

    Attributes:
        text: For people.
        occurrences: Rows that are it, in every numbering of rows.
        query: The query that chose them, if one did; ``dataset_id`` is its dataset.
    """

    text: str
    occurrences: tuple[Occurrence, ...]
    query: str | None = None
    dataset_id: str | None = None


def subject_by_name(ports: Ports, *, sample: str | None = None, image: str | None = None) -> Subject:
    """A sample id, or a picture by its bytes (path of a file, or their digest).

    Raises:
        NotFound: No recorded dataset holds it.
        UsageError: Neither or both are given.
    """
    found = occurrences_of(ports.rows, ports.objects, image=image, sample=sample)
    return Subject(f"sample '{sample}'" if image is None else f"picture {image}", tuple(found))


def subject_by_query(ports: Ports, uri: str, query: str, commit_id: str | None = None, progress: Progress = no_progress) -> Subject:
    """The rows that a query keeps, and every row of another dataset or numbering with the same picture.

    Raises:
        NotFound: No such dataset or commit.
        InvalidQuery: It cannot be answered, or keeps no row.
    """
    backend = ports.datasets()
    view = backend.resolve(normalise_uri(uri), commit_id=commit_id, query=query)
    reader = backend.open(view.version.uri, view.version.branch, view.version.commit_id)
    manifest = backend.manifest(view.version)
    known = digested_rows(backend, ports.objects, ports.rows, reader, manifest, view.rows, progress, "digesting rows")
    own = described(ports.rows, ports.objects, known.space, view.rows.tolist())
    digests = known.ledger.take(view.rows).pictures
    shown = {picture.tobytes() for picture in digests[(digests != digests_of_nothing()).any(axis=1)]}
    elsewhere: dict[str, set[int]] = defaultdict(set)
    for number, digest in enumerate(sorted(shown), start=1):
        for space, row in ports.rows.find_keys("picture", picture_key(digest)):
            elsewhere[space].add(row)
        progress("looking for the pictures", number, len(shown))
    wanted = {f"sha256:{digest.hex()}" for digest in shown}
    copies = [
        item
        for space, rows in sorted(elsewhere.items())
        for item in described(ports.rows, ports.objects, space, sorted(rows))
        if not item.is_verified or item.picture_digest in wanted
    ]
    every = tuple(dict.fromkeys([*own, *copies]))
    more = f" (and {len(every) - len(own)} further rows with the same pictures)" if len(every) > len(own) else ""
    return Subject(
        f"{len(own)} rows of {view.version.uri} at {view.version.commit_id}{more}: {query}", every, query, view.version.dataset_id
    )


def find_impact(ports: Ports, subject: Subject, progress: Progress = no_progress) -> ImpactReport:
    """Every view, run and model that contains the subject, and a plan to retrain without it. Nothing is executed.

    The index and the records answer: no dataset has to exist any more. Where one does, queries for cleaned views are tried on it.
    """
    seen: dict[str, list[Exposure]] = defaultdict(list)
    for item in exposures(ports.rows, subject.occurrences):
        seen[item.sighting.run_id].append(item)
    problems: list[str] = []
    records = {run_id: ports.runs.get(run_id) for run_id in seen}
    inputs = {run_id: tuple(_affected_input(ports, records[run_id], item, problems) for item in seen[run_id]) for run_id in seen}
    reasons = {run_id: _reason(inputs[run_id]) for run_id in seen}
    inherited = _inherited(ports, [run_id for run_id in seen if reasons[run_id] == "trained"])
    affected: list[AffectedRun] = []
    for run_id in dict.fromkeys([*seen, *inherited]):
        run = records.setdefault(run_id, ports.runs.get(run_id))
        reason = reasons.get(run_id, "inherits")
        relative = inherited.get(run_id) if reason != "trained" else None
        affected.append(
            AffectedRun(
                run_id=run.id,
                run_name=run.name,
                project=run.project,
                job_type=run.job_type,
                state=run.state.value,
                started_at=run.started_at.isoformat(),
                reason=reason if relative is None else "inherits",
                reproduces=run.reproduces,
                inputs=inputs.get(run_id, ()),
                path=() if relative is None else steps(relative.path),
            )
        )
    affected.sort(key=lambda item: item.started_at, reverse=True)
    held = {item.sighting.view_key or "": item.occurrences for items in seen.values() for item in items}
    unindexed = ports.rows.unindexed_inputs()
    return ImpactReport(
        subject=subject.text,
        rows=len(subject.occurrences),
        sample_ids=tuple(sorted({item.sample_id for item in subject.occurrences if item.sample_id}))[:_IDS_KEPT],
        runs=tuple(affected),
        models=tuple(_models(affected, records)),
        plan=make_retraining_plan(ports, affected, records, held, condition_of=(subject.query, subject.dataset_id), progress=progress),
        is_whole=not unindexed,
        not_checked=(*problems, *_not_checked(subject, len(unindexed))),
    )


def _affected_input(ports: Ports, run: Run, exposure: Exposure, problems: list[str]) -> AffectedInput:
    import numpy as np

    ordinal = exposure.sighting.ordinal
    item = run.inputs[ordinal]
    held = np.asarray([occurrence.row for occurrence in exposure.occurrences], np.int64)
    read, epochs = None, None
    count = len(held)
    try:
        rows: Rows = recorded_rows(ports.objects, item)
        positions = np.flatnonzero(np.isin(rows, held))
        count = len(positions)
        noted = rows_read(ports.objects, run, ordinal)
        read = None if noted is None else int(noted[positions].sum())
        epochs = epochs_with(ports.objects, run, ordinal, positions)
    except LineageError as error:
        problems.append(f"epochs of {item.role} input of run {run.id[:12]}: {error.message}")
    return AffectedInput(
        run_id=run.id,
        input=ordinal,
        role=item.role,
        uri=item.uri,
        commit_id=item.commit_id,
        view_id=item.view_id,
        view_name=item.view_name,
        view_key=exposure.sighting.view_key or "",
        rows=item.rows,
        rows_held=count,
        rows_read=read,
        epochs=epochs,
    )


def _reason(inputs: Sequence[AffectedInput]) -> str:
    fitted = [item for item in inputs if item.role not in EVALUATED]
    if any(item.rows_read != 0 for item in fitted):
        return "trained"
    return "never_read" if fitted and len(fitted) == len(inputs) else "evaluated"


def _inherited(ports: Ports, trained: Sequence[str]) -> dict[str, Relative]:
    nearest: dict[str, Relative] = {}
    for relatives in descendants(ports.rows, trained).values():
        for relative in relatives:
            known = nearest.get(relative.run_id)
            if known is None or len(relative.path) < len(known.path):
                nearest[relative.run_id] = relative
    return nearest


def _models(affected: Sequence[AffectedRun], records: dict[str, Run]) -> list[AffectedModel]:
    return [
        AffectedModel(
            run_id=run.run_id,
            run_name=run.run_name,
            name=artifact.name,
            digest=artifact.digest,
            is_trained_on_it=run.reason in ("trained", "inherits"),
            reproduces=run.reproduces,
            path=run.path,
        )
        for run in affected
        if run.reason != "never_read"
        for artifact in records[run.run_id].outputs
        if artifact.kind == "model"
    ]


def _not_checked(subject: Subject, unindexed: int) -> list[str]:
    lines = ["copies whose bytes differ (re-encoded or resized pictures), and runs that were recorded in other stores or not at all"]
    unsure = sum(not item.is_verified for item in subject.occurrences)
    if unsure:
        lines.append(f"{unsure} rows were found by the first 64 bits of their digest alone: the list of digests they are in is lost")
    if unindexed:
        lines.append(f"{unindexed} inputs of older records are not indexed (`lineage doctor --reindex` enters them)")
    return lines


def require_one_subject(sample: str | None, image: str | None, query: str | None, dataset: str | None) -> None:
    """Check that exactly one subject is named.

    Raises:
        UsageError: It is not, or a query comes without its dataset.
    """
    if sum(item is not None for item in (sample, image, query)) != 1:
        raise UsageError("name one subject", hint="--sample ID, --image FILE, or --query TEXT with --dataset URI")
    if (query is None) != (dataset is None):
        raise UsageError("a query is asked of a dataset", hint='--query "select * where …" --dataset URI')
