"""The public functions, over the wiring of this process."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lineage.lookup import runs as lookup
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.model.run import Artifact, Run, RunState
from lineage.ports import Ports, RunQuery
from lineage.record.live import LiveRun
from lineage.record.start import start_run as _start_run
from lineage.settings import Settings, load_settings
from lineage.wiring import wire


@functools.lru_cache(maxsize=8)
def _wired(settings: Settings) -> Ports:
    return wire(settings)


def _ports() -> Ports:
    return _wired(load_settings())


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

    Raises:
        LineageError: The record cannot be written: the run does not start.
        TypeError: The configuration holds something that is not plain.
    """
    settings = load_settings()
    if trackers is None:
        trackers = ("wandb",) if getattr(sys.modules.get("wandb"), "run", None) is not None else ()
    return _start_run(
        _wired(settings),
        project=project,
        default_project=settings.project,
        job_type=job_type,
        name=name,
        group=group,
        config=config,
        seed=seed,
        tags=tags,
        trackers=trackers,
    )


def get(run: str) -> Run:
    """The record of a run.

    Args:
        run: Id or unique prefix.

    Raises:
        NotFound: There is none.
        AmbiguousId: The prefix fits several.
    """
    ports = _ports()
    return lookup.get_run(ports.runs, ports.liveness, run)


def runs(
    *, project: str | None = None, group: str | None = None, job_type: str | None = None, state: str | None = None, limit: int | None = None
) -> list[Run]:
    """Records that fit, newest first."""
    ports = _ports()
    query = RunQuery(project=project, group=group, job_type=job_type, state=None if state is None else RunState(state), limit=limit)
    return lookup.find_runs(ports.runs, ports.liveness, query)


def trained_on(model: str | Path) -> list[InputRecord]:
    """The inputs that made a model.

    Args:
        model: Path of a weights file, artifact digest, or run id.

    Raises:
        NotFound: No recorded run made it.
    """
    ports = _ports()
    found, _ = lookup.runs_behind(ports.runs, ports.liveness, str(model))
    return [item for run in found[:1] for item in run.inputs]


def models_using(uri: str, *, commit_id: str | None = None, view: str | None = None) -> Iterator[tuple[Run, Artifact]]:
    """Every model made from a dataset, newest first: (run, model)."""
    ports = _ports()
    return lookup.models_using(ports.runs, ports.liveness, normalise_uri(uri), commit_id=commit_id, view=view)
