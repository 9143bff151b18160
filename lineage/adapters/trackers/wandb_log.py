"""Reads the log that W&B's client writes: what it recorded of a run, whether or not a server ever got it.

A file of blocks of 32 KiB in the form of LevelDB's logs, with messages of W&B's own protocol in them. The form has not changed since 0.16;
W&B offers no public way to read it, so the one private thing used here is the module of message types.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineage.errors import InvalidSource, MissingExtra

_BLOCK = 32_768
_HEAD = struct.Struct("<4sHB")
_RECORD = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(slots=True)
class WandbLog:
    """What a log holds.

    Attributes:
        run: Facts of the run: id, project, entity, group, job type, name, tags, start.
        config: The configuration after all updates.
        history: Points as they were logged: (step, values). Media and histograms are mappings.
        summary: Values that were set in the summary by hand.
        artifacts: What was logged or used, as messages.
        environment: What is known of interpreter, machine, code and command.
        exit_code: How it ended; ``None`` when the log does not say.
        runtime_s: How long it took, as W&B counts; 0 when the log does not say.
        torn: Where and how the log breaks off; ``None`` for a whole one.
    """

    run: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    environment: Any = None
    exit_code: int | None = None
    runtime_s: int = 0
    torn: str | None = None


def read_log(path: Path) -> WandbLog:
    """Read a log as far as it goes.

    Args:
        path: A ``.wandb`` file.

    Raises:
        InvalidSource: It is no such log, or nothing of it can be read.
        MissingExtra: W&B is not installed.
    """
    try:
        from wandb.proto import wandb_internal_pb2 as messages
    except ImportError as error:
        raise MissingExtra("wandb", "wandb") from error
    log = WandbLog(environment=messages.EnvironmentRecord())  # type: ignore[attr-defined]  # made at run time
    for payload in _payloads(path, log):
        record = messages.Record()  # type: ignore[attr-defined]  # made at run time
        try:
            record.ParseFromString(payload)
        except Exception as error:  # noqa: BLE001 - the library's own errors differ between its releases
            log.torn = f"a record that cannot be read ({type(error).__name__})"
            break
        _take(log, record)
    if not log.run:
        why = f": {log.torn}" if log.torn else ""
        raise InvalidSource(
            f"{path} tells of no run{why}", hint="the client writes its log in parts of 32 KiB: a run killed early leaves none"
        )
    return log


def _payloads(path: Path, log: WandbLog) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidSource(f"{path} cannot be read: {error.strerror}") from error
    if len(content) < _HEAD.size or _HEAD.unpack_from(content)[:2] != (b":W&B", 0xBEE1):
        raise InvalidSource(f"{path} is no log of W&B's client: expected it to begin with ':W&B', found {content[:4]!r}")
    at, parts = _HEAD.size, b""
    while at < len(content):
        left = _BLOCK - at % _BLOCK
        if left < _RECORD.size:
            at += left
            continue
        if at + _RECORD.size > len(content):
            log.torn = f"it breaks off at byte {at:,}"
            return
        checksum, length, kind = _RECORD.unpack_from(content, at)
        body = content[at + _RECORD.size : at + _RECORD.size + length]
        if (checksum, length, kind) == (0, 0, 0):
            return  # the rest of the block is empty: the client had not filled it
        if len(body) < length:
            log.torn = f"it breaks off at byte {at:,}, within a record"
            return
        if zlib.crc32(bytes([kind]) + body) != checksum:
            log.torn = f"the bytes at {at:,} are not what was written"
            return
        at += _RECORD.size + length
        parts = body if kind in (_FULL, _FIRST) else parts + body
        if kind in (_FULL, _LAST):
            yield parts
    if parts and kind in (_FIRST, _MIDDLE):
        log.torn = f"it breaks off at byte {at:,}, within a record"


def _take(log: WandbLog, record: Any) -> None:
    match record.WhichOneof("record_type"):
        case "run":
            told = record.run
            names = ("run_id", "entity", "project", "run_group", "job_type", "display_name", "notes", "host", "sweep_id", "starting_step")
            log.run |= {name: value for name in names if (value := getattr(told, name, None))}
            log.run |= {"tags": list(told.tags), "start_s": told.start_time.seconds + told.start_time.nanos / 1e9}
            _update(log.config, told.config.update)
        case "config":
            _update(log.config, record.config.update)
            for item in record.config.remove:
                _remove(log.config, _path(item))
        case "history":
            values: dict[str, Any] = {}
            _update(values, record.history.item)
            step = record.history.step.num if record.history.HasField("step") else int(values.get("_step", len(log.history)))
            log.history.append((step, values))
        case "summary":
            _update(log.summary, record.summary.update)
            for item in record.summary.remove:
                _remove(log.summary, _path(item))
        case "artifact":
            log.artifacts.append(record.artifact)
        case "environment":
            log.environment.MergeFrom(record.environment)
        case "exit":
            log.exit_code, log.runtime_s = record.exit.exit_code, record.exit.runtime


def _path(item: Any) -> list[str]:
    return list(item.nested_key) or [item.key]


def _update(values: dict[str, Any], items: Any) -> None:
    for item in items:
        *above, last = _path(item)
        place = values
        for word in above:
            below = place.get(word)
            if not isinstance(below, dict):
                below = place[word] = {}
            place = below
        place[last] = json.loads(item.value_json)


def _remove(values: dict[str, Any], path: list[str]) -> None:
    place: Any = values
    for word in path[:-1]:
        place = place.get(word) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place.pop(path[-1], None)
