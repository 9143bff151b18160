"""Who is speaking: marks that keep a run and a tracker that both watch each other from repeating what the other said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_telling: ContextVar[str | None] = ContextVar("lineage_telling", default=None)
_heard_from: ContextVar[str | None] = ContextVar("lineage_heard_from", default=None)
_joining: ContextVar[Any] = ContextVar("lineage_joining", default=None)


@contextmanager
def telling(tracker: str) -> Iterator[None]:
    """Around every call into a tracker's own client: what it sees in here came from a record, and is no news."""
    token = _telling.set(tracker)
    try:
        yield
    finally:
        _telling.reset(token)


def is_telling() -> bool:
    """Whether this thread is inside :func:`telling`: an observer of the tracker's client looks away."""
    return _telling.get() is not None


@contextmanager
def heard_from(tracker: str) -> Iterator[None]:
    """Around recording what a tracker's client was told by the script: that tracker is not told again, any other is."""
    token = _heard_from.set(tracker)
    try:
        yield
    finally:
        _heard_from.reset(token)


def was_heard_from() -> str | None:
    """The tracker that what is being recorded came from; ``None`` outside :func:`heard_from`."""
    return _heard_from.get()


@contextmanager
def joining(run: Any) -> Iterator[None]:
    """Around starting a run: a tracker whose client has a run of its own already joins this one, whichever is the client's current one."""
    token = _joining.set(run)
    try:
        yield
    finally:
        _joining.reset(token)


def run_to_join() -> Any:
    """The tracker's own run to join; ``None`` outside :func:`joining`."""
    return _joining.get()
