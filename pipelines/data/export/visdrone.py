"""Rows as a VisDrone-DET folder: ``images/NAME.jpg`` and ``annotations/NAME.txt``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lineage.model.source import Column
from pipelines.data.export.columns import choose_columns
from pipelines.data.export.notes import write_note
from pipelines.data.export.numbers import decimal_text, plain_numbers
from pipelines.data.export.rows import Objects, write_new, written_rows
from pipelines.data.visdrone_format import CLASS_NAMES

_ASSUMED = {"score": 1, "truncation": 0, "occlusion": 0}


class VisDroneExporter:
    """Writes a VisDrone-DET folder; see :class:`lineage.ports.Exporter`.

    One line for each box: left,top,width,height,score,category,truncation,occlusion. Whole numbers are written as such, others as the
    shortest decimal that reads back to the same value: the official tools write whole numbers only, and so does the importer expect them.
    Columns that the dataset lacks are written as score 1, truncation 0, occlusion 0.

    The category is the dataset's own class index. The layout has no place for class names; when they are not VisDrone's,
    ``export.json`` holds them and says so. Pictures must be JPEG.
    """

    name = "visdrone"

    def write(
        self,
        folder: Path,
        rows: Iterable[Mapping[str, Any]],
        columns: Mapping[str, Column],
        *,
        total: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Path]:
        chosen = choose_columns(columns, self.name)
        annotations = folder / "annotations"
        annotations.mkdir()
        counts: Counter[str] = Counter(boxes=0, boxes_with_fractions=0, names_changed=0)
        pictures: list[Path] = []
        for row in written_rows(
            folder / "images", rows, chosen, layout=self.name, one_stem=True, forms=("JPEG",), total=total, progress=progress
        ):
            text = annotation_text(row.objects)
            write_new(annotations / f"{row.picture.stem}.txt", text.encode("ascii"), row.place)
            pictures.append(row.picture)
            counts["boxes"] += len(row.objects.boxes)
            counts["boxes_with_fractions"] += int(np.any(row.objects.boxes != np.trunc(row.objects.boxes), axis=1).sum())
            counts["names_changed"] += row.is_renamed
        write_note(
            folder,
            self.name,
            chosen,
            rows=len(pictures),
            counts=counts,
            unsaid=(),
            assumed={name: value for name, value in _ASSUMED.items() if name not in chosen.attributes},
            has_visdrone_classes=chosen.class_names == CLASS_NAMES,
        )
        return pictures


def annotation_text(objects: Objects) -> str:
    """The lines of one annotation file."""
    boxes = plain_numbers(objects.boxes)
    labels = objects.labels.tolist()
    score, truncation, occlusion = (
        plain_numbers(objects.attributes[name]) if name in objects.attributes else [value] * len(labels) for name, value in _ASSUMED.items()
    )
    return "".join(
        ",".join(map(decimal_text, (*boxes[i], score[i], labels[i], truncation[i], occlusion[i]))) + "\n" for i in range(len(labels))
    )
