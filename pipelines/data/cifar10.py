"""CIFAR-10 as published, in its binary and its Python version: a folder, its ``.tar.gz``, or one batch file of it."""

from __future__ import annotations

import io
import re
import tarfile
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lineage.errors import InvalidSource
from lineage.model.source import Column, SourceFile, SourceProblem, SourceSample, SourceScan
from lineage.ports import OnError
from pipelines.data.cifar10_format import META, Batch, Form, faulty, png_of, read_batch, read_names
from pipelines.data.scanning import finished_scan

_NAME = re.compile(r"(?P<batch>(?:data_batch_[0-9]+|test_batch))(?P<ending>\.bin)?")
_LAYOUT = "data_batch_1.bin … test_batch.bin with batches.meta.txt, or data_batch_1 … test_batch with batches.meta"
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error)
_KEPT = 2  # batches in memory while rows are read, 31 MB each


@dataclass(frozen=True, slots=True)
class _BatchFile:
    """A batch in the source. ``file`` is what is on the disk: the batch, or the archive that it is in."""

    name: str
    form: Form
    file: SourceFile
    member: str | None
    names: tuple[str, ...]

    @property
    def shown(self) -> Path:
        return self.file.path if self.member is None else self.file.path / self.member

    def content(self, of_file: bytes) -> bytes:
        """The batch's bytes, given those of the file on the disk."""
        return of_file if self.member is None else _member(self.file.path, of_file, self.member)


class Cifar10Importer:
    """Reads CIFAR-10; see :class:`lineage.ports.Importer`.

    Rows: ``images`` (PNG, 32 x 32), ``labels`` (one class for each picture), ``part`` (``train`` or ``test``), ``batch``, ``filename``,
    ``sample_id`` (``data_batch_1:42``: batch and place in it, the same in both versions). Views of one part of it are
    ``select * where part == 'train'``.

    Pictures are PNG, not arrays: pages show them, near-duplicates are found among them, and a copy elsewhere is recognised by its bytes. A
    source has bare pixels, so the PNG is made here, in a way that no compressor's release changes (``png_of``).
    """

    name = "cifar10"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[_BatchFile, Batch] = OrderedDict()

    def scan(self, source: Path, *, on_error: OnError = "fail", progress: Callable[[int, int], None] | None = None) -> SourceScan:
        """Read every batch, before anything is stored.

        Raises:
            InvalidSource: It is no CIFAR-10, its names are missing, or (with ``fail``) a batch is cut off or a label unknown.
        """
        files, found = _find(source)
        samples: list[SourceSample] = []
        problems: list[SourceProblem] = []
        for number, item in enumerate(found, 1):
            try:
                batch, wrong = read_batch(item.content(item.file.path.read_bytes()), item.shown, item.form, item.names)
            except InvalidSource as error:
                # Its sentence has the path already, which a problem puts in front of its own.
                batch, wrong = None, [SourceProblem(item.shown, error.message.removeprefix(f"{item.shown}: "))]
            problems += wrong
            if batch is not None:
                good = np.flatnonzero(~faulty(batch, item.names)).tolist()
                samples += [SourceSample(f"{item.name}:{index}", (), facts=(item, index)) for index in good]
            if progress is not None:
                progress(number, len(found))
        names = found[0].names
        return finished_scan(source, _columns(names), samples, problems, on_error, files)

    def read(self, sample: SourceSample) -> dict[str, Any]:
        """One row.

        Raises:
            InvalidSource: The batch changed since it was checked, or is gone.
        """
        item, index = sample.facts
        batch = self._batch(item)
        if index >= len(batch):
            raise InvalidSource(f"{item.shown}: expected record {index:,}, found {len(batch):,} records", hint="the source changed")
        return {
            "images": png_of(batch.pixels[index]),
            "labels": batch.labels[index : index + 1].astype(np.uint32),
            "part": "test" if item.name == "test_batch" else "train",
            "batch": item.name,
            "filename": batch.filenames[index] if batch.filenames else f"{item.name}_{index:05d}.png",
            "sample_id": sample.sample_id,
        }

    def _batch(self, item: _BatchFile) -> Batch:
        # Rows come in order but from several threads: one reads, the others wait for it.
        with self._lock:
            if item not in self._open:
                try:
                    content = item.file.path.read_bytes()
                except OSError as error:
                    raise InvalidSource(f"{error.filename}: {error.strerror}", hint="the source changed while it was read") from error
                found = SourceFile.of(item.file.path, content)
                if found != item.file:
                    raise InvalidSource(
                        f"{item.file.path}: changed while it was uploaded, expected {item.file.digest[:19]}…, found {found.digest[:19]}…",
                        hint="give the same command again when nobody writes there any more",
                    )
                self._open[item] = read_batch(item.content(content), item.shown, item.form, item.names)[0]
                while len(self._open) > _KEPT:
                    self._open.popitem(last=False)
            return self._open[item]


def _columns(names: tuple[str, ...]) -> tuple[Column, ...]:
    texts = tuple(Column(name, "text") for name in ("part", "batch", "filename", "sample_id"))
    return (Column("images", "image", compression="png"), Column("labels", "class_labels", dtype="uint32", class_names=names), *texts)


def _find(source: Path) -> tuple[tuple[SourceFile, ...], list[_BatchFile]]:
    """Every file that belongs to the source, and its batches in the order of their numbers, training before test."""
    if source.is_file() and (source.name.endswith((".tar.gz", ".tgz", ".tar"))):
        return _find_in_archive(source)
    only = source.name if source.is_file() else None
    folder = source.parent if only else source
    if not folder.is_dir() or (only and not _NAME.fullmatch(only)):
        raise InvalidSource(f"{source}: expected a folder with {_LAYOUT}, found {'a file' if source.exists() else 'nothing'}")
    listed = sorted(path.name for path in folder.iterdir() if path.is_file()) if only is None else [only]
    chosen, form = _chosen(listed, source)
    meta = folder / META[form]
    if not meta.is_file():
        raise InvalidSource(f"{meta}: expected the names of the classes, found no such file", hint="it is part of the published archive")
    table = meta.read_bytes()
    files = {name: SourceFile.of(folder / name, (folder / name).read_bytes()) for name in chosen}
    names = read_names(table, meta, form)
    batches = [_BatchFile(name.removesuffix(".bin"), form, file, None, names) for name, file in files.items()]
    return (*files.values(), SourceFile.of(meta, table)), batches


def _find_in_archive(source: Path) -> tuple[tuple[SourceFile, ...], list[_BatchFile]]:
    content = source.read_bytes()
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = {PurePosixPath(item.name).name: item.name for item in archive if item.isfile()}
    except _BROKEN as error:
        raise InvalidSource(f"{source}: cannot be read as an archive: {error}", hint="it may be cut off: fetch it again") from error
    chosen, form = _chosen(sorted(members), source)
    if META[form] not in members:
        raise InvalidSource(f"{source}: expected {META[form]} with the names of the classes, found no such member")
    names = read_names(_member(source, content, members[META[form]]), source / members[META[form]], form)
    file = SourceFile.of(source, content)
    return (file,), [_BatchFile(name.removesuffix(".bin"), form, file, members[name], names) for name in chosen]


def _chosen(listed: list[str], source: Path) -> tuple[list[str], Form]:
    matched = {name: found for name in listed if (found := _NAME.fullmatch(name))}
    binary = [name for name, found in matched.items() if found["ending"]]
    if binary and len(binary) != len(matched):
        other = next(name for name in matched if name not in binary)
        raise InvalidSource(f"{source}: expected one version, found {binary[0]} of the binary and {other} of the Python version")
    if not matched:
        raise InvalidSource(f"{source}: expected {_LAYOUT}, found {', '.join(listed[:5]) or 'no file'}")
    order = sorted(matched, key=lambda name: (name.startswith("test"), int(re.sub(r"\D", "", name) or 0)))
    return order, "binary" if binary else "python"


def _member(path: Path, archive: bytes, name: str) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            stream = opened.extractfile(name)
            assert stream is not None  # only plain files are chosen
            return stream.read()
    except (*_BROKEN, KeyError) as error:
        raise InvalidSource(f"{path}: {name} cannot be read: {error}", hint="it may be cut off: fetch it again") from error
