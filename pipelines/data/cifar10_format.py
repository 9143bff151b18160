"""The two forms in which CIFAR-10 is published, read into arrays; and pixels as PNG.

Binary version: ``data_batch_1.bin`` … ``test_batch.bin``, records of 3,073 bytes (label, then 1,024 red, green and blue values, row by
row) and ``batches.meta.txt`` with a name on each line. Python version: the same as pickled dictionaries without an ending, and
``batches.meta``. After https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lineage.errors import InvalidSource
from lineage.model.source import SourceProblem
from pipelines.data.cifar10_pickle import read_pickle

SIDE = 32
PIXELS = 3 * SIDE * SIDE
RECORD = PIXELS + 1
PUBLISHED_RECORDS = 10_000
META = {"binary": "batches.meta.txt", "python": "batches.meta"}

Form = Literal["binary", "python"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one batch file.

    Attributes:
        pixels: uint8 ``(n, 32, 32, 3)``, RGB.
        labels: int64 ``(n,)``, as the file has them; a number outside the names is a problem that was told.
        filenames: Of the pictures, where the file names them; else empty.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    filenames: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def read_names(content: bytes, path: Path, form: Form) -> tuple[str, ...]:
    """Class names by number.

    Raises:
        InvalidSource: There are none, or one is there twice.
    """
    if form == "binary":
        names: Any = [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
    else:
        names = read_pickle(content, path).get("label_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise InvalidSource(f"{path}: expected the names of the classes, found {'none' if not names else repr(names)[:60]}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidSource(f"{path}: expected a name of its own for each class, found '{twice}' twice")
    return tuple(names)


def read_batch(content: bytes, path: Path, form: Form, names: Sequence[str]) -> tuple[Batch, list[SourceProblem]]:
    """Read a batch file.

    Args:
        content: Its bytes.
        path: Its path, for messages.
        form: Which version it is of.
        names: Class names by number.

    Returns:
        (its whole records, what is wrong). Records with an error are among them; :func:`faulty` tells which.

    Raises:
        InvalidSource: The file as a whole cannot be read.
    """
    batch, problems = _read_binary(content, path) if form == "binary" else _read_python(content, path)
    for index in np.flatnonzero((batch.labels < 0) | (batch.labels >= len(names))).tolist():
        at = f" (byte {index * RECORD:,})" if form == "binary" else ""
        problems.append(
            SourceProblem(
                path,
                f"record {index:,}{at}: unknown label",
                expected=f"a number from 0 to {len(names) - 1}",
                found=str(int(batch.labels[index])),
            )
        )
    if len(batch) not in (0, PUBLISHED_RECORDS):
        published = f"{PUBLISHED_RECORDS:,}, as published"
        problems.append(SourceProblem(path, "number of records", "warning", expected=published, found=f"{len(batch):,}"))
    return batch, problems


def faulty(batch: Batch, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which records have a label without a name, bool ``(n,)``."""
    return np.asarray((batch.labels < 0) | (batch.labels >= len(names)))


def _read_binary(content: bytes, path: Path) -> tuple[Batch, list[SourceProblem]]:
    whole, rest = divmod(len(content), RECORD)
    problems = []
    if rest or not whole:
        problems.append(
            SourceProblem(
                path,
                f"is cut off in record {whole:,}, at byte {len(content):,}" if content else "is empty",
                expected=f"records of {RECORD:,} bytes",
                found=f"{rest:,} bytes of the last one" if content else "no record",
            )
        )
    records = np.frombuffer(content, np.uint8, whole * RECORD).reshape(whole, RECORD)
    return Batch(_upright(records[:, 1:]), records[:, 0].astype(np.int64)), problems


def _read_python(content: bytes, path: Path) -> tuple[Batch, list[SourceProblem]]:
    found = read_pickle(content, path)
    missing = [key for key in ("data", "labels") if key not in found]
    if missing:
        there = ", ".join(sorted(map(str, found))[:6]) or "nothing"
        hint = "this is CIFAR-100's form; only CIFAR-10 is read" if "fine_labels" in found else None
        raise InvalidSource(f"{path}: expected the entries data and labels, found {there}", hint=hint)
    data, labels, names = found["data"], found["labels"], found.get("filenames", ())
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        kind = f"{data.dtype} of shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise InvalidSource(f"{path}: data: expected uint8 of shape (records, {PIXELS:,}), found {kind}")
    wrong = [value for value in labels if isinstance(value, bool) or not isinstance(value, int | np.integer)] if len(labels) else []
    if wrong:
        raise InvalidSource(f"{path}: labels: expected whole numbers, found {wrong[0]!r}")
    for entry, values in (("labels", labels), ("filenames", names)):
        if len(values) != len(data) and (entry == "labels" or len(values)):
            raise InvalidSource(f"{path}: {entry}: expected {len(data):,}, one for each row of data, found {len(values):,}")
    problems = [SourceProblem(path, "is empty", expected="records", found="no record")] if not len(data) else []
    return Batch(_upright(data), np.asarray(labels, np.int64).reshape(-1), tuple(map(str, names))), problems


def _upright(flat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """From planes of colour, (n, 3072), to pictures (n, 32, 32, 3)."""
    return np.ascontiguousarray(flat.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The reverse: pictures (n, 32, 32, 3) as rows of colour planes, (n, 3072)."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), PIXELS)


def png_of(picture: NDArray[np.uint8]) -> bytes:
    """A picture as PNG whose bytes follow from its pixels alone.

    The pixels are stored, not compressed: what a compressor makes of them depends on its release, and then the same picture would have
    another digest on another machine. 3,198 bytes for 32 x 32, and nothing to inflate when it is read.

    Args:
        picture: uint8 ``(height, width, 3)``, RGB.
    """
    height, width, _ = picture.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = picture.reshape(height, -1)
    raw = lines.tobytes()
    blocks = [raw[at : at + 0xFFFF] for at in range(0, len(raw), 0xFFFF)]
    stored = b"".join(
        struct.pack("<BHH", number == len(blocks) - 1, len(block), 0xFFFF - len(block)) + block for number, block in enumerate(blocks)
    )
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw))),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
