"""Small CIFAR-10 folders in the published forms: from arrays at hand, or drawn. For tests, examples and a first look without a download."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineage.errors import Conflict, InvalidSource
from pipelines.data.cifar10_format import META, SIDE, Form, planes

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PROTOCOL = 2  # the published files'

Parts = dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]
"""Batch name to pictures uint8 (n, 32, 32, 3) and labels int64 (n,)."""


def drawn(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures that a small network tells apart: a class is a hue, a stripe direction and a shape, with noise.

    Args:
        count: How many; classes take turns.
        seed: Of everything random.

    Returns:
        uint8 ``(count, 32, 32, 3)`` and int64 ``(count,)``.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASS_NAMES)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    pictures = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for number, label in enumerate(labels.tolist()):
        angle = np.pi * label / len(CLASS_NAMES)
        waves = np.sin(2 * np.pi * (2 + label % 3) * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 2 * np.pi))
        colour = 0.5 + 0.5 * np.cos(2 * np.pi * (label / len(CLASS_NAMES) + np.array([0, 1 / 3, 2 / 3])))
        centre, radius = rng.uniform(0.3, 0.7, 2), rng.uniform(0.15, 0.3)
        distance = np.abs(np.stack([x - centre[0], y - centre[1]])) ** (2 if label % 2 else 8)
        inside = distance.sum(axis=0) < radius ** (2 if label % 2 else 8)
        shades = np.where(inside[..., None], colour, 0.5 + 0.2 * waves[..., None] * (1 - colour))
        pictures[number] = np.clip(255 * (shades + rng.normal(0, 0.06, (SIDE, SIDE, 3))), 0, 255).astype(np.uint8)
    order = rng.permutation(count)
    return pictures[order], labels[order].astype(np.int64)


def parts_of_arrays(path: Path, *, train: int | None, test: int | None, batches: int) -> Parts:
    """Batches from an ``.npz`` with ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``.

    Raises:
        InvalidSource: It is not there, or does not hold these.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            wanted = {name: arrays[name] for name in ("train_images", "train_labels", "test_images", "test_labels")}
    except (OSError, KeyError, ValueError) as error:
        raise InvalidSource(f"{path}: expected train_images, train_labels, test_images and test_labels, found: {error}") from error
    for split in ("train", "test"):
        pictures, labels = wanted[f"{split}_images"], wanted[f"{split}_labels"]
        if pictures.dtype != np.uint8 or pictures.shape != (len(labels), SIDE, SIDE, 3):
            raise InvalidSource(
                f"{path}: {split}_images: expected uint8 of shape ({len(labels)}, 32, 32, 3), found {pictures.dtype} of {pictures.shape}"
            )
    return _parts(
        (wanted["train_images"][:train], wanted["train_labels"][:train].astype(np.int64)),
        (wanted["test_images"][:test], wanted["test_labels"][:test].astype(np.int64)),
        batches,
    )


def drawn_parts(*, train: int, test: int, batches: int, seed: int) -> Parts:
    """Batches of drawn pictures."""
    return _parts(drawn(train, seed), drawn(test, seed + 1), batches)


def _parts(train: tuple[Any, Any], test: tuple[Any, Any], batches: int) -> Parts:
    shares = zip(*(np.array_split(values, batches) for values in train), strict=True)
    parts: Parts = {f"data_batch_{number}": share for number, share in enumerate(shares, 1)}
    return parts | {"test_batch": test}


def write_sample(out: Path, parts: Parts, form: Form, names: Sequence[str] = CLASS_NAMES) -> Path:
    """Write a folder as it comes out of the published archive.

    Raises:
        Conflict: It is there and holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise Conflict(f"{out}: expected a new or an empty folder, found files", hint="give another name, or delete it first")
    out.mkdir(parents=True, exist_ok=True)
    for name, (pictures, labels) in parts.items():
        if form == "binary":
            records = np.concatenate([labels.astype(np.uint8)[:, None], planes(pictures)], axis=1)
            (out / f"{name}.bin").write_bytes(records.tobytes())
            continue
        files = [f"{names[label]}_s_{index:06d}.png".encode() for index, label in enumerate(labels.tolist())]
        batch = {b"batch_label": name.encode(), b"labels": labels.tolist(), b"data": planes(pictures), b"filenames": files}
        (out / name).write_bytes(pickle.dumps(batch, protocol=_PROTOCOL))
    largest = max(len(labels) for _, labels in parts.values())
    meta = {b"num_cases_per_batch": largest, b"label_names": [name.encode() for name in names], b"num_vis": 3 * SIDE * SIDE}
    text = "".join(f"{name}\n" for name in (*names, "")).encode()  # the published file ends with an empty line
    (out / META[form]).write_bytes(text if form == "binary" else pickle.dumps(meta, protocol=_PROTOCOL))
    return out
