"""The file of a step log: compact, appended to, readable up to the last whole line after a crash.

Layout: one line of JSON (the header), then records. A record is its length (unsigned 32 bits, little-endian), that many bytes, and a chain
digest of 16 bytes: BLAKE2b (RFC 7693) over the chain digest before it and those bytes. Inside, whole numbers are variable-length (LEB128,
signed ones in zigzag form); positions are differences to the one before. No time, name or process enters: equal trainings write equal
bytes, and two logs part where their chain digests do.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from lineage.errors import IntegrityError
from lineage.model.steps import StepRecord, StepRows

FORMAT = "lineage step log"
VERSION = 1
CHAIN_BYTES = 16
_DIGEST_BYTES = 16
_LENGTH = struct.Struct("<I")
_BATCH, _INPUT, _GRADIENT, _PARAMETERS = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class StepLogHeader:
    """What holds for every record.

    Attributes:
        rank: Which process of a distributed training.
        world_size: How many there are.
        every: Gradients and parameters are digested every so many steps.
    """

    rank: int = 0
    world_size: int = 1
    every: int = 1


@dataclass(frozen=True, slots=True)
class StepLog:
    """A step log, read.

    Attributes:
        header: What holds for every record.
        records: In order; the state before the first step comes first.
        heads: Chain digest after each record.
        torn: What was found behind the last whole record, ``None`` when nothing was.
    """

    header: StepLogHeader
    records: tuple[StepRecord, ...]
    heads: tuple[bytes, ...]
    torn: str | None = None

    @property
    def steps(self) -> int:
        """Number of steps, the state before the first not counted."""
        return sum(record.step >= 0 for record in self.records)

    @property
    def head(self) -> str:
        """Chain digest of the last record, hexadecimal."""
        return (self.heads[-1] if self.heads else first_head(self.header.every)).hex()

    def up_to(self, step: int) -> tuple[StepRecord, ...]:
        """Records before this step."""
        return tuple(record for record in self.records if record.step < step)


def first_head(every: int) -> bytes:
    """Chain digest before the first record."""
    return hashlib.blake2b(f"{FORMAT} {VERSION} every {every}".encode(), digest_size=CHAIN_BYTES).digest()


def header_line(header: StepLogHeader) -> bytes:
    """The file's first line."""
    fields = {"format": FORMAT, "version": VERSION, "rank": header.rank, "world_size": header.world_size, "every": header.every}
    return json.dumps(fields).encode() + b"\n"


def packed(record: StepRecord, head: bytes) -> tuple[bytes, bytes]:
    """A record as it stands in the file, and the chain digest after it."""
    payload = encode(record)
    head = hashlib.blake2b(head + payload, digest_size=CHAIN_BYTES).digest()
    return _LENGTH.pack(len(payload)) + payload + head, head


def packed_size(record: StepRecord) -> int:
    """Bytes of a record in the file."""
    return _LENGTH.size + len(encode(record)) + CHAIN_BYTES


def encode(record: StepRecord) -> bytes:
    """A record's bytes, the same for equal records; the inverse of :func:`decode`."""
    out = bytearray()
    _put_signed(out, record.step)
    _put(out, len(record.rows))
    for rows in record.rows:
        _put(out, rows.ordinal)
        _put(out, 0 if rows.epoch is None else rows.epoch + 1)
        _put(out, len(rows.positions))
        before = 0
        for position in rows.positions:
            _put_signed(out, position - before)
            before = position
    digests = (record.batch, record.input, record.gradient, record.parameters)
    out.append(sum(bit for bit, digest in zip((_BATCH, _INPUT, _GRADIENT, _PARAMETERS), digests, strict=True) if digest is not None))
    for digest in digests:
        if digest is not None:
            if len(digest) != _DIGEST_BYTES:
                raise ValueError(f"step {record.step}: expected digests of {_DIGEST_BYTES} bytes, found {len(digest)}")
            out += digest
    _put(out, len(record.losses))
    for loss in record.losses:
        _put(out, len(loss))
        out += loss
    return bytes(out)


def decode(payload: bytes) -> StepRecord:
    """The record in these bytes.

    Raises:
        ValueError: They are no record.
    """
    source = _Source(payload)
    step = source.signed()
    rows = tuple(_rows(source) for _ in range(source.number()))
    flags = source.take(1)[0]
    digests = [source.take(_DIGEST_BYTES) if flags & bit else None for bit in (_BATCH, _INPUT, _GRADIENT, _PARAMETERS)]
    losses = tuple(source.take(source.number()) for _ in range(source.number()))
    if not source.is_empty:
        raise ValueError("bytes behind the record")
    batch, given, gradient, parameters = digests
    return StepRecord(step, rows, batch, given, losses, gradient, parameters)


def read_log(content: bytes, name: str) -> StepLog:
    """Read a file, also one that was cut off anywhere.

    Args:
        content: The file.
        name: What it is called in errors.

    Raises:
        IntegrityError: A byte was changed, or another release wrote it.
    """
    line, newline, _ = content.partition(b"\n")
    if not newline:
        return StepLog(StepLogHeader(), (), (), torn=f"{len(content)} bytes of a header" if content else "nothing was written")
    header = _header(line, name)
    records: list[StepRecord] = []
    heads: list[bytes] = []
    head, place, torn = first_head(header.every), len(line) + 1, None
    while place < len(content):
        # What a file system may leave where a power cut met a growing file. A record never begins so: its length is not zero.
        if not content[place : place + _LENGTH.size].strip(b"\0") and not content[place:].strip(b"\0"):
            torn = f"{len(content) - place} empty bytes"
            break
        end = place + _LENGTH.size
        if end <= len(content):
            end += _LENGTH.unpack_from(content, place)[0] + CHAIN_BYTES
        if end > len(content) or end == place + _LENGTH.size:
            torn = f"{len(content) - place} bytes of an unfinished record"
            break
        payload = content[place + _LENGTH.size : end - CHAIN_BYTES]
        stored = content[end - CHAIN_BYTES : end]
        head = hashlib.blake2b(head + payload, digest_size=CHAIN_BYTES).digest()
        if head != stored:
            where = f"behind step {records[-1].step}" if records else "at its beginning"
            raise IntegrityError(f"{name} {where}", expected=stored.hex(), found=head.hex(), hint="the step log was altered or damaged")
        try:
            records.append(decode(payload))
        except (ValueError, IndexError) as error:
            raise IntegrityError(name, expected="records of a step log", found=str(error), hint="a newer release wrote it") from error
        heads.append(head)
        place = end
    return StepLog(header, tuple(records), tuple(heads), torn)


def whole_part(content: bytes, log: StepLog) -> bytes:
    """The file without what was cut off at its end."""
    size = content.find(b"\n") + 1 + sum(map(packed_size, log.records))
    return content[:size]


def write_log(header: StepLogHeader, records: Iterable[StepRecord]) -> bytes:
    """A whole file."""
    out, head = [header_line(header)], first_head(header.every)
    for record in records:
        line, head = packed(record, head)
        out.append(line)
    return b"".join(out)


def _header(line: bytes, name: str) -> StepLogHeader:
    try:
        fields = json.loads(line)
        if fields["format"] != FORMAT or fields["version"] != VERSION:
            raise ValueError(f"{fields['format']} {fields['version']}")
        return StepLogHeader(rank=int(fields["rank"]), world_size=int(fields["world_size"]), every=int(fields["every"]))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            name, expected=f"{FORMAT}, version {VERSION}", found=str(error)[:80], hint="a newer release wrote it, or it is another file"
        ) from error


def _rows(source: _Source) -> StepRows:
    ordinal, epoch = source.number(), source.number()
    positions: list[int] = []
    before = 0
    for _ in range(source.number()):
        before += source.signed()
        positions.append(before)
    return StepRows(ordinal, None if epoch == 0 else epoch - 1, tuple(positions))


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _put_signed(out: bytearray, number: int) -> None:
    _put(out, number << 1 if number >= 0 else (-number << 1) - 1)


class _Source:
    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._place = 0

    @property
    def is_empty(self) -> bool:
        return self._place == len(self._payload)

    def take(self, count: int) -> bytes:
        if self._place + count > len(self._payload):
            raise ValueError("the record ends too early")
        self._place += count
        return self._payload[self._place - count : self._place]

    def number(self) -> int:
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def signed(self) -> int:
        number = self.number()
        return -(number + 1 >> 1) if number & 1 else number >> 1
