"""What recording a view costs, opening it again, and reading it.

    python benchmarks/recording.py [--pictures 1500] [--rows 1000000] [--repeats 5] [--json FILE] [--folder DIR]

Pictures are drawn once and encoded as JPEG of 1242 × 375, about 160 KB each, and kept both as files and in Deep Lake; annotation-only rows
have boxes, labels, a text and a sample id. Every figure is a median; what is compared is measured in turns, so that other work on the
machine meets both. Everything is read warm: once before the first measurement.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import deeplake
import numpy as np
import torch
from deeplake import types
from PIL import Image

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.record.digesting import digest_rows
from lineage.record.identity import record_input, recorded_digests, recorded_rows
from lineage.record.opening import open_recorded
from lineage.record.recorded_view import DatasetPlace, RecordedView
from lineage.training import DataLoader

WIDTH, HEIGHT = 1242, 375
PART = 50_000
ANNOTATIONS = {"boxes": types.Array("float32", 2), "labels": types.ClassLabel(types.Array("uint32", 1)), "sample_id": types.Text()}

Measured = dict[str, list[float]]


def in_turns(repeats: int, actions: dict[str, Callable[[], Any]]) -> Measured:
    """Seconds of each action, each in every round, after one round that does not count."""
    times: Measured = {name: [] for name in actions}
    for number in range(repeats + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            if number:
                times[name].append(time.perf_counter() - started)
    return times


class Store:
    """A fresh object store and index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = FolderObjectStore(folder / "objects")
        self.database = SqliteDatabase(folder / "index.sqlite")
        self.index = SqlRowIndex(self.database)

    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


@contextmanager
def fresh_store(folder: Path) -> Iterator[Store]:
    """Removed at the end."""
    made = Store(Path(tempfile.mkdtemp(dir=folder)))
    try:
        yield made
    finally:
        made.database.close()
        shutil.rmtree(made.folder)


# --- data -------------------------------------------------------------------------------------------------------------------


def draw_pictures(count: int) -> list[bytes]:
    """Gradients under noise, of the size that pictures from a car have."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    found = []
    for number in range(count):
        random = np.random.default_rng(number)
        ground = np.stack([(across * random.random() + down * random.random()) % 256 for _ in range(3)], -1)
        noise = Image.fromarray(random.integers(0, 255, (HEIGHT // 2, WIDTH // 2, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT))
        buffer = BytesIO()
        Image.fromarray((0.55 * ground + 0.45 * np.asarray(noise)).astype(np.uint8)).save(buffer, "JPEG", quality=80)
        found.append(buffer.getvalue())
    return found


def annotations(first: int, count: int) -> dict[str, list[Any]]:
    """Zero to five boxes a row."""
    random = np.random.default_rng(first)
    boxes = random.integers(0, 6, count)
    ends = np.cumsum(boxes)[:-1]
    return {
        "boxes": np.split((random.random((int(boxes.sum()), 4)) * 1000).astype("float32"), ends),
        "labels": np.split(random.integers(0, 3, int(boxes.sum())).astype("uint32"), ends),
        "sample_id": [f"s{row:08d}" for row in range(first, first + count)],
    }


def append(dataset: Any, first: int, count: int, pictures: list[bytes] | None) -> None:
    """Rows ``first`` and on, in one commit."""
    for start in range(first, first + count, PART):
        size = min(PART, first + count - start)
        rows = annotations(start, size)
        rows |= {"caption": [f"frame {row} of sequence {row // 50}" for row in range(start, start + size)]} if pictures is None else {}
        dataset.append(rows | ({} if pictures is None else {"images": pictures[start : start + size]}))
    dataset.commit("rows")


def make(folder: Path, count: int, pictures: list[bytes] | None) -> str:
    """A dataset; returns its address."""
    picture_columns = {"caption": types.Text()} if pictures is None else {"images": types.Image(sample_compression="jpeg")}
    dataset = deeplake.create(str(folder), schema=ANNOTATIONS | picture_columns)
    dataset["labels"].metadata["class_names"] = ["car", "van", "bus"]
    append(dataset, 0, count, pictures)
    return f"file://{folder}"


# --- digests against the bare hash ------------------------------------------------------------------------------------------


def _hash_file(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


def measure_digests(uri: str, files: list[Path], repeats: int) -> Measured:
    """Digests of every row from Deep Lake, and SHA-256 of the same pictures in files, in one thread and in two."""
    backend = DeepLakeBackend()
    version = backend.resolve(uri).version
    reader = backend.open(uri, version.branch, version.commit_id)
    rows = np.arange(version.rows_total)

    def two_threads() -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(_hash_file, files, chunksize=32))

    return in_turns(
        repeats,
        {
            "digests of rows": lambda: digest_rows(reader, rows),
            "SHA-256 of files, one thread": lambda: [_hash_file(file) for file in files],
            "SHA-256 of files, two threads": two_threads,
            "reading alone": lambda: [reader.read(rows[start : start + 100].tolist()) for start in range(0, len(rows), 100)],
        },
    )


# --- recording --------------------------------------------------------------------------------------------------------------


def measure_recording(folder: Path, uri: str, more: Callable[[], None], repeats: int) -> tuple[Measured, int]:
    """First record, another view of the same version, and a record after an append; and the size of the store after the first.

    Args:
        folder: For stores.
        uri: The dataset.
        more: Appends a hundredth of its rows.
        repeats: How often; the dataset grows each time.
    """
    backend = DeepLakeBackend()
    times: Measured = {"first record": [], "second record, other rows": [], "record after an append": []}
    size = 0
    for _ in range(repeats):
        with fresh_store(folder) as store:
            whole = backend.resolve(uri)
            half = type(whole)(whole.version, whole.rows[::2])

            def record(name: str, view: Any, store: Store = store) -> None:
                started = time.perf_counter()
                record_input(backend, store.objects, store.index, view, "train")
                times[name].append(time.perf_counter() - started)

            record("first record", whole)
            size = store.size_bytes()
            record("second record, other rows", half)
            more()
            record("record after an append", backend.resolve(uri))
    return times, size


def measure_opening(folder: Path, uri: str, repeats: int) -> Measured:
    """Opening by record with a check of every byte, and with one of names only."""
    backend = DeepLakeBackend()
    with fresh_store(folder) as store:
        item = record_input(backend, store.objects, store.index, backend.resolve(uri), "train")

        def opened(level: Any) -> None:
            open_recorded(lambda: backend, store.objects, store.index, item, level=level)

        return in_turns(repeats, {"open by record, full check": lambda: opened("full"), "open by record, quick": lambda: opened("quick")})


# --- reading ----------------------------------------------------------------------------------------------------------------


def decoded(encoded: Any) -> torch.Tensor:
    """One picture as a training program wants it, uint8, (3, height, width)."""
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    return torch.from_numpy(picture).permute(2, 0, 1)


def _sample(sample: dict[str, Any], _: np.random.Generator) -> torch.Tensor:
    return decoded(sample["images"])


class Unchecked(RecordedView):
    """A view that trusts what it reads: for the cost of not doing so."""

    def _check(self, *_: Any) -> None:
        return


class Files(torch.utils.data.Dataset[Any]):
    """What people write over a folder of pictures."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, position: int) -> torch.Tensor:
        return decoded(self._files[position].read_bytes())


def measure_loader(folder: Path, uri: str, files: list[Path], repeats: int, workers: int) -> Measured:
    """An epoch over the first ``len(files)`` rows, shuffled, decoded, in batches of 16: ours with and without the check, and over files."""
    backend = DeepLakeBackend()
    cv2.setNumThreads(1)
    with fresh_store(folder) as store:
        whole = backend.resolve(uri)
        first = type(whole)(whole.version, whole.rows[: len(files)])
        item = record_input(backend, store.objects, store.index, first, "train")
        rows = recorded_rows(store.objects, item)
        digests = recorded_digests(store.objects, item, rows)
        place = DatasetPlace(backend, uri, item.branch, item.commit_id)
        options: dict[str, Any] = {"batch_size": 16, "shuffle": True, "num_workers": workers, "persistent_workers": workers > 0}
        checked = DataLoader(RecordedView(item, rows, digests, place), seed=7, transform=_sample, **options)
        unchecked = DataLoader(Unchecked(item, rows, digests, place), seed=7, transform=_sample, **options)
        plain: Any = torch.utils.data.DataLoader(Files(files), **options)

        def epoch(loader: Any) -> None:
            for _ in loader:
                pass

        loaders = {"pinned loader": checked, "pinned loader, no check": unchecked, "files": plain}
        return in_turns(repeats, {f"{name}, {workers} workers": lambda loader=loader: epoch(loader) for name, loader in loaders.items()})


# --- output -----------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1500)
    parser.add_argument("--read", type=int, default=500, help="pictures in an epoch")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help="for data and stores; a temporary one by default")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=chosen.folder))
    found: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "load at start": os.getloadavg()}
    try:
        if chosen.pictures:
            found["pictures"] = pictures_case(folder, chosen)
        if chosen.rows:
            found["annotations"] = annotations_case(folder, chosen)
    finally:
        shutil.rmtree(folder)
    found["load at end"] = os.getloadavg()
    sys.stdout.write(f"{found['machine']}, load {found['load at start'][0]:.1f} to {found['load at end'][0]:.1f}\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2))


def show(title: str, times: Measured, count: int, notes: str = "") -> None:
    """A line for each action: median, range, and rows a second."""
    sys.stdout.write(f"\n{title}{notes}\n")
    for name, values in times.items():
        median = statistics.median(values)
        sys.stdout.write(f"  {name:34} {median:8.3f} s ({min(values):.3f} to {max(values):.3f})  {count / median:12,.0f} rows/s\n")
    sys.stdout.flush()


def ratio(times: Measured, base: str, ours: str) -> float:
    """How fast ours is, compared with the base: the median over rounds of one by the other."""
    return statistics.median(one / other for one, other in zip(times[base], times[ours], strict=True))


def pictures_case(folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Pictures: digests, recording, opening, reading."""
    drawn = draw_pictures(chosen.pictures + chosen.pictures // 100 * chosen.repeats)
    files = [folder / "files" / f"{number:06}.jpg" for number in range(chosen.pictures)]
    (folder / "files").mkdir()
    for file, content in zip(files, drawn, strict=False):
        file.write_bytes(content)
    uri = make(folder / "pictures", chosen.pictures, drawn)
    size = sum(map(len, drawn[: chosen.pictures]))
    count = chosen.pictures
    digests = measure_digests(uri, files, chosen.repeats)
    show(f"{count} pictures, {size / count / 1000:.0f} KB each: digests", digests, count)
    ratios = {base: ratio(digests, base, "digests of rows") for base in digests if base.startswith("SHA-256")}
    for base, value in ratios.items():
        sys.stdout.write(f"  speed of digests against {base}: {value:.2f}\n")
    opening = measure_opening(folder, uri, chosen.repeats)
    show("opening", opening, count)
    reading: Measured = {}
    for workers in chosen.workers:
        times = measure_loader(folder, uri, files[: chosen.read], chosen.repeats, workers)
        reading |= times
        show("reading, decoded", times, min(chosen.read, count))
        for name in list(times)[:2]:
            ratios[name] = ratio(times, f"files, {workers} workers", name)
            sys.stdout.write(f"  speed of {name} against files: {ratios[name]:.2f}\n")
    rows = [count]

    def more() -> None:
        append(deeplake.open(uri), rows[0], count // 100, drawn)
        rows[0] += count // 100

    recording, store = measure_recording(folder, uri, more, chosen.repeats)
    show("recording", recording, count, f", store {store / 1e6:.2f} MB ({store / count:.0f} bytes a row)")
    return {"size_bytes": size, "store_bytes": store, "ratios": ratios, "times_s": digests | opening | reading | recording}


def annotations_case(folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Annotation-only rows: digests, recording, opening."""
    uri, count = make(folder / "annotations", chosen.rows, None), chosen.rows
    backend = DeepLakeBackend()
    version = backend.resolve(uri).version
    reader = backend.open(uri, version.branch, version.commit_id)
    every = np.arange(count)
    digests = in_turns(
        chosen.repeats,
        {
            "digests of rows": lambda: digest_rows(reader, every),
            "reading alone": lambda: [reader.read(every[start : start + 16_384].tolist()) for start in range(0, count, 16_384)],
        },
    )
    show(f"{count} rows of annotations: digests", digests, count)
    opening = measure_opening(folder, uri, chosen.repeats)
    show("opening", opening, count)
    rows = [count]

    def more() -> None:
        append(deeplake.open(uri), rows[0], count // 100, None)
        rows[0] += count // 100

    recording, store = measure_recording(folder, uri, more, chosen.repeats)
    show("recording", recording, count, f", store {store / 1e6:.1f} MB ({store / count:.0f} bytes a row)")
    return {"store_bytes": store, "times_s": digests | opening | recording}


if __name__ == "__main__":
    main()
