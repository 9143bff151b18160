"""How far a long piece of work is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told how far a long piece of work is: ``progress("uploading", 12, 200)``."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def no_progress(what: str, done: int, total: int) -> None:
    """A progress report that goes nowhere."""
