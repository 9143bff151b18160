"""A tracked upload: a folder in a foreign layout becomes a dataset version, byte for byte."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineage.errors import IntegrityError, InvalidSource
from lineage.model.ahead import in_order
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.model.digest import digest_of_json
from lineage.model.run import Artifact
from lineage.model.source import SourceFile, SourceProblem, SourceScan
from lineage.ports import DatasetWriter, Importer, OnError, Ports, Progress, no_progress
from lineage.record.identity import record_input, recorded_digests
from lineage.record.live import LiveRun
from lineage.record.upload_rows import SourceRows

_BATCH_ROWS = 64
_BATCH_BYTES = 64 << 20
_COMMIT_ROWS = 2048
_NOTED = 100


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload made.

    Attributes:
        version: Identity of the new dataset version.
        continued: Rows that interrupted uploads had already stored.
        earlier: Ids of the runs of those uploads, oldest first.
        problems: What was skipped, and what was stored although it looks odd.
    """

    version: InputRecord
    continued: int
    earlier: tuple[str, ...]
    problems: tuple[SourceProblem, ...]


def upload(
    run: LiveRun, ports: Ports, importer: Importer, source: Path, uri: str, *, on_error: OnError = "fail", progress: Progress = no_progress
) -> Uploaded:
    """Look through the source, store every sample, read all of it back and compare.

    Each source file is read twice: when it is checked, and when it is stored, which must give the same bytes. Interrupted, it goes on when
    called again with the same source: what is committed stays, nothing is stored twice.

    Args:
        run: The tracked job.
        ports: The outside world.
        importer: Knows the layout.
        source: The folder.
        uri: Where to.
        on_error: ``fail`` stores nothing when any sample is bad; ``skip`` leaves bad samples out and reports them.
        progress: Told of samples checked, stored and read back.

    Raises:
        InvalidSource: The folder is no such layout, holds errors, was changed meanwhile, or nothing is left of it.
        Conflict: Something else is at ``uri``, or another job uploads there.
        Unavailable: The store does not answer, or does not let us in.
        IntegrityError: What was read back differs from the source.
    """
    address = normalise_uri(uri)
    backend = ports.datasets()
    backend.exists(address)  # a store that does not answer is said before a large source is looked through
    run.describe(config={"source": str(source), "uri": address, "importer": importer.name, "on_error": on_error})
    scan = importer.scan(source, on_error=on_error, progress=lambda done, total: progress("checking source", done, total))
    if not scan.samples:
        raise InvalidSource(f"{source}: no sample is left to upload", problems=[str(problem) for problem in scan.problems])
    files, size_bytes = _describe_files(scan, progress)
    identity = {"importer": importer.name, "samples": len(scan.samples), "digest": digest_of_json(files)}
    listing = ports.objects.put_bytes("".join(f"{digest.removeprefix('sha256:')}  {name}\n" for name, digest, _ in files).encode())
    with closing(backend.write(address, scan.columns, source=identity, job=run.id)) as writer:
        present = list(writer.present)
        _check_present(address, scan, present)
        if writer.earlier:
            runs = ", ".join(earlier[:12] for earlier in writer.earlier)
            run.note(f"continued the interrupted upload of run {runs} after {len(present)} rows")
        rows = SourceRows(importer, scan)
        _store(rows, writer, len(present), progress)
        writer.checkpoint(f"uploaded by run {run.id[:12]}")
        view = backend.resolve(address)
        item = record_input(backend, ports.objects, ports.rows, view, "uploaded", lambda _, done, total: progress("verifying", done, total))
        rows.digest_up_to(len(present), progress)
        _compare(item, ports, scan, rows.digests)
        details = {
            "source": str(source),
            "source_digest": identity["digest"],
            "source_files": listing,
            "source_file_count": len(files),
            "importer": importer.name,
        }
        run.record_output(
            Artifact(
                name="dataset",
                kind="dataset",
                path=address,
                digest=item.content_digest,
                size_bytes=size_bytes,
                details=item.model_dump(mode="json", exclude={"role", "used_at"})
                | details
                | ({"continues": {"runs": list(writer.earlier), "rows": len(present)}} if writer.earlier else {}),
            )
        )
        version = writer.complete(f"verified by run {run.id[:12]}")  # last: until it is recorded and verified, it can be continued
    if version.commit_id != item.commit_id:
        raise IntegrityError(f"dataset {address}", expected=f"commit {item.commit_id}", found=f"commit {version.commit_id}")
    run.summary.update({"rows": item.rows, "skipped": len({problem.path for problem in scan.errors}), "warnings": len(scan.warnings)})
    for problem in scan.problems[:_NOTED]:
        run.note(f"{problem.severity}: {problem}")
    if len(scan.problems) > _NOTED:
        run.note(f"and {len(scan.problems) - _NOTED} more errors and warnings of the source")
    return Uploaded(version=item, continued=len(present), earlier=tuple(writer.earlier), problems=scan.problems)


def _check_present(address: str, scan: SourceScan, present: list[str]) -> None:
    expected = [sample.sample_id for sample in scan.samples]
    if len(set(expected)) != len(expected):
        twice = next(name for name in expected if expected.count(name) > 1)
        raise InvalidSource(f"{scan.root}: two samples are called '{twice}'", hint="an importer must give each sample an id of its own")
    if present != expected[: len(present)]:
        raise IntegrityError(f"interrupted upload at {address}", expected="the first samples of the source, in order", found="other rows")


def _describe_files(scan: SourceScan, progress: Progress) -> tuple[list[list[Any]], int]:
    """(name, digest and size of each source file; the sum of their sizes in bytes). A file that samples share is there once."""
    files: dict[str, list[Any]] = {}

    def keep(file: SourceFile) -> None:
        name = file.path.relative_to(scan.root).as_posix() if file.path.is_relative_to(scan.root) else file.path.name
        files[name] = [name, file.digest, file.size_bytes]

    for file in scan.files:
        keep(file)
    for sample in scan.samples:
        for file in sample.checked:
            keep(file)
    # What its importer did not digest while it looked at it is read once more.
    unknown = [path for sample in scan.samples if not sample.checked for path in sample.files]
    for number, file in enumerate(in_order(lambda path: SourceFile.of(path, path.read_bytes()), unknown), 1):
        keep(file)
        progress("digesting source", number, len(unknown))
    return list(files.values()), sum(size_bytes for _, _, size_bytes in files.values())


def _store(rows: SourceRows, writer: DatasetWriter, first: int, progress: Progress) -> None:
    names, total = rows.columns, len(rows)
    batch: dict[str, list[Any]] = {name: [] for name in names}
    waiting = size_bytes = uncommitted = 0
    for number, row in enumerate(rows.read(first, total), first):
        for name in names:
            batch[name].append(row[name])
        waiting += 1
        size_bytes += sum(len(value) if isinstance(value, bytes) else getattr(value, "nbytes", 0) for value in row.values())
        is_last = number == total - 1
        if waiting == _BATCH_ROWS or size_bytes > _BATCH_BYTES or is_last:
            writer.append(batch)
            uncommitted += waiting
            batch, waiting, size_bytes = {name: [] for name in names}, 0, 0
            if uncommitted >= _COMMIT_ROWS and not is_last:
                writer.checkpoint(f"upload: {number + 1} of {total} rows")
                uncommitted = 0
        progress("storing", number + 1, total)


def _compare(item: InputRecord, ports: Ports, scan: SourceScan, expected: list[bytes]) -> None:
    if item.rows != len(expected):
        raise IntegrityError(f"dataset {item.uri}", expected=f"{len(expected)} rows", found=f"{item.rows} rows")
    import numpy as np  # a sixth of what every command needs to begin

    found = recorded_digests(ports.objects, item, np.arange(item.rows)).rows
    for number, digest in enumerate(expected):
        if found[number].tobytes() != digest:
            raise IntegrityError(
                f"row {number} ({scan.samples[number].sample_id}) of {item.uri}",
                expected="what the source holds",
                found="other content",
                hint="upload again to another address",
            )
