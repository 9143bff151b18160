"""Doing something with many things in a few threads, the outcomes in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_THREADS = 4
_AHEAD = 16

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(function: Callable[[Given], Made], things: Iterable[Given], *, threads: int = _THREADS, ahead: int = _AHEAD) -> Iterator[Made]:
    """``function`` of each thing, in their order; at most ``ahead`` outcomes wait in memory.

    An exception is raised at the place of the thing that caused it; what comes after it is not begun any more.
    """
    with ThreadPoolExecutor(threads, "lineage-ahead") as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for thing in things:
                waiting.append(pool.submit(function, thing))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
