"""The importer and the playbook's query on real VisDrone files, read from beside the repository when they are there."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import deeplake
import pytest

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from pipelines.data.visdrone import COLUMNS
from pipelines.data.visdrone_format import Annotations, parse_annotations

QUERY = "select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:,3]<20), labels == 'car'))"


@pytest.fixture(scope="module")
def archive(shared_data: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(shared_data / "visdrone_public.zip")


@pytest.fixture(scope="module")
def parsed(archive: zipfile.ZipFile) -> dict[tuple[str, str], Annotations]:
    """(split, stem) to objects, of every annotation file."""
    found: dict[tuple[str, str], Annotations] = {}
    for name in archive.namelist():
        if name.startswith("annotations/") and name.endswith(".txt"):
            path = Path(name)
            objects, problems = parse_annotations(archive.read(name), path)
            assert [problem for problem in problems if problem.severity == "error"] == []
            found[path.parts[1], path.stem] = objects
    return found


@pytest.fixture(scope="module")
def table(archive: zipfile.ZipFile) -> dict[tuple[str, str], dict[str, str]]:
    rows = csv.DictReader(io.StringIO(archive.read("images.csv").decode()))
    return {(row["split"], row["stem"]): row for row in rows}


def test_every_real_annotation_file_parses(
    parsed: dict[tuple[str, str], Annotations], table: dict[tuple[str, str], dict[str, str]]
) -> None:
    """All 4,314 files parse without an error; row, car and small-car counts are those of the archive's own table."""
    assert len(parsed) == 4314
    assert parsed.keys() == table.keys()
    for key, objects in parsed.items():
        cars = objects.boxes[objects.labels == 4]
        small = int(((cars[:, 2] < 20) | (cars[:, 3] < 20)).sum())
        assert (len(objects), len(cars), small) == tuple(int(float(table[key][name])) for name in ("rows", "cars", "cars_below_20px")), key


def test_score_is_zero_exactly_for_ignored_regions_and_others(parsed: dict[tuple[str, str], Annotations]) -> None:
    """In the official files score carries no more than the category does, in all three splits."""
    counts = Counter(
        (int(label) in (0, 11), int(score))
        for objects in parsed.values()
        for label, score in zip(objects.labels, objects.score, strict=True)
    )

    assert set(counts) == {(True, 0), (False, 1)}


@pytest.mark.parametrize("split", ["train", "val", "test-dev"])
def test_the_playbooks_query_keeps_exactly_the_images_of_the_table(
    split: str, parsed: dict[tuple[str, str], Annotations], table: dict[tuple[str, str], dict[str, str]], tmp_path: Path
) -> None:
    """Deep Lake's answer to the query on real annotations is the archive's column ``kept_by_seed_filter``, image for image."""
    backend = DeepLakeBackend()
    uri = f"file://{tmp_path / split}"
    columns = [column for column in COLUMNS if column.name in ("boxes", "labels", "sample_id")]
    rows = sorted((stem, objects) for (part, stem), objects in parsed.items() if part == split)
    writer = backend.write(uri, columns, source={"split": split})
    writer.append(
        {
            "boxes": [objects.boxes for _, objects in rows],
            "labels": [objects.labels for _, objects in rows],
            "sample_id": [stem for stem, _ in rows],
        }
    )
    writer.complete("annotations")

    view = backend.save_view(uri, QUERY, "cars-20px", "test")

    kept = {rows[row][0] for row in view.rows}
    assert kept == {stem for (part, stem), row in table.items() if part == split and row["kept_by_seed_filter"] == "True"}
    assert 0 < len(kept) < len(rows)


def test_the_real_pictures_come_back_byte_for_byte(archive: zipfile.ZipFile, repository: Path) -> None:
    """The six real pictures upload as they are; the query keeps the two that the table says."""
    for name in archive.namelist():
        if name.startswith("pairs/") and not name.endswith("/"):
            archive.extract(name, repository)
    done = subprocess.run(
        [sys.executable, "-m", "lineage", "upload", "visdrone", "pairs", "ds", "--json"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "WANDB_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 6

    dataset = deeplake.open_read_only(str(repository / "ds"))
    stored = dict(zip(dataset["filename"][:], dataset["images"].get_bytes(list(range(6))), strict=True))
    assert stored == {path.name: path.read_bytes() for path in (repository / "pairs" / "images").iterdir()}
    view = DeepLakeBackend().save_view(f"file://{repository / 'ds'}", QUERY, "cars-20px", "test")
    assert [dataset["sample_id"][int(row)] for row in view.rows] == ["0000001_02999_d_0000005", "0000001_07999_d_0000012"]
