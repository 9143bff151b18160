"""Why a reproduction came out differently: what the plan found to differ, likeliest first, and what the first difference itself tells."""

from __future__ import annotations

from lineage.model.comparison import FirstDifference
from lineage.model.plan import Ingredient, Plan

_ORDER = ("seed", "code", "data", "file", "environment")
"""Of two things that differ, the one that usually decides."""

_BY_PHASE = {
    "start": "the parameters come from random numbers that no recorded seed decides, or from a file that was not recorded",
    "rows": "the order of rows depends on something not recorded: an unseeded sampler, the time, the order of a folder or a set",
    "batch": "the same rows gave another batch: augmentation with unseeded random numbers, or another decoder",
    "input": "the batch was changed between loader and model by something that was not recorded, for example unseeded random numbers",
    "loss": "the same input gave another loss: unseeded dropout, another number of threads, or an operation without a deterministic form",
    "gradient": "the loss is the same and its gradient is not: an operation whose backward pass has no deterministic form",
    "parameters": "the gradient is the same and the parameters are not: the optimizer, its state, or buffers such as running means",
    "metric": "no step log was recorded, so nothing tells where in the step it comes from; run.watch(model, optimizer) keeps one",
}


def likely_causes(plan: Plan | None, first: FirstDifference | None) -> tuple[str, ...]:
    """One sentence for each thing that differs, likeliest first; then what the phase of the first difference points at.

    Args:
        plan: What the reproduction found before it began.
        first: Where the runs part, when that is known.
    """
    found: list[str] = []
    for severity in ("warning", "note"):
        for item in sorted((item for item in plan.ingredients if item.severity == severity), key=_place) if plan is not None else ():
            found += [f"{item.name}: {line}" for line in item.detail or (item.found,)]
    if first is not None:
        found.append(_BY_PHASE[first.phase])
    return tuple(found)


def _place(item: Ingredient) -> int:
    return next((number for number, name in enumerate(_ORDER) if item.name.startswith(name)), len(_ORDER))
