"""Past W&B runs: from the folders that its client wrote, online or offline, or from a server."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineage.adapters.trackers import wandb_server
from lineage.adapters.trackers.wandb_facts import media_of, missing_of, numbers_of, packages_of, points_of, recorded_as
from lineage.adapters.trackers.wandb_log import WandbLog, read_log
from lineage.errors import NotFound, UsageError
from lineage.model.run import RunState
from lineage.ports import ForeignFile, ForeignRun

_ADDRESS = re.compile(r"https?://(?P<server>[^/]+)/(?P<path>[^/]+/[^/]+(?:/runs/[^/?#]+)?)/?(?:overview|workspace)?(?:[?#].*)?")


class WandbPastRuns:
    """Reads them. A folder's runs need no server and no account."""

    def places(self, what: str) -> Sequence[str]:
        """The runs in a folder, or behind ``ENTITY/PROJECT`` or ``ENTITY/PROJECT/RUN`` or the address of a page; oldest first."""
        path = Path(what)
        if path.exists():
            found = [path] if path.is_file() else sorted({*path.glob("*.wandb"), *path.glob("*/*.wandb"), *path.glob("wandb/*/*.wandb")})
            if not found:
                raise NotFound("W&B run", what, detail="no .wandb file in it", hint="name the folder 'wandb', or one run's folder in it")
            # W&B keeps a link 'latest-run' beside the folders.
            return [str(file) for file in sorted({file.resolve() for file in found}, key=lambda file: (file.parent.name, file.name))]
        address = _ADDRESS.fullmatch(what)
        name = (address["path"] if address else what).replace("/runs/", "/")
        words = name.split("/")
        if len(words) not in (2, 3) or not all(words) or name.startswith((".", "/", "~")):
            raise UsageError(
                f"'{what}' is neither a folder with W&B runs nor ENTITY/PROJECT or ENTITY/PROJECT/RUN",
                hint="give the folder that W&B wrote (by custom 'wandb'), or the words from the address of the run's page",
            )
        return [name] if len(words) == 3 else wandb_server.runs_of(name)

    def read(self, place: str) -> ForeignRun:
        """The run of a ``.wandb`` file, or of ``ENTITY/PROJECT/RUN``."""
        return _from_log(Path(place)) if place.endswith(".wandb") else wandb_server.read(place)


def _from_log(path: Path) -> ForeignRun:
    log = read_log(path)
    told, environment = log.run, log.environment
    media = media_of(log.history, path.parent / "files")
    points, left_out = points_of(log.history, {item.key for item in media})
    started = datetime.fromtimestamp(told["start_s"], UTC)
    last = max([told["start_s"] + log.runtime_s, *(point.at for point in points[-1:])])
    state, error = _state(log)
    notes = [*left_out]
    if log.torn is not None:
        notes.append(f"the log {path.name} is torn: {log.torn}; what is before that was read")
    packages = _requirements(path.parent / "files" / "requirements.txt")
    made, used = _files(log, path.parent, notes)
    if path.parent.name.startswith("run-"):
        notes.append("it was recorded online: its artifacts are known to the server alone (`lineage import wandb ENTITY/PROJECT/RUN`)")
    config = {key: value for key, value in log.config.items() if key != "_wandb"}
    facts = _facts(environment)
    command = ["python", environment.program or environment.code_path, *environment.args] if environment.program else []
    return ForeignRun(
        tracker="wandb",
        # One id may be in several folders: a run that was resumed offline is begun anew each time.
        id=f"{told['run_id']}@{started.isoformat()}",
        place=str(path.parent),
        called={"id": told["run_id"], "project": told.get("project"), "entity": told.get("entity"), "directory": str(path.parent)},
        name=str(told.get("display_name") or told["run_id"]),
        project=str(told.get("project") or "uncategorized"),
        group=told.get("run_group"),
        job_type=str(told.get("job_type") or "run"),
        tags=told["tags"],
        state=state,
        error=error,
        started_at=started,
        ended_at=datetime.fromtimestamp(last, UTC),
        command=command,
        config=config,
        summary=numbers_of(log.summary),
        points=points,
        packages=packages,
        python=environment.python.rpartition(" ")[2],
        host=environment.host,
        user=environment.username,
        made=made,
        used=used,
        media=media,
        facts=facts,
        missing=missing_of(facts, packages, used, config, has_command=bool(command)),
        notes=notes,
        recorded_as=recorded_as(log.config),
    )


def _state(log: WandbLog) -> tuple[RunState, str | None]:
    if log.exit_code is None:
        return RunState.aborted, "its log does not say how it ended: it was killed, or was still going when it was read"
    return (RunState.finished, None) if log.exit_code == 0 else (RunState.failed, f"it ended with status {log.exit_code}")


def _requirements(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return packages_of(path.read_text(encoding="utf-8", errors="replace"))


def _facts(environment: Any) -> dict[str, Any]:
    facts = {
        "git_commit": environment.git.commit,
        "git_remote": environment.git.remote_url,
        "program": environment.program,
        "executable": environment.executable,
        "root": environment.root,
        "os": environment.os,
        "docker": environment.docker,
        "cpu": environment.cpu.model,
        "cpu_count": environment.cpu_count_logical,
        "gpus": [gpu.name for gpu in environment.gpu_nvidia],
        "cuda": environment.cuda_version,
        "wandb": environment.writer_id and "",
    }
    return {name: value for name, value in facts.items() if value}


def _files(log: WandbLog, folder: Path, notes: list[str]) -> tuple[list[ForeignFile], list[ForeignFile]]:
    made: list[ForeignFile] = []
    used: list[ForeignFile] = []
    for artifact in log.artifacts:
        if artifact.type != "job" and not artifact.type.startswith("wandb-"):
            (used if artifact.use_after_commit else made).append(_artifact(artifact, notes))
    patch = folder / "files" / "diff.patch"
    if patch.is_file():
        made.append(ForeignFile("diff.patch", "code", "diff.patch", content=patch))
    return made, used


def _artifact(artifact: Any, notes: list[str]) -> ForeignFile:
    entries = list(artifact.manifest.contents)
    content: Path | None = None
    if len(entries) == 1 and (local := Path(entries[0].local_path)).is_file():
        if base64.b64encode(_md5(local)).decode() == entries[0].digest:
            content = local
        else:
            notes.append(f"the file of artifact {artifact.name} is no longer what was logged; its listing was taken over")
    try:
        metadata = json.loads(artifact.metadata or "{}")
    except ValueError:
        metadata = {}
    return ForeignFile(
        name=artifact.name,
        kind=artifact.type or "file",
        path=entries[0].path if len(entries) == 1 else artifact.name,
        size_bytes=sum(entry.size for entry in entries),
        content=content,
        listing={
            "wandb_digest": artifact.digest,
            "aliases": list(artifact.aliases),
            "metadata": metadata,
            "files": [{"path": entry.path, "md5": entry.digest, "size_bytes": entry.size, "ref": entry.ref} for entry in entries],
        },
    )


def _md5(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()
