"""VisDrone-DET folders: ``images/*.jpg`` and ``annotations/*.txt`` with equal stems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lineage.errors import InvalidSource
from lineage.model.source import Column, SourceProblem, SourceSample, SourceScan
from lineage.ports import OnError
from pipelines.data.pictures import ENDINGS, check_picture
from pipelines.data.scanning import by_stem, check_samples, finished_scan, single
from pipelines.data.visdrone_format import CLASS_NAMES, parse_annotations

COLUMNS = (
    Column("images", "image", compression="jpeg"),
    Column("boxes", "array", dtype="float32", ndim=2),
    Column("labels", "class_labels", dtype="uint32", class_names=CLASS_NAMES),
    Column("truncation", "array", dtype="int32"),
    Column("occlusion", "array", dtype="int32"),
    Column("score", "array", dtype="int32"),
    Column("filename", "text"),
    Column("sample_id", "text"),
    Column("sequence", "text"),
)
"""Boxes are left, top, width, height in pixels; ``sequence`` is the first part of a file's name: frames of one video share it."""

_LAYOUT = "images/*.jpg and annotations/*.txt"


class VisDroneImporter:
    """Reads a VisDrone-DET folder; see :class:`lineage.ports.Importer`."""

    name = "visdrone"

    def scan(self, source: Path, *, on_error: OnError = "fail", progress: Callable[[int, int], None] | None = None) -> SourceScan:
        """Check every picture and annotation file, before anything is stored.

        Raises:
            InvalidSource: It is no VisDrone folder, it is empty, or (with ``fail``) it holds errors; all of them are listed.
        """
        pictures, annotations, problems = _pairs(source)
        pairs = [SourceSample(stem, (picture, annotations[stem])) for stem, picture in sorted(pictures.items()) if stem in annotations]
        samples, found = check_samples(pairs, _check, progress)
        return finished_scan(source, COLUMNS, samples, [*problems, *found], on_error)

    def read(self, sample: SourceSample) -> dict[str, Any]:
        """One row: the picture's bytes as they are in the file, and its objects.

        Raises:
            InvalidSource: The files changed since they were checked, or are gone.
        """
        picture, annotation = sample.files
        content, text = sample.contents()
        objects, problems = parse_annotations(text, annotation)
        wrong = [problem for problem in problems if problem.severity == "error"]
        if wrong:
            raise InvalidSource(str(wrong[0]), hint="the source changed while it was read")
        return {
            "images": content,
            "boxes": objects.boxes,
            "labels": objects.labels,
            "truncation": objects.truncation,
            "occlusion": objects.occlusion,
            "score": objects.score,
            "filename": picture.name,
            "sample_id": sample.sample_id,
            "sequence": sample.sample_id.partition("_")[0],
        }


def _pairs(source: Path) -> tuple[dict[str, Path], dict[str, Path], list[SourceProblem]]:
    if not source.is_dir():
        raise InvalidSource(f"{source}: expected a folder with {_LAYOUT}, found {'a file' if source.exists() else 'nothing'}")
    if not (source / "images").is_dir() or not (source / "annotations").is_dir():
        inner = sorted(item.name for item in source.iterdir() if (item / "images").is_dir() and (item / "annotations").is_dir())
        found = ", ".join(sorted(item.name for item in source.iterdir())[:5]) or "an empty folder"
        hint = f"upload one of its parts: {', '.join(str(source / name) for name in inner)}" if inner else None
        raise InvalidSource(f"{source}: expected a folder with {_LAYOUT}, found {found}", hint=hint)
    problems: list[SourceProblem] = []
    pictures = by_stem(source / "images", ENDINGS["JPEG"], "a JPEG named *.jpg", problems)
    annotations = by_stem(source / "annotations", (".txt",), "a text file named *.txt", problems)
    if not pictures and not annotations:
        raise InvalidSource(f"{source}: expected {_LAYOUT}, found no file in either folder")
    for stem in sorted(set(pictures) - set(annotations)):
        problems.append(
            SourceProblem(pictures[stem][0], "picture without annotations", expected=f"annotations/{stem}.txt", found="no such file")
        )
    for stem in sorted(set(annotations) - set(pictures)):
        problems.append(
            SourceProblem(annotations[stem][0], "annotations without a picture", expected=f"images/{stem}.jpg", found="no such file")
        )
    return single(pictures, problems), single(annotations, problems), problems


def _check(sample: SourceSample, contents: Sequence[bytes]) -> list[SourceProblem]:
    picture, annotation = sample.files
    size = check_picture(contents[0], picture)
    if isinstance(size, SourceProblem):
        return [size]
    return parse_annotations(contents[1], annotation, width=size[0], height=size[1])[1]
