"""``lineage.autolog()``."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Mapping
from types import ModuleType, TracebackType

from lineage.autologging.imports import when_imported

_lock = threading.Lock()
_installed: list[bool] = []


class Autolog:
    """What :func:`autolog` returns: as a context manager, it switches recording off again at the end of the block."""

    def __init__(self, was_on: bool) -> None:
        self._was_on = was_on

    def __enter__(self) -> Autolog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _switch(self._was_on)


_STATE = {"on": False}
_ROLES: dict[str, str] = {}


def autolog(*, roles: Mapping[str, str] | None = None, disable: bool = False) -> Autolog:
    """Record what plain Deep Lake and Weights & Biases code does, from now on, without a change to it.

    Inside a run (of ours, of W&B, or of ``lineage run``), datasets and views that are read become inputs with their exact rows; commits,
    copies and saved views become outputs. ``wandb.init`` begins a record; what is logged to W&B is logged to it, too. Packages may be
    imported before or after; calling it again changes roles only.

    Args:
        roles: Names to roles: an address, a folder's name, a view's name or a variable's name to ``train``, ``validation``, ``test`` or
            another lower-case word. Without it a role is taken from the variable's name, the view's or the folder's, in this order, where
            one plainly says so, and is ``data`` otherwise; the record notes which it was.
        disable: Stop recording, until it is called again.

    Raises:
        UsageError: A role is no lower-case word.
    """
    if roles:
        from lineage.model.dataset import check_role

        _ROLES.update({name: check_role(role) for name, role in roles.items()})
    with _lock:
        was_on = _STATE["on"]
        _switch(not disable)
        if not _installed and not disable:
            _installed.append(True)
            when_imported("deeplake", _follow_deeplake)
            when_imported("wandb", _follow_wandb)
    return Autolog(was_on)


def _switch(on: bool) -> None:
    _STATE["on"] = on
    recorder = sys.modules.get("lineage.autologging.recorder")
    if recorder is not None:
        recorder.RECORDER.is_on = on


@functools.lru_cache(maxsize=1)
def _ready() -> None:
    from lineage.autologging.recorder import RECORDER
    from lineage.record import active

    RECORDER.roles = _ROLES
    RECORDER.is_on = _STATE["on"]
    active.when_begun(RECORDER.began)
    live = active.current()
    if live is not None:
        RECORDER.began(live)


def _follow_deeplake(module: ModuleType) -> None:
    from lineage.autologging.deeplake_calls import follow_deeplake

    _ready()
    follow_deeplake(module)


def _follow_wandb(module: ModuleType) -> None:
    from lineage.autologging.wandb_calls import follow_wandb

    _ready()
    follow_wandb(module)
