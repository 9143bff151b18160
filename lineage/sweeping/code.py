"""Whether every trial of a sweep runs the same code."""

from __future__ import annotations

from collections.abc import Callable

from lineage.errors import LineageError
from lineage.model.code import CodeVersion
from lineage.model.run import Run
from lineage.ports import Ports, RunQuery
from lineage.record.live import LiveRun

_SHOWN = 3
_NO_CODE = ("wandb/", "mlruns/")
_SOURCE = (
    *(".py", ".pyi", ".pyx", ".ipynb", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".sh"),
    *(".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".rs"),
)


class SameCode:
    """Compares each trial's code with that of the sweep's first trial.

    What counts is what git tracks, and source files: logs, results and weights that trials leave behind are no change of it.
    """

    def __init__(self, ports: Ports, sweep_id: str) -> None:
        self._ports = ports
        self._sweep_id = sweep_id
        self._first: Run | None = None
        self._has_said = False
        self._written: set[str] = set()

    def check(self, live: LiveRun, say: Callable[[str, str], None]) -> None:
        """Note in a trial's record how its code differs, and say it the first time."""
        code = live.record.code
        if self._first is None:
            self._first = self._first_run() or live.record
        first = self._first.code
        if code is None or first is None or code.content == first.content:
            return
        changed = self._changed(first, code)
        if not changed:
            return
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        where = f"the code is not that of the sweep's first trial (run {self._first.id[:12]})"
        told = f"{where}, so that results cannot be compared: {', '.join(changed[:_SHOWN])}{more}"
        live.note(told)
        if not self._has_said:
            say("warning", told)
        self._has_said = True

    def wrote(self, run: Run) -> None:
        """A trial is over: what it wrote is no code."""
        self._written.update(item.path for item in run.outputs)

    def _first_run(self) -> Run | None:
        briefs = self._ports.runs.briefs(RunQuery(group=self._sweep_id))
        found = (self._ports.runs.get(item.id) for item in reversed(briefs))
        return next((run for run in found if run.sweep is not None and run.reproduces is None and run.repeats is None), None)

    def _changed(self, first: CodeVersion, code: CodeVersion) -> list[str]:
        try:
            changes = self._ports.source.changed_files(first, code)
        except LineageError:
            changes = None
        if changes is None:
            return ["which files, cannot be told here"]
        written = self._written | ({item.path for item in self._ports.runs.get(self._first.id).outputs} if self._first else set())
        paths = [item.path for item in changes if item.path not in written and not item.path.startswith(_NO_CODE)]
        if all(path.endswith(_SOURCE) for path in paths):
            return paths
        untracked = self._untracked(first) | self._untracked(code)
        return [path for path in paths if path.endswith(_SOURCE) or path not in untracked]

    def _untracked(self, code: CodeVersion) -> set[str]:
        """Files of a snapshot that its commit does not have."""
        committed = code.model_copy(update={"tree_sha": code.git_sha, "inner": ()})
        try:
            added = self._ports.source.changed_files(committed, code) if code.git_sha is not None else None
        except LineageError:
            added = None
        return {item.path for item in added or () if item.status in ("added", "renamed")}
