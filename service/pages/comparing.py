"""What runs have side by side: rows of tables, each with one value for every run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lineage.lookup.diff import dotted
from lineage.model.environment import Environment
from lineage.model.media import MEDIA
from lineage.model.run import Run


@dataclass(frozen=True, slots=True)
class Line:
    """One thing of every run.

    Attributes:
        values: One for each run; ``None`` where it is absent.
        differs: Whether they are not all the same.
    """

    name: str
    values: tuple[Any, ...]
    differs: bool


def lines(found: Sequence[Mapping[str, Any]], order: Callable[[str], Any] = str) -> list[Line]:
    """Every name that any of the runs has, those that differ first.

    Args:
        found: Values by name, of each run.
        order: Sorts names.
    """
    names = sorted({name for values in found for name in values}, key=order)
    made = [line(name, [values.get(name) for values in found]) for name in names]
    return sorted(made, key=lambda item: not item.differs)


def line(name: str, values: Sequence[Any]) -> Line:
    """One line."""
    return Line(name, tuple(values), any(repr(value) != repr(values[0]) for value in values))


def configuration(runs: Sequence[Run]) -> list[Line]:
    """Command, seed, configuration and what was set for determinism."""
    return lines(
        [
            {"command": " ".join(run.command), "working directory": run.working_directory, "seed": run.seed}
            | dotted(run.config, "config.")
            | dotted(run.determinism, "determinism.")
            for run in runs
        ],
        order=lambda name: (name.startswith("determinism."), name.startswith("config."), name),
    )


def code(runs: Sequence[Run]) -> list[Line]:
    """What code ran."""
    return lines(
        [
            {}
            if run.code is None
            else {
                "git commit": run.code.git_sha,
                "branch": run.code.branch,
                "files (tree)": run.code.content,
                "not committed": len(run.code.changed) or "nothing",
                "repository": run.code.repository,
            }
            for run in runs
        ]
    )


def environment(runs: Sequence[Run]) -> list[Line]:
    """Interpreter, machine, packages and variables."""
    return lines([{} if run.environment is None else _facts(run.environment) for run in runs])


def _facts(found: Environment) -> dict[str, Any]:
    return (
        {
            "interpreter": f"{found.implementation} {found.python}",
            "system": found.platform,
            "C library": found.libc,
            "processor": f"{found.cpu}, {found.cpu_count}",
            "GPUs": ", ".join(map(str, found.gpus)) or "none",
        }
        | {f"package {name}": package.version for name, package in found.packages.items()}
        | {f"variable {name}": value for name, value in found.variables.items()}
    )


def results(runs: Sequence[Run]) -> list[Line]:
    """How they ended: state, and the summary."""
    return lines([{"state": run.state.value} | dict(run.summary) for run in runs], order=lambda name: (name != "state", name))


def outputs(runs: Sequence[Run]) -> list[Line]:
    """Beginnings of the digests of what they made, by name; checkpoints apart, of which there are many."""
    return lines([{item.name: f"{item.digest[:19]}…" for item in run.outputs if item.kind not in ("checkpoint", MEDIA)} for run in runs])


def data(runs: Sequence[Run]) -> list[tuple[str, list[Line]]]:
    """Inputs by role, the first of each role: (role, lines)."""
    roles = dict.fromkeys(item.role for run in runs for item in run.inputs)
    found = [{role: items[0] for role, items in run.inputs_by_role().items()} for run in runs]
    names = ("uri", "commit_id", "branch", "view_name", "query", "rows", "rows_total", "content_digest")
    called = {"uri": "address", "commit_id": "commit id", "view_name": "view", "rows_total": "rows in all", "content_digest": "content"}
    return [
        (
            role,
            [line(called.get(name, name), [getattr(inputs[role], name) if role in inputs else None for inputs in found]) for name in names],
        )
        for role in roles
    ]
