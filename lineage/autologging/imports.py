"""Doing something as soon as a package has been imported, whoever imports it and whenever."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Finder:
    """Finds nothing itself: asks the others, and has the loader they give call back."""

    def __init__(self) -> None:
        self.waiting: dict[str, Callable[[ModuleType], None]] = {}
        self._asking = threading.local()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self.waiting or getattr(self._asking, "name", None) == name:
            return None
        self._asking.name = name  # another finder that asks all of them must not come back here
        try:
            for finder in list(sys.meta_path):
                spec = finder.find_spec(name, path, target) if finder is not self and hasattr(finder, "find_spec") else None
                if spec is not None:
                    self._follow(name, spec)
                    return spec
        finally:
            self._asking.name = None
        return None

    def _follow(self, name: str, spec: ModuleSpec) -> None:
        loader = spec.loader
        execute = getattr(loader, "exec_module", None)
        if loader is None or execute is None:  # a namespace of folders is not the package that is meant
            return

        def exec_module(module: ModuleType) -> None:
            execute(module)
            then = self.waiting.pop(name, None)
            if then is not None:
                then(module)

        loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one loader; the class stays as it is


_finder = _Finder()


def when_imported(name: str, then: Callable[[ModuleType], None]) -> None:
    """Call ``then`` with a top-level package: now when it is imported already, else right after its import.

    Other finders stay in charge of where it is found. An import that fails calls nothing, and the next attempt is followed again.
    """
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and not getattr(spec, "_initializing", False):
        then(module)
        return
    _finder.waiting[name] = then
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
