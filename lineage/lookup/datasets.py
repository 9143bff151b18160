"""What is recorded of a dataset: versions, views with who read them, uploads, and what of it is kept here. No dataset is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lineage.errors import NotFound
from lineage.model.dataset import InputRecord
from lineage.model.digest import looks_like_digest
from lineage.model.run import Run
from lineage.ports import Ports, RunQuery, VersionRead, ViewRead


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """Rows of a dataset's version as runs read them.

    Attributes:
        read: Who read them.
        item: The input of the newest run that did.
        is_archived: Whether a copy of the rows is kept in the object store.
        lost: Objects of that record that are gone: without them the rows cannot be told any more.
    """

    read: ViewRead
    item: InputRecord
    is_archived: bool
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """A run that wrote a version of the dataset.

    Attributes:
        details: What it noted: ``source``, ``importer``, ``source_file_count``, ``source_files`` (object that lists them), and others.
        has_files: Whether that list is kept.
    """

    run: Run
    commit_id: str
    rows: int | None
    details: dict[str, Any]
    has_files: bool


@dataclass(frozen=True, slots=True)
class DatasetPage:
    """A part of what is recorded of a dataset.

    Attributes:
        uris: Addresses under which it was read or written, as far as this part tells.
        more_versions: Whether there are further ones.
        more_views: Likewise.
        runs: The newest runs that read it.
    """

    dataset_id: str
    uris: tuple[str, ...]
    versions: tuple[VersionRead, ...]
    more_versions: bool
    views: tuple[ViewRecord, ...]
    more_views: bool
    uploads: tuple[Upload, ...]
    runs: tuple[Run, ...]


_UPLOADS, _RUNS = 20, 20


def dataset_page(
    ports: Ports, dataset_id: str, commit_id: str | None = None, *, most: int = 25, skip_versions: int = 0, skip_views: int = 0
) -> DatasetPage:
    """What is recorded of a dataset, or of one version of it.

    Args:
        ports: Records, index and objects.
        dataset_id: As records hold it.
        commit_id: Only views, uploads and runs of this version.
        most: So many versions and views at most.
        skip_versions: Without the first ones, those that were read last.
        skip_views: Likewise.

    Raises:
        NotFound: No run read or wrote it.
    """
    versions = ports.rows.versions_read(dataset_id, most + 1, skip_versions)
    views = ports.rows.views_read(dataset_id, commit_id, most + 1, skip_views)
    uploads = tuple(_uploads(ports, dataset_id, commit_id))
    if not uploads and not views and not skip_views:
        at = "" if commit_id is None else f" at {commit_id}"
        raise NotFound("dataset", f"{dataset_id}{at}", detail="no recorded run read or wrote it")
    told = tuple(_view(ports, read) for read in views[:most])
    runs = ports.runs.find(RunQuery(dataset_id=dataset_id, commit_id=commit_id, limit=_RUNS))
    uris = [item.uri for item in versions] + [view.item.uri for view in told] + [str(item.details.get("uri", "")) for item in uploads]
    return DatasetPage(
        dataset_id=dataset_id,
        uris=tuple(dict.fromkeys(uri for uri in uris if uri)),
        versions=tuple(versions[:most]),
        more_versions=len(versions) > most,
        views=told,
        more_views=len(views) > most,
        uploads=uploads,
        runs=tuple(runs),
    )


def _view(ports: Ports, read: ViewRead) -> ViewRecord:
    item = ports.runs.get(read.run_id).inputs[read.ordinal]
    needed = [item.rows_object, *(digest for digest in (item.ledger_object, item.digests_object) if digest is not None)]
    return ViewRecord(
        read=read,
        item=item,
        is_archived=ports.rows.archive(item.content_digest) is not None,
        lost=tuple(digest for digest in needed if not ports.objects.has(digest)),
    )


def _uploads(ports: Ports, dataset_id: str, commit_id: str | None) -> Iterator[Upload]:
    for run_id in ports.rows.uploads(dataset_id, commit_id, _UPLOADS):
        run = ports.runs.get(run_id)
        for item in run.outputs:
            told = item.details
            if item.kind == "dataset" and told.get("dataset_id") == dataset_id and commit_id in (None, told.get("commit_id")):
                rows, files = told.get("rows"), told.get("source_files")
                has_files = isinstance(files, str) and looks_like_digest(files) and ports.objects.has(files)
                yield Upload(run, str(told.get("commit_id", "")), rows if isinstance(rows, int) else None, told, has_files)
