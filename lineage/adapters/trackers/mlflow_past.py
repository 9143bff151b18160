"""Past runs of MLflow, as this layer's importer takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lineage.adapters.trackers.mlflow_store import DatabaseStore, FolderStore, Head, Store, StoredMetric, StoredRun, local_folder
from lineage.errors import NotFound, UsageError
from lineage.model.run import MetricPoint, RunState
from lineage.ports import ForeignFile, ForeignRun

_STATES = {"FINISHED": RunState.finished, "FAILED": RunState.failed, "KILLED": RunState.aborted}
_OWN_TAG = "mlflow."


class MlflowPastRuns:
    """MLflow behind :class:`lineage.ports.PastRuns`.

    Args:
        experiment: Only runs of the experiment with this name.
        unfinished: Also runs that never said that they ended; they become aborted ones.
    """

    def __init__(self, experiment: str | None = None, *, unfinished: bool = False) -> None:
        self._experiment = experiment
        self._unfinished = unfinished
        self._stores: dict[str, Store] = {}
        self.left_out: dict[str, int] = {}
        """Why, to how many runs."""

    def places(self, what: str) -> Sequence[str]:
        """Every run of a database (``sqlite:///…`` or its file) or of a folder that is over and was not deleted."""
        store = _store(what)
        self._stores[store.place] = store
        known = store.experiments()
        if self._experiment is not None and self._experiment not in known:
            raise NotFound("experiment", self._experiment, detail=f"{store.place} has {', '.join(sorted(known))}")
        places = [f"{store.place}#{head.id}" for head in store.heads(self._experiment) if self._is_wanted(head)]
        if not places and not self.left_out:
            raise NotFound("run", what, detail="MLflow kept none there", hint="check the folder, or --experiment")
        return places

    def _is_wanted(self, head: Head) -> bool:
        why = "deleted" if head.is_deleted else "not over" if head.status not in _STATES and not self._unfinished else None
        if why is not None:
            self.left_out[why] = self.left_out.get(why, 0) + 1
        return why is None

    def read(self, place: str) -> ForeignRun:
        """One run, with the files of its artifacts where they are at hand."""
        where, _, run_id = place.rpartition("#")
        run = self._stores[where].read(run_id)
        notes, missing = list(run.notes), []
        if run.status not in _STATES:
            notes.append(f"MLflow still calls it {run.status.lower() or 'nothing'}: it never said that it ended")
        made: list[ForeignFile] = []
        for name, address, kind in [("", run.artifact_uri, "file"), *((model, there, "model") for model, there in run.models)]:
            folder = local_folder(address)
            if folder is None:
                missing.append(f"files at {address}: on a server, which was not asked")
            elif folder.is_dir():
                made += _files(folder, name, kind)
            elif kind == "model":
                missing.append(f"model '{name}': there is no folder {folder}")
        end_ms = run.end_ms if run.end_ms is not None else max([run.start_ms, *(item.at_ms for item in run.metrics)])
        points = list(_points(run.metrics))
        packages, python = _packages([file.content for file in made if file.content is not None])
        return ForeignRun(
            tracker="mlflow",
            id=run.id,
            place=where,
            called={"id": run.id, "experiment": run.experiment, "artifact_uri": run.artifact_uri},
            name=run.name or run.tags.get("mlflow.runName") or run.id[:12],
            project=run.experiment,
            state=_STATES.get(run.status, RunState.aborted),
            started_at=_time(run.start_ms),
            ended_at=_time(max(end_ms, run.start_ms)),
            group=run.tags.get("mlflow.parentRunId"),
            tags=[f"{name}={value}" if value else name for name, value in run.tags.items() if not name.startswith(_OWN_TAG)],
            config=run.params,
            summary={name: value for point in points for name, value in point.values.items()},
            points=points,
            packages=packages,
            python=python,
            user=run.user or run.tags.get("mlflow.user", ""),
            error="MLflow recorded it as failed" if run.status == "FAILED" else None,
            made=made,
            used=[
                ForeignFile(
                    name=f"{item.name} ({item.digest})",
                    kind="dataset",
                    path=_address(item.source),
                    listing={
                        "digest": item.digest,
                        "source_type": item.source_type,
                        "source": item.source,
                        "schema": item.schema,
                        "profile": item.profile,
                        "context": item.context,
                    },
                )
                for item in run.datasets
            ],
            missing=[*_missing(run, has_packages=bool(packages)), *missing],
            facts=_facts(run),
            notes=notes,
        )


def _store(what: str) -> Store:
    if what.startswith(("http://", "https://", "databricks", "postgresql", "mysql", "mssql")):
        raise UsageError(
            f"{what.partition(':')[0]}: only MLflow's SQLite database and its folder of files are read",
            hint="copy the runs with mlflow-export-import, or name the server's own database file or folder",
        )
    text = what
    if text.startswith("sqlite:///"):
        text = text.removeprefix("sqlite:///")
    elif text.startswith("file:"):
        text = unquote(urlsplit(text).path)
    path = Path(text).expanduser()
    if path.is_dir():
        return FolderStore(path.resolve())
    if path.is_file():
        return DatabaseStore(path.resolve())
    raise NotFound("file or folder", what, hint="name MLflow's database (mlflow.db) or its folder (mlruns)")


def _files(folder: Path, model: str, kind: str) -> Iterator[ForeignFile]:
    models = {file.parent for file in folder.rglob("MLmodel")}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            name = file.relative_to(folder).as_posix()
            is_model = kind == "model" or any(parent in models for parent in file.parents)
            yield ForeignFile(
                name=f"{model}/{name}" if model else name,
                kind="model" if is_model else "file",
                path=str(file),
                size_bytes=file.stat().st_size,
                content=file,
            )


def _packages(files: Sequence[Path]) -> tuple[dict[str, str], str]:
    """Packages and interpreter that a logged model asks for, by the files beside its ``MLmodel``."""
    packages: dict[str, str] = {}
    python = ""
    for folder in sorted({file.parent for file in files if file.name == "MLmodel"}):
        for file, pattern in ((folder / "requirements.txt", r"^([\w.-]+)==([^\s;]+)"), (folder / "python_env.yaml", r"^(python): *(\S+)")):
            found = re.findall(pattern, file.read_text(errors="replace"), re.MULTILINE) if file.is_file() else []
            if file.suffix == ".txt":
                packages.update(found)
            else:
                python = next((version for _, version in found), python)
    return packages, python


def _address(source: str) -> str:
    """The address inside what MLflow keeps of a source: JSON with ``uri`` or ``url``, or anything."""
    try:
        found = json.loads(source)
    except ValueError:
        return source
    return str(found.get("uri") or found.get("url") or source) if isinstance(found, dict) else source


def _points(metrics: Sequence[StoredMetric]) -> Iterator[MetricPoint]:
    """Values of one step and one moment are one point; a name that comes twice begins another."""
    values: dict[str, float] = {}
    last: tuple[int, int] | None = None
    for item in metrics:
        if values and (last != (item.step, item.at_ms) or item.name in values):
            yield _point(values, last)
            values = {}
        values[item.name], last = item.value, (item.step, item.at_ms)
    if values:
        yield _point(values, last)


def _point(values: dict[str, float], last: tuple[int, int] | None) -> MetricPoint:
    step, at_ms = last or (0, 0)
    return MetricPoint(step=step, values=values, at=at_ms / 1000)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _facts(run: StoredRun) -> dict[str, object]:
    named = {
        "git_commit": "mlflow.source.git.commit",
        "git_remote": "mlflow.source.git.repoURL",
        "git_branch": "mlflow.source.git.branch",
        "program": "mlflow.source.name",
        "source_type": "mlflow.source.type",
        "entry_point": "mlflow.project.entryPoint",
        "docker_image": "mlflow.docker.image.uri",
        "description": "mlflow.note.content",
    }
    return {fact: run.tags[tag] for fact, tag in named.items() if run.tags.get(tag)}


def _missing(run: StoredRun, *, has_packages: bool) -> Iterator[str]:
    source, commit = run.tags.get("mlflow.source.name"), run.tags.get("mlflow.source.git.commit")
    yield f"the command line: MLflow kept the program's name only ({source})" if source else "the command line"
    if commit:
        yield f"the code: git commit {commit} is named, changes that no commit held are not"
    else:
        yield "the code: no git commit is named"
    if run.datasets:
        names = ", ".join(f"{item.name} {item.digest}" for item in run.datasets)
        yield f"the data: {names} by MLflow's digest of 32 bits over a part of them; which rows were read is not known"
    else:
        yield "the data: no dataset was logged"
    if has_packages:
        yield "the environment: only what its model asks for is known, not what was installed"
    else:
        yield "the environment: interpreter, packages and machine are not known"
    yield "the seed and the settings that decide the bits"
