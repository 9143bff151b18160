"""Validation or test rows that a model, or one it was fine-tuned from, was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lineage.errors import LineageError, UsageError
from lineage.lookup.graph import Hop, ancestors
from lineage.lookup.input_rows import InputRows, load_input, steps
from lineage.lookup.leak_search import LeakSearch
from lineage.model.findings import ComparedInput, LeakReport, LeakVerdict, WayFindings
from lineage.model.run import Run
from lineage.ports import Ports, Progress, no_progress

TRAINED = "train"
"""The role of rows that a model was fitted to; every other role is taken for an evaluation."""


def find_leaks(
    ports: Ports,
    run: Run,
    *,
    roles: Sequence[str] = (),
    near: bool = True,
    strict: bool = False,
    examples: int = 5,
    progress: Progress = no_progress,
) -> LeakReport:
    """Look for evaluated rows of a run among the rows that its model, or an ancestor of it, was trained on.

    Rows and bytes are compared by what the records hold: no dataset is opened for them, and none has to exist any more. Near-duplicates
    need the pictures once; their hashes are kept.

    Args:
        ports: The outside world.
        run: The run that trained or evaluated the model.
        roles: Inputs that count as evaluated; all but ``train`` when empty.
        near: Whether to look for near-duplicate pictures.
        strict: Whether rows of a sequence that was trained on are leaks, too; else they are a warning.
        examples: How many matches to name for each way.
        progress: Told of pictures hashed and compared.

    Raises:
        UsageError: The run has no input of a role, or ``train`` is asked for.
    """
    evaluated, trained = _Side(), _Side()
    for ordinal in _evaluated_inputs(run, roles):
        evaluated.add(ports, run, ordinal, ())
    not_checked = _add_trained(ports, run, trained)
    gaps = [*evaluated.gaps, *trained.gaps]
    if not evaluated.listed:
        gaps.append(f"run {run.id[:12]} has no input but '{TRAINED}': it evaluated nothing")
    if not trained.listed:
        gaps.append("no recorded run trained the model: there is nothing to compare with")
    ways: list[WayFindings] = []
    warnings: list[str] = []
    search = LeakSearch(evaluated.inputs, trained.inputs, examples)
    by_row = search.by_row()
    ways += [by_row, search.by_picture()]
    if by_row.reason is not None:
        gaps.append(f"same rows: {by_row.reason}")
    if near:
        found, near_gaps, near_notes = search.by_near_duplicate(ports, progress)
        gaps += near_gaps
        not_checked += near_notes
    else:
        found = WayFindings(way="near", checked=False, reason="left out as asked")
        not_checked.append("near-duplicate pictures: left out as asked")
    ways.append(found)
    by_sequence = search.by_sequence()
    ways.append(by_sequence)
    if by_sequence.reason is not None:
        (gaps if strict else not_checked).append(f"source sequences: {by_sequence.reason}")
    if by_sequence.rows and not strict:
        warnings.append(
            f"{by_sequence.rows} evaluated rows are of sequences that were trained on: frames of one video are alike (--strict counts them)"
        )
    return LeakReport(
        run_id=run.id,
        run_name=run.name,
        verdict=_verdict(ways, gaps, strict=strict),
        evaluated=tuple(evaluated.listed),
        trained=tuple(trained.listed),
        ways=tuple(ways),
        warnings=tuple(warnings),
        not_checked=(*gaps, *not_checked),
    )


def _verdict(ways: Sequence[WayFindings], gaps: Sequence[str], *, strict: bool) -> LeakVerdict:
    if any(item.rows and (strict or item.way != "sequence") for item in ways):
        return LeakVerdict.leaks
    return LeakVerdict.inconclusive if gaps else LeakVerdict.clean


def _evaluated_inputs(run: Run, roles: Sequence[str]) -> list[int]:
    known = sorted({item.role for item in run.inputs})
    for role in roles:
        if role == TRAINED:
            raise UsageError(f"'{TRAINED}' rows are what evaluated rows are compared with", hint="--role names an evaluated role")
        if role not in known:
            raise UsageError(f"run {run.id[:12]} has no input '{role}'", hint=f"it has {', '.join(known) or 'none'}")
    return [ordinal for ordinal, item in enumerate(run.inputs) if (item.role in roles if roles else item.role != TRAINED)]


def _add_trained(ports: Ports, run: Run, side: _Side) -> list[str]:
    older = ancestors(ports.rows, run.id)
    runs = {relative.run_id: ports.runs.get(relative.run_id) for relative in older}
    known = {run.id, *runs}
    for ordinal, item in enumerate(run.inputs):
        if item.role == TRAINED:
            side.add(ports, run, ordinal, ())
    for relative in older:
        ancestor = runs[relative.run_id]
        if ancestor.reproduces in known:
            continue  # the same rows again
        for ordinal, item in enumerate(ancestor.inputs):
            if item.role == TRAINED:
                side.add(ports, ancestor, ordinal, relative.path)
    used = ports.rows.used_by(sorted(known))
    made = {edge.digest for edge in ports.rows.makers(sorted({edge.digest for edge in used}))}
    return [
        f"data behind {edge.kind} {edge.name} ({edge.digest[:19]}…), which run {edge.run_id[:12]} started from: no recorded run made it"
        for edge in used
        if edge.digest not in made
    ]


@dataclass(slots=True)
class _Side:
    """Inputs of one kind, with what could not be loaded."""

    inputs: list[InputRows] = field(default_factory=list)
    listed: list[ComparedInput] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def add(self, ports: Ports, run: Run, ordinal: int, path: Sequence[Hop]) -> None:
        item = run.inputs[ordinal]
        read: int | None = None
        try:
            loaded = load_input(ports.objects, run, ordinal, path)
            self.inputs.append(loaded)
            read = None if loaded.read is None else int(loaded.read.sum())
        except LineageError as error:
            self.gaps.append(f"{item.role} input of run {run.id[:12]}: {error.message}")
        self.listed.append(
            ComparedInput(
                run_id=run.id,
                run_name=run.name,
                input=ordinal,
                role=item.role,
                uri=item.uri,
                commit_id=item.commit_id,
                view_name=item.view_name,
                query=item.query,
                rows=item.rows,
                rows_read=read,
                path=steps(path),
            )
        )
