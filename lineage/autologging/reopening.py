"""In a reproduction, plain code opens what the record says, not what is newest today."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.autologging.recorder import RECORDER

if TYPE_CHECKING:
    from lineage.model.dataset import InputRecord
    from lineage.ports import Ports
    from lineage.record.reproducing import Reproducing

_VARIABLE = "LINEAGE_REPRODUCES"


def stand_in(url: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """What to open instead, and what must live as long; ``None`` when the program's own call does.

    The dataset at the recorded address is opened at the recorded commit when it has moved on since. A run that wrote to it is left alone:
    it needs the newest version, and writes a new one.

    Args:
        url: What the program opens.
        arguments: Further arguments of the call: credentials and token.
        options: The same by name.

    Raises:
        IntegrityError: Nothing that Deep Lake can open holds the recorded rows.
    """
    if not os.environ.get(_VARIABLE) or not isinstance(url, str):
        return None
    ports, reproducing = _known()
    if reproducing is None:
        return None
    address, _, branch = url.rpartition("@") if "@" in url.rpartition("/")[2] else (url, "", "")
    known = _addresses(address, ports, reproducing)
    items = [item for item in reproducing.original.inputs if item.uri in known]
    items = [item for item in items if not branch or item.branch == branch]
    if not items or any(output.path == items[0].uri and output.kind == "dataset" for output in reproducing.original.outputs):
        return None
    if len({(item.branch, item.commit_id, reproducing.data.get(item.role)) for item in items}) > 1:
        RECORDER.note(f"{items[0].uri} was read at several commits: it was opened as it is now")
        return None
    return _opened(ports, reproducing, items[0])


@functools.lru_cache(maxsize=1)
def _known() -> tuple[Ports, Reproducing | None]:
    from lineage.api.process import ports_of_process
    from lineage.record.reproducing import from_environment

    ports = ports_of_process()
    return ports, from_environment(ports.runs)


def _addresses(address: str, ports: Ports, reproducing: Reproducing) -> set[str]:
    from lineage.errors import UsageError
    from lineage.model.dataset import normalise_uri
    from lineage.record.reproducing import first_of

    original = first_of(ports.runs, reproducing.original)
    folder = Path(original.code.root if original.code is not None else "/", original.working_directory)
    try:
        # A reproduction works elsewhere: a relative address means the folder of the original.
        return {normalise_uri(address), normalise_uri(address, folder)}
    except UsageError:
        return set()


def _opened(ports: Ports, reproducing: Reproducing, item: InputRecord) -> tuple[Any, Any]:
    from lineage.adapters.datasets.deeplake_open import open_at
    from lineage.errors import IntegrityError
    from lineage.record.opening import locate
    from lineage.record.recorded_view import DatasetPlace

    check, place = locate(ports.datasets, ports.objects, ports.rows, item, reproducing.data.get(item.role), level="quick")
    if isinstance(place, DatasetPlace):
        return open_at(place.uri, place.branch, place.commit_id)
    raise IntegrityError(
        f"input '{item.role}', opened by the script itself",
        expected=f"{item.uri} at {item.commit_id}",
        found="an archive only, which plain Deep Lake code cannot open" if place is not None else "; ".join(check.detail) or check.found,
        hint=f"`lineage materialise` writes it as a dataset; then `lineage reproduce --data {item.role}=FOLDER`",
    )
