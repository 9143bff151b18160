"""Transform and collate function in a form that another process can load: functions by name, as ``multiprocessing`` sends them."""

from __future__ import annotations

import pickle
import pickletools
import sys
from pathlib import Path
from typing import Any


def pickled_code(code: Any, root: str | None) -> tuple[bytes | None, str | None, str | None]:
    """Pickle it.

    Args:
        code: What to pickle.
        root: Top folder of the repository, ``None`` when there is none.

    Returns:
        (pickle or ``None``, why not or ``None``, where names of ``__main__`` are found or ``None``); the last as in
        :class:`lineage.model.steps.LoaderRecord`.
    """
    try:
        content = pickle.dumps(code, protocol=5)
    except Exception as error:  # noqa: BLE001 - objects raise what they like when they are pickled
        return None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", None
    if not any(argument == "__main__" for _, argument, _ in pickletools.genops(content)):
        return content, None, None
    main, missing = _main(root)
    return (None if main is None else content), missing, main


def _main(root: str | None) -> tuple[str | None, str | None]:
    """Where the program is found, or why it is not."""
    module = sys.modules["__main__"]
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return f"module:{spec.name}", None
    file = getattr(module, "__file__", None)
    if file is None:
        return None, "it is defined in a program without a file"
    path, top = Path(file).resolve(), None if root is None else Path(root).resolve()
    if top is None or not path.is_relative_to(top):
        return None, f"it is defined in {path.name}, which is not in the run's repository"
    return f"path:{path.relative_to(top)}", None
