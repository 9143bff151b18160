"""From what a tracker calls a run or an artifact back to the record: ``wandb:<run id>``, ``wandb:<artifact>``, the address of a page."""

from __future__ import annotations

import re

from lineage.errors import AmbiguousId, NotFound
from lineage.model.run import Run
from lineage.model.wandb_names import dataset_alias, dataset_artifact_name, file_artifact_name
from lineage.ports import RunQuery, RunStore

_PREFIX = "wandb:"
_PAGE = re.compile(r"https?://[^/]+/(?P<entity>[^/]+)/(?P<project>[^/]+)/(?P<kind>runs|artifacts)/(?P<rest>[^?#]+)")
_RUN = re.compile(r"[A-Za-z0-9_.-]+")


def is_tracked_name(name: str) -> bool:
    """Whether a run is named by what W&B calls it."""
    return name.startswith(_PREFIX) or _PAGE.match(name) is not None


def tracked_run(runs: RunStore, name: str) -> Run:
    """The run behind a W&B run or artifact, not settled.

    Args:
        runs: Store.
        name: ``wandb:<run id>``, ``wandb:[ENTITY/][PROJECT/]<run id>``, ``wandb:<artifact>[:<alias>]``, or the address of a run's or an
            artifact's page.

    Raises:
        NotFound: No record is known under it.
        AmbiguousId: Several are: an artifact without an alias that says which.
    """
    page = _PAGE.match(name)
    if page is None:
        *above, called = name.removeprefix(_PREFIX).split("/")
        project = above[-1] if above else None
    else:
        project = page["project"]
        words = page["rest"].strip("/").split("/")
        called = words[0] if page["kind"] == "runs" else ":".join(words[1:3])
    is_artifact_page = page is not None and page["kind"] == "artifacts"
    found = [] if is_artifact_page else _runs(runs, called, project)
    found = found or _makers(runs, called, project)
    if not found:
        raise NotFound(
            "run", name, detail="no record names this W&B run or artifact", hint="`lineage import wandb` makes records of past W&B runs"
        )
    if len(found) > 1:
        raise AmbiguousId(name, [run.id for run in found])
    return found[0]


def _runs(runs: RunStore, called: str, project: str | None) -> list[Run]:
    if _RUN.fullmatch(called) is None:
        return []
    found = [run for run in runs.find(RunQuery(mentions=called)) if _is_called(run, called, project)]
    # Of a run that was recorded and imported as well, the record that saw it.
    return [run for run in found if run.imported is None] or found[:1]


def _is_called(run: Run, called: str, project: str | None) -> bool:
    told = run.trackers.get("wandb", {})
    return told.get("id") == called and project in (None, told.get("project"))


def _makers(runs: RunStore, called: str, project: str | None) -> list[Run]:
    artifact, _, alias = called.partition(":")
    told = [run for run in runs.find(RunQuery(mentions="wandb")) if run.trackers.get("wandb")]
    if project is not None:
        told = [run for run in told if run.trackers["wandb"].get("project") == project]
    # Versions of one artifact that differ are several files; the same file made again is one version, of the run that made it first.
    first: dict[str, Run] = {}
    for run in told:  # newest first: the oldest stays
        first.update(dict.fromkeys(_versions(run, artifact, alias), run))
    return list({run.id: run for run in first.values()}.values())


def _versions(run: Run, artifact: str, alias: str) -> list[str]:
    """Digests of what a run made under an artifact's name. Numbers of versions are W&B's own: an alias like ``v3`` says nothing here."""
    found = []
    for item in run.outputs:
        if item.kind == "dataset" and "uri" in item.details:
            is_meant = dataset_artifact_name(str(item.details["uri"])) == artifact
            is_meant = is_meant and (not alias.startswith("commit-") or alias == dataset_alias(item.details))
        else:
            name = file_artifact_name(item.name)
            is_meant = artifact in (item.name, name, f"{name}-{item.kind}") and not alias.startswith("commit-")
        if is_meant:
            found.append(item.digest)
    return found
