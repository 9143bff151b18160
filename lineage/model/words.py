"""Things in words that people read, and as text that sorts."""

from __future__ import annotations

from datetime import UTC, datetime


def size_in_words(size_bytes: int) -> str:
    """A size in binary units, for example ``1.5 MiB``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def first_line(error: Exception) -> str:
    """What an error says first; the name of its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def instant(at: datetime) -> str:
    """A time in UTC, of fixed width: text order is time order."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
