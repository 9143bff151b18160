"""From what a program does with Deep Lake to inputs and outputs of the run that is in progress."""

from __future__ import annotations

import functools
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec

from lineage.autologging.handles import HANDLES, PROCESS, Data, Shown, unobserved
from lineage.autologging.roles import choose_role, variables_of
from lineage.autologging.workers import RUN_OF_PARENT, is_worker, report, reported

if TYPE_CHECKING:
    from lineage.model.dataset import View
    from lineage.record.live import LiveRun
    from lineage.record.reads import ReadLog

_NOBODY = object()
_UNCOMMITTED = "9999999999vzzzzzzzz"  # as in lineage.adapters.datasets.deeplake_open, which is not imported for a constant
_PATIENCE = 20
"""Recording versions of one dataset takes at most a part in so many of the time; the newest is recorded at the end in any case."""


P = ParamSpec("P")


def guarded(step: Callable[P, None]) -> Callable[P, None]:
    """Let no failure of ours reach the program: the first is a warning, and the record says what it can."""

    @functools.wraps(step)
    def careful(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            step(*arguments, **options)
        except Exception as error:  # noqa: BLE001 - the program did not ask for this step, and goes on without it
            if not _warned:
                _warned.append(True)
                warnings.warn(f"lineage: not everything is recorded: {type(error).__name__}: {error}", stacklevel=4)

    return careful


_warned: list[bool] = []


class Recorder:
    """What is recorded, and of which run. One for each process.

    Attributes:
        now: The run that reads belong to; a mark of its own when there is none.
        roles: Names to roles, as the program gave them.
        is_on: Whether anything is recorded.
        joined: The record of `lineage run`, when it was joined because data were read.
    """

    def __init__(self) -> None:
        self.now: object = _NOBODY
        self.roles: dict[str, str] = {}
        self.is_on = False
        self.joined: LiveRun | None = None
        self._lock = threading.RLock()
        self._logs: dict[tuple[str, Shown], ReadLog | None] = {}
        self._waiting: list[Data] = []
        self._made: dict[str, tuple[Shown, list[str]]] = {}
        self._late: dict[str, float] = {}
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        self._lock = threading.RLock()  # another thread may have held it

    # --- runs ---

    def run(self) -> LiveRun | None:
        """The run in progress; inside `lineage run` its record is joined when there is none of this process's own."""
        if PROCESS.is_forked or is_worker():
            return None
        from lineage.record import active
        from lineage.record.reproducing import RUN_VARIABLE

        live = active.current()
        joined = os.environ.get(RUN_VARIABLE)
        if live is None and joined:
            from lineage.api.recording import start_run

            live = self.joined = start_run(trackers=())
            os.environ[RUN_VARIABLE] = joined  # what the program begins by itself adds to the same record
        return live

    @guarded
    def began(self, live: LiveRun) -> None:
        """A run began: what was read before it, and belongs to none yet, is its own."""
        with self._lock:
            self.now = live
            os.environ[RUN_OF_PARENT] = live.id
            live.inputs.before_end.append(functools.partial(self._settle, live))
            waiting, self._waiting = self._waiting, []
            for data in waiting:
                self._attach(data, live)

    @guarded
    def _settle(self, live: LiveRun) -> None:
        from lineage.record import active

        with self._lock, unobserved():
            opened: dict[str, None] = {}
            for data in [*HANDLES.alive()]:
                if data.is_read or data.is_fed:
                    self._attach(data, live)
                    self._count(data, live)
                elif (live.id, data.shown) not in self._logs:
                    opened[data.shown.uri] = None
                data.known_to, data.is_fed = None, False
            HANDLES.read.clear()
            for shown in reported(live._ports.folder, live.id):
                self._record(shown, live)
            for uri in self._made:
                self._record_version(uri, live)
            used = {item.uri for item in live._ports.runs.get(live.id).inputs} | self._made.keys()
            for uri in opened.keys() - used:
                live.note(f"opened, and no row of it was read: {uri}")
            self._made.clear()
            self._logs = {key: log for key, log in self._logs.items() if key[0] != live.id}
            following = active.current(besides=live)
            self.now = _NOBODY if following is None else following
            if following is None:
                os.environ.pop(RUN_OF_PARENT, None)
            else:
                os.environ[RUN_OF_PARENT] = following.id

    # --- inputs ---

    @guarded
    def touched(self, data: Data) -> None:
        """Rows were read for the first time since the run changed."""
        if PROCESS.is_forked or is_worker():
            data.known_to = self.now
            if data.is_foreign or not PROCESS.is_forked:
                report(data, None if self.now is _NOBODY else str(getattr(self.now, "id", "")))
            return
        with self._lock:
            live = self.run()
            if live is None:
                data.known_to = self.now
                if data not in self._waiting:
                    self._waiting.append(data)
                    data.names = self._names(data)
            else:
                self._attach(data, live)

    @guarded
    def fed(self, data: Data) -> None:
        """A loader was made of it: an input whether or not its reads are seen."""
        data.is_fed = True
        if data.known_to is not self.now or self.now is _NOBODY:
            self.touched(data)

    def _names(self, data: Data) -> tuple[str, ...]:
        handle = data.handle()
        return () if handle is None else variables_of((handle,))

    def _attach(self, data: Data, live: LiveRun) -> None:
        data.known_to = live
        self._record(data.shown, live, data)

    def _record(self, shown: Shown, live: LiveRun, data: Data | None = None) -> None:
        from lineage.record.foreign import UNPINNED

        key = (live.id, shown)
        if key in self._logs:
            return
        self._logs[key] = None
        with unobserved():
            if shown.commit_id == _UNCOMMITTED:
                live.note(f"{UNPINNED}rows of {shown.uri} were read that no commit held: they are not recorded as an input")
                return
            for sentence in () if data is None else data.trouble:
                live.note(f"{UNPINNED}{shown.uri}: {sentence}")
            try:
                view, why = self._resolve(shown, None if data is None else data.handle())
                role, by = self._role(shown, () if data is None else self._names(data) or data.names, live)
                self._logs[key] = log = live.inputs.observed(view, role)
            except Exception as error:  # noqa: BLE001 - the program reads on, whatever cannot be recorded of it
                self._failed(live, f"{UNPINNED}{shown.uri} was read and is not recorded as an input", error)
                return
            live.note(f"input '{role}' ({shown}) was opened by the script itself; its role: {by}")
            if why is not None:
                self._logs[key] = None
                log.note(None, range(len(view.rows)))
                live.note(f"{UNPINNED}which rows of {shown.uri} the query showed cannot be told ({why}); all it was asked of is recorded")

    @staticmethod
    def _resolve(shown: Shown, handle: Any) -> tuple[View, str | None]:
        from lineage.adapters.datasets.deeplake_handles import view_behind

        return view_behind(shown.uri, shown.branch, shown.commit_id, shown.tag_id, shown.queries, handle)

    def _role(self, shown: Shown, names: tuple[str, ...], live: LiveRun) -> tuple[str, str]:
        from lineage.model.dataset import check_role

        role, by = choose_role(self.roles, names, shown.tag_name, shown.uri)
        taken = live.record.inputs_by_role()
        if role == "data" and role in taken:
            role = next(f"data-{number}" for number in range(2, len(taken) + 3) if f"data-{number}" not in taken)
        return check_role(role), by

    def _count(self, data: Data, live: LiveRun) -> None:
        log = self._logs.get((live.id, data.shown))
        positions = data.take()
        if log is not None and positions:
            log.note(None, positions)

    # --- outputs ---

    @guarded
    def committed(self, shown: Shown, message: str | None = None) -> None:
        """A version was made."""
        with self._lock:
            live = self.run()
            if live is None:
                return
            commits = [*self._made.get(shown.uri, (shown, []))[1], shown.commit_id]
            self._made[shown.uri] = (shown, commits)
            if time.monotonic() >= self._late.get(shown.uri, 0.0):
                began = time.monotonic()
                self._record_version(shown.uri, live)
                now = time.monotonic()
                self._late[shown.uri] = now + _PATIENCE * (now - began)

    def _record_version(self, uri: str, live: LiveRun) -> None:
        shown, commits = self._made[uri]
        name = uri.rstrip("/").rpartition("/")[2] or "dataset"
        self._output(live, shown, name, "dataset", {"commits": commits})

    @guarded
    def saved(self, shown: Shown) -> None:
        """A view was saved."""
        with self._lock:
            live = self.run()
            if live is not None:
                self._output(live, shown, shown.tag_name or str(shown.tag_id), "view", {})

    @guarded
    def copied(self, source: Shown, target: Shown) -> None:
        """A dataset was copied."""
        with self._lock:
            live = self.run()
            if live is None:
                return
            with unobserved():
                try:
                    view, _ = self._resolve(source, None)
                    log = live.inputs.observed(view, "source")
                    log.note(None, range(len(view.rows)))
                except Exception as error:  # noqa: BLE001 - as above
                    self._failed(live, f"{source.uri} was copied and is not recorded as an input", error)
        self.committed(target)

    def _output(self, live: LiveRun, shown: Shown, name: str, kind: str, details: Mapping[str, Any]) -> None:
        from lineage.adapters.datasets.deeplake_handles import stored_bytes
        from lineage.model.run import Artifact

        same = (kind, shown.uri, shown.tag_id)
        outputs = live.record.outputs
        known = next((item for item in outputs if (item.kind, item.path, item.details.get("view_id")) == same), None)
        if known is not None and known.details.get("commit_id") == shown.commit_id:
            return
        taken = {item.name for item in outputs}
        if known is not None:
            name = known.name
        elif name in taken:
            name = next(f"{name}-{number}" for number in range(2, len(taken) + 3) if f"{name}-{number}" not in taken)
        with unobserved():
            try:
                view, _ = self._resolve(shown, None)
                item = live.inputs.identify(view, kind)
                size_bytes = stored_bytes(view)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(live, f"{shown} was made and is not recorded as an output", error)
                return
        facts = item.model_dump(mode="json", exclude={"role", "used_at"})
        live.record_output(
            Artifact(name=name, kind=kind, path=shown.uri, digest=item.content_digest, size_bytes=size_bytes, details=facts | dict(details))
        )

    @guarded
    def note(self, text: str) -> None:
        """A sentence for the record of the run in progress, once."""
        with self._lock:
            live = self.run()
            if live is not None and text not in live.record.notes:
                live.note(text)

    @staticmethod
    def _failed(live: LiveRun, what: str, error: Exception) -> None:
        from lineage.record.sinks import describe_error

        live.note(f"{what}: {describe_error(error)}")
        warnings.warn(f"lineage: {live.record.notes[-1]}", stacklevel=5)


RECORDER = Recorder()
