"""Pictures of recorded rows with their boxes: each row is compared with its digest when it is read.

Reached through records only. Datasets are opened where the service answers on its own machine; where tokens are needed, or a record was
taken over from elsewhere, only kept copies are read: whoever may write records could otherwise have this process open addresses.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lineage.errors import LineageError, NotFound, Unavailable
from lineage.lookup.diff_objects import ObjectColumns, object_columns
from lineage.model.dataset import InputRecord
from lineage.model.picture_size import picture_size
from lineage.model.run import Run
from lineage.ports import DatasetBackend, Ports
from lineage.record.opening import open_recorded
from lineage.record.recorded_view import RecordedView

_MOST_VIEWS = 4  # of a million rows each has 64 MB of digests
_PATIENCE_S = 15.0
_MOST_BYTES = 64 << 20
_LARGEST_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box on a picture, in its pixels.

    Attributes:
        label: Name of its class; empty without one.
    """

    left: float
    top: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class RowPicture:
    """One row as a picture.

    Attributes:
        position: In the view, from 0.
        row: In the dataset version, from 0.
        digest: Of the picture's encoded bytes; ``None`` without a picture.
        media_type: ``image/jpeg`` or ``image/png``; ``None`` for anything else, which is not shown.
        width: In pixels; 0 when it is not known.
        height: Likewise.
    """

    position: int
    row: int
    sample_id: str | None
    digest: str | None
    media_type: str | None
    width: int
    height: int
    boxes: tuple[DrawnBox, ...]


class RowPictures:
    """Reads rows of recorded inputs as pictures. Views stay open for a while, and pictures that were just read stay in memory.

    Args:
        ports: Where records, datasets and archives are.
        opens_datasets: Whether datasets may be opened; else only kept copies are read.
        patience_s: Wait so long for others that read pictures: a dataset that takes long to open must not hold all of the service.
    """

    def __init__(self, ports: Ports, *, opens_datasets: bool, patience_s: float = _PATIENCE_S) -> None:
        self._ports = ports
        self._opens_datasets = opens_datasets
        self._patience_s = patience_s
        self._lock = threading.Lock()  # readers are not made for several threads
        self._views: OrderedDict[tuple[str, bool], RecordedView] = OrderedDict()
        self._kept: OrderedDict[tuple[str, int], tuple[str, bytes]] = OrderedDict()
        self._kept_bytes = 0

    def rows(self, run: Run, ordinal: int, positions: Sequence[int]) -> list[RowPicture]:
        """Rows of an input as pictures, in the order asked for.

        Args:
            run: Its record.
            ordinal: Number of the input in the record, from 0.
            positions: In the view, each within it.

        Raises:
            NotFound: The run has no such input or row.
            IntegrityError: Nothing holds the recorded rows any more.
            Unavailable: Others read pictures for too long.
        """
        item = _input(run, ordinal, positions)
        with self._reading():
            view = self._view(run, item)
            image = _image_column(view)
            values = view.read_quietly(positions)
            rows = [{name: column[i] for name, column in values.items()} for i in range(len(positions))]
            columns = object_columns([{k: v for k, v in row.items() if k != image} for row in rows], item.class_names)
            return [self._row(item, view, columns, image, position, row) for position, row in zip(positions, rows, strict=True)]

    def content(self, run: Run, ordinal: int, position: int) -> tuple[str, bytes]:
        """(media type, encoded bytes) of the picture of a row.

        Raises:
            NotFound: There is no such row, or it has no picture that can be shown.
            IntegrityError: Nothing holds it any more.
            Unavailable: Others read pictures for too long.
        """
        item = _input(run, ordinal, [position])
        key = (item.content_digest, position)
        kept = self._kept.get(key)  # without waiting: a page's pictures were read together with it
        if kept is None:
            with self._reading():
                view = self._view(run, item)
                if (image := _image_column(view)) is not None:
                    kept = self._keep(key, bytes(view.read_quietly([position], [image])[image][0]))
        if kept is None:
            raise NotFound("picture", f"row {position} of input {ordinal}", detail="it has no JPEG or PNG picture")
        return kept

    @contextmanager
    def _reading(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=self._patience_s):
            raise Unavailable("other pictures are being read, which takes long", hint="ask again in a while")
        try:
            yield
        finally:
            self._lock.release()

    def _view(self, run: Run, item: InputRecord) -> RecordedView:
        may_open = self._opens_datasets and self._ports.runs.origin(run.id) is None
        key = (item.content_digest, may_open)
        if key in self._views:
            self._views.move_to_end(key)
            return self._views[key]
        datasets = self._ports.datasets if may_open else _closed
        view = open_recorded(datasets, self._ports.objects, self._ports.rows, item, level="quick")[0]
        self._views[key] = view
        if len(self._views) > _MOST_VIEWS:
            self._views.popitem(last=False)
        return view

    def _row(
        self, item: InputRecord, view: RecordedView, columns: ObjectColumns | None, image: str | None, position: int, row: Mapping[str, Any]
    ) -> RowPicture:
        encoded = bytes(row[image]) if image is not None else b""
        known = picture_size(encoded)
        if known is not None:
            self._keep((item.content_digest, position), encoded)
        sample_id = row.get("sample_id")
        return RowPicture(
            position=position,
            row=int(view.rows[position]),
            sample_id=sample_id if isinstance(sample_id, str) else None,
            digest=f"sha256:{view.digests.pictures[position].tobytes().hex()}" if image is not None else None,
            media_type=None if known is None else known[0],
            width=0 if known is None else known[1],
            height=0 if known is None else known[2],
            boxes=() if columns is None else tuple(_boxes(row, columns, item.class_names)),
        )

    def _keep(self, key: tuple[str, int], encoded: bytes) -> tuple[str, bytes] | None:
        known = picture_size(encoded)
        if known is None or len(encoded) > _LARGEST_BYTES:
            return None
        self._kept_bytes += len(encoded) - len(self._kept.pop(key, ("", b""))[1])
        self._kept[key] = (known[0], encoded)
        while self._kept_bytes > _MOST_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1][1])
        return known[0], encoded


def _closed() -> DatasetBackend:
    raise Unavailable(
        "the service opens no dataset where tokens are needed, nor for records of others",
        hint="`lineage archive RUN` keeps the rows in the store; then their pictures are shown",
    )


def _input(run: Run, ordinal: int, positions: Sequence[int]) -> InputRecord:
    if not 0 <= ordinal < len(run.inputs):
        raise NotFound("input", str(ordinal), detail=f"run {run.id[:12]} has {len(run.inputs)} inputs, counted from 0")
    item = run.inputs[ordinal]
    outside = next((position for position in positions if not 0 <= position < item.rows), None)
    if outside is not None:
        raise NotFound("row", str(outside), detail=f"the input has {item.rows} rows, counted from 0")
    return item


def _image_column(view: RecordedView) -> str | None:
    return next((name for name, column in view.columns().items() if column.kind == "image"), None)


def _boxes(row: Mapping[str, Any], columns: ObjectColumns, class_names: Mapping[str, Sequence[str]]) -> list[DrawnBox]:
    names = class_names.get(columns.labels, ()) if columns.labels is not None else ()
    labels = row[columns.labels].tolist() if columns.labels is not None else []
    boxes: list[DrawnBox] = []
    for i, (left, top, width, height) in enumerate(row[columns.boxes].tolist()):
        if columns.has_corners:
            width, height = width - left, height - top
        label = "" if i >= len(labels) else names[labels[i]] if 0 <= labels[i] < len(names) else f"class {labels[i]}"
        boxes.append(DrawnBox(left, top, max(width, 0), max(height, 0), label))
    return boxes


def why_not(error: LineageError) -> str:
    """Why pictures cannot be shown, for people."""
    return f"{error.message} ({error.hint})" if error.hint else error.message
