"""Faults of a sweep file: collected, so that one reading tells all of them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from lineage.errors import InvalidSource

_ALMOST_A_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+|[-+]?\.\d+[eE][-+]?\d+")
_SHOWN = 60


class Faults:
    """Collects what is wrong.

    Args:
        source: What the file is called.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._found: list[str] = []
        self._hint: str | None = None

    def __len__(self) -> int:
        return len(self._found)

    def add(self, key: str, message: str, *, hint: str | None = None) -> None:
        """Note a fault at a dotted key (the whole file when it is empty)."""
        self._found.append(f"{self._source}: {key}: {message}" if key else f"{self._source}: {message}")
        self._hint = self._hint or hint

    def unknown(self, key: str, kind: str, name: str, known: Iterable[str]) -> None:
        """Note a name that nobody knows, with the nearest one that is known."""
        known = list(known)
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        meant = f" (did you mean '{near[0]}'?)" if near else ""
        self.add(key, f"unknown {kind} '{name}'{meant}", hint=f"known: {', '.join(known)}")

    def choice(self, key: str, value: Any, known: Sequence[str]) -> str | None:
        """``value`` when it is one of the known words; else ``None``, and a fault."""
        if isinstance(value, str) and value in known:
            return value
        near = difflib.get_close_matches(value.lower(), known, n=1) if isinstance(value, str) else []
        meant = f" (did you mean '{near[0]}'?)" if near else ""
        self.add(key, f"expected {' or '.join(known)}, found {text_of(value)}{meant}")
        return None

    def error(self) -> InvalidSource:
        """All of them as one error."""
        more = f" (and {len(self._found) - 1} more)" if len(self._found) > 1 else ""
        return InvalidSource(self._found[0] + more, problems=self._found, hint=self._hint)


def known_keys(mapping: Mapping[Any, Any], known: Iterable[str], where: str, faults: Faults) -> None:
    """Note every key of ``mapping`` that is not known."""
    known = list(known)
    for key in mapping:
        if key not in known:
            faults.unknown(f"{where}.{key}" if where else str(key), "key", str(key), known)


def number_of(
    value: Any,
    key: str,
    faults: Faults,
    *,
    whole: bool = False,
    at_least: float | None = None,
    above: float | None = None,
) -> int | float | None:
    """``value`` when it is a finite number within the limits (an integer if ``whole``); else ``None``, and a fault."""
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        expected = "an integer" if whole else "a number"
        if isinstance(value, str) and _ALMOST_A_NUMBER.fullmatch(value):
            faults.add(key, f"expected {expected}, found the text '{value}': {why_text(value)}", hint=f"write {with_dot(value)}")
        else:
            faults.add(key, f"expected {expected}, found {text_of(value)}")
        return None
    if not math.isfinite(value):
        faults.add(key, f"expected a finite number, found {value}")
        return None
    if at_least is not None and value < at_least:
        faults.add(key, f"expected at least {at_least:g}, found {value}")
        return None
    if above is not None and value <= above:
        faults.add(key, f"expected more than {above:g}, found {value}")
        return None
    found: int | float = value
    return found


def json_value(value: Any, key: str, faults: Faults) -> Any:
    """``value`` as JSON holds it (tuples as lists); a fault where it cannot."""
    if isinstance(value, str) and _ALMOST_A_NUMBER.fullmatch(value):
        faults.add(key, f"found the text '{value}', which looks like a number: {why_text(value)}", hint=f"write {with_dot(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        faults.add(key, f"expected a finite number, found {value}")
    elif isinstance(value, list | tuple):
        return [json_value(item, f"{key}[{index}]", faults) for index, item in enumerate(value)]
    elif isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                faults.add(key, f"expected texts as keys, found {text_of(name)}")
        return {str(name): json_value(item, f"{key}.{name}", faults) for name, item in value.items()}
    elif isinstance(value, date):
        faults.add(key, f"YAML reads {value} as a date, and no parameter can be one", hint=f"write '{value}' in quotes")
    elif value is not None and not isinstance(value, str | int | float):
        faults.add(key, f"expected a number, a text, true, false, null, a list or a mapping, found {text_of(value)}")
    return value


def text_of(value: Any) -> str:
    """A value of a file as an error shows it: what it is, and how it begins."""
    if value is None:
        return "nothing"
    kinds = {bool: "", int: "", float: "", str: "the text ", list: "the list ", tuple: "the list ", dict: "the mapping "}
    kind = kinds.get(type(value))
    if kind is None:
        return f"a {type(value).__name__}"
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return kind + (shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…")


def why_text(text: str) -> str:
    """Why YAML did not read a number."""
    return f"it is in quotes, or YAML 1.1 read it, which wants {'a dot before' if '.' not in text else 'a sign behind'} the e"


def with_dot(text: str) -> str:
    """A number as YAML 1.1 reads it."""
    front, _, exponent = text.lower().partition("e")
    front = front if "." in front else f"{front}.0"
    front = front.replace("-.", "-0.").replace("+.", "+0.") if not front.startswith(".") else f"0{front}"
    return f"{front}e{exponent if exponent[0] in '+-' else '+' + exponent}"
