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
from lineage.errors import Conflict
from lineage.model.dataset import DatasetVersion, local_path
from lineage.model.source import Column

_MARK = "lineage_upload"


class DeepLakeWriter:
    """An upload into the dataset at ``uri``: created, or continued when the same source was being uploaded there.

    Raises:
        Conflict: Something else is there, or a finished upload.
    """

    def __init__(self, uri: str, columns: Sequence[Column], source: Mapping[str, Any]) -> None:
        self._uri = uri
        self._source = dict(source)
        folder = local_path(uri)
        check_reachable(uri)
        with deeplake_errors(uri):
            if deeplake.exists(uri):
                self._dataset = self._continue(columns)
            else:
                if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                    raise Conflict(f"{folder} exists and is not a dataset", hint="choose another address, or move it away")
                self._create(columns, folder)
                self._dataset = deeplake.open(uri)
            self._present: list[str] = list(self._dataset["sample_id"][:]) if len(self._dataset) else []

    def _create(self, columns: Sequence[Column], folder: Path | None) -> None:
        if folder is None:
            _make(self._uri, columns, self._source)
            return
        # Made aside and renamed, so that a kill in between leaves no half-made dataset under the final name.
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.creating-*"):
            if not _is_running(leftover.name.rpartition("-")[2]):
                shutil.rmtree(leftover)
        aside = folder.parent / f".{folder.name}.creating-{os.getpid()}"
        _make(f"file://{aside}", columns, self._source)
        try:
            aside.rename(folder)  # an empty folder is replaced
        except OSError as error:
            shutil.rmtree(aside)
            raise Conflict(f"{folder} was made by somebody else meanwhile", hint="choose another address, or upload again") from error

    def _continue(self, columns: Sequence[Column]) -> Any:
        dataset = deeplake.open(self._uri)
        mark = dataset.metadata.to_dict().get(_MARK)
        if mark is None:
            raise Conflict(f"a dataset that was not uploaded by this command exists at {self._uri}", hint="choose another address")
        if mark["source"] != self._source:
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
        return dataset

    @property
    def present(self) -> Sequence[str]:
        """``sample_id`` of each committed row."""
        return self._present

    def append(self, rows: Mapping[str, Sequence[Any]]) -> None:
        """Add rows, given as columns."""
        with deeplake_errors(self._uri):
            self._dataset.append({name: list(values) for name, values in rows.items()})

    def checkpoint(self, message: str) -> None:
        """Commit what was added."""
        with deeplake_errors(self._uri):
            self._dataset.commit(message)

    def complete(self, message: str) -> DatasetVersion:
        """Commit and mark as complete. A metadata-only commit does not make a new version id."""
        with deeplake_errors(self._uri):
            self._dataset.metadata[_MARK] = {"state": "complete", "source": self._source}
            self._dataset.commit(message)
            return version_of(self._uri, self._dataset)


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _make(uri: str, columns: Sequence[Column], source: Mapping[str, Any]) -> None:
    dataset = deeplake.create(uri, schema={column.name: _type_of(column) for column in columns})
    for column in columns:
        if column.class_names:
            dataset[column.name].metadata["class_names"] = list(column.class_names)
    dataset.metadata[_MARK] = {"state": "uploading", "source": dict(source)}
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
