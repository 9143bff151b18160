"""Keeping secrets out of records: by the name they stand under, by their value, and inside addresses and headers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

REDACTED = "<redacted>"

_NAME = re.compile(
    r"_(api_?key|access_?key|private_?key|auth|authorization|credentials?|passwd|password|passphrase|secret|token)_", re.IGNORECASE
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSW|CRED", re.IGNORECASE)
# Greedy up to the last '@' before a slash: a password may hold an '@' itself.
_IN_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s\"'<>]+@")
_ASSIGNED = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_.-]*)=(?P<value>[^&\s\"']+)")
_AFTER_OPTION = re.compile(r"(?P<before>--?(?P<name>[A-Za-z][A-Za-z0-9_.-]*)\s+)(?P<value>[^\s\"'-][^\s\"']*)")
_IN_JSON = re.compile(r"(?P<before>[\"'](?P<name>[A-Za-z][A-Za-z0-9_.-]*)[\"']\s*:\s*)(?P<quote>[\"'])(?P<value>[^\"']*)(?P=quote)")
_IN_HEADER = re.compile(r"(?P<before>\bauthorization\s*:\s*(?:(?:bearer|basic|token)\s+)?|\bbearer\s+(?=\S{8}))\S+", re.IGNORECASE)
_SHORTEST_VALUE = 8  # shorter values would redact ordinary words


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is kept out of records (``api_key``, ``--api-key``, ``apiKey``; not ``max_tokens``)."""
    return _NAME.search(f"_{re.sub(r'[^A-Za-z0-9]+', '_', _CAMEL.sub('_', name))}_") is not None


def redact_text(text: str) -> str:
    """The text without credentials in addresses, headers and ``name=value``, and without the values of this process's secret variables."""
    text = _IN_ADDRESS.sub(rf"\g<scheme>{REDACTED}@", text)
    text = _ASSIGNED.sub(lambda found: f"{found['name']}={REDACTED}" if is_secret_name(found["name"]) else found[0], text)
    text = _AFTER_OPTION.sub(lambda found: f"{found['before']}{REDACTED}" if is_secret_name(found["name"]) else found[0], text)
    text = _IN_JSON.sub(lambda found: f'{found["before"]}"{REDACTED}"' if is_secret_name(found["name"]) else found[0], text)
    text = _IN_HEADER.sub(rf"\g<before>{REDACTED}", text)
    values = {
        value
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST_VALUE and value in text and (_VARIABLE.search(name) or is_secret_name(name))
    }
    for value in sorted(values, key=len, reverse=True):  # one may begin with another
        text = text.replace(value, REDACTED)
    return text


def redact_command(command: Sequence[str]) -> tuple[str, ...]:
    """A command line without secrets: ``--token x``, ``--token=x``, ``token=x`` and secret values anywhere."""
    kept: list[str] = []
    hide_next = False
    for word in command:
        option, equals, _ = word.partition("=")
        if hide_next and not re.match(r"--|-[A-Za-z]$", word):
            kept.append(REDACTED)
        elif equals and is_secret_name(option):
            kept.append(f"{option}={REDACTED}")
        else:
            kept.append(redact_text(word))
        hide_next = word.startswith("-") and not equals and is_secret_name(word)
    return tuple(kept)


def redact_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without secrets, at any depth."""
    return {name: _hide(value) if is_secret_name(name) else _redact(value) for name, value in values.items()}


def _redact(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return redact_values(value)
    if isinstance(value, list | tuple):
        return [_redact(item) for item in value]
    return value


def _hide(value: Any) -> Any:
    # Whether a secret was given, and how many, is worth knowing; what it is, is not.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {name: _hide(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(item) for item in value]
    return REDACTED
