"""TensorBoard's event files, read with TensorBoard's own definitions: numbers with step, time and tag, and hyperparameters.

Its file reader is used without the layers above it: those keep a sample of the values, and say nothing of a file that is torn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2
from tensorboard.compat.tensorflow_stub import errors
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from lineage.errors import InvalidSource
from lineage.model.run import MetricPoint

_HPARAMS = "hparams"
_SCALARS = "scalars"


@dataclass(slots=True)
class EventLog:
    """What one event file holds.

    Attributes:
        points: Every number, in the order of the file; values of one step and one moment together.
        config: Hyperparameters, when they were written.
        status: How the session ended, when hyperparameters were written: ``STATUS_SUCCESS``, ``STATUS_FAILURE`` …
        others: Kinds of summaries that are no numbers, with how many there are.
        began_at: Time of the first record, seconds since the epoch.
        ended_at: Time of the last one.
        torn: Why the rest of the file could not be read.
    """

    points: list[MetricPoint] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    status: str = ""
    others: Counter[str] = field(default_factory=Counter)
    began_at: float = 0.0
    ended_at: float = 0.0
    torn: str | None = None


def read_events(file: Path) -> EventLog:
    """Read a file up to its end, or up to its last whole record.

    Args:
        file: Written by any of TensorBoard's writers.

    Raises:
        InvalidSource: Not one whole record of events is in it.
    """
    log = EventLog()
    plugins: dict[str, str] = {}
    values: dict[str, float] = {}
    place: tuple[int, float] | None = None
    number = 0

    def settle() -> None:
        if values and place is not None:
            log.points.append(MetricPoint(step=place[0], values=dict(values), at=place[1]))
        values.clear()

    for number, event in enumerate(_events(file, log), 1):
        if number == 1:
            log.began_at = event.wall_time
        log.ended_at = max(log.ended_at, event.wall_time)
        for value in event.summary.value:
            # Only the first value of a tag says what kind it is.
            plugin = plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
            found = _number(value, plugin)
            if found is None:
                _other(log, value, plugin)
            else:
                if place != (event.step, event.wall_time) or value.tag in values:
                    settle()
                place = (event.step, event.wall_time)
                values[value.tag] = found
    settle()
    if number == 0:
        raise InvalidSource(f"{file}: expected records of TensorBoard events, found none" + (f" ({log.torn})" if log.torn else ""))
    return log


def _events(file: Path, log: EventLog) -> Iterator[Any]:
    reader = PyRecordReader_New(str(file))
    number = 0
    try:
        while True:
            try:
                reader.GetNext()
                event = event_pb2.Event.FromString(reader.record())
            except errors.OutOfRangeError:
                return
            except Exception as error:  # noqa: BLE001 - a torn record fails in many ways, and what follows it cannot be found
                log.torn = (
                    f"after {number} whole records: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
                )
                return
            number += 1
            yield event
    finally:
        reader.file_handle.close()


def _number(value: Any, plugin: str) -> float | None:
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if value.HasField("tensor") and plugin == _SCALARS:
        array = tensor_util.make_ndarray(value.tensor)
        return float(array.item()) if array.size == 1 else None
    return None


def _other(log: EventLog, value: Any, plugin: str) -> None:
    if plugin != _HPARAMS:
        kind = plugin or str(value.WhichOneof("value") or "nothing")
        log.others[{"histo": "histograms", "image": "images"}.get(kind, kind)] += 1
        return
    data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
    for name, held in data.session_start_info.hparams.items():
        kind = held.WhichOneof("kind")
        found: Any = None if kind is None else getattr(held, kind)
        # Every number is stored as a float: a whole one was most likely written as such.
        is_whole = kind == "number_value" and math.isfinite(found) and found == int(found) and abs(found) < 2**53
        log.config[name] = int(found) if is_whole else found if kind in ("string_value", "number_value", "bool_value") else None
    if data.HasField("session_end_info"):
        log.status = str(
            plugin_data_pb2.DESCRIPTOR.pool.FindEnumTypeByName("tensorboard.hparams.Status")
            .values_by_number[data.session_end_info.status]
            .name
        )
