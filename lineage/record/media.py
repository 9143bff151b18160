"""Keeps the media of a run: sheets (:mod:`lineage.model.media`) as artifacts, pictures and files as objects that they name."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lineage.errors import LineageError, UsageError
from lineage.model.event import ArtifactMade, Event
from lineage.model.media import MEDIA, media_name, sheet_text
from lineage.model.picture_size import picture_size
from lineage.model.run import Artifact, Run
from lineage.model.secrets import redact_text
from lineage.ports import ObjectStore
from lineage.record.metrics import NOT_COMPARED
from lineage.record.sinks import describe_error

MOST_SHEETS = 1_000
MOST_BYTES = 2 << 30
LARGEST_BYTES = 64 << 20
MOST_ROWS = 10_000
_LONGEST_TEXT, _LONGEST_KEY = 10_000, 300

Put = Callable[[bytes], str]
"""Keeps bytes and gives their digest."""


class _OverLimit(Exception):
    pass


class MediaKeeper:
    """Of one run. What is over a limit, or cannot be kept, is said once in the record; the program goes on.

    At most ``MOST_SHEETS`` sheets (a key at a step is one) and ``MOST_BYTES`` of a run, ``LARGEST_BYTES`` of one picture or file.

    Args:
        objects: Where they are kept.
        append: Adds an event to the record.
        note: Adds a sentence to it.
    """

    def __init__(self, objects: ObjectStore, append: Callable[[Event], Run], note: Callable[[str], None]) -> None:
        self._objects, self._append, self._note = objects, append, note
        self._sheets = self._bytes = 0
        self._names: Counter[tuple[str, int]] = Counter()
        self._said: set[str] = set()

    def keep(self, key: str, step: int, build: Callable[[Put], Mapping[str, Any]]) -> Artifact | None:
        """Keep what is shown under a key at a step.

        Args:
            key: Its name. One that begins with ``timing/`` or ``system/`` is kept and never compared in a reproduction.
            step: Of the program.
            build: Makes the sheet; what it gives to the function that it is handed is kept, too.

        Returns:
            The artifact; ``None`` when it is not kept.

        Raises:
            UsageError: What ``build`` raises: the program gave something that cannot be shown.
        """
        named: list[str] = []

        def put(content: bytes) -> str:
            if len(content) > LARGEST_BYTES:
                raise _OverLimit(f"pictures and files of more than {LARGEST_BYTES >> 20} MiB")
            if self._bytes + len(content) > MOST_BYTES:
                raise _OverLimit(f"media beyond {MOST_BYTES >> 30} GiB of a run")
            self._bytes += len(content)
            digest = self._objects.put_bytes(content)
            named.append(digest)
            return digest

        try:
            if self._sheets >= MOST_SHEETS:
                raise _OverLimit(f"media beyond {MOST_SHEETS:,} of a run (a key at a step is one)")
            sheet = build(put)
            content = sheet_text(sheet)
            pictures = list(dict.fromkeys(named))
            digest = put(content)
        except _OverLimit as over:
            self.say(f"{over} are not kept")
            return None
        except UsageError:
            raise
        except (OSError, LineageError) as error:
            self.say(f"'{key}' at step {step} is not kept: {describe_error(error)}")
            return None
        name = media_name(key, step, self._names[key, step])
        self._names[key, step] += 1
        self._sheets += 1
        details: dict[str, Any] = {"key": text(key[:_LONGEST_KEY]), "step": step, "type": sheet["type"]}
        if pictures:
            details["objects"] = pictures
        if key.startswith(NOT_COMPARED):
            details["volatile"] = True
        name = text(name)
        made = Artifact(name=name, kind=MEDIA, path=name, digest=digest, size_bytes=len(content), details=details)
        self._append(ArtifactMade(at=datetime.now(UTC), artifact=made))
        return made

    def say(self, text: str) -> None:
        """Add a sentence to the record and warn, once."""
        if text not in self._said:
            self._said.add(text)
            self._note(text)
            warnings.warn(f"lineage: {text}", stacklevel=5)


def picture(content: bytes, put: Put, caption: str | None = None) -> dict[str, Any]:
    """An item of a sheet of pictures, without boxes and masks."""
    found = picture_size(content)
    item: dict[str, Any] = {"picture": put(content)}
    if found is not None:
        item |= {"media_type": found[0], "width": found[1], "height": found[2]}
    if caption:
        item["caption"] = text(caption)
    return item


def text(value: object) -> str:
    """A text for a sheet: without secrets, not endless, and such as UTF-8 can hold."""
    said = str(value)
    said = said if len(said) <= _LONGEST_TEXT else f"{said[:_LONGEST_TEXT]}…"
    return redact_text(said if said.isascii() else said.encode("utf-8", "backslashreplace").decode())
