"""How well near-duplicates are told from other pictures: edits that are found, unrelated pairs that are mistaken, and the time it takes.

    python benchmarks/near_duplicates.py [--scenes 200] [--photographs FILE.npz]

Scenes are drawn. ``--photographs`` names an archive of real pictures: arrays of shape (n, height, width, 3), uint8, under any names that
end in ``images``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageEnhance

from lineage.adapters.pictures.imagehash import ImageHashPictures
from lineage.lookup.near_duplicates import nearest
from pipelines.data.scenes import generate_scene

Edit = Callable[[Image.Image], bytes]
OTHER_HASHES = {"phash": imagehash.phash, "dhash": imagehash.dhash, "whash": imagehash.whash}


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def scaled(factor: float) -> Edit:
    return lambda picture: jpeg(picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))))


def cropped(share: float) -> Edit:
    def crop(picture: Image.Image) -> bytes:
        across, down = picture.width * share / 2, picture.height * share / 2
        return jpeg(picture.crop((round(across), round(down), round(picture.width - across), round(picture.height - down))))

    return crop


EDITS: dict[str, Edit] = {
    "JPEG quality 75": lambda picture: jpeg(picture, 75),
    "JPEG quality 50": lambda picture: jpeg(picture, 50),
    "10 % smaller": scaled(0.9),
    "10 % larger": scaled(1.1),
    "half the size": scaled(0.5),
    "15 % brighter": lambda picture: jpeg(ImageEnhance.Brightness(picture).enhance(1.15)),
    "15 % darker": lambda picture: jpeg(ImageEnhance.Brightness(picture).enhance(0.85)),
    "20 % more contrast": lambda picture: jpeg(ImageEnhance.Contrast(picture).enhance(1.2)),
    "grey": lambda picture: jpeg(picture.convert("L").convert("RGB")),
    "2 % cropped": cropped(0.02),
    "5 % cropped": cropped(0.05),
    "mirrored": lambda picture: jpeg(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}


def measure(name: str, pictures: list[Image.Image], edited: int = 120) -> None:
    method = ImageHashPictures()
    encoded = [jpeg(picture) for picture in pictures]
    began = time.perf_counter()
    hashes = np.array([method.hashes(content) or (0, 0) for content in encoded], np.uint64)
    each_ms = 1000 * (time.perf_counter() - began) / len(encoded)
    print(f"\n{name}: {len(pictures)} pictures, {each_ms:.1f} ms to hash one")
    none = np.full(len(pictures), -1)
    for edit, make in EDITS.items():
        found = np.array([method.hashes(make(Image.open(BytesIO(content)))) or (0, 0) for content in encoded[:edited]], np.uint64)
        hits = sum(
            all(int(a ^ b).bit_count() <= limit for a, b, limit in zip(left, right, method.near_bits, strict=True))
            for left, right in zip(found, hashes[:edited], strict=True)
        )
        print(f"  {edit:<20} found {hits:>4} of {len(found)}")
    upper = np.triu_indices(len(pictures), 1)
    apart = [np.bitwise_count(hashes[upper[0], number] ^ hashes[upper[1], number]) for number in (0, 1)]
    both = (apart[0] <= method.near_bits[0]) & (apart[1] <= method.near_bits[1])
    print(f"  unrelated pairs mistaken: {int(both.sum())} of {len(both)}; by phash <= {method.near_bits[0]} alone", end=" ")
    print(int((apart[0] <= method.near_bits[0]).sum()), "; by dhash alone", int((apart[1] <= method.near_bits[1]).sum()))
    for other, function in OTHER_HASHES.items():
        bits = np.array([function(Image.open(BytesIO(content)).convert("L").resize((128, 128))).hash.reshape(-1) for content in encoded])
        distances = (bits[upper[0]] != bits[upper[1]]).sum(axis=1)
        print(f"    {other}: pairs within 6, 8, 10, 12 bits:", *(int((distances <= limit).sum()) for limit in (6, 8, 10, 12)))
    began = time.perf_counter()
    nearest(hashes, hashes, none, method.near_bits)
    print(f"  comparing all pairs: {time.perf_counter() - began:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--photographs", type=Path)
    arguments = parser.parse_args()
    measure("drawn scenes", [Image.fromarray(generate_scene(9, number, size=(320, 256)).image) for number in range(arguments.scenes)])
    if arguments.photographs is not None:
        with np.load(arguments.photographs) as archive:
            found = [picture for name in archive.files if name.endswith("images") for picture in archive[name]]
        measure("photographs", [Image.fromarray(picture) for picture in found])
    random = np.random.default_rng(0).integers(0, 2**63, (2, 10_000, 2), dtype=np.uint64)
    began = time.perf_counter()
    nearest(random[0], random[1], np.full(10_000, -1), ImageHashPictures.near_bits)
    print(f"\n10,000 pictures against 10,000: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
