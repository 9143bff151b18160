"""Drawn scenes as folders in VisDrone's layout, with a manifest that says what they are.

``OUT/train/images/*.jpg``, ``OUT/train/annotations/*.txt``, the same under ``OUT/validation``, and ``OUT/manifest.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
from PIL import Image

from lineage.errors import Conflict, UsageError
from pipelines.data.scenes.defects import Damage, damaged_scene, parse_defects, text_of
from pipelines.data.scenes.recipes import PARKING_SIZE, Recipe, Split
from pipelines.data.scenes.scene import Scene, generate_scene
from pipelines.data.scenes.statistics import kept_by_filter

VERSION = 1
"""Of the generator: goes up with any change that gives other pixels or rows for the same arguments."""
FORMAT = "drawn-visdrone/1"
MANIFEST = "manifest.json"
_SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True)
class Written:
    """What is in the folder now.

    Attributes:
        folder: Where.
        reused: Whether it was there already, made with the same arguments and unchanged since.
        pictures: Number of pictures of each split.
        rows: Number of annotation rows, all splits together.
        kept: Number of pictures of each split that pass the filter 'no car with a side below 20 pixels'.
    """

    folder: Path
    reused: bool
    pictures: dict[str, int]
    rows: int
    kept: dict[str, int]


def write_scenes(
    out: Path,
    *,
    train: int,
    validation: int,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    recipe: Recipe = "parking",
    defects: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Make a data set, or find that it is there already.

    The folder appears whole or not at all: it is written beside its place and then renamed. The manifest holds, for each picture,
    the digest of its pixels before encoding (row by row, uint8; compare these across machines and Pillow versions), of the JPEG file
    and of the annotation file.

    Args:
        out: Folder to make; it may exist if it is empty or holds the same data set.
        train: Number of training pictures, 1 or more.
        validation: Number of validation pictures, 0 or more; they share no sequence with the training pictures.
        size: Width and height in pixels; by default the recipe's own.
        seed: Seed of everything random.
        recipe: ``parking`` or ``full``.
        defects: Names of :data:`pipelines.data.scenes.defects.DEFECTS`, or ``all``; each takes one training picture.
        progress: Called with (done, total) after each picture.

    Raises:
        UsageError: A number is out of range or a defect unknown.
        Conflict: The folder holds something else, or its files were changed.
    """
    names = parse_defects(defects)
    if train < 1 or validation < 0:
        raise UsageError(f"there must be 1 or more training and 0 or more validation pictures, found {train} and {validation}")
    if len(names) > train:
        raise UsageError(f"each defect takes a training picture: {len(names)} defects need as many pictures, found {train}")
    if size is None and recipe == "parking":
        size = PARKING_SIZE
    arguments = {
        "train": train,
        "validation": validation,
        "size": list(size) if size else None,
        "seed": seed,
        "recipe": recipe,
        "defects": list(names),
    }
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        return _reuse(out, arguments)
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        folder = aside / "scenes"
        manifest = _write(folder, arguments, progress)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except FileExistsError as error:
        raise Conflict(f"{out} was made by somebody else in the meantime", hint="run the command again to compare") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return _written(out, manifest, reused=False)


def encode_jpeg(scene: Scene) -> bytes:
    """The picture as JPEG: quality 75 and 4:2:0 subsampling, as the official files."""
    buffer = BytesIO()
    Image.fromarray(scene.image).save(buffer, "JPEG", quality=75, subsampling=2, optimize=False)
    return buffer.getvalue()


def _write(folder: Path, arguments: dict[str, Any], progress: Callable[[int, int], None] | None) -> dict[str, Any]:
    total = arguments["train"] + arguments["validation"]
    # Spread over the training pictures, so that any part of the data set holds some.
    damaged = {number * arguments["train"] // len(arguments["defects"]): name for number, name in enumerate(arguments["defects"])}
    pictures: list[dict[str, Any]] = []
    for split in _SPLITS:
        for kind in ("images", "annotations"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(arguments[split]):
            defect = damaged.get(index) if split == "train" else None
            pictures.append(_write_one(folder / split, split, index, arguments, defect))
            if progress is not None:
                progress(len(pictures), total)
    manifest = {
        "format": FORMAT,
        "generator": VERSION,
        "arguments": arguments,
        "made_with": {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": PIL.__version__},
        "pictures": pictures,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _write_one(folder: Path, split: Split, index: int, arguments: dict[str, Any], defect: str | None) -> dict[str, Any]:
    size = tuple(arguments["size"]) if arguments["size"] else None
    seed, recipe = arguments["seed"], arguments["recipe"]
    damage: Damage | None = None
    if defect is None:
        scene = generate_scene(seed, index, recipe, size, split)
        lines = [text_of(row) for row in scene.rows]
    else:
        scene, lines, damage = damaged_scene(defect, seed, index, recipe, size)
    picture, text = encode_jpeg(scene), "".join(f"{line}\n" for line in lines).encode()
    (folder / "images" / f"{scene.name}.jpg").write_bytes(picture)
    (folder / "annotations" / f"{scene.name}.txt").write_bytes(text)
    return {
        "split": split,
        "name": scene.name,
        "width": scene.width,
        "height": scene.height,
        "channels": 1 if scene.image.ndim == 2 else 3,
        "rows": len(lines),
        "kept": kept_by_filter(np.array(scene.rows, dtype=np.int64).reshape(-1, 8)),
        "pixels": _digest(scene.image.tobytes()),
        "jpeg": _digest(picture),
        "annotation": _digest(text),
        "defects": [asdict(damage)] if damage else [],
    }


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _reuse(out: Path, arguments: dict[str, Any]) -> Written:
    elsewhere = "choose another folder, or delete this one"
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        found = manifest["format"], manifest["generator"], manifest["arguments"]
        files = _files(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Conflict(f"{out} exists and is no folder of drawn scenes", hint=elsewhere) from error
    if found[:2] != (FORMAT, VERSION):
        raise Conflict(f"{out} was made by version {found[1]} of the generator ({found[0]}), this is {VERSION} ({FORMAT})", hint=elsewhere)
    if found[2] != arguments:
        other = [f"{key} {found[2].get(key)} instead of {value}" for key, value in arguments.items() if found[2].get(key) != value]
        raise Conflict(f"{out} holds other scenes: " + ", ".join(other), hint=elsewhere)
    present = {Path(root, name).relative_to(out).as_posix() for root, _, names in os.walk(out) for name in names} - {MANIFEST}
    if present != set(files):
        odd = min(present ^ set(files))
        raise Conflict(f"{out}/{odd} {'is missing' if odd in files else 'does not belong to these scenes'}", hint=elsewhere)
    for name, digest in files.items():
        if _digest((out / name).read_bytes()) != digest:
            raise Conflict(f"{out}/{name} was changed since it was made", hint=elsewhere)
    return _written(out, manifest, reused=True)


def _files(manifest: dict[str, Any]) -> dict[str, str]:
    """Path within the folder → digest of the file."""
    files = {}
    for picture in manifest["pictures"]:
        files[f"{picture['split']}/images/{picture['name']}.jpg"] = str(picture["jpeg"])
        files[f"{picture['split']}/annotations/{picture['name']}.txt"] = str(picture["annotation"])
    return files


def _written(out: Path, manifest: dict[str, Any], *, reused: bool) -> Written:
    pictures = manifest["pictures"]
    return Written(
        folder=out,
        reused=reused,
        pictures={split: sum(p["split"] == split for p in pictures) for split in _SPLITS},
        rows=sum(p["rows"] for p in pictures),
        kept={split: sum(p["split"] == split and p["kept"] for p in pictures) for split in _SPLITS},
    )
