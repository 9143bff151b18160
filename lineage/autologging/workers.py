"""Processes that read for another one: they add no run and no input, and say what the other cannot see."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from lineage.autologging.handles import Data, Shown

RUN_OF_PARENT = "LINEAGE_AUTOLOG_RUN"
"""Names the run in progress to processes that `multiprocessing` starts."""


def is_worker() -> bool:
    """Whether `multiprocessing` started this process afresh (spawn, forkserver)."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def report(data: Data, run_id: str | None) -> None:
    """Say that this worker process read data that it opened or unpickled itself: in the run's record, and to the process of the run."""
    run_id = run_id or os.environ.get(RUN_OF_PARENT)
    if not run_id:
        return
    from lineage.api.process import ports_of_process
    from lineage.errors import LineageError
    from lineage.model.event import Noted
    from lineage.record.foreign import UNPINNED

    how = "; ".join(data.trouble) or "it opened the dataset itself; which rows it read is not known"
    note = f"{UNPINNED}a worker process read {data.shown}: {how}"
    with suppress(LineageError, OSError):  # a worker's reading is not stopped by a store that it cannot reach
        ports = ports_of_process()
        place = _place(ports.folder, run_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("ab") as stream:  # one write to the end of a file is not mixed with others
            stream.write(json.dumps(asdict(data.shown)).encode() + b"\n")
        if note not in ports.runs.get(run_id).notes:
            ports.runs.append(run_id, Noted(at=datetime.now(UTC), note=note))


def reported(folder: Path, run_id: str) -> list[Shown]:
    """What worker processes of a run said that they read; each once, and no second time.

    Args:
        folder: The store's folder.
        run_id: The run.
    """
    place = _place(folder, run_id)
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    place.unlink()
    facts = [json.loads(line) for line in dict.fromkeys(lines)]
    return [Shown(**item | {"queries": tuple(item["queries"])}) for item in facts]


def _place(folder: Path, run_id: str) -> Path:
    return folder / "workers" / f"{run_id}.jsonl"
