"""The file of a step log: what goes in comes out, however it is cut off; and two logs part where they do."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.errors import IntegrityError
from lineage.lookup.steps import first_difference, losses_of
from lineage.model.steps import START, StepRecord, StepRows
from lineage.record.step_log import StepLog, StepLogHeader, decode, encode, read_log, whole_part, write_log

digests = st.one_of(st.none(), st.binary(min_size=16, max_size=16))
rows = st.builds(
    StepRows,
    st.integers(0, 5),
    st.one_of(st.none(), st.integers(0, 2**40)),
    st.lists(st.integers(0, 2**40), max_size=20).map(tuple),
)
records = st.builds(
    StepRecord,
    st.integers(-1, 2**50),
    st.lists(rows, max_size=3).map(tuple),
    digests,
    digests,
    st.lists(st.binary(max_size=9), max_size=3).map(tuple),
    digests,
    digests,
)
HEADER = StepLogHeader(rank=1, world_size=2, every=3)


@given(records)
def test_a_record_reads_back(record: StepRecord) -> None:
    assert decode(encode(record)) == record


@given(records, records)
def test_different_records_have_different_bytes(a: StepRecord, b: StepRecord) -> None:
    assert (encode(a) == encode(b)) == (a == b)


@given(st.lists(records, max_size=6), st.data())
def test_a_log_cut_off_anywhere_keeps_every_whole_record(written: list[StepRecord], data: st.DataObject) -> None:
    """Nothing is an error, nothing whole is lost, and what remains can be kept as a whole file."""
    content = write_log(HEADER, written)
    cut = data.draw(st.integers(0, len(content)))
    found = read_log(content[:cut], "log")
    whole = read_log(content, "log")

    assert whole.records == tuple(written)
    assert whole.torn is None
    assert found.records == whole.records[: len(found.records)]
    assert (found.torn is None) == (cut in _ends(written))
    if found.header == HEADER:
        kept = whole_part(content[:cut], found)
        assert read_log(kept, "log") == StepLog(HEADER, found.records, found.heads, None)
        assert len(content[:cut]) - len(kept) < 4 + 16 + max((len(encode(record)) for record in written), default=0) + 1


def _ends(written: list[StepRecord]) -> set[int]:
    return {len(write_log(HEADER, written[:count])) for count in range(len(written) + 1)}


@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_a_changed_byte_is_found(written: list[StepRecord], data: st.DataObject) -> None:
    """A flipped bit in a record is an error that says where; in a length it may look like a torn end, never like another log."""
    content = bytearray(write_log(HEADER, written))
    begin = content.index(b"\n") + 1
    place = data.draw(st.integers(begin, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read_log(bytes(content), "log")
    except IntegrityError:
        return
    assert found.torn is not None
    assert found.records == tuple(written)[: len(found.records)]


def test_another_file_is_refused() -> None:
    for content in (b"{}\n", b"hello\n", b'{"format": "lineage step log", "version": 2, "rank": 0, "world_size": 1, "every": 1}\n'):
        with pytest.raises(IntegrityError, match="version 1"):
            read_log(content, "log")
    assert read_log(b"", "log").torn == "nothing was written"
    assert read_log(write_log(HEADER, []) + bytes(300), "log").torn == "300 empty bytes"


def a_log(every: int, count: int, changes: dict[int, dict[str, Any]]) -> StepLog:
    made = [StepRecord(START, parameters=bytes(16))]
    for step in range(count):
        due = step % every == 0
        record = StepRecord(
            step,
            (StepRows(0, step // 5, (step % 5, 7)),),
            bytes([1, step] * 8),
            bytes([2, step] * 8),
            (b"f" + struct.pack("<f", 1 / (step + 1)),),
            bytes([3, step] * 8) if due else None,
            bytes([4, step] * 8) if due else None,
        )
        made.append(record._replace(**changes.get(step, {})))
    return read_log(write_log(StepLogHeader(every=every), made), "log")


@settings(max_examples=60)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 19),
    st.sampled_from(["rows", "batch", "input", "losses", "gradient", "parameters"]),
    st.sampled_from([1, 4]),
    st.sampled_from([1, 4]),
)
def test_logs_part_at_the_first_step_and_phase(a: int, b: int, step: int, field: str, every_a: int, every_b: int) -> None:
    """By halves over the chain, or field by field when the cadences differ: the first change that both could see."""
    other: dict[str, Any] = {"rows": (StepRows(0, 0, (99,)),), "losses": (b"f" + struct.pack("<f", 9.0),)}
    changed = other.get(field, b"x" * 16)
    left = a_log(every_a, a, {})
    due = step % every_b == 0 or field not in ("gradient", "parameters")
    right = a_log(every_b, b, {step: {field: changed}} if due else {})
    seen = due and step < min(a, b) and (field not in ("gradient", "parameters") or step % every_a == 0)
    found = first_difference(left, right)

    if not seen:
        assert found is None
    else:
        assert found is not None
        assert found[:2] == (step, "loss" if field == "losses" else field)
        assert found[2] is None or (every_a > 1 and found[2] < step - 1)


def test_losses_read_back_from_their_bits() -> None:
    """All float types; bfloat16 is the upper half of a float32."""
    half = b"b" + struct.pack("<f", -2.5)[2:]
    values = (b"f" + struct.pack("<f", 0.1), b"d" + struct.pack("<d", 0.1), b"e" + struct.pack("<e", 0.5), half)
    found = losses_of(StepRecord(0, losses=values))
    assert found == [struct.unpack("<f", struct.pack("<f", 0.1))[0], 0.1, 0.5, -2.5]
