"""A tracked upload: a folder in a foreign layout becomes a dataset version, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lineage.errors import IntegrityError, InvalidSource
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.model.digest import digest_of_file, digest_of_json
from lineage.model.run import Artifact
from lineage.model.source import Column, SourceProblem, SourceSample
from lineage.ports import Importer, OnError, Ports, Progress, no_progress
from lineage.record.digesting import RowDigester
from lineage.record.identity import record_input, recorded_digests
from lineage.record.live import LiveRun

_BATCH_ROWS = 64
_BATCH_BYTES = 64 << 20
_COMMIT_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload made.

    Attributes:
        version: Identity of the new dataset version.
        continued: Rows that an interrupted upload had already stored.
        problems: What was skipped, and what was stored although it looks odd.
    """

    version: InputRecord
    continued: int
    problems: tuple[SourceProblem, ...]


def upload(
    run: LiveRun, ports: Ports, importer: Importer, source: Path, uri: str, *, on_error: OnError = "fail", progress: Progress = no_progress
) -> Uploaded:
    """Look through the source, store every sample, read all of it back and compare.

    Interrupted, it continues when called again with the same source: what is committed stays, nothing is stored twice.

    Args:
        run: The tracked job.
        ports: The outside world.
        importer: Knows the layout.
        source: The folder.
        uri: Where to.
        on_error: ``fail`` stores nothing when any sample is bad; ``skip`` leaves bad samples out and reports them.
        progress: Told of samples checked, stored and read back.

    Raises:
        InvalidSource: The folder is no such layout, holds errors, or nothing is left of it.
        Conflict: Something else is at ``uri``.
        IntegrityError: What was read back differs from the source.
    """
    address = normalise_uri(uri)
    backend = ports.datasets()
    scan = importer.scan(source, on_error=on_error, progress=lambda done, total: progress("checking source", done, total))
    if not scan.samples:
        raise InvalidSource(f"{source}: no sample is left to upload", problems=[str(problem) for problem in scan.problems])
    files = _digest_files(scan.samples, scan.root, progress)
    identity = {"importer": importer.name, "samples": len(scan.samples), "digest": digest_of_json(files)}
    writer = backend.write(address, scan.columns, source=identity)
    expected = [sample.sample_id for sample in scan.samples]
    present = list(writer.present)
    if present != expected[: len(present)]:
        raise IntegrityError(f"interrupted upload at {address}", expected="the first samples of the source, in order", found="other rows")
    digester = _digester(scan.columns)
    sources = _store(importer, writer, scan.samples, len(present), [column.name for column in scan.columns], digester, progress)
    writer.checkpoint(f"uploaded by run {run.id[:12]}")
    view = backend.resolve(address)
    item = record_input(backend, ports.objects, ports.rows, view, "uploaded", lambda _, done, total: progress("verifying", done, total))
    _compare(item, ports, importer, scan.samples, sources, len(present), digester)
    run.record_output(
        Artifact(
            name="dataset",
            kind="dataset",
            path=address,
            digest=item.content_digest,
            size_bytes=sum(size for _, _, size in files),
            details=item.model_dump(mode="json", exclude={"role", "used_at"})
            | {"source": str(source), "source_digest": identity["digest"], "importer": importer.name},
        )
    )
    version = writer.complete(f"verified by run {run.id[:12]}")  # last: until it is recorded and verified, it can be continued
    if version.commit_id != item.commit_id:
        raise IntegrityError(f"dataset {address}", expected=f"commit {item.commit_id}", found=f"commit {version.commit_id}")
    run.describe(config={"source": str(source), "uri": address, "importer": importer.name, "on_error": on_error})
    run.summary.update({"rows": len(expected), "skipped": len({problem.path for problem in scan.errors}), "warnings": len(scan.warnings)})
    for problem in scan.problems[:100]:
        run.note(f"{problem.severity}: {problem}")
    return Uploaded(version=item, continued=len(present), problems=scan.problems)


def _digest_files(samples: Sequence[SourceSample], root: Path, progress: Progress) -> list[list[Any]]:
    files: list[list[Any]] = []
    for number, sample in enumerate(samples, 1):
        for path in sample.files:
            name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
            files.append([name, digest_of_file(path), path.stat().st_size])
        progress("digesting source", number, len(samples))
    return files


def _store(
    importer: Importer,
    writer: Any,
    samples: Sequence[SourceSample],
    first: int,
    columns: Sequence[str],
    digester: RowDigester,
    progress: Progress,
) -> dict[int, bytes]:
    digests: dict[int, bytes] = {}
    batch: dict[str, list[Any]] = {name: [] for name in columns}
    waiting = size_bytes = uncommitted = 0
    for number in range(first, len(samples)):
        row = importer.read(samples[number])
        digests[number] = digester(row)[1]
        for name in columns:
            batch[name].append(row[name])
        waiting += 1
        size_bytes += sum(len(value) for value in row.values() if isinstance(value, bytes))
        is_last = number == len(samples) - 1
        if waiting == _BATCH_ROWS or size_bytes > _BATCH_BYTES or is_last:
            writer.append(batch)
            uncommitted += waiting
            batch, waiting, size_bytes = {name: [] for name in columns}, 0, 0
            if uncommitted >= _COMMIT_ROWS and not is_last:
                writer.checkpoint(f"upload: {number + 1} of {len(samples)} rows")
                uncommitted = 0
        progress("storing", number + 1, len(samples))
    return digests


def _digester(columns: Sequence[Column]) -> RowDigester:
    pictures = [column.name for column in columns if column.kind == "image"]
    return RowDigester(pictures, [column.name for column in columns if column.name not in pictures])


def _compare(
    item: InputRecord,
    ports: Ports,
    importer: Importer,
    samples: Sequence[SourceSample],
    stored: dict[int, bytes],
    first: int,
    digester: RowDigester,
) -> None:
    # Rows of an earlier, interrupted attempt are read from the source again: nothing is taken on trust.
    found = recorded_digests(ports.objects, item, np.arange(item.rows)).rows
    for number, sample in enumerate(samples):
        expected = stored[number] if number >= first else digester(importer.read(sample))[1]
        if found[number].tobytes() != expected:
            raise IntegrityError(
                f"row {number} ({sample.sample_id}) of {item.uri}",
                expected="what the source holds",
                found="other content",
                hint="upload again to another address",
            )
