"""Examples of answers about sweeps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lineage.model.sweep_findings import (
    Correlation,
    Importance,
    ParameterImportance,
    Share,
    SweepParameter,
    SweepReport,
    SweepTrialView,
    SweepView,
)
from service.examples import example, record
from service.schemas_sweeps import SweepBrief, SweepPage

_SWEEP = "k3x9a2mf"
_METRIC = "val_accuracy"
_BEGAN = datetime(2026, 4, 7, 9, 30, tzinfo=UTC)
_TRIALS = 24


def page() -> dict[str, Any]:
    """A page of sweeps."""
    brief = SweepBrief(
        id=_SWEEP,
        name="rates",
        project="parking",
        method="bayes",
        metric=_METRIC,
        goal="maximize",
        began_at=_BEGAN,
        complete=_TRIALS - 1,
        stopped=0,
        running=0,
        failed=1,
        best_run_id=record().id,
        best_value=0.914,
    )
    return example(SweepPage(items=(brief,), next_cursor=None))


def report() -> dict[str, Any]:
    """A sweep of one parameter; one of its trials is shown."""
    trial = SweepTrialView(
        number=17,
        attempt=1,
        run_id=record().id,
        run_name=record().name,
        state="complete",
        started_at=_BEGAN,
        duration_s=61.8,
        parameters={"optimizer.learning_rate": 0.0123},
        value=0.914,
        error=None,
    )
    view = SweepView(
        id=_SWEEP,
        is_sweep=True,
        name="rates",
        project="parking",
        method="bayes",
        metric=_METRIC,
        goal="maximize",
        definition={
            "method": "bayes",
            "metric": {"name": _METRIC, "goal": "maximize"},
            "parameters": {"optimizer": {"parameters": {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1}}}},
        },
        parameters=(
            SweepParameter(name="optimizer.learning_rate", kind="number", scale="log", low=0.00013, high=0.0871, distinct=_TRIALS),
        ),
        trials=(trial,),
        best=trial.run_id,
        logged=("loss", _METRIC),
    )
    importance = Importance(
        metric=_METRIC,
        goal="maximize",
        trials=_TRIALS - 1,
        left_out={"failed": 1},
        parameters=(
            ParameterImportance(
                name="optimizer.learning_rate",
                forest=Share(share=1.0, low=1.0, high=1.0),
                fanova=1.0,
                correlations=(Correlation(category=None, pearson=0.71, spearman=0.74, trials=_TRIALS - 1),),
            ),
        ),
        explained=0.63,
        draws=20,
    )
    return example(SweepReport(sweep=view, importance=importance, refused=None))
