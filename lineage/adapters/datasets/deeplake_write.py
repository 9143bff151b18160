"""Filling a Deep Lake dataset so that an interruption never leaves half of one, and running again continues."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import deeplake
from deeplake import types

from lineage.adapters.datasets.deeplake_open import deeplake_errors, version_of
from lineage.adapters.datasets.deeplake_reach import check_reachable
from lineage.adapters.datasets.upload_claim import UploadLock, check_claim, new_claim
from lineage.errors import Conflict
from lineage.model.dataset import DatasetVersion, local_path
from lineage.model.processes import is_running
from lineage.model.source import Column

_MARK = "lineage_upload"
_MAKING = 2  # entries of history that making a dataset leaves: that it was made, and its columns


class DeepLakeWriter:
    """An upload into the dataset at ``uri``: created, or continued when the same source was being uploaded there.

    Args:
        uri: Where to.
        columns: Its columns.
        source: What is uploaded.
        job: Id of the run that uploads; a second upload at the same time is refused. ``None`` where nobody else knows the address.

    Raises:
        Conflict: Something else is there, a finished upload, or another job uploads there now.
    """

    def __init__(self, uri: str, columns: Sequence[Column], source: Mapping[str, Any], job: str | None = None) -> None:
        self._uri = uri
        self._mark: dict[str, Any] = {"state": "uploading", "source": dict(source)}
        self._earlier: tuple[str, ...] = ()
        check_reachable(uri)
        self._lock = None
        if job is not None:
            claim = new_claim(job)
            self._mark["jobs"] = [claim]
            self._lock = UploadLock(uri, claim)
        try:
            with deeplake_errors(uri):
                self._dataset = self._open(columns)
                self._present: list[str] = list(self._dataset["sample_id"][:]) if len(self._dataset) else []
        except BaseException:
            self.close()
            raise
        self._rows = len(self._present)

    def _open(self, columns: Sequence[Column]) -> Any:
        folder = local_path(self._uri)
        if deeplake.exists(self._uri):
            return self._continue(columns)
        if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Conflict(f"{folder} exists and is not a dataset", hint="choose another address, or move it away")
        self._create(columns, folder)
        return deeplake.open(self._uri)

    def _create(self, columns: Sequence[Column], folder: Path | None) -> None:
        if folder is None:
            _make(self._uri, columns, self._mark)
            return
        # Made aside and renamed, so that a kill in between leaves no half-made dataset under the final name.
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.creating-*"):
            process = leftover.name.rpartition("-")[2]
            if not (process.isdecimal() and is_running(int(process))):
                shutil.rmtree(leftover)
        aside = folder.parent / f".{folder.name}.creating-{os.getpid()}"
        _make(f"file://{aside}", columns, self._mark)
        try:
            aside.rename(folder)  # an empty folder is replaced
        except OSError as error:
            shutil.rmtree(aside)
            raise Conflict(f"{folder} was made by somebody else meanwhile", hint="choose another address, or upload again") from error

    def _continue(self, columns: Sequence[Column]) -> Any:
        dataset = deeplake.open(self._uri)
        mark = dataset.metadata.to_dict().get(_MARK)
        if mark is None and self._is_just_made(dataset, columns):
            _begin(dataset, columns, self._mark)
            return dataset
        if mark is None:
            raise Conflict(f"a dataset that was not uploaded by this command exists at {self._uri}", hint="choose another address")
        if mark["source"] != self._mark["source"]:
            raise Conflict(
                f"the dataset at {self._uri} was uploaded from another source or from other files", hint="choose another address"
            )
        if mark["state"] == "complete":
            raise Conflict(
                f"the dataset at {self._uri} holds a finished upload of this source already (commit {dataset.version})",
                hint="use it as it is, or choose another address",
            )
        present = {item.name for item in dataset.schema.columns}
        if present != {item.name for item in columns}:
            raise Conflict(
                f"the interrupted upload at {self._uri} has other columns: {', '.join(sorted(present))}", hint="choose another address"
            )
        jobs = [claim for claim in mark.get("jobs", ()) if isinstance(claim, dict)]
        if self._lock is not None:
            if jobs:
                check_claim(self._uri, jobs[-1])
            self._mark["jobs"] = [*jobs, *self._mark["jobs"]]
            self._earlier = tuple(str(claim.get("run")) for claim in jobs)
            dataset.metadata[_MARK] = self._mark  # it becomes visible with the first commit
            dataset.commit("upload continued")
        return dataset

    def _is_just_made(self, dataset: Any, columns: Sequence[Column]) -> bool:
        # In an object store nothing can be made aside and renamed: a kill between making and the first commit leaves this, which holds
        # nothing of anybody's.
        is_bare = len(dataset) == 0 and len(dataset.history) <= _MAKING and not dataset.metadata.to_dict()
        return (
            local_path(self._uri) is None and is_bare and {item.name for item in dataset.schema.columns} == {item.name for item in columns}
        )

    @property
    def present(self) -> Sequence[str]:
        """``sample_id`` of each committed row."""
        return self._present

    @property
    def earlier(self) -> Sequence[str]:
        """Ids of the runs whose interrupted upload is continued, oldest first."""
        return self._earlier

    def append(self, rows: Mapping[str, Sequence[Any]]) -> None:
        """Add rows, given as columns."""
        with deeplake_errors(self._uri):
            self._dataset.append({name: list(values) for name, values in rows.items()})
        self._rows += len(next(iter(rows.values()), ()))

    def checkpoint(self, message: str) -> None:
        """Commit what was added.

        Raises:
            Conflict: Somebody else added rows meanwhile.
        """
        with deeplake_errors(self._uri):
            self._renew()
            self._dataset.commit(message)
            self._check_alone()

    def complete(self, message: str) -> DatasetVersion:
        """Commit and mark as complete. A metadata-only commit does not make a new version id."""
        with deeplake_errors(self._uri):
            self._mark["state"] = "complete"
            self._renew()
            self._dataset.metadata[_MARK] = self._mark
            self._dataset.commit(message)
            self._check_alone()
            version = version_of(self._uri, self._dataset)
        self.close()
        return version

    def close(self) -> None:
        """Let others upload there; what was not committed is gone. Again is harmless."""
        if self._lock is not None:
            self._lock.release()

    def _renew(self) -> None:
        if self._lock is not None:
            self._mark["jobs"] = [*self._mark["jobs"][:-1], new_claim(self._mark["jobs"][-1]["run"])]
            self._dataset.metadata[_MARK] = self._mark

    def _check_alone(self) -> None:
        # Deep Lake merges rows of two writers without a word.
        found = len(self._dataset)
        if found != self._rows:
            raise Conflict(
                f"somebody else wrote to {self._uri} meanwhile: expected {self._rows} rows, found {found}",
                hint="nothing of it was recorded as complete; upload to an address that nobody else writes to",
            )


def _make(uri: str, columns: Sequence[Column], mark: Mapping[str, Any]) -> None:
    _begin(deeplake.create(uri, schema={column.name: _type_of(column) for column in columns}), columns, mark)


def _begin(dataset: Any, columns: Sequence[Column], mark: Mapping[str, Any]) -> None:
    for column in columns:
        if column.class_names:
            dataset[column.name].metadata["class_names"] = list(column.class_names)
    dataset.metadata[_MARK] = dict(mark)
    dataset.commit("upload started")


def _type_of(column: Column) -> Any:
    match column.kind:
        case "image":
            return types.Image(sample_compression=column.compression or "jpeg")
        case "class_labels":
            return types.ClassLabel(types.Array(column.dtype, column.ndim))
        case "array":
            return types.Array(column.dtype, column.ndim)
        case "text":
            return types.Text()
