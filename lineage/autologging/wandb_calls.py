"""Weights & Biases, followed: a W&B run of the script's own is recorded, and what is logged to it is logged to the record, too.

What a tracker of ours says to W&B is no news and is let through (:mod:`lineage.ports.telling`).
"""

from __future__ import annotations

import filecmp
import functools
import glob
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lineage.autologging.handles import PROCESS
from lineage.autologging.recorder import RECORDER
from lineage.autologging.wandb_media import Build, WatchedModel, histograms_in, media_in, numbers_in
from lineage.autologging.workers import is_worker
from lineage.ports.telling import heard_from, is_telling, joining

if TYPE_CHECKING:
    from lineage.record.live import LiveRun

_NAME = "wandb"
_GLOBALS = ("log", "log_artifact", "use_artifact", "save", "define_metric", "watch")
_OF_MEDIA = ("run_table", "wandb-run-incremental-table")  # types of artifacts in which W&B keeps what was logged as media


class _Bound:
    """A W&B run and the record that it is in."""

    def __init__(self, run: Any, live: LiveRun, *, is_own: bool) -> None:
        self.run = run
        self.live = live
        self.is_own = is_own
        self.config_names: set[str] = set(_config_of(run))
        self.is_logging = False
        self.watched = WatchedModel(self.keep)
        live.inputs.before_end.append(functools.partial(self.watched.flush, is_last=True))

    def look_at(self, data: Any) -> tuple[dict[str, float], list[tuple[str, Build]]]:
        """(numbers, media) of what is about to be logged."""
        if not isinstance(data, Mapping):
            return {}, []
        try:
            return dict(numbers_in(data)), [*media_in(data)]
        except Exception as error:  # noqa: BLE001 - an object of the program's that cannot be looked at is W&B's to refuse
            self.live.media.say(f"some of what W&B was given is not recorded: {type(error).__name__}")
            return {}, []

    def keep(self, key: str, step: int, build: Build) -> None:
        """Keep media that W&B was given."""
        from lineage.record.sinks import describe_error

        if self.live._is_secondary:  # as with numbers, those of the first process of a training are kept
            return
        try:
            self.live.media.keep(key, step, build)
        except Exception as error:  # noqa: BLE001 - W&B has it; that we have not is noted
            self.live.media.say(f"some of what W&B was given as media is not kept, '{key}' first: {describe_error(error)}")


_bound: list[_Bound] = []
_joined: list[bool] = []


def follow_wandb(module: ModuleType) -> None:
    """Wrap what begins, describes, feeds and ends a W&B run. Once for each process."""
    if getattr(module.init, "_lineage_follows", False):
        return
    _replace(module, "init", _beginning)
    module.init._lineage_follows = True  # the mark goes where the function goes
    _follow_class(module.Run)
    config = type(module.Config())
    for name in ("update", "__setitem__", "__setattr__", "setdefaults"):
        _replace(config, name, _configuring)
    if module.run is not None and RECORDER.is_on:
        _began(module.run)
        _rename(module, module.run)


def _follow_class(kind: type) -> None:
    for name, wrapping in (
        ("log", _logging),
        ("_log", _hearing),
        ("watch", _watching),
        ("define_metric", _defining),
        ("log_artifact", _keeping),
        ("use_artifact", _using),
        ("save", _saving),
        # Every way to the end of a run leads through the private method, a public one only through `finish` itself.
        ("_finish" if hasattr(kind, "_finish") else "finish", _ending),
    ):
        _replace(kind, name, wrapping)
    kind._lineage_follows = True  # type: ignore[attr-defined]  # as above


def _rename(module: ModuleType, run: Any) -> None:
    """Let functions of the module be those of its run, which are followed now."""
    for name in _GLOBALS:
        setattr(module, name, getattr(run, name))


def _replace(owner: Any, name: str, wrapping: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = vars(owner).get(name)
    if original is not None:
        setattr(owner, name, functools.wraps(original)(wrapping(original)))


def _is_ours() -> bool:
    return not RECORDER.is_on or is_telling() or PROCESS.is_forked or is_worker()


def _bound_to(run: Any) -> _Bound | None:
    return next((item for item in reversed(_bound) if item.run is run and item.live.inputs.is_open), None)


# --- beginning and end ---


def _beginning(original: Callable[..., Any]) -> Callable[..., Any]:
    def init(*arguments: Any, **options: Any) -> Any:
        run = original(*arguments, **options)
        if not _is_ours():
            if "_lineage_follows" not in vars(type(run)):  # W&B has another class for runs that are disabled
                _follow_class(type(run))
                module = sys.modules[_NAME]
                if module.run is run:
                    _rename(module, run)
            _began(run)
        return run

    return init


def _began(run: Any) -> None:
    if _bound_to(run) is not None:
        return
    try:
        _bound[:] = [item for item in _bound if item.live.inputs.is_open]
        _bound.append(_bind(run))
    except Exception as error:  # noqa: BLE001 - the script's own tracking goes on without ours, and is told
        from lineage.record.sinks import describe_error

        warnings.warn(f"lineage: this W&B run is not recorded: {describe_error(error)}", stacklevel=4)


def _bind(run: Any) -> _Bound:
    from lineage.api.recording import start_run
    from lineage.record import active
    from lineage.record.foreign import add_config, join_tracker
    from lineage.record.reproducing import RUN_VARIABLE

    config = _config_of(run)
    is_disabled = bool(getattr(run, "disabled", False))
    outer = active.current()
    command = os.environ.get(RUN_VARIABLE)
    if command and _joined:  # the first one is that of the command; further ones are runs of their own
        os.environ.pop(RUN_VARIABLE)
        command = None
    is_of_script = outer is not None and outer is not RECORDER.joined and not any(item.live is outer and item.is_own for item in _bound)
    if outer is not None and is_of_script and not command:
        bound = _Bound(run, outer, is_own=False)
        if not is_disabled:
            with joining(run):
                join_tracker(outer, _NAME)
        add_config(outer, config)
        return bound
    with joining(run):
        live = start_run(
            project=_text(run, "project"),
            job_type=_text(run, "job_type"),
            name=_text(run, "name"),
            group=_text(run, "group"),
            tags=tuple(map(str, getattr(run, "tags", None) or ())),
            trackers=() if is_disabled else (_NAME,),
        )
    bound = _Bound(run, live, is_own=True)
    bound.config_names = set(config)
    add_config(live, config)
    if command:
        _joined.append(True)
        os.environ[RUN_VARIABLE] = command  # a run that the script begins by itself adds to the same record
    live.inputs.before_end.append(functools.partial(_add_last_config, bound))
    return bound


def _text(run: Any, name: str) -> str | None:
    value = getattr(run, name, None)
    return value if isinstance(value, str) and value else None


def _ending(original: Callable[..., Any]) -> Callable[..., Any]:
    def finish(self: Any, exit_code: int | None = None, *arguments: Any, **options: Any) -> Any:
        bound = None if _is_ours() else _bound_to(self)
        if bound is not None:
            _end(bound, exit_code)
        return original(self, exit_code, *arguments, **options)

    return finish


def _end(bound: _Bound, exit_code: int | None) -> None:
    from lineage.model.run import RunState
    from lineage.record.sinks import describe_error

    if not bound.is_own:
        _add_last_config(bound)
        return
    error = sys.exc_info()[1]
    if isinstance(error, KeyboardInterrupt):
        bound.live.finish(RunState.aborted, "interrupted")
    elif exit_code:
        bound.live.finish(RunState.failed, f"W&B was told exit status {exit_code}" if error is None else describe_error(error))
    else:
        bound.live.finish()


def _add_last_config(bound: _Bound) -> None:
    _add_config(bound, {name: value for name, value in _config_of(bound.run).items() if name in bound.config_names})


# --- what is logged ---


def _logging(original: Callable[..., Any]) -> Callable[..., Any]:
    def log(self: Any, data: Any, step: int | None = None, *arguments: Any, **options: Any) -> Any:
        bound = None if _is_ours() else _bound_to(self)
        counted = step if step is not None or getattr(self, "disabled", False) else getattr(self, "_local_step", None)
        if bound is None:
            return original(self, data, step, *arguments, **options)
        numbers, media = bound.look_at(data)  # before W&B does: it writes into mappings within what it is given
        bound.is_logging = True
        try:
            done = original(self, data, step, *arguments, **options)
        finally:
            bound.is_logging = False
        if numbers:
            with heard_from(_NAME):
                bound.live.log(numbers, counted)
        for key, build in media:
            bound.keep(key, counted or 0, build)
        bound.watched.look()
        return done

    return log


def _hearing(original: Callable[..., Any]) -> Callable[..., Any]:
    """What W&B logs by itself: histograms of a model that it watches."""

    def _log(self: Any, data: Any, *arguments: Any, **options: Any) -> Any:
        done = original(self, data, *arguments, **options)
        bound = None if _is_ours() else _bound_to(self)
        if bound is not None and not bound.is_logging and isinstance(data, Mapping):
            bound.watched.told(histograms_in(data), int(getattr(self, "_local_step", 0) or 0))
        return done

    return _log


def _watching(original: Callable[..., Any]) -> Callable[..., Any]:
    def watch(self: Any, *arguments: Any, **options: Any) -> Any:
        bound = None if _is_ours() else _bound_to(self)
        if bound is None:
            return original(self, *arguments, **options)
        with bound.watched.graphs_of(self):
            return original(self, *arguments, **options)

    return watch


def _defining(original: Callable[..., Any]) -> Callable[..., Any]:
    def define_metric(
        self: Any,
        name: str,
        step_metric: Any = None,
        step_sync: Any = None,
        hidden: Any = None,
        summary: Any = None,
        *arguments: Any,
        **options: Any,
    ) -> Any:
        done = original(self, name, step_metric, step_sync, hidden, summary, *arguments, **options)
        bound = None if _is_ours() else _bound_to(self)
        if bound is not None:
            axis = getattr(step_metric, "name", step_metric)
            with heard_from(_NAME):
                bound.live.define_metric(
                    name, axis if isinstance(axis, str) else None, summary=summary if isinstance(summary, str) and summary else None
                )
        return done

    return define_metric


def _configuring(original: Callable[..., Any]) -> Callable[..., Any]:
    def configure(self: Any, *arguments: Any, **options: Any) -> Any:
        bound = None if _is_ours() or not _bound else next((item for item in _bound if item.run.config is self), None)
        if bound is None:
            return original(self, *arguments, **options)
        before = _config_of(bound.run)
        done = original(self, *arguments, **options)
        after = _config_of(bound.run)
        changed = {name: value for name, value in after.items() if name not in before or before[name] != value}
        bound.config_names |= changed.keys()
        _add_config(bound, changed)
        return done

    return configure


def _add_config(bound: _Bound, values: Mapping[str, Any]) -> None:
    from lineage.record.foreign import add_config

    if bound.live.inputs.is_open and values:
        with heard_from(_NAME):
            add_config(bound.live, values)


def _config_of(run: Any) -> dict[str, Any]:
    config = getattr(run, "config", None)
    found = {str(name): config[name] for name in config.keys()} if config is not None else {}  # noqa: SIM118 - W&B's own class
    return {name: value for name, value in found.items() if name != "_wandb" and not name.startswith("lineage")}


# --- files ---


def _keeping(original: Callable[..., Any]) -> Callable[..., Any]:
    def log_artifact(self: Any, *arguments: Any, **options: Any) -> Any:
        made = original(self, *arguments, **options)
        bound = None if _is_ours() else _bound_to(self)
        if bound is not None and hasattr(made, "manifest") and made.type not in _OF_MEDIA:
            _keep(bound.live, made)
        return made

    return log_artifact


def _keep(live: LiveRun, made: Any) -> None:
    entries = dict(made.manifest.entries)
    elsewhere = sum(entry.local_path is None for entry in entries.values())
    if elsewhere:
        live.note(f"{elsewhere} entries of W&B artifact '{made.name}' are references, and their content is not recorded")
    for path, entry in entries.items():
        if entry.local_path is None:
            continue
        taken = {item.name for item in live.record.outputs if item.details.get("wandb_artifact") != made.name}
        name = path if path not in taken else f"{made.name}/{path}"
        _log_file(live, _own_file(path, Path(entry.local_path)), made.type, name, {"wandb_artifact": made.name})


def _own_file(path: str, staged: Path) -> Path:
    """The script's own file, where W&B's copy of it lies in a cache."""
    own = Path(path)
    try:
        return own if own.is_file() and filecmp.cmp(own, staged, shallow=False) else staged
    except OSError:
        return staged


def _log_file(live: LiveRun, file: Path, kind: str, name: str, details: Mapping[str, Any]) -> None:
    from lineage.record.sinks import describe_error

    try:
        with heard_from(_NAME):
            live.log_artifact(file, kind, name, details)
    except Exception as error:  # noqa: BLE001 - W&B has it; that we have not is noted
        live.note(f"'{name}', which W&B was given, is not recorded: {describe_error(error)}")


def _using(original: Callable[..., Any]) -> Callable[..., Any]:
    def use_artifact(self: Any, artifact_or_name: Any, *arguments: Any, **options: Any) -> Any:
        used = original(self, artifact_or_name, *arguments, **options)
        bound = None if _is_ours() else _bound_to(self)
        if bound is not None:
            name = artifact_or_name if isinstance(artifact_or_name, str) else getattr(used, "name", "")
            bound.live.note(f"W&B artifact used: {name}, W&B's digest {getattr(used, 'digest', 'unknown')}")
        return used

    return use_artifact


def _saving(original: Callable[..., Any]) -> Callable[..., Any]:
    def save(self: Any, glob_str: Any = None, *arguments: Any, **options: Any) -> Any:
        done = original(self, glob_str, *arguments, **options)
        bound = None if _is_ours() or glob_str is None else _bound_to(self)
        if bound is not None:
            for path in sorted(glob.glob(os.fspath(glob_str))):
                if os.path.isfile(path):
                    _log_file(bound.live, Path(path), "file", Path(path).name, {})
        return done

    return save
