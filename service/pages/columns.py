"""Columns of the table of runs: what is sorted, shown and grouped by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lineage.lookup.diff import dotted
from lineage.lookup.spread import last_value, metrics_in_order
from lineage.model.run import Run

ASIDE = ("timing/", "system/")
"""Metrics whose names begin so tell of the machine, not of the model."""

METRIC, CONFIG = "metric:", "config:"
"""How columns of metrics (their last value) and of configuration fields (dotted) are named."""

_BY_ITSELF = 2  # metrics that are shown without being asked for


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        key: Its name in addresses.
        title: Its head.
        value: What a run has there, to sort and to group by; ``None`` for nothing.
    """

    key: str
    title: str
    value: Callable[[Run], Any]

    @property
    def is_plain(self) -> bool:
        """Whether a cell shows the value as it is."""
        return self.key not in ("project", "state", "started", "took", "data", "made", "reproduced")


FACTS: Mapping[str, Column] = {
    column.key: column
    for column in (
        Column("name", "Run", lambda run: run.name),
        Column("project", "Project", lambda run: run.project),
        Column("group", "Group", lambda run: run.group),
        Column("job_type", "Job type", lambda run: run.job_type),
        Column("state", "State", lambda run: run.state.value),
        Column("started", "Started", lambda run: run.started_at.timestamp()),
        Column("took", "Took", lambda run: run.duration_s),
        Column("data", "Data", lambda run: sum(item.rows for item in run.inputs) if run.inputs else None),
        Column("version", "Dataset version", lambda run: _texts(f"{_last_part(item.uri)} @ {item.commit_id}" for item in run.inputs)),
        Column("view", "View", lambda run: _texts(item.view_name or item.view_id for item in run.inputs)),
        Column("made", "Made", lambda run: len(run.outputs) or None),
        Column("reproduced", "Reproduced", lambda run: _texts(item.verdict for item in run.reproductions)),
        Column("seed", "Seed", lambda run: run.seed),
        Column("code", "Code", lambda run: None if run.code is None else (run.code.git_sha or run.code.snapshot_sha)[:10]),
        Column("user", "User", lambda run: run.user or None),
        Column("host", "Machine", lambda run: run.host or None),
        Column("tags", "Tags", lambda run: _texts(run.tags)),
    )
}
GROUPING = ("group", "project", "job_type", "state", "version", "view", "seed", "code", "user", "host", "tags")
"""Facts that runs can be put together by, besides fields of their configuration."""

_ALWAYS = ("project", "job_type", "state", "started", "took", "data", "reproduced")


def column(key: str) -> Column | None:
    """The column with this key; ``None`` when there is no such column."""
    if key in FACTS:
        return FACTS[key]
    name = key.partition(":")[2]
    if key.startswith(METRIC) and name:
        return Column(key, name, lambda run: last_value(run, name))
    if key.startswith(CONFIG) and name:
        return Column(key, name, lambda run: configured(run, name))
    return None


def configured(run: Run, name: str) -> Any:
    """The configuration field under a dotted name; ``None`` where it is absent."""
    return dotted(run.config).get(name)


def metric_names(runs: Sequence[Run]) -> list[str]:
    """Metrics that any of the runs has: those of an evaluation first, of them those of most runs; those of the machine last."""
    return metrics_in_order(Counter(name for run in runs for name in run.summary if last_value(run, name) is not None))


def config_names(runs: Sequence[Run]) -> list[str]:
    """Configuration fields that any of the runs has, those that differ between them first."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for name, value in dotted(run.config).items():
            values.setdefault(name, set()).add(repr(value))
    return sorted(values, key=lambda name: (len(values[name]) < 2, name))


def usual(runs: Sequence[Run]) -> list[str]:
    """Keys of the columns that are shown when nobody chose any."""
    metrics = [name for name in metric_names(runs) if not name.startswith(ASIDE)][:_BY_ITSELF]
    kinds = {run.job_type for run in runs}
    facts = [key for key in _ALWAYS if key != "job_type" or len(kinds) > 1]  # what is the same everywhere tells nothing
    return [*facts[:-2], *(METRIC + name for name in metrics), *facts[-2:]]


def in_order(runs: Iterable[Run], by: Column, *, descending: bool) -> list[Run]:
    """Runs by a column; numbers before texts, and those that have nothing there last in either direction. Ties: newest first."""
    newest = sorted(runs, key=lambda run: (run.started_at, run.id), reverse=True)
    told = [(value, run) for run in newest if (value := by.value(run)) is not None]
    numbers = [item for item in told if _is_number(item[0])]
    texts = [item for item in told if not _is_number(item[0])]
    numbers.sort(key=lambda item: item[0], reverse=descending)
    texts.sort(key=lambda item: str(item[0]), reverse=descending)
    ordered = [*texts, *numbers] if descending else [*numbers, *texts]
    return [*(run for _, run in ordered), *(run for run in newest if by.value(run) is None)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # a NaN has no place among numbers


def _texts(values: Iterable[str | None]) -> str | None:
    return ", ".join(dict.fromkeys(value for value in values if value)) or None


def _last_part(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2] or uri
