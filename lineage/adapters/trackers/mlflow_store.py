"""What MLflow keeps of runs, read from its SQLite database or its folder of files, without MLflow.

MLflow's own client is not used: it brings about a hundred packages, opens a database only after it brought the tables up to its own
release (which writes into it), and refuses folders of files unless told otherwise. Tables and files of 2.9 and 3.17 are read; what
only newer releases have is looked for first. Nothing is ever written.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from lineage.errors import InvalidSource, MissingExtra

_STATES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
"""Numbers in files to words in databases."""


@dataclass(frozen=True, slots=True)
class StoredMetric:
    """A value of a metric; time in milliseconds since the epoch."""

    name: str
    value: float
    at_ms: int
    step: int


@dataclass(frozen=True, slots=True)
class StoredDataset:
    """A dataset that was logged as an input: MLflow's short digest (32 bits), and where it came from."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str
    context: str


@dataclass(slots=True)
class StoredRun:
    """A run as it is stored.

    Attributes:
        status: ``RUNNING``, ``SCHEDULED``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        models: (name, address of its files) of models that were logged with it.
        notes: What could not be read, one sentence each.
    """

    id: str
    experiment: str
    name: str
    user: str
    status: str
    start_ms: int
    end_ms: int | None
    is_deleted: bool
    artifact_uri: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[StoredMetric] = field(default_factory=list)
    datasets: list[StoredDataset] = field(default_factory=list)
    models: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Head(NamedTuple):
    """A run in short."""

    id: str
    status: str
    is_deleted: bool


class Store(Protocol):
    """Either form."""

    place: str

    def heads(self, experiment: str | None) -> list[Head]:
        """All runs, oldest first."""

    def experiments(self) -> list[str]:
        """Names."""

    def read(self, run_id: str) -> StoredRun:
        """One run."""


class DatabaseStore:
    """MLflow's SQLite database.

    Args:
        file: The file.

    Raises:
        InvalidSource: It is no database, or not one of MLflow's.
    """

    def __init__(self, file: Path) -> None:
        self.place = str(file)
        self._file = file
        with self._errors():
            self._database = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)
            found = self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self._tables = {name for (name,) in found}
        if missing := {"experiments", "runs", "params", "tags", "metrics"} - self._tables:
            raise InvalidSource(f"{file}: expected a database of MLflow, found none of its tables {', '.join(sorted(missing))}")

    def experiments(self) -> list[str]:
        """Names of all experiments."""
        return [str(name) for (name,) in self._rows("SELECT name FROM experiments ORDER BY experiment_id")]

    def heads(self, experiment: str | None) -> list[Head]:
        """By start; of one experiment, or of all."""
        where, values = ("", ()) if experiment is None else ("WHERE e.name = ?", (experiment,))
        columns = "run_uuid, r.status, r.lifecycle_stage"
        query = f"SELECT {columns} FROM runs r JOIN experiments e USING (experiment_id) {where} ORDER BY r.start_time, run_uuid"
        return [Head(str(name), status or "", stage == "deleted") for name, status, stage in self._rows(query, *values)]

    def read(self, run_id: str) -> StoredRun:
        """All tables that know a run."""
        query = (
            "SELECT e.name, r.name, r.user_id, r.status, r.start_time, r.end_time, r.lifecycle_stage, r.artifact_uri "
            "FROM runs r JOIN experiments e USING (experiment_id) WHERE run_uuid = ?"
        )
        ((experiment, name, user, status, start_ms, end_ms, stage, artifact_uri),) = self._rows(query, run_id)
        run = StoredRun(
            run_id, experiment, name or "", user or "", status or "", start_ms or 0, end_ms, stage == "deleted", artifact_uri or ""
        )
        run.params.update(self._rows("SELECT key, value FROM params WHERE run_uuid = ? ORDER BY key", run_id))
        run.tags.update(
            (key, value or "") for key, value in self._rows("SELECT key, value FROM tags WHERE run_uuid = ? ORDER BY key", run_id)
        )
        columns = "key, value, timestamp, step, is_nan"
        for key, value, at_ms, step, is_nan in self._rows(
            f"SELECT {columns} FROM metrics WHERE run_uuid = ? ORDER BY timestamp, rowid", run_id
        ):
            run.metrics.append(StoredMetric(key, math.nan if is_nan else _unclamped(float(value)), int(at_ms), int(step)))
        if {"inputs", "datasets", "input_tags"} <= self._tables:
            query = (
                "SELECT d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema, d.dataset_profile, t.value "
                "FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id "
                "LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context' "
                "WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = ? ORDER BY d.name, d.digest"
            )
            run.datasets += [StoredDataset(*(value or "" for value in row)) for row in self._rows(query, run_id)]
        if "logged_models" in self._tables:
            query = (
                "SELECT name, artifact_location FROM logged_models WHERE source_run_id = ? AND lifecycle_stage = 'active' ORDER BY model_id"
            )
            run.models += self._rows(query, run_id)
        return run

    def _rows(self, query: str, *values: str) -> list[Any]:
        with self._errors():
            return self._database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InvalidSource(f"{self._file}: expected a database of MLflow that can be read: {error}") from error


class FolderStore:
    """MLflow's folder of files (``mlruns``).

    Args:
        folder: It holds a folder for each experiment.

    Raises:
        MissingExtra: PyYAML is not installed.
        InvalidSource: It holds none.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import yaml
        except ImportError:
            raise MissingExtra("pyyaml", "mlflow") from None
        self._yaml = yaml
        self.place = str(folder)
        self._experiments: dict[Path, str] = {}
        for file in sorted([*folder.glob("*/meta.yaml"), *folder.glob(".trash/*/meta.yaml")]):
            meta = self._meta(file)
            if "experiment_id" in meta and "name" in meta:
                self._experiments[file.parent] = str(meta["name"])
        if not self._experiments:
            raise InvalidSource(f"{folder}: expected MLflow's folder of experiments, found no <experiment>/meta.yaml")
        self._runs: dict[str, Path] = {}

    def experiments(self) -> list[str]:
        """Names of all experiments."""
        return list(self._experiments.values())

    def heads(self, experiment: str | None) -> list[Head]:
        """By start; a run whose ``meta.yaml`` cannot be read comes first, as one that is over, for :meth:`read` to say so."""
        found: list[tuple[int, Head]] = []
        for folder, name in self._experiments.items():
            if experiment not in (None, name):
                continue
            for file in folder.glob("*/meta.yaml"):
                self._runs[file.parent.name] = file.parent
                try:
                    meta = self._meta(file)
                    head = Head(file.parent.name, _STATES.get(meta.get("status", 0), ""), meta.get("lifecycle_stage") == "deleted")
                    found.append((int(meta.get("start_time") or 0), head))
                except (InvalidSource, TypeError, ValueError):
                    found.append((0, Head(file.parent.name, "FINISHED", False)))
        return [head for _, head in sorted(found)]

    def read(self, run_id: str) -> StoredRun:
        """Every file of a run's folder."""
        folder = self._runs[run_id]
        meta = self._meta(folder / "meta.yaml")
        try:
            start_ms, end_ms = int(meta["start_time"]), meta.get("end_time")
            status = _STATES.get(meta["status"], str(meta["status"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidSource(f"{folder / 'meta.yaml'}: expected status and start_time of a run, found {type(error).__name__}") from error
        tags = _texts(folder / "tags")
        run = StoredRun(
            id=run_id,
            experiment=self._experiments[folder.parent],
            name=str(meta.get("run_name") or tags.get("mlflow.runName") or ""),
            user=str(meta.get("user_id") or ""),
            status=status,
            start_ms=start_ms,
            end_ms=None if end_ms is None else int(end_ms),
            is_deleted=meta.get("lifecycle_stage") == "deleted",
            artifact_uri=str(meta.get("artifact_uri") or ""),
            params=_texts(folder / "params"),
            tags=tags,
        )
        # A folder that was moved still names where it was.
        if not _there(run.artifact_uri) and (folder / "artifacts").is_dir():
            run.artifact_uri = str(folder / "artifacts")
        for name, text in _texts(folder / "metrics").items():
            _metrics(run, name, text)
        run.metrics.sort(key=lambda item: item.at_ms)  # stable: values of one millisecond stay in the order of their file
        for file in sorted((folder / "inputs").glob("*/meta.yaml")):
            self._dataset(run, folder.parent, self._meta(file))
        for file in sorted(folder.parent.glob("models/*/meta.yaml")):
            model = self._meta(file)
            if model.get("source_run_id") == run_id:
                there = str(model.get("artifact_location") or model.get("artifact_uri") or "")
                run.models.append((str(model.get("name") or file.parent.name), there if _there(there) else str(file.parent / "artifacts")))
        return run

    def _dataset(self, run: StoredRun, experiment: Path, used: Mapping[str, Any]) -> None:
        if used.get("source_type") != "DATASET":
            return
        file = experiment / "datasets" / str(used.get("source_id")) / "meta.yaml"
        try:
            meta = self._meta(file)
        except InvalidSource as error:
            run.notes.append(error.message)
            return
        words = {name: str(meta.get(name) or "") for name in ("name", "digest", "source_type", "source", "schema", "profile")}
        run.datasets.append(StoredDataset(**words, context=str((used.get("tags") or {}).get("mlflow.data.context") or "")))

    def _meta(self, file: Path) -> dict[str, Any]:
        try:
            found = self._yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, self._yaml.YAMLError) as error:
            raise InvalidSource(f"{file}: expected MLflow's facts as YAML, found none ({str(error).splitlines()[0]})") from error
        if not isinstance(found, dict):
            raise InvalidSource(f"{file}: expected names and values, found {type(found).__name__}")
        return found


def local_folder(address: str) -> Path | None:
    """The folder that an address of artifacts means; ``None`` for one on a server."""
    from urllib.parse import unquote, urlsplit

    if "://" not in address and not address.startswith("file:"):
        return Path(address) if address else None
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _there(address: str) -> bool:
    folder = local_folder(address)
    return folder is None or folder.is_dir()


def _texts(folder: Path) -> dict[str, str]:
    """Name to content of every file in a folder and its folders: names may hold slashes."""
    return {
        file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8", errors="replace")
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _metrics(run: StoredRun, name: str, text: str) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        try:
            run.metrics.append(StoredMetric(name, float(words[1]), int(words[0]), int(words[2]) if len(words) > 2 else 0))
        except (IndexError, ValueError):
            run.notes.append(f"metrics/{name}, line {number}: expected time, value and step, found '{line[:40]}'; it is left out")


def _unclamped(value: float) -> float:
    # A database has no infinity: MLflow writes the largest number in its place.
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value
