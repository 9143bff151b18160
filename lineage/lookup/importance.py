"""Which parameters of a sweep mattered, from its complete trials; refused where that cannot be told.

As W&B's panel: a random forest's importance, with each category as a feature of its own, beside correlations. Categories are summed for
their parameter, and how sure it is is said: trials are drawn again, with replacement, and the forest is fitted again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lineage.lookup.sweeps import as_number, text_of
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
from lineage.ports.importance import Domain, ImportanceMeter

LEAST_TRIALS = 20
"""With fewer complete trials a forest ranks parameters by chance."""

_TREES, _DRAWS, _TREES_OF_A_DRAW = 100, 20, 25
_SEED = 0
_FORETELLS_LITTLE = 0.1
_LARGEST = 1e150  # squares of what is larger are no numbers any more


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Parameters as the forest gets them.

    Attributes:
        columns: float64, shape (trials, features).
        owners: Number of the parameter of each feature, int, shape (features,).
        domains: The parameters as they are.
    """

    columns: Any
    owners: Any
    domains: list[Domain]


def report_of(view: SweepView, meter: ImportanceMeter, *, with_stopped: bool = False) -> SweepReport:
    """The sweep with what mattered in it, or why that cannot be told; arguments as of :func:`find_importance`."""
    found = find_importance(view, meter, with_stopped=with_stopped)
    is_told = isinstance(found, Importance)
    return SweepReport(sweep=view, importance=found if is_told else None, refused=None if is_told else found)


def find_importance(view: SweepView, meter: ImportanceMeter, *, with_stopped: bool = False) -> Importance | str:
    """Which parameters mattered; the same on every call.

    Args:
        view: The sweep.
        meter: Measures.
        with_stopped: Also trials that were stopped early, by the last value that was told; it is one of another length of training.

    Returns:
        What mattered; or the reason why that cannot be told: it is about no metric, fewer than twenty trials are complete with a finite
        value, all values are equal, or no parameter varies over them.
    """
    chosen, left_out = _chosen(view, with_stopped=with_stopped)
    parameters = [item for item in view.varying if _varies(item, chosen)]
    reason = _reason_against(view, chosen, left_out, parameters)
    if reason is not None:
        return reason
    target = np.array([item.finite for item in chosen], float)
    if (largest := np.abs(target).max()) >= _LARGEST:
        target = target / largest  # shares and correlations stay what they are
    encoded = _encode(parameters, chosen)
    shares, explained = _forest(meter, encoded, target, len(parameters))
    fanova = meter.fanova(encoded.domains, target, seed=_SEED)
    found = [
        ParameterImportance(name=item.name, forest=shares[i], fanova=fanova[i], correlations=_correlations(item, chosen, target))
        for i, item in enumerate(parameters)
    ]
    found.sort(key=lambda item: (-item.forest.share, item.name))
    notes = [
        f"where '{item.name}' is not set the forest is told so, beside the median of the others"
        for item in parameters
        if item.kind == "number" and item.missing
    ]
    notes += _doubts(found, explained)
    return Importance(
        metric=view.metric or "",
        goal=view.goal,
        trials=len(chosen),
        left_out=left_out,
        parameters=tuple(found),
        explained=explained,
        draws=_DRAWS,
        notes=tuple(notes),
    )


def _chosen(view: SweepView, *, with_stopped: bool) -> tuple[list[SweepTrialView], dict[str, int]]:
    states = ("complete", "stopped") if with_stopped else ("complete",)
    chosen, left_out = [], Counter[str]()
    for item in view.trials:
        if item.state not in states:
            left_out["stopped early" if item.state == "stopped" else item.state] += 1
        elif item.value is None:
            left_out["without the metric"] += 1
        elif item.finite is None:
            left_out["not finite"] += 1
        else:
            chosen.append(item)
    return chosen, dict(sorted(left_out.items()))


def _reason_against(
    view: SweepView, chosen: Sequence[SweepTrialView], left_out: dict[str, int], parameters: Sequence[SweepParameter]
) -> str | None:
    """Why nothing can be told; ``None`` when something can."""
    if view.metric is None:
        return f"the sweep is about no metric; name one: {', '.join(view.logged[:12]) or 'its runs logged none'}"
    count = len(chosen)
    if count < LEAST_TRIALS:
        others = f" ({', '.join(f'{number} {word}' for word, number in left_out.items())})" if left_out else ""
        return (
            f"{count} of {len(view.trials)} trials are complete with a finite '{view.metric}'{others}; under {LEAST_TRIALS},"
            " which parameter mattered is told by chance"
        )
    if len({item.finite for item in chosen}) == 1:
        return f"'{view.metric}' is {chosen[0].finite:.6g} in each of the {count} trials that count: nothing can have mattered"
    return None if parameters else f"no parameter has more than one value over the {count} trials that count"


def _varies(item: SweepParameter, chosen: Sequence[SweepTrialView]) -> bool:
    return len({text_of(trial.parameters[item.name]) if item.name in trial.parameters else None for trial in chosen}) > 1


def _encode(parameters: Sequence[SweepParameter], chosen: Sequence[SweepTrialView]) -> _Encoded:
    columns: list[Any] = []
    owners: list[int] = []
    domains: list[Domain] = []

    def add(number: int, *made: Any) -> None:
        columns.extend(made)
        owners.extend([number] * len(made))

    for number, item in enumerate(parameters):
        if item.kind == "number":
            values = np.array([_number(trial, item.name) for trial in chosen])
            missing = np.isnan(values)
            values[missing] = np.median(values[~missing])
            is_log = item.scale == "log"
            if values.min() < values.max():
                domains.append(Domain(values if np.abs(values).max() < _LARGEST else _ranks(values), 0, is_log))
            else:  # all that varies is whether it is set
                domains.append(Domain(missing.astype(float), 2, False))
            add(number, np.log(values) if is_log else values, *([missing.astype(float)] if missing.any() else []))
        else:
            texts = [_text(trial, item.name) for trial in chosen]
            present = sorted(set(texts))
            add(number, *(np.array([text == each for text in texts], float) for each in present))
            domains.append(Domain(np.array([present.index(text) for text in texts], float), len(present), False))
    # Trees keep features as 32-bit numbers: only their order counts there, so ranks do as well, and none is too large.
    ranked = [np.unique(column, return_inverse=True)[1].astype(float) for column in columns]
    return _Encoded(np.column_stack(ranked), np.array(owners), domains)


def _number(trial: SweepTrialView, name: str) -> float:
    found = as_number(trial.parameters.get(name))
    return math.nan if found is None else found


def _text(trial: SweepTrialView, name: str) -> str:
    return text_of(trial.parameters[name]) if name in trial.parameters else "\0not set"


def _forest(meter: ImportanceMeter, encoded: _Encoded, target: Any, count: int) -> tuple[list[Share], float]:
    def summed(importances: Any) -> Any:
        return np.bincount(encoded.owners, importances, count)

    importances, explained = meter.judged_forest(encoded.columns, target, seed=_SEED, trees=_TREES)
    whole = summed(importances)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    drawn = []
    for draw in range(_DRAWS):
        rows = generator.integers(0, len(target), len(target))
        drawn.append(summed(meter.forest(encoded.columns[rows], target[rows], seed=_SEED + 1 + draw, trees=_TREES_OF_A_DRAW)))
    low, high = np.percentile(drawn, (10, 90), axis=0)
    shares = [
        Share(share=float(share), low=float(min(least, share)), high=float(max(most, share)))
        for share, least, most in zip(whole, low, high, strict=True)
    ]
    return shares, explained


def _correlations(item: SweepParameter, chosen: Sequence[SweepTrialView], target: Any) -> tuple[Correlation, ...]:
    if item.kind == "category":
        texts = [_text(trial, item.name) for trial in chosen]
        return tuple(
            _correlation(category.removeprefix("\0"), np.array([text == category for text in texts], float), target)
            for category in sorted(set(texts), key=lambda text: (text.startswith("\0"), text))
        )
    values = np.array([_number(trial, item.name) for trial in chosen])
    is_set = ~np.isnan(values)
    values, others = values[is_set], target[is_set]
    return (_correlation(None, np.log(values) if item.scale == "log" else values, others),)


def _correlation(category: str | None, values: Any, target: Any) -> Correlation:
    return Correlation(
        category=category, pearson=_pearson(values, target), spearman=_pearson(_ranks(values), _ranks(target)), trials=len(values)
    )


def _pearson(a: Any, b: Any) -> float | None:
    """Linear correlation; ``None`` when one of the two does not vary."""
    if len(a) < 2:
        return None
    a, b = _centred(a), _centred(b)
    both = math.sqrt((a * a).sum() * (b * b).sum())
    return float(np.clip((a * b).sum() / both, -1.0, 1.0)) if both > 0 else None


def _centred(values: Any) -> Any:
    """Around 0 and between -2 and 2: sums and squares of huge numbers are none."""
    scaled = values / (np.abs(values).max() or 1.0)
    scaled = scaled - scaled.mean()
    return scaled / (np.abs(scaled).max() or 1.0)


def _ranks(values: Any) -> Any:
    """Ranks; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[places]


def _doubts(found: Sequence[ParameterImportance], explained: float) -> list[str]:
    notes = []
    if explained < _FORETELLS_LITTLE:
        notes.append(
            f"the forest foretells little of trials that it has not seen (R² {explained:.2f}): the shares say more about chance than about"
            " parameters"
        )
    if len(found) > 1 and found[1].forest.high >= found[0].forest.low:
        notes.append(f"whether '{found[0].name}' or '{found[1].name}' mattered more is not certain: their intervals overlap")
    return notes
