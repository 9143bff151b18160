"""A data set of drawn scenes on disk, in VisDrone's layout, with a manifest. Written aside and renamed: it is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lineage.errors import Conflict, UsageError
from pipelines.data.scenes.defects import Flawed, flawed_scene, grey
from pipelines.data.scenes.recipes import Recipe, Split

GENERATOR_VERSION = 1
"""Raised whenever the same arguments would give other pixels or rows."""

MANIFEST = "manifest.json"
_QUALITY = 75  # the official pictures' luminance table is the standard one of this quality
_SPLITS: tuple[Split, ...] = ("train", "validation")


def write_scenes(
    out: Path,
    *,
    train: int,
    validation: int,
    seed: int,
    recipe: Recipe = "parking",
    size: tuple[int, int] | None = None,
    defects: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Any], bool]:
    """Make ``out/train`` and ``out/validation``, each with ``images/*.jpg`` and ``annotations/*.txt``.

    Args:
        out: A folder that does not exist yet, or one that the same arguments made.
        train: Number of training pictures.
        validation: Number of validation pictures.
        seed: Decides everything.
        recipe: ``parking`` or ``full``.
        size: Width and height in pixels; by default the recipe's own.
        defects: Names of flaws, see :mod:`pipelines.data.scenes.defects`; each goes into one training picture.
        progress: Told of (done, total).

    Returns:
        (manifest, whether the data set was there already).

    Raises:
        Conflict: Something else is at ``out``.
        UsageError: There are more defects than training pictures, or a number cannot be.
    """
    if train < 1 or validation < 0:
        raise UsageError(f"expected at least 1 training and 0 validation pictures, found {train} and {validation}")
    if len(defects) > train:
        raise UsageError(f"{len(defects)} defects need as many training pictures, found {train}")
    arguments = {"train": train, "validation": validation, "seed": seed, "recipe": recipe, "size": list(size) if size else None}
    arguments |= {"defects": list(defects)}
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _reuse(out, arguments), True
    aside = out.parent / f".{out.name}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        manifest = _write(aside, arguments, recipe, size, tuple(defects), progress)
        if out.exists():
            out.rmdir()
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return manifest, False


def _write(
    aside: Path,
    arguments: dict[str, Any],
    recipe: Recipe,
    size: tuple[int, int] | None,
    defects: tuple[str, ...],
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    pictures: list[dict[str, Any]] = []
    total = arguments["train"] + arguments["validation"]
    for split in _SPLITS:
        (aside / split / "images").mkdir(parents=True)
        (aside / split / "annotations").mkdir()
        for index in range(arguments[split]):
            defect = defects[index] if split == "train" and index < len(defects) else None
            flawed = flawed_scene(arguments["seed"], index, recipe, size, split, defect)
            pictures.append({"split": split, **_save(flawed, aside / split), "defect": defect})
            if progress is not None:
                progress(len(pictures), total)
    manifest = {"generator_version": GENERATOR_VERSION, "arguments": arguments, "pictures": pictures}
    (aside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _save(flawed: Flawed, folder: Path) -> dict[str, Any]:
    scene = flawed.scene
    pixels = grey(scene.image) if flawed.is_grey else scene.image
    picture, text = folder / "images" / f"{scene.name}.jpg", folder / "annotations" / f"{scene.name}.txt"
    Image.fromarray(pixels).save(picture, "JPEG", quality=_QUALITY, subsampling="4:2:0")
    text.write_text("".join(",".join(map(str, row)) + flawed.line_end for row in scene.rows), encoding="ascii")
    return {
        "name": scene.name,
        "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),  # of what is drawn: JPEG bytes differ between encoders
        "image_sha256": _sha256(picture),
        "annotations_sha256": _sha256(text),
    }


def _reuse(out: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Conflict(f"{out} exists and was not made by this generator", hint="choose another folder") from error
    if manifest.get("generator_version") != GENERATOR_VERSION or manifest.get("arguments") != arguments:
        raise Conflict(f"{out} holds scenes made with other arguments or by another version", hint="choose another folder, or delete it")
    for item in manifest["pictures"]:
        folder = out / item["split"]
        for path, digest in (
            (folder / "images" / f"{item['name']}.jpg", item["image_sha256"]),
            (folder / "annotations" / f"{item['name']}.txt", item["annotations_sha256"]),
        ):
            if not path.is_file() or _sha256(path) != digest:
                raise Conflict(f"{path} was changed or deleted since it was made", hint=f"delete {out} and make it again")
    return manifest


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
