"""How long one digest takes."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
from digests.cases import Case

import lineage


def measure(case: Case, folder: Path, repeats: int) -> dict[str, float]:
    """Medians in seconds, interleaved.

    ``sha256``: over the rows' bytes, joined in memory. ``ours, first``: open, read, digest and keep, with an empty store. ``ours, again``:
    the same version with the store that knows it. ``reading``: the columns out of the open dataset, by Deep Lake alone. And ``bytes``.
    """
    rows = len(case.table)
    blob = b"".join(_bytes(value) for values in case.table.columns.values() for value in values)
    took: dict[str, list[float]] = {"sha256": [], "ours, first": [], "ours, again": [], "reading": []}
    kept = os.environ.get("LINEAGE_STORE")
    for number in range(repeats):
        os.environ["LINEAGE_STORE"] = str(folder / f"timing-{number}")
        began = time.perf_counter()
        hashlib.sha256(blob).digest()
        took["sha256"].append(time.perf_counter() - began)
        for what in ("ours, first", "ours, again"):
            with lineage.start_run(project="benchmark") as run:
                began = time.perf_counter()
                view = run.use_dataset(str(case.folder), role="train")
                took[what].append(time.perf_counter() - began)
            if view.record.content_digest != case.digests["ours"]:
                raise RuntimeError("another digest of the same rows")
        dataset = deeplake.open_read_only(str(case.folder))
        began = time.perf_counter()
        for column in dataset.schema.columns:
            # Pictures as stored: decoding them is no part of a digest.
            _ = dataset[column.name].get_bytes(slice(0, rows)) if column.name == "images" else dataset[column.name][:]
        took["reading"].append(time.perf_counter() - began)
    if kept is None:
        del os.environ["LINEAGE_STORE"]
    else:
        os.environ["LINEAGE_STORE"] = kept
    return {"bytes": float(len(blob))} | {what: statistics.median(values) for what, values in took.items()}


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | str):
        return value if isinstance(value, bytes) else value.encode()
    return np.asarray(value).tobytes()
