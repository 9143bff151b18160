"""VisDrone-DET folders: ``images/*.jpg`` and ``annotations/*.txt`` with equal stems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from lineage.errors import InvalidSource
from lineage.model.source import Column, SourceProblem, SourceSample, SourceScan
from lineage.ports import OnError
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

_PICTURES = (".jpg", ".jpeg")
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
        samples: list[SourceSample] = []
        total = len(pictures)
        for number, (stem, picture) in enumerate(sorted(pictures.items()), 1):
            if stem in annotations:
                found = _check(picture, annotations[stem])
                problems += found
                if not any(problem.severity == "error" for problem in found):
                    samples.append(SourceSample(stem, (picture, annotations[stem])))
            if progress is not None:
                progress(number, total)
        scan = SourceScan(source, COLUMNS, tuple(samples), tuple(problems))
        if scan.errors and on_error == "fail":
            first = scan.errors[0]
            more = f" (and {len(scan.errors) - 1} more errors)" if len(scan.errors) > 1 else ""
            raise InvalidSource(
                f"{first}{more}",
                problems=[str(problem) for problem in scan.errors[1:]],
                hint="nothing was stored; repair the files, or leave bad samples out with --on-error skip",
            )
        return scan

    def read(self, sample: SourceSample) -> dict[str, Any]:
        """One row: the picture's bytes as they are in the file, and its objects.

        Raises:
            InvalidSource: The files changed since they were checked, or are gone.
        """
        picture, annotation = sample.files
        try:
            content, text = picture.read_bytes(), annotation.read_bytes()
        except OSError as error:
            raise InvalidSource(f"{error.filename}: {error.strerror}", hint="the source changed while it was read") from error
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
    pictures = _by_stem(source / "images", problems)
    annotations = _by_stem(source / "annotations", problems)
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
    for paths in (*pictures.values(), *annotations.values()):
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            problems.append(SourceProblem(paths[1], "duplicate name", expected="one file for each stem", found=names))
    return _alone(pictures), _alone(annotations), problems


def _alone(stems: dict[str, list[Path]]) -> dict[str, Path]:
    return {stem: paths[0] for stem, paths in stems.items() if len(paths) == 1}


def _by_stem(folder: Path, problems: list[SourceProblem]) -> dict[str, list[Path]]:
    is_pictures = folder.name == "images"
    wanted = _PICTURES if is_pictures else (".txt",)
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_file() or path.suffix.lower() not in wanted:
            expected = "a JPEG named *.jpg" if is_pictures else "a text file named *.txt"
            problems.append(
                SourceProblem(
                    path, "is not part of the layout", expected=expected, found="a folder" if path.is_dir() else path.suffix or "no ending"
                )
            )
        else:
            stems[path.stem].append(path)
    return dict(stems)


def _check(picture: Path, annotation: Path) -> list[SourceProblem]:
    try:
        content = picture.read_bytes()
        text = annotation.read_bytes()
    except OSError as error:
        return [SourceProblem(Path(error.filename), "cannot be read", found=error.strerror)]
    size = _picture_size(content, picture)
    if isinstance(size, SourceProblem):
        return [size]
    return parse_annotations(text, annotation, width=size[0], height=size[1])[1]


def _picture_size(content: bytes, path: Path) -> tuple[int, int] | SourceProblem:
    if not content.startswith(b"\xff\xd8"):
        kind = "an empty file" if not content else "a PNG" if content.startswith(b"\x89PNG") else f"bytes {content[:4].hex(' ')}"
        return SourceProblem(path, "is no JPEG picture", expected="a file that starts with ff d8", found=kind)
    try:
        with Image.open(BytesIO(content), formats=("JPEG",)) as image:
            size = image.size
            # Decoding at an eighth of the size reads the whole stream, so that a cut-off picture is found, at a fraction of the time.
            image.draft("L", (max(size[0] // 8, 1), max(size[1] // 8, 1)))
            image.load()
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        return SourceProblem(path, "cannot be decoded", expected="a whole JPEG picture", found=str(error))
    if not _has_end(content):
        # The decoder takes what fills the rest, often zeros of an interrupted download, for pixels.
        return SourceProblem(path, "is cut off", expected="an end marker (ff d9) after the picture", found="none")
    return size


def _has_end(content: bytes) -> bool:
    """Whether an end marker follows the first scan of a JPEG file (ITU T.81, annex B); bytes after it may be anything."""
    at = 2
    while at + 4 <= len(content) and content[at : at + 2] != b"\xff\xda":
        # Segments hold their own length; bytes between them are fill and are skipped one by one, as decoders do.
        is_segment = content[at] == 0xFF and content[at + 1] not in (0x00, 0xFF)
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big") if is_segment else 1
    return content.find(b"\xff\xd9", at) >= 0
