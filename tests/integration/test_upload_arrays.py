"""Uploads of rows without a picture: meshes as points, arrays of every kind; stored bit for bit, verified, continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest

from pipelines.data.off import OffImporter
from pipelines.data.shapes import write_shapes
from tests.support.commands import command, lineage

QUIET = {"WANDB_MODE": "disabled"}
OFF, POINTS = "off", "points"

MANY = """
import numpy as np
from lineage.model.source import Column, SourceFile, SourceSample, SourceScan

KINDS = {"float16": 2, "float32": 2, "float64": 1, "int8": 1, "uint8": 3, "int64": 1, "uint64": 1, "bool": 1, "int16": 2}

class Many:
    name = "many"
    spoilt = None

    def scan(self, source, *, on_error="fail", progress=None):
        columns = (*(Column(f"a_{kind}", "array", dtype=kind, ndim=ndim) for kind, ndim in KINDS.items()), Column("sample_id", "text"))
        path = source / "seed"
        return SourceScan(
            source, columns, tuple(SourceSample(f"{n:03d}", (), facts=n) for n in range(150)), (), (SourceFile.of(path, path.read_bytes()),)
        )

    def read(self, sample):
        rng, row = np.random.default_rng(sample.facts), {"sample_id": sample.sample_id}
        for kind, ndim in KINDS.items():
            shape = tuple(int(side) for side in rng.integers(0, 5, ndim))
            raw = rng.integers(0, 2 if kind == "bool" else 256, int(np.prod(shape)) * np.dtype(kind).itemsize, dtype=np.uint8)
            row[f"a_{kind}"] = raw.view(kind).reshape(shape)
        return row

class Wrong(Many):
    name = "wrong"

    def read(self, sample):
        return super().read(sample) | ({"a_int8": np.array([300, 1.7])} if sample.facts == 7 else {})
"""


@pytest.fixture
def place(repository: Path) -> Path:
    (repository / ".gitignore").write_text(".lineage/\nsource/\nds*/\n.ds*\n")
    return repository


def test_arrays_of_every_kind_come_back_bit_for_bit(place: Path) -> None:
    """Not-a-numbers with their payload, empty arrays, shapes that differ from row to row: the upload itself compares each row's digest."""
    (place / "many.py").write_text(MANY)
    (place / "source").mkdir()
    (place / "source" / "seed").write_text("1")
    made = lineage(place, "upload", "many:Many", "source", "ds", **QUIET)
    assert made["rows"] == 150
    dataset = deeplake.open_read_only(made["uri"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        from many import KINDS, Many  # type: ignore[import-not-found]
    scan = Many().scan(place / "source")
    for number in (0, 77, 149):
        row = Many().read(scan.samples[number])
        for kind in KINDS:
            found = np.asarray(dataset[f"a_{kind}"][number])
            assert (found.dtype, found.shape, found.tobytes()) == (
                row[f"a_{kind}"].dtype,
                row[f"a_{kind}"].shape,
                row[f"a_{kind}"].tobytes(),
            )


def test_numbers_that_the_store_would_change_are_refused(place: Path) -> None:
    """Deep Lake makes 44 of 300 and 1 of 1.7 where a column is int8; sample and column are named."""
    (place / "many.py").write_text(MANY)
    (place / "source").mkdir()
    (place / "source" / "seed").write_text("1")
    told = lineage(place, "upload", "many:Wrong", "source", "ds", status=7, **QUIET)
    assert "sample '007', column 'a_int8': expected an array of int8 with 1 dimensions, found float64 with 1" in told
    assert "a fault of the importer 'wrong'" in told


def test_meshes_are_stored_as_points_with_their_sources(place: Path) -> None:
    """Points equal what the importer gives; a query by part and class works; the record lists each file with its digest."""
    write_shapes(place / "source", train=3, test=2, seed=1, classes=["box", "torus"])
    made = lineage(place, "upload", OFF, "source", "ds", **QUIET)
    assert made["rows"] == 10
    dataset = deeplake.open_read_only(made["uri"])
    assert list(dataset["labels"].metadata["class_names"]) == ["box", "torus"]
    importer = OffImporter()
    rows = [importer.read(sample) for sample in importer.scan(place / "source").samples]
    assert [points.tobytes() for points in dataset["points"][:]] == [row["points"].tobytes() for row in rows]
    view = lineage(place, "view", "create", "ds", "select * where any(labels == 'torus') and part == 'test'", "--name", "few", **QUIET)
    assert view["rows"] == 2
    (output,) = lineage(place, "show", made["run_id"])["outputs"]
    assert (output["details"]["importer"], output["details"]["source_file_count"]) == ("off", 10)
    assert output["size_bytes"] == sum(path.stat().st_size for path in (place / "source").rglob("*.off"))


@pytest.mark.parametrize(("importer", "rows"), [(OFF, 24), (POINTS, 40)])
def test_an_upload_that_was_killed_goes_on(place: Path, importer: str, rows: int) -> None:
    """By SIGKILL after the first commit: the same command adds the rest and names the run; the rows are those of a whole upload."""
    if importer == OFF:
        source = write_shapes(place / "source", train=20, test=4, classes=["cone"]).folder
    else:
        rng, source = np.random.default_rng(2), place / "clouds.npz"
        np.savez(source, points=rng.normal(size=(rows, 64, 3)), labels=np.arange(rows) % 2, class_names=np.array(["a", "b"]))
    program = (
        "import os, signal, sys, lineage.record.upload as u; from lineage.adapters.datasets.deeplake_write import DeepLakeWriter as W\n"
        "u._BATCH_ROWS = u._COMMIT_ROWS = 8; commit = W.checkpoint\n"
        "def kill(self, message): commit(self, message); os.kill(os.getpid(), signal.SIGKILL)\n"
        "W.checkpoint = kill\n"
        "from lineage.cli import main; sys.argv[0] = 'lineage'; main()"
    )
    words = ("upload", importer, str(source), "ds")
    killed = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=place, env=os.environ | QUIET, capture_output=True, check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    done = json.loads(command(place, sys.executable, "-m", "lineage", *words, "--json", **QUIET).stdout)
    assert (done["rows"], done["continued"]["rows"], len(done["continued"]["runs"])) == (rows, 8, 1)
    whole: dict[str, Any] = lineage(place, "upload", importer, str(source), "ds-whole", **QUIET)
    assert done["content_digest"] == whole["content_digest"]
    dataset = deeplake.open_read_only(done["uri"])
    assert len(set(dataset["sample_id"][:])) == rows
