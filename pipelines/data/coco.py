"""COCO instances: a JSON file of annotations and a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lineage.errors import InvalidSource
from lineage.model.source import Column, SourceFile, SourceProblem, SourceSample, SourceScan
from lineage.ports import OnError
from pipelines.data.coco_format import CocoFile, CocoPicture, box_columns, parse_coco
from pipelines.data.pictures import check_picture
from pipelines.data.scanning import check_samples, finished_scan, form_of_all, wrong_form

_LAYOUT = "annotations.json and images/, or annotations/instances_NAME.json and NAME/"
_FILES = ("annotations.json", "_annotations.coco.json", "instances*.json", "annotations/instances*.json", "annotations/*.json")
_TEXTS = ("sample_id", "sequence")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a row needs besides the picture."""

    picture: CocoPicture
    file: CocoFile
    sample_id: str
    columns: tuple[str, ...]


class CocoImporter:
    """Reads COCO instances; see :class:`lineage.ports.Importer`.

    The source is a folder with one file of annotations, or that file. Class indices follow the order of category ids, which need not be
    without gaps; the ids themselves are kept beside them, as are crowd marks, areas and segmentations (as text). Pictures come in the order
    of the file. A row's sample id is the picture's ``sample_id`` when all have one, else its ``file_name`` without the ending.
    """

    name = "coco"

    def scan(self, source: Path, *, on_error: OnError = "fail", progress: Callable[[int, int], None] | None = None) -> SourceScan:
        """Check the annotations and every picture, before anything is stored.

        Raises:
            InvalidSource: It is no COCO folder, it is empty, or (with ``fail``) it holds errors; all of them are listed.
        """
        path = _annotations(source)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidSource(f"{path}: {error.strerror}") from error
        file = parse_coco(content, path)
        if not file.pictures and not file.problems:
            raise InvalidSource(f"{path}: images: expected one or more, found none")
        root, folder = _pictures(path, file)
        problems = list(file.problems)
        columns, samples = _samples(file, folder, problems)
        form = form_of_all(sample.files[0] for sample in samples)

        def check(sample: SourceSample, contents: Sequence[bytes]) -> list[SourceProblem]:
            other = wrong_form(contents[0], sample.files[0], form)
            size = check_picture(contents[0], sample.files[0], form)
            if other is not None or isinstance(size, SourceProblem):
                return [other or size]  # type: ignore[list-item]  # one of them is a problem
            return list(_fit(sample, size))

        good, more = check_samples(samples, check, progress)
        columns = (Column("images", "image", compression=form.lower()), *columns)
        return finished_scan(root, columns, good, [*problems, *more], on_error, (SourceFile.of(path, content),))

    def read(self, sample: SourceSample) -> dict[str, Any]:
        """One row: the picture's bytes as they are in the file, and its objects.

        Raises:
            InvalidSource: The picture changed since it was checked, or is gone.
        """
        facts: _Facts = sample.facts
        said = facts.picture.facts
        row = {
            "images": sample.contents()[0],
            **box_columns(facts.picture, facts.file),
            "filename": said["filename"] if _is_text(said.get("filename")) else said["file_name"],
            "sample_id": facts.sample_id,
            "image_id": np.array([said["id"]], np.int64),
        }
        return row | ({"sequence": said["sequence"]} if "sequence" in facts.columns else {})


def _samples(file: CocoFile, folder: Path, problems: list[SourceProblem]) -> tuple[tuple[Column, ...], list[SourceSample]]:
    with_texts = [name for name in _TEXTS if all(_is_text(picture.facts.get(name)) for picture in file.pictures)]
    columns = [
        Column("boxes", "array", dtype="float64", ndim=2),
        Column("labels", "class_labels", dtype="uint32", class_names=tuple(file.categories.values())),
        Column("category_ids", "array", dtype="int64"),
        Column("annotation_ids", "array", dtype="int64"),
        Column("iscrowd", "array", dtype="int32"),
        Column("area", "array", dtype="float64"),
        Column("segmentation", "text"),
        *(Column(name, "array", dtype=kind) for name, kind in file.attributes.items()),
        *((Column("more", "text"),) if file.has_more else ()),
        Column("filename", "text"),
        Column("sample_id", "text"),
        Column("image_id", "array", dtype="int64"),
        *((Column("sequence", "text"),) if "sequence" in with_texts else ()),
    ]
    names = tuple(column.name for column in columns)
    samples: list[SourceSample] = []
    taken: dict[str, str] = {}
    for picture in file.pictures:
        name = picture.facts["file_name"]
        path = folder / name
        sample_id = picture.facts["sample_id"] if "sample_id" in with_texts else name.removesuffix(Path(name).suffix)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            problems.append(SourceProblem(file.path, "file_name leads out of the folder", expected="a file in it", found=repr(name)))
        elif not path.is_file():
            problems.append(
                SourceProblem(path, "picture is missing", expected=f"the file that {file.path.name} lists", found="no such file")
            )
        elif (first := taken.setdefault(sample_id, name)) != name:
            problems.append(SourceProblem(path, "sample id is taken", expected="one of its own", found=f"'{sample_id}', as of {first}"))
        else:
            samples.append(SourceSample(sample_id, (path,), facts=_Facts(picture, file, sample_id, names)))
    return tuple(columns), samples


def _fit(sample: SourceSample, size: tuple[int, int]) -> Iterator[SourceProblem]:
    said, path = sample.facts.picture.facts, sample.files[0]
    told = (said.get("width"), said.get("height"))
    if None not in told and told != size:
        message = f"is {size[0]} x {size[1]} pixels, and the annotations say {told[0]} x {told[1]}; it is stored as it is"
        yield SourceProblem(path, message, severity="warning")
    outside = [
        item["id"]
        for item in sample.facts.picture.boxes
        if (box := item["bbox"])[0] < -1 or box[1] < -1 or box[0] + box[2] > size[0] + 1 or box[1] + box[3] > size[1] + 1
    ]
    if outside:
        message = f"{len(outside)} boxes reach past the border (annotation {outside[0]} first); they are stored as annotated"
        yield SourceProblem(path, message, severity="warning")


def _annotations(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise InvalidSource(f"{source}: expected a folder with {_LAYOUT}, or a file of annotations, found nothing")
    for pattern in _FILES:
        found = sorted(source.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(str(path) for path in found)
            raise InvalidSource(
                f"{source}: expected one file of annotations, found {len(found)}", hint=f"give one of them as source: {names}"
            )
    names = ", ".join(sorted(item.name for item in source.iterdir())[:5]) or "an empty folder"
    raise InvalidSource(f"{source}: expected a folder with {_LAYOUT}, found {names}")


def _pictures(path: Path, file: CocoFile) -> tuple[Path, Path]:
    """(folder of the dataset, folder that file names start from): the first one in which a listed picture is."""
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    split = path.stem.removeprefix("instances_")
    folders = [root / "images", root / split, root / "images" / split, root, path.parent]
    first = [picture.facts["file_name"] for picture in file.pictures[:20]]
    for folder in folders:
        if any((folder / name).is_file() for name in first):
            return root, folder
    tried = ", ".join(str(folder) for folder in dict.fromkeys(folders))
    raise InvalidSource(
        f"{path}: expected the picture {first[0] if first else '…'} in one of {tried}, found it nowhere",
        problems=[str(problem) for problem in file.problems],
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
