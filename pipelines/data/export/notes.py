"""``export.json``: what a folder was made from, and what its layout could not say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pipelines.data.export.columns import ChosenColumns

NOTE = "export.json"


def write_note(
    folder: Path, layout: str, chosen: ChosenColumns, *, rows: int, counts: Counter[str], unsaid: tuple[str, ...], **more: Any
) -> None:
    """Write the note.

    Args:
        folder: The exported folder.
        layout: Name of the layout.
        chosen: The columns that were read.
        rows: Number of pictures.
        counts: What happened how often; a count of 0 is written as well when its key is there.
        unsaid: Columns that were read and have no place in the layout.
        more: Further facts of this layout.
    """
    note = {
        "layout": layout,
        "rows": rows,
        "columns": {"picture": chosen.picture, "boxes": chosen.boxes, "labels": chosen.labels},
        "box_form": "left, top, width, height in pixels, as stored",
        "class_names": list(chosen.class_names),
        "columns_left_out": sorted({*chosen.others, *unsaid}),
        "counts": dict(counts),
        **more,
    }
    (folder / NOTE).write_text(json.dumps(note, indent=2, sort_keys=True) + "\n", encoding="ascii", newline="\n")
