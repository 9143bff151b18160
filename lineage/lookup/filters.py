"""Conditions on runs as people give them, made into a query: the same for the command line, Python and the service."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from lineage.errors import UsageError
from lineage.lookup.rows import find_picture, find_sample
from lineage.model.digest import looks_like_digest
from lineage.model.run import RunState
from lineage.ports import ObjectStore, RowIndex, RunQuery

_CODE = re.compile(r"[0-9a-f]{4,64}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_PACKAGE = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:==(?P<version>[A-Za-z0-9.!+_-]+))?")


def make_query(
    rows: RowIndex,
    objects: ObjectStore,
    *,
    project: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    state: RunState | None = None,
    dataset: str | None = None,
    dataset_id: str | None = None,
    commit: str | None = None,
    view: str | None = None,
    sample: str | None = None,
    artifact: str | None = None,
    code: str | None = None,
    package: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    text: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int | None = None,
) -> RunQuery:
    """A query for runs. All given conditions must hold; those on data (dataset to sample) for one and the same input.

    Args:
        rows: Knows which views hold a sample.
        objects: Lists of digests that it refers to.
        project: Of the run.
        group: Of the run.
        job_type: Of the run.
        state: Of the run, as it is recorded.
        dataset: Address of a dataset, in its normal form.
        dataset_id: Id of a dataset, wherever it was.
        commit: Commit id of a dataset.
        view: Name or id of a saved view.
        sample: Sample id, or digest of a picture (``sha256:…``); one that nobody recorded fits no run.
        artifact: Digest of a file that the run made.
        code: Git commit, snapshot or tree, or how one begins (four digits or more); or ``sha256:…`` of several trees.
        package: ``NAME`` or ``NAME==VERSION``, installed where it ran.
        since: Began then or later.
        until: Began before.
        text: A word (letters, digits and ``_.-``) that is somewhere in the record.
        after: Where the page before ended.
        limit: At most so many.

    Raises:
        UsageError: The code or the package has another form, the text is not one word, or a time has no zone.
    """
    name, version = (None, None) if package is None else _parse_package(package)
    for word, at in (("since", since), ("until", until)):
        if at is not None and at.utcoffset() is None:
            raise UsageError(f"{word}: expected a time with its zone, found {at.isoformat()}", hint="for example 2026-03-14T00:00:00Z")
    if text is not None and not _WORD.fullmatch(text):
        raise UsageError(
            f"expected one word of letters, digits and _ . -, found '{text}'", hint="give the longest word of what you look for"
        )
    return RunQuery(
        project=project,
        group=group,
        job_type=job_type,
        state=state,
        dataset_uri=dataset,
        dataset_id=dataset_id,
        commit_id=commit,
        view=view,
        view_keys=None if sample is None else _views_with(rows, objects, sample),
        output_digest=artifact,
        code=None if code is None else _parse_code(code),
        package=name,
        package_version=version,
        since=since,
        until=until,
        mentions=text,
        after=after,
        limit=limit,
    )


def parse_time(name: str, text: str) -> datetime:
    """A time, ISO 8601; in UTC where it names no zone.

    Args:
        name: Of the option, for the error.
        text: For example ``2026-03-14`` or ``2026-03-14T09:26+01:00``.

    Raises:
        UsageError: It is none.
    """
    try:
        at = datetime.fromisoformat(text.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name}: expected a time, found '{text}'", hint="for example 2026-03-14 or 2026-03-14T09:26:00Z") from error


def _parse_code(text: str) -> str:
    code = text.strip().lower()
    if not _CODE.fullmatch(code) and not looks_like_digest(code):
        hint = "four or more hexadecimal digits of a git commit or tree; `lineage show RUN` shows them"
        raise UsageError(f"expected the name of a git commit or tree, found '{text}'", hint=hint)
    return code


def _parse_package(text: str) -> tuple[str, str | None]:
    found = _PACKAGE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"expected NAME or NAME==VERSION, found '{text}'", hint="for example torch or torch==2.8.0; one version or any")
    return found["name"], found["version"]


def _views_with(rows: RowIndex, objects: ObjectStore, sample: str) -> tuple[str, ...]:
    if looks_like_digest(sample):
        found = find_picture(rows, objects, bytes.fromhex(sample.partition(":")[2]))
    else:
        found = find_sample(rows, objects, sample)
    spaces: dict[str, set[int]] = {}
    for item in found:
        spaces.setdefault(item.space, set()).add(item.row)
    return tuple(sorted({key for space, wanted in spaces.items() for key in rows.views_with(space, sorted(wanted))}))
