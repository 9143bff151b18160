"""``lineage push`` and ``pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.errors import Conflict, NotFound, UsageError
from lineage.lookup.runs import find_runs, get_run
from lineage.model.run import Run, RunState
from lineage.model.words import size_in_words
from lineage.ports import Ports, RunQuery
from lineage.reproduce.transfer import PushedRun, dvc_file, pull_run, push_run
from lineage.wiring import remote, wire

Runs = Annotated[list[str] | None, typer.Argument(metavar="RUN…", help="Run ids, or unique prefixes.")]
Every = Annotated[bool, typer.Option("--all", help="Every run of the store that is over.")]
RemoteName = Annotated[str | None, typer.Option("--remote", metavar="NAME", help="DVC's name of the remote; its default one without.")]
RepoFolder = Annotated[Path, typer.Option("--repo", metavar="DIR", help="A folder in the DVC repository whose remotes are meant.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("push")(push)
    app.command("pull")(pull)


def push(
    runs: Runs = None,
    every: Every = False,
    remote_name: RemoteName = None,
    repo: RepoFolder = Path(),
    file: Annotated[
        Path | None, typer.Option("--dvc-file", metavar="FILE.dvc", help="Also write a .dvc file, for colleagues who have only DVC.")
    ] = None,
    artifact: Annotated[
        str | None, typer.Option("--artifact", metavar="NAME", help="Which file --dvc-file is about; the run's only model without it.")
    ] = None,
    read_back: Annotated[
        bool, typer.Option("--read-back/--sizes", help="Read again what was sent and compare, or compare sizes only.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Put what runs made, and what reproducing them takes, into a DVC remote of any kind.

    Done again it sends only what is not there. stdout has the MD5 of each file that a run made: `dvc pull` gets it by that name.
    """
    ports = wire()
    chosen = _chosen(ports, runs, every)
    if file is not None:
        _check_file(file, chosen, artifact)
    target = remote(repo, remote_name)
    done: list[PushedRun] = []
    with progress_bars() as progress:
        for number, run in enumerate(chosen, 1):
            done.append(push_run(ports, run, target, read_back=read_back, progress=progress))
            if len(chosen) > 1:
                progress("pushing runs", number, len(chosen))
    written = None if file is None else _write(file, done[0], artifact)
    if as_json:
        print_json({"runs": [_told(item) for item in done], "dvc_file": None if written is None else str(written)})
        return
    for item in done:
        there = f"{item.push.objects} objects ({size_in_words(item.push.size_bytes)}) of run {item.run_id[:12]} are in '{item.push.remote}'"
        say("done", f"{there}, {item.sent} of them new")
        if item.not_here:
            say("warning", f"{len(item.not_here)} objects that the record leads to are not in this store")
        for sentence in item.unreadable:
            say("warning", sentence)
        if not item.is_recorded:
            say("warning", "the record came from elsewhere and is not added to: `lineage pull` will not know of this push")
        for made, md5 in item.outputs:
            typer.echo(f"{md5}  {made.name}")
    if written is not None:
        say("done", f"{written} names it: commit it to git, then `dvc pull {written.name}` gets the file")


def pull(
    runs: Runs = None,
    every: Every = False,
    remote_name: RemoteName = None,
    repo: RepoFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Get what is missing of runs out of a DVC remote that they were pushed to, checked by MD5 and SHA-256.

    With --all, runs that were never pushed are left out.
    """
    ports = wire()
    chosen = _chosen(ports, runs, every)
    if every:
        chosen = [run for run in chosen if run.pushes]
    source = remote(repo, remote_name)
    with progress_bars() as progress:
        done = [pull_run(ports, run, source, progress=progress) for run in chosen]
    if as_json:
        print_json({"runs": [{name: getattr(item, name) for name in item.__slots__} for item in done]})
        return
    for item in done:
        say("done", f"run {item.run_id[:12]}: {item.fetched} of {item.objects} objects fetched ({size_in_words(item.fetched_bytes)})")


def _chosen(ports: Ports, names: list[str] | None, every: bool) -> list[Run]:
    if bool(names) == every:
        raise UsageError("give runs, or --all", hint="lineage push RUN · lineage push --all")
    if names:
        return [get_run(ports.runs, ports.liveness, name) for name in names]
    return [run for run in find_runs(ports.runs, ports.liveness, RunQuery()) if run.state is not RunState.running]


def _check_file(file: Path, chosen: list[Run], artifact: str | None) -> None:
    if len(chosen) != 1:
        raise UsageError("--dvc-file is about a file of one run", hint="lineage push RUN --dvc-file model.pth.dvc")
    if file.suffix != ".dvc" or not file.stem:
        raise UsageError(f"--dvc-file {file}: expected a name that ends in .dvc", hint="model.pth.dvc is for a file model.pth")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {file.absolute().parent}", hint="make it first")
    _artifact(chosen[0], artifact)


def _artifact(run: Run, name: str | None) -> str:
    names = [item.name for item in run.outputs if item.kind != "dataset"]
    models = [item.name for item in run.outputs if item.kind == "model"]
    if name is not None and name not in names:
        raise NotFound("artifact", name, detail=f"run {run.id[:12]} made {', '.join(names) or 'no file'}")
    if name is None and len(models) != 1:
        raise UsageError(
            f"run {run.id[:12]} made {len(models)} models", hint=f"--artifact says which file: {', '.join(names) or 'it made none'}"
        )
    return name if name is not None else models[0]


def _write(file: Path, done: PushedRun, artifact: str | None) -> Path:
    models = [item for item, _ in done.outputs if item.kind == "model"]
    wanted = artifact if artifact is not None else models[0].name
    made, md5 = next((item, md5) for item, md5 in done.outputs if item.name == wanted)
    text = dvc_file(file.name.removesuffix(".dvc"), md5, made.size_bytes)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        if file.read_text(encoding="utf-8", errors="replace") != text:
            raise Conflict(f"{file} names another file", hint="delete it first; the push itself is done") from None
    return file


def _told(item: PushedRun) -> dict[str, Any]:
    return {
        "run_id": item.run_id,
        **item.push.model_dump(mode="json"),
        "sent": item.sent,
        "sent_bytes": item.sent_bytes,
        "is_recorded": item.is_recorded,
        "outputs": [{"name": made.name, "kind": made.kind, "digest": made.digest, "md5": md5} for made, md5 in item.outputs],
        "not_here": list(item.not_here),
        "unreadable": list(item.unreadable),
    }
