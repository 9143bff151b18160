"""Examples of what is found by comparing: differences, step logs, leaks, what a sample went into."""

from __future__ import annotations

import hashlib
from typing import Any

from lineage.model.difference import (
    Cause,
    CodeDifference,
    DataDifference,
    DataSide,
    Difference,
    EnvironmentDifference,
    Results,
    RunSide,
    ValueChange,
)
from lineage.model.findings import (
    AffectedInput,
    AffectedModel,
    AffectedRun,
    CleanedView,
    ComparedInput,
    ImpactReport,
    LeakReport,
    LeakVerdict,
    Match,
    PlanStep,
    Replacement,
    RetrainingPlan,
    RowName,
    WayFindings,
)
from lineage.model.steps import StepDifference, StepRowsShown, StepsCompared
from service import schemas
from service.examples import example, record

_OTHER = "b1946ac92492d2347c6235b4d2611184"
_SAMPLE = "0000002_00005_d_0000014"


def run_steps() -> dict[str, Any]:
    """The state before the first step, and the first step."""
    rows = StepRowsShown(role="train", epoch=0, positions=(9, 4), rows=(17, 5), sample_ids=(_SAMPLE, None))
    digests = {name: hashlib.sha256(name.encode()).hexdigest()[:32] for name in ("batch", "input", "gradient", "parameters")}
    before = schemas.StepOfRun(step=-1, rows=(), losses=(), batch=None, input=None, gradient=None, parameters=digests["parameters"])
    first = schemas.StepOfRun(step=0, rows=(rows,), losses=(2.31,), **digests)
    head = hashlib.sha256(b"head").hexdigest()[:32]
    return example(
        schemas.RunSteps(run_id=record().id, rank=0, every=1, steps=230, head=head, torn=None, records=(before, first), next_cursor="2")
    )


def steps_compared() -> dict[str, Any]:
    """Two trainings that part in the first loss."""
    rows = (StepRowsShown(role="train", epoch=0, positions=(9,), rows=(17,), sample_ids=(_SAMPLE,)),)
    first = StepDifference(step=0, phase="loss", since=None, rows_a=rows, rows_b=rows, losses_a=(2.31,), losses_b=(2.28,))
    return example(StepsCompared(a=record().id, b=_OTHER, rank=0, steps_a=230, steps_b=230, compared=230, every=1, first=first))


def impact() -> dict[str, Any]:
    """A picture that one run was trained on."""
    item, made = record().inputs[0], record().outputs[0]
    held = AffectedInput(
        run_id=record().id,
        input=0,
        role=item.role,
        uri=item.uri,
        commit_id=item.commit_id,
        view_id=item.view_id,
        view_name=item.view_name,
        view_key=item.view_key,
        rows=item.rows,
        rows_held=1,
        rows_read=1,
        epochs=((0, 1),),
    )
    trained = AffectedRun(
        run_id=record().id,
        run_name=record().name,
        project=record().project,
        job_type=record().job_type,
        state=record().state.value,
        started_at=record().started_at.isoformat(),
        reason="trained",
        reproduces=None,
        inputs=(held,),
    )
    model = AffectedModel(
        run_id=record().id, run_name=record().name, name=made.name, digest=made.digest, is_trained_on_it=True, reproduces=None
    )
    view = CleanedView(
        view_key=item.view_key,
        view_name=item.view_name,
        uri=item.uri,
        branch=item.branch,
        commit_id=item.commit_id,
        rows=item.rows,
        rows_left=item.rows - 1,
        excluded=(17,),
        excluded_ids=(_SAMPLE,),
        query=None,
        command=None,
        name="cars-20px-without-0000002_00005_d_0000014",
        reason="the dataset cannot be asked now (the service opens no dataset): leave the rows out by hand",
    )
    step = PlanStep(
        number=1,
        run_id=record().id,
        run_name=record().name,
        action="train",
        command=record().command,
        working_directory=".",
        git_sha="9fceb02d0ae598e95dc970b74767f19372d61af8",
        replace=(Replacement(what=f"view '{item.view_name}' of {item.uri}", by=view.name),),
    )
    return example(
        ImpactReport(
            subject="sample '0000002_00005_d_0000014'",
            rows=1,
            sample_ids=(_SAMPLE,),
            runs=(trained,),
            models=(model,),
            plan=RetrainingPlan(views=(view,), steps=(step,)),
            not_checked=("copies whose bytes differ (re-encoded or resized pictures)",),
        )
    )


def difference() -> dict[str, Any]:
    """What differs from a run with another seed."""
    own = DataSide(**record().inputs[0].model_dump(include=set(DataSide.model_fields)))
    seed = ValueChange(name="seed", a="7", b="8")

    def side(run_id: str, name: str) -> RunSide:
        return RunSide(
            run_id=run_id,
            name=name,
            project=record().project,
            job_type=record().job_type,
            state=record().state.value,
            started_at=record().started_at.isoformat(),
        )

    return example(
        Difference(
            a=side(record().id, record().name),
            b=side(_OTHER, "train-b1946a"),
            is_same=False,
            causes=(Cause(subject="configuration", sentence="the seed differs: 7 and 8"),),
            data=(DataDifference(role="train", a=own, b=own, is_same=True, matched_by="content", same=own.rows),),
            code=CodeDifference(is_same=True, a="9fceb02d0a", b="9fceb02d0a"),
            configuration=(seed,),
            base_weights=(),
            environment=EnvironmentDifference(),
            results=Results(is_same=False, first_difference="loss at step 0: 2.31, then 2.28"),
        )
    )


def leaks() -> dict[str, Any]:
    """One validation row that was trained on."""
    item = record().inputs[0]
    shared = {"run_id": record().id, "uri": item.uri, "row": 17, "sample_id": _SAMPLE, "sequence": "0000002"}
    match = Match(
        evaluated=RowName(input=1, role="validation", position=3, **shared), trained=RowName(input=0, role="train", position=9, **shared)
    )

    def compared(number: int, role: str, rows: int) -> ComparedInput:
        return ComparedInput(
            run_id=record().id,
            run_name=record().name,
            input=number,
            role=role,
            uri=item.uri,
            commit_id=item.commit_id,
            view_name=item.view_name,
            query=item.query,
            rows=rows,
        )

    return example(
        LeakReport(
            run_id=record().id,
            run_name=record().name,
            verdict=LeakVerdict.leaks,
            evaluated=(compared(1, "validation", 548),),
            trained=(compared(0, "train", item.rows),),
            ways=(
                WayFindings(way="row", checked=True, rows=1, further_rows=1, trained_rows=1, examples=(match,)),
                WayFindings(way="picture", checked=True, rows=1, trained_rows=1),
                WayFindings(way="near", checked=False, reason="left out"),
                WayFindings(way="sequence", checked=True, rows=12, further_rows=11, trained_rows=40),
            ),
            not_checked=("near-duplicate pictures: left out",),
        )
    )
