"""What a live run offers beside numbers: pictures, tables, histograms; and what is said of its metrics."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from lineage.errors import NotFound, UsageError
from lineage.model.event import Described, Event
from lineage.model.media import cell, histogram
from lineage.model.picture_size import picture_size
from lineage.model.run import Run
from lineage.ports import BoxedPicture, Ports, ShownBox
from lineage.record.media import MOST_ROWS, MediaKeeper, Put, picture, text
from lineage.record.metrics import MetricBuffer
from lineage.record.png import encode_png
from lineage.record.sinks import Sinks
from lineage.record.summaries import Summaries


class MediaLog:
    """The part of a live run that keeps media, and definitions of metrics."""

    _ports: Ports
    _run: Run
    _sinks: Sinks
    _metrics: MetricBuffer
    _is_secondary: bool
    _append: Callable[[Event], Run]
    _check_open: Callable[[], None]
    note: Callable[[str], None]

    @cached_property
    def media(self) -> MediaKeeper:
        """Keeps sheets of media; for those who make them of what other tools are given."""
        return MediaKeeper(self._ports.objects, lambda event: self._append(event), lambda said: self.note(said))

    @cached_property
    def _summaries(self) -> Summaries:
        return Summaries()

    def log_pictures(
        self, name: str, pictures: Sequence[Any], classes: Mapping[int, str] | None = None, *, step: int | None = None
    ) -> None:
        """Keep pictures, with boxes and masks that can be switched on and off, and show them in the run's trackers.

        They are part of the record: the run's page shows them, and a reproduction compares them, captions and boxes included. A name that
        begins with ``timing/`` is never compared. What is over the limits of a run is left out of the record, which says so.

        Args:
            name: What they are called, for example ``predictions``; each call adds a step to that series.
            pictures: ``lineage.ports.BoxedPicture`` with boxes and masks; or pictures alone: uint8 of shape (h, w, 3) as RGB, (h, w) or
                (h, w, 4), a PNG or JPEG file by its path or its bytes, a picture of Pillow's, or a figure of Matplotlib's.
            classes: Number of a class to its name.
            step: That of the last :meth:`log` unless given.

        Raises:
            UsageError: Something is no picture.
            NotFound: There is no such file.
        """
        self._check_open()
        if self._is_secondary:
            return
        given = tuple(item if isinstance(item, BoxedPicture) else BoxedPicture(item) for item in pictures)
        encoded = [_encoded(item.pixels) for item in given]
        masks = [{kind: encode_png(mask) for kind, mask in item.masks.items()} for item in given]
        names = dict(classes or {})

        def sheet(put: Put) -> dict[str, Any]:
            items = []
            for one, content, masked in zip(given, encoded, masks, strict=True):
                item = picture(content, put, one.caption)
                if one.boxes:
                    item["boxes"] = {kind: [_box(box) for box in boxes] for kind, boxes in one.boxes.items()}
                if masked:
                    item["masks"] = {kind: put(mask) for kind, mask in masked.items()}
                items.append(item)
            return {"type": "pictures", "items": items, "classes": {str(number): text(word) for number, word in names.items()}}

        self.media.keep(name, self._step(step), sheet)
        told = tuple(
            # A figure may be drawn on while a tracker's thread waits; its picture stays.
            one if hasattr(one.pixels, "ndim") else BoxedPicture(content, one.boxes, one.caption, one.masks)
            for one, content in zip(given, encoded, strict=True)
        )
        self._sinks.tell("pictures_logged", name, told, names)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, step: int | None = None) -> None:
        """Keep a table, and show it in the run's trackers. The record keeps its first 10,000 rows.

        Args:
            name: What it is called.
            columns: Their names.
            rows: Cells in the order of the columns: numbers, texts, true, false or nothing; of anything else the text.
            step: That of the last :meth:`log` unless given.

        Raises:
            UsageError: A row has another length than there are columns.
        """
        self._check_open()
        if self._is_secondary:
            return
        for number, row in enumerate(rows):
            if len(row) != len(columns):
                raise UsageError(f"table '{name}', row {number}: expected {len(columns)} cells, found {len(row)}")
        plain_rows = [[cell(value) for value in row] for row in rows]
        self.media.keep(name, self._step(step), lambda put: table(columns, plain_rows[:MOST_ROWS], len(rows)))
        self._sinks.tell("table_logged", name, [str(column) for column in columns], plain_rows)

    def log_histogram(self, name: str, values: Any, *, bins: int = 64, step: int | None = None) -> None:
        """Keep a histogram, and show it in the run's trackers.

        Args:
            name: What it is called.
            values: Numbers of any shape; those that are not finite are left out. Or a pair (counts, edges) of a histogram that was made
                already, with one edge more than counts.
            bins: Of how many, for values.
            step: That of the last :meth:`log` unless given.

        Raises:
            UsageError: There is no finite number, or counts and edges do not fit.
        """
        self._check_open()
        if self._is_secondary:
            return
        try:
            made = histogram(*(values if isinstance(values, tuple) and len(values) == 2 else _counted(values, bins)))
        except (TypeError, ValueError) as error:
            raise UsageError(f"histogram '{name}': {error}") from error
        self.media.keep(name, self._step(step), lambda put: {"type": "histogram", **made})
        self._sinks.tell("histogram_logged", name, made["counts"], made["edges"])

    def define_metric(self, name: str, step_metric: str | None = None, *, summary: str | None = None) -> None:
        """Say which metric is the horizontal axis of ``name``, and what of it the summary gets beside its last value.

        Args:
            name: The metric; with ``*`` at its end all whose names begin so.
            step_metric: Its axis, on the run's page and in trackers that draw.
            summary: ``min``, ``max``, ``mean``, ``first``, ``last``, several of them with commas, or ``none``. The summary then has
                ``<name>.min`` and so on; with ``none`` nothing of the metric.

        Raises:
            UsageError: The summary has another word.
        """
        if summary is not None:
            self._summaries.define(name, summary)
        if step_metric is not None and not self._is_secondary:
            self._append(Described(at=datetime.now(UTC), axes={name: step_metric}))
        self._sinks.tell("metric_defined", name, step_metric, summary)

    def _summarised(self, summary: Mapping[str, Any]) -> Mapping[str, Any]:
        """The summary, as definitions of metrics want it."""
        return self._summaries.applied(summary, lambda: self._ports.runs.metrics(self._run.id)) if self._summaries else summary

    def _step(self, step: int | None) -> int:
        return max(0, self._metrics.position[1] - 1) if step is None else step


def table(columns: Sequence[Any], rows: Sequence[Sequence[Any]], total: int) -> dict[str, Any]:
    """A sheet of a table.

    Args:
        columns: Their names.
        rows: Plain cells of the rows that are kept.
        total: How many rows there are.
    """
    kept = [[text(value) if isinstance(value, str) else value for value in row] for row in rows]
    return {"type": "table", "columns": [text(column) for column in columns], "rows": kept, "rows_total": total}


def _encoded(pixels: Any) -> bytes:
    """PNG or JPEG bytes of whatever is a picture."""
    if hasattr(pixels, "savefig"):
        buffer = io.BytesIO()
        pixels.savefig(buffer, format="png")
        return buffer.getvalue()
    if isinstance(pixels, str | Path):
        file = Path(pixels)
        if not file.is_file():
            raise NotFound("file", str(pixels))
        pixels = file.read_bytes()
    if isinstance(pixels, bytes):
        if picture_size(pixels) is None:
            raise UsageError("a picture: expected a PNG or JPEG file, found other bytes", hint="give an array, or save it as PNG first")
        return pixels
    if hasattr(pixels, "convert") and hasattr(pixels, "mode"):  # of Pillow's
        pixels = pixels.convert("RGBA" if "A" in pixels.mode else "L" if pixels.mode in ("1", "L") else "RGB")
    return encode_png(pixels)


def _box(box: ShownBox) -> dict[str, Any]:
    told: dict[str, Any] = {"corners": [cell(corner) for corner in box.corners], "label": int(box.label)}
    return told if box.score is None else told | {"score": cell(box.score)}


def _counted(values: Any, bins: int) -> tuple[Any, Any]:
    import numpy as np

    found = values.detach().cpu().numpy() if hasattr(values, "detach") else values
    array = np.asarray(found, np.float64).ravel()
    array = array[np.isfinite(array)]
    if not array.size:
        raise ValueError("expected at least one finite number")
    return np.histogram(array, bins=bins)
