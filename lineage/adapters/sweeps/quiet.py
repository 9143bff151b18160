"""Optuna's log lines about what is done here are not for people: a sweep is no study to them. Those of a program's own studies stay."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ours = threading.local()
_TALKATIVE = ("_in_memory", "_rdb.storage", "journal._storage", "journal._file")


@contextmanager
def quiet() -> Iterator[None]:
    """In this context and thread Optuna's storages log nothing."""
    before = _is_quiet()
    _ours.is_quiet = True
    try:
        yield
    finally:
        _ours.is_quiet = before


def _is_quiet() -> bool:
    return bool(getattr(_ours, "is_quiet", False))


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_quiet()


for _name in _TALKATIVE:
    logging.getLogger(f"optuna.storages.{_name}").addFilter(_NotOurs())
