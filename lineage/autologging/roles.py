"""What an input is used for, as far as its names plainly say so."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

_WORDS = {
    "train": "train",
    "training": "train",
    "trainset": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "valset": "validation",
    "test": "test",
    "testing": "test",
    "testset": "test",
}
_DEPTH = 12


def plain_role(name: str) -> str | None:
    """``train``, ``validation`` or ``test`` when exactly one of them is a word of the name (``ds_train_view``, ``visdrone-det-val``)."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    found = {_WORDS[word] for word in re.split(r"[^a-z0-9]+", split.lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def choose_role(given: Mapping[str, str], variables: tuple[str, ...], view: str | None, uri: str) -> tuple[str, str]:
    """Role and where it comes from.

    Args:
        given: Names to roles, as the program said itself: an address, a folder's name, a view's name or id, a variable's name.
        variables: Names of the variables that hold the data.
        view: Name of the saved view.
        uri: The dataset's address.
    """
    folder = uri.rstrip("/").rpartition("/")[2]
    for name in (*variables, *([view] if view else []), folder, uri):
        if name in given:
            return given[name], f"roles given for '{name}'"
    for what, names in (("variable", variables), ("view", (view or "",)), ("folder", (folder,))):
        roles = {role: name for name in names if (role := plain_role(name)) is not None}
        if len(roles) == 1:
            role, name = roles.popitem()
            return role, f"{what} '{name}'"
    return "data", "no name that says what it is for"


def variables_of(handles: tuple[Any, ...]) -> tuple[str, ...]:
    """Names under which the program at work holds any of some objects, or an object with one of them as an attribute; nearest first."""
    wanted = {id(item) for item in handles}
    found: dict[str, None] = {}
    for values in _scopes(sys._getframe(1)):
        for name, value in list(values.items()):
            if not name.startswith("__") and _holds(value, wanted):
                found[name] = None
    return tuple(found)


def _holds(value: Any, wanted: set[int]) -> bool:
    if id(value) in wanted:
        return True
    inside = getattr(type(value), "__dict__", {}).get("__getitem__") is not None and getattr(value, "__dict__", None)
    return isinstance(inside, dict) and any(id(item) in wanted for item in list(inside.values()))


def _scopes(frame: FrameType | None) -> Iterator[Mapping[str, Any]]:
    depth = 0
    seen: set[int] = set()
    while frame is not None and depth < _DEPTH:
        module = str(frame.f_globals.get("__name__", ""))
        if not module.startswith(("lineage.", "deeplake.", "torch.")) and module != "deeplake":
            if frame.f_locals is not frame.f_globals:
                yield {name: value for name, value in frame.f_locals.items() if name != "self"}
            if id(frame.f_globals) not in seen:
                seen.add(id(frame.f_globals))
                yield frame.f_globals
            depth += 1
        frame = frame.f_back
    main = getattr(sys.modules.get("__main__"), "__dict__", None)
    if main is not None and id(main) not in seen:
        yield main
