"""What was not committed when a run began, as a patch."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response

from lineage.errors import LineageError, NotFound
from lineage.lookup.runs import get_run
from lineage.model.code import CodeVersion
from lineage.ports import SourceControl
from service.dependencies import PortsOf, RunName

router = APIRouter(include_in_schema=False)

_LARGEST_BYTES = 512 << 10
_MOST_BYTES = 4 << 20


@router.get("/runs/{id}/patch")
def run_patch(request: Request, ports: PortsOf, name: RunName) -> Response:
    """The differences between the commit and the snapshot, as text.

    Read from the repository where the run was, so only where the service may open what records name (:mod:`service.row_pictures` has
    the reason).
    """
    run = get_run(ports.runs, ports.liveness, name)
    if run.code is None or not run.code.is_dirty:
        raise NotFound("patch", run.id[:12], detail="the record of this run has no change that was not committed")
    if not request.app.state.opens_places or ports.runs.origin(run.id) is not None:
        raise NotFound(
            "patch",
            run.id[:12],
            detail="the service opens no repository where tokens are needed, nor for records of others",
            hint=f"`lineage diff` compares code where the repository is; the snapshot is commit {run.code.snapshot_sha}",
        )
    try:
        # Without the snapshot every file of the commit would look deleted.
        text = "" if ports.source.has(run.code) else "".join(_patch(ports.source, run.code))
    except LineageError as error:
        raise NotFound("patch", run.id[:12], detail=error.message) from error
    if not text:
        raise NotFound("patch", run.id[:12], detail=f"the repository {run.code.repository} is not at hand, or has lost the snapshot")
    return Response(text, media_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-cache"})


def _patch(source: SourceControl, code: CodeVersion) -> Iterator[str]:
    before = _committed(code)
    told = 0
    for path in code.changed:
        old, new = (source.content(version, path) for version in (before, code))
        if old == new:
            continue
        if told > _MOST_BYTES:
            yield "The rest is too large to be shown.\n"
            return
        for part in _file(path, old, new):
            told += len(part)
            yield part


def _committed(code: CodeVersion) -> CodeVersion:
    """The same repositories as they were committed; before the first commit there is nothing in them."""
    nothing = "0" * len(code.snapshot_sha)
    inner = tuple(
        item.model_copy(update={"code": item.code.model_copy(update={"snapshot_sha": item.code.git_sha or nothing})}) for item in code.inner
    )
    return code.model_copy(update={"snapshot_sha": code.git_sha or nothing, "inner": inner})


def _file(path: str, old: bytes | None, new: bytes | None) -> Iterator[str]:
    names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
    try:
        texts = [(content or b"").decode() for content in (old, new)]
    except UnicodeDecodeError:
        texts = ["\0"]
    if any("\0" in text for text in texts) or max(map(len, texts)) > _LARGEST_BYTES:
        yield f"Files {names[0]} and {names[1]} differ; they are no text, or too large to be shown\n"
        return
    before, after = (text.splitlines(keepends=True) for text in texts)
    for line in difflib.unified_diff(before, after, *names):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
