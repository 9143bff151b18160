"""Recording."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lineage.api.process import wired
from lineage.record.live import LiveRun
from lineage.record.rehearsing import place_for_rehearsal, repeats_one_of_several
from lineage.record.start import start_run as _start_run
from lineage.settings import load_settings


def start_run(
    project: str | None = None,
    job_type: str | None = None,
    *,
    name: str | None = None,
    group: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    tags: Sequence[str] = (),
    trackers: Sequence[str] | None = None,
    resume: str | None = None,
    allow_changed: Sequence[str] = (),
) -> LiveRun:
    """Begin a run and write its record before anything else happens.

    Code, environment, command, configuration and seed are recorded at once; inputs, metrics and outputs as they come. Inside
    ``lineage run`` or ``lineage reproduce`` the run they began is continued instead.

    Args:
        project: Project; ``LINEAGE_PROJECT`` or ``default`` without one.
        job_type: What kind of job: ``train``, ``evaluate``, ``dataset_upload`` …
        name: A name for people; made up without one.
        group: Runs that belong together.
        config: Configuration: plain values, lists and mappings. Secrets in it are left out.
        seed: The seed that decides the run; ``None`` when it is not fixed (a reproduction then says so).
        tags: Words to find it by.
        trackers: Other places to tell, for example ``("wandb",)``. Without an argument an active W&B run is told.
        resume: Id or unique prefix of a run that was broken off: go on from its last checkpoint, with its recorded rows, seed and settings
            (:class:`lineage.training.Checkpoints` restores the state). The new record holds the whole training.
        allow_changed: Configuration fields that may differ from that run's, for example ``("epochs",)``; any other difference is an error.

    Raises:
        LineageError: The record cannot be written: the run does not start.
        TypeError: The configuration holds something that is not plain.
    """
    settings = load_settings()
    if trackers is None:
        trackers = ("wandb",) if getattr(sys.modules.get("wandb"), "run", None) is not None else ()
    aside = place_for_rehearsal()
    live = _start_run(
        wired(settings if aside is None else replace(settings, store=str(aside), folder=aside)),
        project=project,
        default_project=settings.project,
        job_type=job_type,
        name=name,
        group=group,
        config=config,
        seed=seed,
        tags=tags,
        trackers=trackers,
        resume=resume,
        allow_changed=allow_changed,
    )
    repeats_one_of_several(live)
    return live
