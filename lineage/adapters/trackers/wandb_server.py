"""Past runs as a W&B server has them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lineage.adapters.trackers.wandb_facts import missing_of, numbers_of, packages_of, points_of, recorded_as
from lineage.errors import LineageError, NotFound, Unavailable
from lineage.model.run import RunState
from lineage.model.secrets import redact_text
from lineage.ports import ForeignFile, ForeignRun

_TIMEOUT_S = 20
_STATES = {"finished": RunState.finished, "failed": RunState.failed, "running": RunState.running}


def runs_of(project: str) -> list[str]:
    """``ENTITY/PROJECT/RUN`` of every run of a project, oldest first.

    Raises:
        NotFound: It has none.
        Unavailable: The server cannot be asked.
    """
    with _asking(project) as api:
        found = [f"{project}/{run.id}" for run in api.runs(project, order="+created_at")]
    if not found:
        raise NotFound("W&B run", project, detail="the project has none")
    return found


def read(path: str) -> ForeignRun:
    """One run.

    Raises:
        NotFound: The server has none of this name.
        Unavailable: The server cannot be asked.
    """
    with _asking(path) as api, tempfile.TemporaryDirectory(prefix="lineage-wandb-") as folder:
        run = api.run(path)
        metadata = run.metadata or {}
        history = [(int(row.get("_step", number)), row) for number, row in enumerate(run.scan_history())]
        points, notes = points_of(history)
        config = {key: value for key, value in dict(run.config).items() if not key.startswith("_")}
        packages = packages_of(_text(run, "requirements.txt", Path(folder)))
        facts = _facts(run, metadata)
        made, used = ([_file(item) for item in found] for found in (run.logged_artifacts(), run.used_artifacts()))
        started = datetime.fromisoformat(metadata.get("startedAt") or run.created_at).astimezone(UTC)
        took = dict(run.summary).get("_runtime") or (dict(run.summary).get("_wandb") or {}).get("runtime") or 0
        ended = max([started + timedelta(seconds=float(took)), *(datetime.fromtimestamp(point.at, UTC) for point in points[-1:])])
        state = _STATES.get(run.state, RunState.aborted)
        command = ["python", metadata["program"], *metadata.get("args", [])] if metadata.get("program") else []
        return ForeignRun(
            tracker="wandb",
            id=path,
            place=run.url,
            called={"id": run.id, "entity": run.entity, "project": run.project, "url": run.url},
            name=run.name or run.id,
            project=run.project,
            group=run.group,
            job_type=run.job_type or "run",
            tags=list(run.tags),
            state=state,
            error=None if state is RunState.finished else f"W&B has it as {run.state}",
            started_at=started,
            ended_at=ended,
            command=command,
            config=config,
            summary=numbers_of(dict(run.summary)),
            points=points,
            packages=packages,
            python=str(metadata.get("python", "")).rpartition(" ")[2],
            host=str(metadata.get("host", "")),
            user=str(metadata.get("username", "")),
            made=list(made),
            used=list(used),
            facts=facts,
            missing=missing_of(facts, packages, list(used), config, has_command=bool(command)),
            notes=notes,
            recorded_as=recorded_as(config),
        )


@contextmanager
def _asking(what: str) -> Iterator[Any]:
    import wandb  # a second, and only for whoever asks a server

    try:
        yield wandb.Api(timeout=_TIMEOUT_S)
    except LineageError:
        raise
    except Exception as error:  # the client's errors are many and undocumented; each means that the server did not answer
        text = redact_text(str(error).strip().partition("\n")[0])
        if "could not find" in text.lower():
            raise NotFound("W&B run", what, detail=text) from error
        raise Unavailable(
            f"the W&B server cannot be asked for {what}: {text}", hint="WANDB_API_KEY and WANDB_BASE_URL say who asks whom"
        ) from error


def _text(run: Any, name: str, folder: Path) -> str:
    for file in run.files([name]):
        with file.download(str(folder), replace=True) as stream:
            text: str = stream.read()
            return text
    return ""


def _facts(run: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    git = metadata.get("git") or {}
    facts = {
        "git_commit": run.commit or git.get("commit"),
        "git_remote": git.get("remote"),
        "program": metadata.get("program"),
        "executable": metadata.get("executable"),
        "root": metadata.get("root"),
        "os": metadata.get("os"),
        "docker": metadata.get("docker"),
        "cpu": (metadata.get("cpu") or {}).get("model") if isinstance(metadata.get("cpu"), Mapping) else None,
        "cpu_count": metadata.get("cpu_count_logical"),
        "gpus": [str(item.get("name")) for item in metadata.get("gpu_nvidia") or ()],
        "cuda": metadata.get("cudaVersion"),
    }
    return {name: value for name, value in facts.items() if value}


def _file(artifact: Any) -> ForeignFile:
    entries = list(artifact.manifest.entries.values())
    return ForeignFile(
        name=artifact.name,
        kind=artifact.type,
        path=entries[0].path if len(entries) == 1 else artifact.name,
        size_bytes=sum(entry.size or 0 for entry in entries),
        listing={
            "wandb_digest": artifact.digest,
            "aliases": list(artifact.aliases),
            "metadata": dict(artifact.metadata or {}),
            "files": [{"path": str(item.path), "md5": item.digest, "size_bytes": item.size, "ref": item.ref or ""} for item in entries],
        },
    )
