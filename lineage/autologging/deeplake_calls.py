"""Plain Deep Lake 4, followed: functions of the module and methods of its classes are wrapped, objects stay what they are.

Deep Lake's classes are compiled, but their attributes can be set, so every object of them is followed, whoever made it. Calls from this
package itself are let through unseen.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Generator, Iterator
from types import ModuleType
from typing import Any

from lineage.autologging.deeplake_changes import (
    changing,
    changing_column,
    committing,
    copying,
    made_version,
    pickling,
    refreshing,
    saving,
    unpickling,
)
from lineage.autologging.following import adopt, data_of, is_ours, mark, shown_by
from lineage.autologging.handles import HANDLES, Data, Shown, is_unobserved, unobserved
from lineage.autologging.recorder import RECORDER, guarded
from lineage.autologging.reopening import stand_in

_OPENERS = ("open", "open_read_only")
_MAKERS = ("create", "like", "from_coco", "from_csv", "from_parquet")
_FROM = re.compile(r"""^\s*(select\s+\*)\s+from\s+(["'])(?P<uri>[^"']+)\2(?P<rest>.*)$""", re.IGNORECASE | re.DOTALL)


def follow_deeplake(module: ModuleType) -> None:
    """Wrap what a program can read, write and copy with. Once for each process."""
    if getattr(module, "_lineage_follows", False):
        return
    module._lineage_follows = True  # type: ignore[attr-defined]  # the mark travels with the module, and is gone with it
    for name in _OPENERS:
        _replace(module, name, _opening)
        _replace(module, f"{name}_async", _opening_later)
    for name in _MAKERS:
        _replace(module, name, _making)
    _replace(module, "create_async", functools.partial(_later, then=lambda found, arguments: adopt(found)))
    _replace(module, "query", _querying_by_name)
    _replace(module, "query_async", functools.partial(_later, then=lambda found, arguments: _adopt_query(found, arguments)))
    _replace(module, "copy", copying)
    _replace(module, "prepare_query", _noting("a prepared query (deeplake.prepare_query) was used: what it reads is not followed"))
    for kind in (module.DatasetView, module.Dataset, module.ReadOnlyDataset):
        _replace(kind, "__getitem__", _getting)
        _replace(kind, "__iter__", _iterating)
        _replace(kind, "batches", _batching)
        _replace(kind, "query", _querying)
        _replace(kind, "query_async", functools.partial(_later, then=_asked_later))
        _replace(kind, "prepare_query", _noting("a prepared query was used: what it reads is not followed"))
        _replace(kind, "to_csv", _reading_all)
        for name in ("pytorch", "tensorflow"):
            _replace(kind, name, _feeding)
        _replace(kind, "tag", saving)
        _replace(kind, "__getstate__", pickling)
        _replace(kind, "__setstate__", unpickling)
        for name in ("commit", "merge", "revert_to", "pull"):
            _replace(kind, name, committing)
            _replace(kind, f"{name}_async", functools.partial(_later, then=lambda found, arguments: made_version(arguments[0])))
        for name in ("append", "delete", "add_column", "remove_column", "rename_column", "rollback"):
            _replace(kind, name, changing)
        _replace(kind, "refresh", refreshing)
    for kind in (module.ColumnView, module.Column):
        _replace(kind, "__setitem__", changing_column)
        for name in ("__getitem__", "get_bytes", "get_async", "get_bytes_async"):
            _replace(kind, name, _reading_column)
    for kind in (module.Tag, module.TagView, module.Version, module.Branch, module.BranchView):
        _replace(kind, "open", _opening_part)
        _replace(kind, "open_async", functools.partial(_later, then=lambda found, arguments: adopt(found, arguments[0])))
    for kind, name in (
        (module.Future, "result"),
        (module.Future, "__await__"),
        (module.FutureVoid, "wait"),
        (module.FutureVoid, "__await__"),
    ):
        _replace(kind, name, _arriving)


def _replace(owner: Any, name: str, wrapping: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = vars(owner).get(name)
    if original is not None and callable(original):
        setattr(owner, name, functools.update_wrapper(wrapping(original), original, updated=()))


# --- opening ---


def _opening(original: Callable[..., Any]) -> Callable[..., Any]:
    def opening(url: Any, *arguments: Any, **options: Any) -> Any:
        if is_ours():
            return original(url, *arguments, **options)
        with unobserved():
            found = stand_in(url, arguments, options)
        if found is not None:
            handle, keep = found
            return adopt(handle, keep=keep)
        return adopt(original(url, *arguments, **options))

    return opening


def _opening_later(original: Callable[..., Any]) -> Callable[..., Any]:
    def opening(url: Any, *arguments: Any, **options: Any) -> Any:
        future = original(url, *arguments, **options)
        if not is_ours():
            HANDLES.remember(HANDLES.parts, future, lambda found: adopt(found))
        return future

    return opening


def _making(original: Callable[..., Any]) -> Callable[..., Any]:
    def making(*arguments: Any, **options: Any) -> Any:
        made = original(*arguments, **options)
        return made if is_ours() else adopt(made)

    return making


def _opening_part(original: Callable[..., Any]) -> Callable[..., Any]:
    def opening(self: Any, *arguments: Any, **options: Any) -> Any:
        found = original(self, *arguments, **options)
        return found if is_ours() else adopt(found, self)

    return opening


# --- reading ---


def _getting(original: Callable[..., Any]) -> Callable[..., Any]:
    def getting(self: Any, key: Any) -> Any:
        found = original(self, key)
        data = data_of(self) if RECORDER.is_on else None
        if data is not None:
            if type(key) is str:
                HANDLES.remember(HANDLES.columns, found, data)
            else:
                mark(self, data, key)
        return found

    return getting


def _iterating(original: Callable[..., Any]) -> Callable[..., Any]:
    def iterating(self: Any) -> Iterator[Any]:
        rows = original(self)
        data = data_of(self) if RECORDER.is_on else None
        return rows if data is None else _each(self, data, rows)

    return iterating


def _each(handle: Any, data: Data, rows: Iterator[Any]) -> Iterator[Any]:
    for position, row in enumerate(rows):
        mark(handle, data, position)
        yield row


def _batching(original: Callable[..., Any]) -> Callable[..., Any]:
    def batching(self: Any, *arguments: Any, **options: Any) -> Any:
        found = original(self, *arguments, **options)
        data = data_of(self) if RECORDER.is_on else None
        if data is not None:
            mark(self, data, slice(None))
        return found

    return batching


_reading_all = _batching


def _reading_column(original: Callable[..., Any]) -> Callable[..., Any]:
    def reading(self: Any, *arguments: Any, **options: Any) -> Any:
        found = original(self, *arguments, **options)
        entry = HANDLES.columns.get(id(self))
        if entry is not None and RECORDER.is_on and not is_unobserved():
            data = entry[1]
            handle = data.handle()
            if handle is not None:
                mark(handle, data, next(iter((*arguments, *options.values())), slice(None)))
        return found

    return reading


def _feeding(original: Callable[..., Any]) -> Callable[..., Any]:
    def feeding(self: Any, *arguments: Any, **options: Any) -> Any:
        found = original(self, *arguments, **options)
        data = data_of(self) if RECORDER.is_on else None
        if data is not None:
            RECORDER.fed(data)
        return found

    return feeding


# --- queries ---


def _querying(original: Callable[..., Any]) -> Callable[..., Any]:
    def querying(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        found = original(self, query, *arguments, **options)
        data = data_of(self) if RECORDER.is_on else None
        if data is not None:
            HANDLES.follow(found, data.shown.asked(str(query)), (self, data.keep))
        return found

    return querying


def _asked_later(found: Any, arguments: tuple[Any, ...]) -> None:
    data = HANDLES.data_of(arguments[0])
    if data is not None:
        HANDLES.follow(found, data.shown.asked(str(arguments[1])), (arguments[0], data.keep))


def _querying_by_name(original: Callable[..., Any]) -> Callable[..., Any]:
    def querying(*arguments: Any, **options: Any) -> Any:
        found = original(*arguments, **options)
        if not is_ours():
            _adopt_query(found, (*arguments, *options.values()))
        return found

    return querying


@guarded
def _adopt_query(found: Any, arguments: tuple[Any, ...]) -> None:
    with unobserved():
        shown = shown_by(found)
        if shown is not None:
            plain = _FROM.match(str(arguments[0]))
            query = f"{plain[1]}{plain['rest']}" if plain is not None else str(arguments[0])
            HANDLES.follow(found, Shown(shown.uri, shown.branch, shown.commit_id, queries=(query,)))


# --- later ---


def _later(original: Callable[..., Any], *, then: Callable[[Any, tuple[Any, ...]], Any]) -> Callable[..., Any]:
    def later(*arguments: Any, **options: Any) -> Any:
        future = original(*arguments, **options)
        if not is_ours():
            HANDLES.remember(HANDLES.parts, future, lambda found: then(found, (*arguments, *options.values())))
        return future

    return later


def _arriving(original: Callable[..., Any]) -> Callable[..., Any]:
    def arriving(self: Any, *arguments: Any, **options: Any) -> Any:
        entry = HANDLES.parts.pop(id(self), None)
        found = original(self, *arguments, **options)
        if entry is None:
            return found
        if original.__name__ == "__await__":
            return _awaited(found, entry[1])
        entry[1](found)
        return found

    return arriving


def _awaited(inner: Any, then: Callable[[Any], Any]) -> Generator[Any, Any, Any]:
    found = yield from inner
    then(found)
    return found


def _noting(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def wrapping(original: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any, **options: Any) -> Any:
            if not is_ours():
                RECORDER.note(f"not pinned: {text}")
            return original(*arguments, **options)

        return noting

    return wrapping
