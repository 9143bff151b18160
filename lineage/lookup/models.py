"""Which models were made from a dataset, a picture or a sample; fine-tuned ones inherit, with the way shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lineage.errors import NotFound, UsageError
from lineage.lookup.graph import Hop, descendants
from lineage.lookup.rows import Exposure, Occurrence, exposures, find_picture, find_sample
from lineage.lookup.runs import find_briefs, find_runs
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.model.digest import digest_of_file, looks_like_digest
from lineage.model.run import Run
from lineage.model.words import instant
from lineage.ports import Liveness, ObjectStore, RowIndex, RunQuery, RunStore, Sighting

if TYPE_CHECKING:
    from lineage.model.listing import InputBrief, RunBrief


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model and why it is in the answer.

    Attributes:
        run_id: The run that made it.
        started_at: UTC, ISO 8601.
        reproduces: Id of the run that this one was made to repeat.
        inputs: Inputs that hold what was asked for: the run's own or, with a ``path``, those of the run at its beginning.
        occurrences: The rows that were asked for, of those inputs; empty when a whole dataset was.
        path: Empty for a model whose run read the data itself; else how it inherits them, in the direction of time.
    """

    run_id: str
    run_name: str
    started_at: str
    reproduces: str | None
    model_name: str
    model_digest: str
    inputs: tuple[Sighting, ...]
    occurrences: tuple[Occurrence, ...] = ()
    path: tuple[Hop, ...] = ()


def models_of_dataset(
    runs: RunStore, liveness: Liveness, index: RowIndex, uri: str, *, commit_id: str | None = None, view: str | None = None
) -> list[ModelUse]:
    """Every model made from a dataset, newest first, then those that inherit from them.

    Args:
        runs: Store.
        liveness: Of its runs.
        index: Knows which run started from which file.
        uri: The dataset's address.
        commit_id: Only runs that used this commit.
        view: Only runs that used the view of this name or id.
    """
    addresses = _addresses(uri)
    queries = [RunQuery(dataset_uri=address, commit_id=commit_id) for address in addresses]
    found = {run.id: run for query in queries for run in find_runs(runs, liveness, query)}
    newest_first = sorted(found.values(), key=lambda run: (run.started_at, run.id), reverse=True)

    def fits(item: InputRecord | InputBrief) -> bool:
        return item.uri in addresses and commit_id in (None, item.commit_id) and view in (None, item.view_id, item.view_name)

    return models_of(index, _exposures(newest_first, fits))


def _addresses(uri: str) -> tuple[str, ...]:
    # A path is recorded as DVC's when DVC tracked it then; whether it still does is another question.
    address = normalise_uri(uri)
    return (address, f"dvc://{address.removeprefix('file://')}") if address.startswith("file://") else (address,)


def exposures_of_version(runs: RunStore, liveness: Liveness, dataset_id: str, commit_id: str) -> list[Exposure]:
    """Inputs of runs that are a dataset's version, newest run first; without the keys of their views. Reads no whole record.

    Raises:
        NotFound: No recorded run read it.
    """
    found = find_briefs(runs, liveness, RunQuery(dataset_id=dataset_id, commit_id=commit_id))
    if not found:
        raise NotFound("dataset version", f"{dataset_id} at {commit_id}", detail="no recorded run read it")
    return _exposures(found, lambda item: (item.dataset_id, item.commit_id) == (dataset_id, commit_id))


def _exposures(runs: Iterable[Run | RunBrief], fits: Callable[[InputRecord | InputBrief], bool]) -> list[Exposure]:
    found = []
    for run in runs:
        started_at = instant(run.started_at)
        facts = (run.id, run.name, run.project, run.job_type, run.state.value, started_at)
        models = tuple((output.name, output.digest) for output in run.outputs if output.kind == "model")
        inputs: Sequence[InputRecord | InputBrief] = run.inputs
        for ordinal, item in enumerate(inputs):
            if fits(item):
                key = item.view_key if isinstance(item, InputRecord) else None
                view = (item.view_id, item.view_name, key)
                sighting = Sighting(*facts, ordinal, item.role, item.uri, item.commit_id, *view, run.reproduces, models)
                found.append(Exposure(sighting, ()))
    return found


def occurrences_of(index: RowIndex, objects: ObjectStore, *, image: str | None = None, sample: str | None = None) -> list[Occurrence]:
    """Rows with a picture (path of a file, or digest of its bytes) or a sample id.

    Raises:
        NotFound: No recorded dataset holds it.
        UsageError: Neither or both are given.
    """
    if (image is None) == (sample is None):
        raise UsageError("give a picture or a sample id", hint="--image FILE or --sample ID")
    if image is not None:
        if not looks_like_digest(image) and not Path(image).is_file():
            raise NotFound("file", image, hint="give a picture file, or the digest of one (sha256:…)")
        digest = image if looks_like_digest(image) else digest_of_file(Path(image))
        found = find_picture(index, objects, bytes.fromhex(digest.partition(":")[2]))
        name, detail = image, f"no recorded dataset holds {digest}"
    else:
        found = find_sample(index, objects, sample or "")
        name, detail = sample or "", "no recorded dataset has it in its column 'sample_id'"
    if not found:
        unknown = len(index.unindexed_inputs())
        more = f"; {unknown} inputs of older records are not indexed" if unknown else ""
        raise NotFound(
            "picture" if image else "sample",
            name,
            detail=detail + more,
            hint="`lineage doctor --reindex` enters older records" if unknown else "it was changed by a byte, or read untracked",
        )
    return found


def models_of(index: RowIndex, seen: Sequence[Exposure]) -> list[ModelUse]:
    """Models of the runs that saw something, newest first, then models that inherit from them."""
    by_run: dict[str, list[Exposure]] = defaultdict(list)
    for item in seen:
        by_run[item.sighting.run_id].append(item)
    relatives = descendants(index, list(by_run))
    direct = [use for items in by_run.values() for use in _own(items)]
    inherited: dict[tuple[str, str], ModelUse] = {}
    younger = sorted({relative.run_id for found in relatives.values() for relative in found})
    made = defaultdict(list)
    for edge in index.made_by(younger):
        if edge.kind == "model":
            made[edge.run_id].append(edge)
    for run_id, found in relatives.items():
        for relative in found:
            for edge in made[relative.run_id]:
                use = ModelUse(
                    run_id=edge.run_id,
                    run_name=edge.run_name,
                    started_at=edge.started_at,
                    reproduces=None,
                    model_name=edge.name,
                    model_digest=edge.digest,
                    inputs=tuple(item.sighting for item in by_run[run_id]),
                    occurrences=_rows(by_run[run_id]),
                    path=relative.path,
                )
                known = inherited.get((edge.run_id, edge.digest))
                if known is None or len(use.path) < len(known.path):
                    inherited[edge.run_id, edge.digest] = use
    return [*direct, *sorted(inherited.values(), key=lambda use: (len(use.path), use.started_at), reverse=False)]


def models_with(index: RowIndex, occurrences: Sequence[Occurrence]) -> list[ModelUse]:
    """Models that saw any of these rows."""
    return models_of(index, exposures(index, occurrences))


def _own(items: Sequence[Exposure]) -> Iterable[ModelUse]:
    first = items[0].sighting
    for name, digest in first.models:
        yield ModelUse(
            run_id=first.run_id,
            run_name=first.run_name,
            started_at=first.started_at,
            reproduces=first.reproduces,
            model_name=name,
            model_digest=digest,
            inputs=tuple(item.sighting for item in items),
            occurrences=_rows(items),
        )


def _rows(items: Sequence[Exposure]) -> tuple[Occurrence, ...]:
    return tuple(dict.fromkeys(occurrence for item in items for occurrence in item.occurrences))
