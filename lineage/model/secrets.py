"""Keeping secrets out of records: by the name they stand under, by their value, and inside addresses."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

REDACTED = "<redacted>"

_NAME = re.compile(r"(^|[_.-])(api_?key|access_?key|private_?key|auth|credentials?|passwd|password|secret|token)($|[_.-])", re.IGNORECASE)
_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSW|CRED", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s@]+@")
_SHORTEST_VALUE = 8  # shorter values would redact ordinary words


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is kept out of records (``api_key``, ``--token``; not ``max_tokens``)."""
    return _NAME.search(name.lstrip("-")) is not None


def redact_text(text: str) -> str:
    """The text without credentials in addresses and without the values of this process's secret variables."""
    text = _IN_ADDRESS.sub(rf"\g<scheme>{REDACTED}@", text)
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_VALUE and _VARIABLE.search(name) and value in text:
            text = text.replace(value, REDACTED)
    return text


def redact_command(command: Sequence[str]) -> tuple[str, ...]:
    """A command line without secrets: ``--token x``, ``--token=x`` and secret values anywhere."""
    kept: list[str] = []
    hide_next = False
    for word in command:
        option, equals, _ = word.partition("=")
        if hide_next and not word.startswith("-"):
            kept.append(REDACTED)
        elif word.startswith("-") and equals and is_secret_name(option):
            kept.append(f"{option}={REDACTED}")
        else:
            kept.append(redact_text(word))
        hide_next = word.startswith("-") and not equals and is_secret_name(word)
    return tuple(kept)


def redact_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without secrets, at any depth."""
    return {name: REDACTED if isinstance(value, str) and is_secret_name(name) else _redact(value) for name, value in values.items()}


def _redact(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return redact_values(value)
    if isinstance(value, list | tuple):
        return [_redact(item) for item in value]
    return value
