"""Rows as COCO instances: ``images/`` and ``annotations.json``."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from lineage.model.source import Column
from pipelines.data.export.coco_own import OWN, read_own
from pipelines.data.export.columns import IGNORED_REGIONS, ChosenColumns, choose_columns
from pipelines.data.export.notes import write_note
from pipelines.data.export.numbers import plain_numbers
from pipelines.data.export.rows import WrittenRow, written_rows

ANNOTATIONS = "annotations.json"
_IGNORED_ID = 0


class CocoExporter:
    """Writes COCO instances; see :class:`lineage.ports.Exporter`.

    Ids of pictures and annotations count from 1 in the order of rows and boxes. Categories are numbered from 1 in the order of class names.
    VisDrone's ignored regions are no class: they have category 0 and ``iscrowd`` 1, so that training code leaves them out, evaluation
    gives them no average, and nothing is lost; VisDrone's other classes keep their official ids. Boxes are written as they are, also those
    without area or past the border. Each annotation has its truncation, occlusion and score, and each picture its ``sample_id`` and
    ``sequence``, under these names where the dataset has them. Columns ``iscrowd``, ``area`` and ``segmentation``, as the importer of this
    layout makes them, are written as they are; without them the area is the box's and ``segmentation`` is empty. The same rows give the
    same bytes.
    """

    name = "coco"

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
        own = tuple(name for name in OWN if name in chosen.others and columns[name].kind == OWN[name])
        chosen = replace(chosen, others=tuple(name for name in chosen.others if name not in own))
        kept: deque[dict[str, Any]] = deque()
        rows = _noting(rows, own, kept)
        numbers = chosen.class_numbers()
        counts: Counter[str] = Counter(boxes=0, boxes_of_ignored_regions=0, names_changed=0, pictures_that_readers_turn=0)
        pictures: list[Path] = []
        highest = -1
        # Sorted keys put the annotations first; what is said of pictures waits in a file, not in memory.
        with (
            (folder / ANNOTATIONS).open("x", encoding="ascii", newline="\n") as out,
            tempfile.TemporaryFile("w+", encoding="ascii", newline="\n", dir=folder) as waiting,
        ):
            out.write('{"annotations": [')
            for row in written_rows(folder / "images", rows, chosen, layout=self.name, one_stem=False, total=total, progress=progress):
                pictures.append(row.picture)
                _write_item(waiting, _picture(row, len(pictures)), len(pictures) == 1)
                labels = row.objects.labels.tolist()
                highest = max([highest, *labels])
                ignored = [chosen.is_ignored_region(label) for label in labels]
                ids = [_IGNORED_ID if skip else numbers.get(label, label) + 1 for label, skip in zip(labels, ignored, strict=True)]
                said = read_own(kept.popleft(), own, len(labels), row.place)
                for item in _annotations(row, len(pictures), ids, ignored, said):
                    counts["boxes"] += 1
                    _write_item(out, {**item, "id": counts["boxes"]}, counts["boxes"] == 1)
                counts["boxes_of_ignored_regions"] += sum(ignored)
                counts["names_changed"] += row.is_renamed
                counts["pictures_that_readers_turn"] += row.header.is_turned
            out.write('\n],\n"categories": ')
            out.write(_json(_categories(chosen, highest + 1)))
            out.write(',\n"images": [')
            waiting.seek(0)
            shutil.copyfileobj(waiting, out)
            out.write(f'\n],\n"info": {_json(_INFO)},\n"licenses": []}}\n')
        write_note(folder, self.name, chosen, rows=len(pictures), counts=counts, unsaid=())
        return pictures


_INFO = {
    "description": "Exported by dataset-lineage; export.json says what this layout cannot. "
    "bbox is left, top, width, height in pixels of the picture as stored.",
    "version": "1",
}


def _noting(rows: Iterable[Mapping[str, Any]], names: Iterable[str], kept: deque[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        kept.append({name: row[name] for name in names})
        yield row


def _picture(row: WrittenRow, number: int) -> dict[str, Any]:
    facts: dict[str, Any] = {name: row.texts[name] for name in ("sample_id", "sequence") if name in row.texts}
    if row.is_renamed and "filename" in row.texts:
        facts["filename"] = row.texts["filename"]
    return {**facts, "file_name": row.picture.name, "height": row.header.height, "id": number, "width": row.header.width}


def _annotations(
    row: WrittenRow, picture: int, ids: list[int], ignored: list[bool], said: Mapping[str, list[Any]]
) -> Iterable[dict[str, Any]]:
    boxes = plain_numbers(row.objects.boxes)
    attributes = {name: plain_numbers(values) for name, values in row.objects.attributes.items()}
    for i, box in enumerate(boxes):
        yield {
            **{name: values[i] for name, values in attributes.items()},
            "area": max(box[2], 0) * max(box[3], 0),
            "bbox": box,
            "category_id": ids[i],
            "image_id": picture,
            "iscrowd": int(ignored[i]),
            "segmentation": [],
            **{name: values[i] for name, values in said.items() if values[i] is not None},
        }


def _categories(chosen: ChosenColumns, seen: int) -> list[dict[str, Any]]:
    found = [
        {"id": number + 1, "name": chosen.class_name(index), "supercategory": "object"}
        for index, number in chosen.class_numbers(seen).items()
    ]
    if IGNORED_REGIONS in chosen.class_names:
        found.insert(0, {"id": _IGNORED_ID, "name": IGNORED_REGIONS, "supercategory": "ignored"})
    return found


def _write_item(out: IO[str], item: dict[str, Any], is_first: bool) -> None:
    out.write("\n" if is_first else ",\n")
    out.write(_json(item))


def _json(value: Any) -> str:
    # Plain ASCII: pycocotools opens the file in whatever encoding the machine prefers.
    return json.dumps(value, sort_keys=True, allow_nan=False)
