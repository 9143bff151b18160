"""What a program writes with Deep Lake, and what it takes to another process; see :mod:`lineage.autologging.deeplake_calls`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lineage.autologging.following import adopt, is_ours
from lineage.autologging.handles import HANDLES, Shown, unobserved
from lineage.autologging.recorder import RECORDER, guarded

# --- writing ---


def committing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow what makes a version."""

    def commit(self: Any, *arguments: Any, **options: Any) -> Any:
        done = original(self, *arguments, **options)
        if not is_ours():
            made_version(self)
        return done

    return commit


def changing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow what changes an open dataset."""

    def change(self: Any, *arguments: Any, **options: Any) -> Any:
        done = original(self, *arguments, **options)
        _count_read(self)
        HANDLES.forget(self)
        return done

    return change


def changing_column(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow what changes a column."""

    def change(self: Any, *arguments: Any, **options: Any) -> Any:
        done = original(self, *arguments, **options)
        entry = HANDLES.columns.get(id(self))
        handle = None if entry is None else entry[1].handle()
        if handle is not None:
            _count_read(handle)
            HANDLES.forget(handle)
        return done

    return change


def _count_read(handle: Any) -> None:
    data = HANDLES.data_of(handle)
    if data is not None and data.is_read:
        HANDLES.read.append(data)  # what was read before the change stays known


def made_version(handle: Any) -> None:
    """An open dataset has a new version."""
    adopt(handle)
    data = HANDLES.data_of(handle)
    if data is not None:
        RECORDER.committed(data.shown)


def saving(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow saving a view."""

    def save(self: Any, *arguments: Any, **options: Any) -> Any:
        tag = original(self, *arguments, **options)
        if not is_ours():
            data = HANDLES.data_of(self)
            uri = None if data is None else data.shown.uri
            if data is not None and uri is not None and data.shown.queries:
                RECORDER.saved(Shown(uri, data.shown.branch, str(tag.version), str(tag.id), str(tag.name), ()))
        return tag

    return save


def copying(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow copying a dataset."""

    def copy(src: Any, dst: Any, *arguments: Any, **options: Any) -> Any:
        done = original(src, dst, *arguments, **options)
        if not is_ours():
            _copied(str(src), str(dst))
        return done

    return copy


@guarded
def _copied(source: str, target: str) -> None:
    with unobserved():
        from lineage.adapters.datasets.deeplake_handles import newest

        names = newest(source), newest(target)
    RECORDER.copied(Shown(*names[0]), Shown(*names[1]))


def refreshing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow moving on to the newest version."""

    def refresh(self: Any, *arguments: Any, **options: Any) -> Any:
        done = original(self, *arguments, **options)
        before = HANDLES.data_of(self)
        if before is not None and not is_ours():
            adopt(self)
            after = HANDLES.data_of(self)
            if after is not None and after.shown != before.shown:
                RECORDER.note(
                    f"not pinned: {after.shown.uri} was refreshed from {before.shown.commit_id} to {after.shown.commit_id}: "
                    "views that were made of it before show other rows since"
                )
        return done

    return refresh


# --- crossing to another process ---


def pickling(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow what takes an object out of the process."""

    def pickle(self: Any, *arguments: Any, **options: Any) -> Any:
        state = original(self, *arguments, **options)
        data = None if is_ours() else HANDLES.data_of(self)
        if data is not None:
            sentence = f"{data.shown.uri} was pickled: Deep Lake does not keep commit and rows, so what is made of it shows the newest ones"
            RECORDER.fed(data)
            RECORDER.note(f"not pinned: {sentence}")
        return state

    return pickle


def unpickling(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow what brings it into a process."""

    def unpickle(self: Any, *arguments: Any, **options: Any) -> Any:
        done = original(self, *arguments, **options)
        if not is_ours():
            adopt(self, trouble="it was unpickled, so it shows what is newest and not what was pickled")
        return done

    return unpickle
