"""Rows in the Ultralytics YOLO layout: ``images/``, ``labels/NAME.txt`` and ``data.yaml``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lineage.model.source import Column
from pipelines.data.export.columns import choose_columns
from pipelines.data.export.notes import write_note
from pipelines.data.export.numbers import nine_digits
from pipelines.data.export.rows import write_new, written_rows

_COMMENT = """\
# Exported by dataset-lineage; export.json says what this layout cannot.
# Without a 'path', Ultralytics looks beside this file, wherever the folder is moved.
# Both keys must be there. These rows are one view: let 'val' lead to another one, for example ../validation/images.
"""


class YoloExporter:
    """Writes the Ultralytics layout; see :class:`lineage.ports.Exporter`.

    One line for each box: class, then centre, width and height as shares of the picture, with nine digits, which is what a float32 holds.
    What the layout cannot say is counted in ``export.json``: boxes are clipped to the picture, since readers refuse a whole picture for one
    number above 1; boxes without area are left out; so are VisDrone's ignored regions, which would be learnt as objects. The other classes
    are numbered from 0 in the order of class names: pedestrian is 0 and motor 9, as in Ultralytics' own ``VisDrone.yaml``; others is 10.
    Boxes with score 0 stay. A picture without boxes has an empty label file.
    """

    name = "yolo"

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
        numbers = chosen.class_numbers()
        labels_folder = folder / "labels"
        labels_folder.mkdir()
        counts: Counter[str] = Counter(
            boxes=0,
            boxes_clipped=0,
            boxes_left_out_as_ignored_regions=0,
            boxes_left_out_without_area=0,
            names_changed=0,
            pictures_that_readers_turn=0,
        )
        pictures: list[Path] = []
        highest = -1
        for row in written_rows(folder / "images", rows, chosen, layout=self.name, one_stem=True, total=total, progress=progress):
            shares, is_clipped = to_shares(row.objects.boxes, row.header.width, row.header.height)
            lines: list[str] = []
            for label, share, clipped in zip(row.objects.labels.tolist(), shares.tolist(), is_clipped.tolist(), strict=True):
                highest = max(highest, label)
                if chosen.is_ignored_region(label):
                    counts["boxes_left_out_as_ignored_regions"] += 1
                elif share[2] <= 0 or share[3] <= 0:
                    counts["boxes_left_out_without_area"] += 1
                else:
                    lines.append(f"{numbers.get(label, label)} {' '.join(map(nine_digits, share))}\n")
                    counts["boxes_clipped"] += clipped
            counts["boxes"] += len(lines)
            counts["names_changed"] += row.is_renamed
            counts["pictures_that_readers_turn"] += row.header.is_turned
            write_new(labels_folder / f"{row.picture.stem}.txt", "".join(lines).encode("ascii"), row.place)
            pictures.append(row.picture)
        names = {number: chosen.class_name(index) for index, number in chosen.class_numbers(highest + 1).items()}
        content = yaml.safe_dump({"train": "images", "val": "images", "names": names}, allow_unicode=True, sort_keys=False, width=1 << 20)
        (folder / "data.yaml").write_text(_COMMENT + content, encoding="utf-8", newline="\n")
        unsaid = (*chosen.attributes, *(name for name in chosen.texts if name != "filename"))
        write_note(folder, self.name, chosen, rows=len(pictures), counts=counts, unsaid=unsaid)
        return pictures


def to_shares(
    boxes: np.ndarray[Any, Any], width: int, height: int
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Boxes as shares of the picture, clipped to it.

    Args:
        boxes: Left, top, width, height in pixels, shape (n, 4).
        width: Of the picture in pixels.
        height: Of the picture in pixels.

    Returns:
        (centre x, centre y, width, height from 0 to 1, float64, shape (n, 4), where a box without area inside the picture has a width or
        height of 0 or less; whether a box was clipped, shape (n,)).
    """
    size = np.array([width, height], dtype=np.float64)
    start = boxes[:, :2].astype(np.float64)
    end = start + boxes[:, 2:].astype(np.float64)
    low, high = np.maximum(start, 0), np.minimum(end, size)
    is_clipped = ((low != start) | (high != end)).any(axis=1)
    return np.concatenate([(low + high) / 2 / size, (high - low) / size], axis=1), is_clipped
