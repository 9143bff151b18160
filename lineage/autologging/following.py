"""Taking up an open Deep Lake object, and marking what is read of it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from lineage.autologging.handles import HANDLES, Data, Shown, is_unobserved, unobserved
from lineage.autologging.recorder import RECORDER, guarded


def is_ours(depth: int = 2) -> bool:
    """Whether this package itself calls, or nothing is recorded."""
    return not RECORDER.is_on or str(sys._getframe(depth).f_globals.get("__name__", "")).startswith("lineage.") or is_unobserved()


def adopt(handle: Any, part: Any = None, *, keep: Any = None, trouble: str | None = None) -> Any:
    """Follow an object that Deep Lake gave; returns it.

    Args:
        handle: The object.
        part: The tag, branch or version that it was opened from.
        keep: What must live as long.
        trouble: Why it is not pinned.
    """
    if hasattr(handle, "query"):
        _adopt(handle, part, keep, trouble)
    return handle


@guarded
def _adopt(handle: Any, part: Any, keep: Any, trouble: str | None) -> None:
    with unobserved():
        shown = shown_by(handle, part)
        if shown is not None:
            HANDLES.follow(handle, shown, keep, trouble)


def shown_by(handle: Any, part: Any = None) -> Shown | None:
    """What an object shows, by its own account; ``part`` is the tag, branch or version that it was opened from."""
    from lineage.adapters.datasets.deeplake_handles import names_of

    found = names_of(handle)
    if found is None:
        return None
    uri, branch, commit_id, queries = found
    if part is not None and type(part).__name__ in ("Tag", "TagView"):
        return Shown(uri, branch, str(part.version), str(part.id), str(part.name), ())
    return Shown(uri, branch, commit_id, queries=queries)


def data_of(handle: Any) -> Data | None:
    """What is followed; an object that was opened before anything was followed is taken up now."""
    entry = HANDLES.known.get(id(handle))
    if entry is None:
        if is_ours(3):
            return None
        adopt(handle)
        entry = HANDLES.known.get(id(handle))
    elif is_unobserved():
        return None
    return None if entry is None else entry[1]


def mark(handle: Any, data: Data, key: Any) -> None:
    """Rows of an object were read: at a position, a slice or a list of positions."""
    try:
        data.mark(key)
    except (IndexError, TypeError, ValueError):  # rows were added since it was opened
        adopt(handle)
        renewed = HANDLES.data_of(handle)
        if renewed is None or renewed is data:
            return
        data = renewed
        with suppress(IndexError, TypeError, ValueError):
            data.mark(key)
    if data.known_to is not RECORDER.now or not data.is_read:
        RECORDER.touched(data)
