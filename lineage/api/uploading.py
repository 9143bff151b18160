"""Uploading from a script."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lineage.api.process import ports_of_process
from lineage.ports import Importer, Progress, no_progress
from lineage.record.live import LiveRun
from lineage.wiring import importer

if TYPE_CHECKING:
    from lineage.record.upload import Uploaded


def upload(
    run: LiveRun,
    layout: str | Importer,
    source: str | Path,
    uri: str,
    *,
    on_error: Literal["fail", "skip"] = "fail",
    progress: Progress = no_progress,
) -> Uploaded:
    """Store a folder of pictures and annotations as a new dataset version, byte for byte, as an output of a run.

    The whole source is checked first, and everything stored is read back and compared. An interrupted upload goes on when called again::

        with lineage.start_run(job_type="dataset_upload") as run:
            lineage.upload(run, "coco", "pictures", "s3://bucket/pictures")

    Args:
        run: The tracked job; what it records of code, user and time says by whom and how the version was made.
        layout: ``visdrone``, ``coco``, ``yolo``, another importer's name, ``module:Class``, or an importer.
        source: The folder (or a file in it, where the layout knows that).
        uri: Where to: an address where there is nothing yet, or an interrupted upload of the same source.
        on_error: ``fail`` stores nothing when any sample is bad; ``skip`` leaves bad samples out and reports them.
        progress: Told of samples checked, stored and read back.

    Returns:
        ``version`` (identity of the new version), ``continued`` (rows that interrupted uploads had stored), ``earlier`` (ids of their
        runs) and ``problems``.

    Raises:
        UsageError: There is no such importer.
        InvalidSource: The folder is no such layout, holds errors or was changed meanwhile.
        Conflict: Something else is at ``uri``, or another job uploads there.
        Unavailable: The store does not answer, or does not let us in.
        IntegrityError: What was read back differs from the source.
    """
    from lineage.record.upload import upload as _upload  # NumPy comes with it

    chosen = importer(layout) if isinstance(layout, str) else layout
    return _upload(run, ports_of_process(), chosen, Path(source), uri, on_error=on_error, progress=progress)
