"""YOLO folders as Ultralytics reads them: ``images/``, ``labels/NAME.txt`` and ``data.yaml``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lineage.errors import InvalidSource
from lineage.model.source import Column, SourceFile, SourceProblem, SourceSample, SourceScan
from lineage.ports import OnError
from pipelines.data.export.picture import read_header
from pipelines.data.pictures import ENDINGS, check_picture
from pipelines.data.scanning import by_stem, check_samples, finished_scan, form_of_all, single, wrong_form
from pipelines.data.yolo_format import parse_labels, read_names

_LAYOUT = "images/*, labels/*.txt and data.yaml"
_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels/classes.txt")
_UP = 3  # folders above the pictures in which the names are looked for
_PICTURES = tuple(ending for endings in ENDINGS.values() for ending in endings)


class YoloImporter:
    """Reads a YOLO folder; see :class:`lineage.ports.Importer`.

    The source is a folder with ``images/`` and ``labels/``, or one split of them, such as ``…/images/train``, whose labels are then in
    ``…/labels/train``. A picture without a label file has no boxes. ``boxes`` are left, top, width and height in pixels, float32;
    ``shares`` are the numbers of the label file themselves, float64, so that nothing is lost to the conversion.
    """

    name = "yolo"

    def scan(self, source: Path, *, on_error: OnError = "fail", progress: Callable[[int, int], None] | None = None) -> SourceScan:
        """Check every picture and label file, before anything is stored.

        Raises:
            InvalidSource: It is no YOLO folder, it is empty, or (with ``fail``) it holds errors; all of them are listed.
        """
        images, labels, root = _folders(source)
        names_file, names = _class_names(images, source)
        problems: list[SourceProblem] = []
        pictures = single(by_stem(images, _PICTURES, f"a picture named *{', *'.join(_PICTURES)}", problems), problems)
        texts = single(by_stem(labels, (".txt",), "a text file named *.txt", problems), problems)
        if names_file.path.parent == labels:
            texts.pop(names_file.path.stem, None)
        if not pictures:
            raise InvalidSource(f"{source}: expected {_LAYOUT}, found no picture in {images}", problems=[str(item) for item in problems])
        for stem in sorted(set(texts) - set(pictures)):
            problems.append(
                SourceProblem(texts[stem], "labels without a picture", expected=f"{stem}.jpg in {images}", found="no such file")
            )
        form = form_of_all(pictures.values())
        found = [
            SourceSample(stem, (picture, texts[stem]) if stem in texts else (picture,), facts=len(names))
            for stem, picture in sorted(pictures.items())
        ]

        def check(sample: SourceSample, contents: Sequence[bytes]) -> list[SourceProblem]:
            other = wrong_form(contents[0], sample.files[0], form)
            size = check_picture(contents[0], sample.files[0], form)
            if other is not None or isinstance(size, SourceProblem):
                return [other or size]  # type: ignore[list-item]  # one of them is a problem
            return parse_labels(contents[1], sample.files[1], len(names))[1] if len(contents) > 1 else []

        samples, more = check_samples(found, check, progress)
        return finished_scan(root, _columns(names, form), samples, [*problems, *more], on_error, (names_file,))

    def read(self, sample: SourceSample) -> dict[str, Any]:
        """One row: the picture's bytes as they are in the file, and its objects.

        Raises:
            InvalidSource: The files changed since they were checked, or are gone.
        """
        contents = sample.contents()
        picture = sample.files[0]
        header = read_header(contents[0], str(picture))
        boxes, problems = parse_labels(contents[1] if len(contents) > 1 else b"", sample.files[-1], sample.facts)
        wrong = [problem for problem in problems if problem.severity == "error"]
        if wrong:
            raise InvalidSource(str(wrong[0]), hint="the source changed while it was read")
        return {
            "images": contents[0],
            "boxes": boxes.pixels(header.width, header.height),
            "labels": boxes.labels,
            "shares": boxes.shares,
            "filename": picture.name,
            "sample_id": sample.sample_id,
        }


def _columns(names: tuple[str, ...], form: str) -> tuple[Column, ...]:
    return (
        Column("images", "image", compression=form.lower()),
        Column("boxes", "array", dtype="float32", ndim=2),
        Column("labels", "class_labels", dtype="uint32", class_names=names),
        Column("shares", "array", dtype="float64", ndim=2),
        Column("filename", "text"),
        Column("sample_id", "text"),
    )


def _folders(source: Path) -> tuple[Path, Path, Path]:
    """(folder of pictures, of labels, the folder that both lie in)."""
    if not source.is_dir():
        raise InvalidSource(f"{source}: expected a folder with {_LAYOUT}, found {'a file' if source.exists() else 'nothing'}")
    source = source.absolute()
    if (source / "images").is_dir() and (source / "labels").is_dir():
        inner = sorted(item.name for item in (source / "images").iterdir() if item.is_dir())
        if inner and not any(item.is_file() and not item.name.startswith(".") for item in (source / "images").iterdir()):
            parts = ", ".join(str(source / "images" / name) for name in inner)
            raise InvalidSource(f"{source}: expected pictures in images/, found folders only", hint=f"upload one of its parts: {parts}")
        return source / "images", source / "labels", source
    at = len(source.parts) - 1 - source.parts[::-1].index("images") if "images" in source.parts else None
    if at is not None:
        labels = Path(*source.parts[:at], "labels", *source.parts[at + 1 :])
        if labels.is_dir():
            return source, labels, Path(*source.parts[:at])
    inner = sorted(item.name for item in source.iterdir() if (item / "images").is_dir() and (item / "labels").is_dir())
    hint = f"upload one of its parts: {', '.join(str(source / name) for name in inner)}" if inner else None
    found = ", ".join(sorted(item.name for item in source.iterdir())[:5]) or "an empty folder"
    raise InvalidSource(f"{source}: expected a folder with {_LAYOUT}, found {found}", hint=hint)


def _class_names(images: Path, source: Path) -> tuple[SourceFile, tuple[str, ...]]:
    folders = [source.absolute(), *images.parents][: _UP + 1]
    for path in (folder / name for folder in folders for name in _NAMES):
        if path.is_file():
            content = path.read_bytes()
            return SourceFile.of(path, content), read_names(path, content)
    raise InvalidSource(
        f"{source}: expected class names in {', '.join(_NAMES[:-1])}, found none there or in the {_UP} folders above",
        hint="a data.yaml needs one line: names: [car, van]",
    )
