"""Which variables with secrets a run's code names. The values are not looked at: a reproduction asks for them by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from lineage.model.secrets import is_secret_name

_LARGEST_BYTES = 1 << 20
_OWN = "LINEAGE_"  # settings of what records are no needs of the program


def named_secrets(files: Iterable[str]) -> tuple[str, ...]:
    """Names of this process's variables that are named like secrets and that stand as texts in some source file, in order.

    A file that cannot be read, or is larger than 1 MiB, is left out: what was loaded of it is told elsewhere.

    Args:
        files: Source files that are no installed packages, by whole path.
    """
    held = {name for name, value in os.environ.items() if value and is_secret_name(name) and not name.startswith(_OWN)}
    if not held:
        return ()
    pattern = re.compile(rb"[\"'](" + b"|".join(re.escape(os.fsencode(name)) for name in sorted(held)) + rb")[\"']")
    found: set[str] = set()
    for file in files:
        try:
            with open(file, "rb") as stream:
                content = stream.read(_LARGEST_BYTES + 1)
        except OSError:
            continue
        if len(content) <= _LARGEST_BYTES:
            found.update(os.fsdecode(name) for name in pattern.findall(content))
    return tuple(sorted(found))
