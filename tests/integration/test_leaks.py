"""Leaks: evaluated rows that a model, or one it was fine-tuned from, was trained on. Real datasets, real pictures, real runs."""

from __future__ import annotations

import functools
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from PIL import Image, ImageEnhance

import lineage
from lineage.adapters.pictures.imagehash import ImageHashPictures
from lineage.api import process
from lineage.errors import InvalidSource, MissingExtra, UsageError
from lineage.lookup.leaks import find_leaks
from lineage.lookup.near_duplicates import nearest
from lineage.model.findings import LeakReport
from lineage.model.run import Run
from lineage.ports import Pictures
from pipelines.data.scenes import generate_scene

SCHEMA = {
    "images": types.Image(sample_compression="jpeg"),
    "labels": types.ClassLabel(types.Array("uint32", 1)),
    "sequence": types.Text(),
    "sample_id": types.Text(),
}
Row = tuple[str, str, bytes]
"""sample id, sequence, picture."""


@functools.cache
def scene(number: int) -> bytes:
    return jpeg(Image.fromarray(generate_scene(3, number, size=(192, 160)).image), 90)


def jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content)).convert("RGB")


def build(folder: Path, rows: Sequence[Row], *, leave_out: str | None = None) -> str:
    """A real dataset; returns its address. ``leave_out`` names a column that it lacks."""
    dataset = deeplake.create(str(folder), schema={name: kind for name, kind in SCHEMA.items() if name != leave_out})
    dataset["labels"].metadata["class_names"] = ["car", "van"]
    columns: dict[str, list[Any]] = {
        "images": [content for _, _, content in rows],
        "labels": [np.array([number % 2], "uint32") for number in range(len(rows))],
        "sequence": [sequence for _, sequence, _ in rows],
        "sample_id": [sample_id for sample_id, _, _ in rows],
    }
    dataset.append({name: values for name, values in columns.items() if name != leave_out})
    dataset.commit("rows")
    return f"file://{folder}"


def pick(*ids: str) -> str:
    return f"select * where sample_id in ({', '.join(repr(name) for name in ids)})"


TRAIN: list[Row] = [(f"a{number}", f"video {number // 4}", scene(number)) for number in range(12)]


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    process.wired.cache_clear()


@pytest.fixture
def here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repository)
    return repository


@pytest.fixture(scope="session")
def train_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaks") / "train"
    build(folder, TRAIN)
    return folder


@pytest.fixture
def train(train_template: Path, tmp_path: Path) -> str:
    """Twelve pictures of three videos."""
    shutil.copytree(train_template, tmp_path / "train")
    return f"file://{tmp_path / 'train'}"


Use = tuple[str, str, str | None]
"""role, address, query."""


def recorded(name: str, uses: Sequence[Use], *, base: str | None = None) -> Run:
    """A finished run that used these inputs, started from the weights of ``base`` and made weights of its own."""
    with lineage.start_run(project="parking", job_type="train", name=name) as run:
        if base is not None:
            run.use_artifact(f"{base}.pth")
        for role, uri, query in uses:
            run.use_dataset(uri, role=role, query=query)
        Path(f"{name}.pth").write_text(f"weights of {name}")
        run.log_artifact(f"{name}.pth", kind="model")
    return lineage.get(run.id)


def counts(report: LeakReport) -> dict[str, int | None]:
    return {way.way: way.rows if way.checked else None for way in report.ways}


def command(*words: str, expect: int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "lineage", *words], capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


# --- the four ways --------------------------------------------------------------------------------------------------------


def test_a_clean_split_is_clean(here: Path, train: str, tmp_path: Path) -> None:
    """Other pictures of other videos: no leak by any way, each of which was used."""
    test = build(tmp_path / "test", [(f"t{number}", "elsewhere", scene(100 + number)) for number in range(5)])
    report = lineage.leaks(recorded("a", [("train", train, None), ("validation", test, None)]).id)

    assert (report.verdict.value, counts(report)) == ("clean", {"row": 0, "picture": 0, "near": 0, "sequence": 0})
    assert [(item.role, item.rows) for item in (*report.evaluated, *report.trained)] == [("validation", 5), ("train", 12)]
    assert not report.warnings


def test_each_way_finds_its_own(here: Path, train: str, tmp_path: Path) -> None:
    """One row by position, one copied byte for byte, one re-encoded, one frame of a trained video: counted apart, with the pair."""
    test = build(
        tmp_path / "test",
        [
            ("fresh", "elsewhere", scene(100)),
            ("copied", "elsewhere", scene(3)),
            ("encoded", "elsewhere", jpeg(opened(scene(7)), 50)),
            ("frame", "video 1", scene(101)),
        ],
    )
    run = recorded(
        "a", [("train", train, pick(*(f"a{number}" for number in range(8)))), ("test", test, None), ("validation", train, pick("a2", "a9"))]
    )
    report = lineage.leaks(run.id)

    pairs = {way.way: [(match.evaluated.sample_id, match.trained.sample_id) for match in way.examples] for way in report.ways}
    assert report.verdict.value == "leaks"
    assert pairs["row"] == [("a2", "a2")]
    assert sorted(pairs["picture"]) == [("a2", "a2"), ("copied", "a3")]
    assert pairs["near"] == [("encoded", "a7")]
    assert sorted(pairs["sequence"]) == [("a2", "a0"), ("frame", "a4")]
    assert {way.way: way.further_rows for way in report.ways} == {"row": 1, "picture": 1, "near": 1, "sequence": 1}
    assert report.way("picture").examples[0].evaluated.sample_id == "copied", "what no way above found comes first"
    assert report.way("near").examples[0].distance_bits is not None


@pytest.mark.parametrize(
    "edit",
    [
        lambda picture: jpeg(picture, 75),
        lambda picture: jpeg(picture, 50),
        lambda picture: jpeg(picture.resize((173, 144)), 90),
        lambda picture: jpeg(picture.resize((211, 176)), 90),
        lambda picture: jpeg(ImageEnhance.Brightness(picture).enhance(1.15), 90),
        lambda picture: jpeg(picture.crop((2, 2, 190, 158)), 90),
        lambda picture: jpeg(picture.convert("L").convert("RGB"), 90),
    ],
    ids=["q75", "q50", "smaller", "larger", "brighter", "cropped", "grey"],
)
def test_an_edited_picture_is_near(edit: Any) -> None:
    """The usual edits of each of twenty scenes stay near; none of the scenes is near to another."""
    pictures = ImageHashPictures()
    original = np.array([pictures.hashes(scene(number)) for number in range(20)], np.uint64)
    edited = np.array([pictures.hashes(edit(opened(scene(number)))) for number in range(20)], np.uint64)
    found = nearest(edited, original, np.full(20, -1), pictures.near_bits)

    assert found.index.tolist() == list(range(20))
    assert nearest(original, original, np.arange(20), pictures.near_bits).index.tolist() == [-1] * 20


def test_nearest_is_what_comparing_every_pair_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, ties and left-out pairs included: the lowest distance, and of equal ones the first."""
    monkeypatch.setattr("lineage.lookup.near_duplicates._BLOCK_PAIRS", 50)
    chance = np.random.default_rng(4)
    left, right = (chance.integers(0, 2**12, (size, 2), dtype=np.uint64) for size in (60, 45))
    same = np.where(chance.random(60) < 0.3, chance.integers(0, 45, 60), -1)
    left[same >= 0] = right[same[same >= 0]]  # the same bytes have the same hashes, and would always be nearest
    limits = (4, 5)

    expected = []
    for i in range(60):
        near = [
            (int(left[i, 0] ^ right[j, 0]).bit_count(), j)
            for j in range(45)
            if j != same[i] and all(int(left[i, m] ^ right[j, m]).bit_count() <= limits[m] for m in (0, 1))
        ]
        expected.append(min(near, default=(65, -1)))
    found = nearest(left, right, same, limits)

    assert list(zip(found.bits.tolist(), found.index.tolist(), strict=True)) == expected
    assert any(index >= 0 for _, index in expected)


def test_counts_are_those_of_brute_force(here: Path, tmp_path: Path) -> None:
    """Random views over two datasets with repeated pictures and shared videos, against loops over what was put in."""
    chance = random.Random(11)
    rows = [[(f"{name}{number}", f"video {chance.randrange(7)}", scene(chance.randrange(9))) for number in range(14)] for name in "pq"]
    uris = [build(tmp_path / name, own) for name, own in zip("pq", rows, strict=True)]
    met = set()
    for attempt in range(8):
        views = [
            (side, sorted(chance.sample(range(14), chance.randrange(1, 7)))) for side in (0, 1, chance.randrange(2), chance.randrange(2))
        ]
        roles = ["train", "train", "validation", "test"]
        uses = [
            (role, uris[side], pick(*(rows[side][row][0] for row in chosen))) for role, (side, chosen) in zip(roles, views, strict=True)
        ]
        report = lineage.leaks(recorded(f"run{attempt}", uses).id, near=False)

        trained = [(side, row) for side, chosen in views[:2] for row in chosen]
        evaluated = [(side, row) for side, chosen in views[2:] for row in chosen]
        expected = {
            "row": sum(place in trained for place in evaluated),
            "picture": sum(any(rows[s][r][2] == rows[a][b][2] for a, b in trained) for s, r in evaluated),
            "near": None,
            "sequence": sum(any(rows[s][r][1] == rows[a][b][1] for a, b in trained) for s, r in evaluated),
        }
        assert counts(report) == expected
        assert report.way("picture").trained_rows == sum(any(rows[a][b][2] == rows[s][r][2] for s, r in evaluated) for a, b in trained)
        assert report.verdict.value == ("leaks" if expected["row"] or expected["picture"] else "clean")
        met.add(report.verdict.value)
    assert "leaks" in met


# --- whose training counts --------------------------------------------------------------------------------------------------


def test_ancestors_count_with_the_way_shown(here: Path, train: str, tmp_path: Path) -> None:
    """A → B → C: C is evaluated on what only A was trained on. The chain of weights is named in the direction of time."""
    other = build(tmp_path / "other", [(f"o{number}", "elsewhere", scene(200 + number)) for number in range(3)])
    a = recorded("a", [("train", train, pick("a0", "a1"))])
    b = recorded("b", [("train", other, None)], base="a")
    c = recorded("c", [("test", train, pick("a1", "a5"))], base="b")
    report = lineage.leaks(c.id)

    assert (report.verdict.value, report.way("row").rows) == ("leaks", 1)
    assert {item.run_id: [(step.from_run_name, step.model, step.to_run_name) for step in item.path] for item in report.trained} == {
        a.id: [("a", "a.pth", "b"), ("b", "b.pth", "c")],
        b.id: [("b", "b.pth", "c")],
    }
    assert lineage.leaks(recorded("d", [("test", train, pick("a5"))], base="b").id).verdict.value == "clean"


def test_weights_that_nobody_recorded_are_named(here: Path, train: str) -> None:
    """Their data cannot be known: said, without spoiling the verdict over what is known."""
    Path("found.pth").write_text("weights from elsewhere")
    report = lineage.leaks(recorded("a", [("train", train, pick("a0")), ("test", train, pick("a8"))], base="found").id)

    assert report.verdict.value == "clean"
    assert any("found.pth" in line and "no recorded run made it" in line for line in report.not_checked)


def test_rows_that_were_never_read_are_no_leak(here: Path, train: str) -> None:
    """An epoch that stopped after four rows: the leak among them counts, the one behind is in the view but never read."""
    with lineage.start_run(project="parking", job_type="train", seed=1) as run:
        view = run.use_dataset(train, role="train")
        run.use_dataset(train, role="test", query=pick("a1", "a9"))
        for _ in lineage.training.DataLoader(view, batch_size=4, collate_fn=list):
            break
    report = lineage.leaks(run.id, near=False)

    assert report.trained[0].rows_read == 4
    assert [(way.rows, way.unread_rows) for way in (report.way("row"), report.way("picture"))] == [(1, 1), (1, 1)]
    assert report.way("row").examples[0].evaluated.sample_id == "a1"


def stopped(uri: str) -> None:
    """A training that fails in its first epoch."""
    with lineage.start_run(project="parking", job_type="train", seed=1) as run:
        view = run.use_dataset(uri, role="train")
        run.use_dataset(uri, role="test", query=pick("a1", "a9"))
        for _ in lineage.training.DataLoader(view, batch_size=4, collate_fn=list):
            raise RuntimeError("out of memory")


def test_an_unfinished_run_proves_nothing_unread(here: Path, train: str) -> None:
    """When the training failed, its last epoch may be missing from the record: every row of the view counts."""
    with pytest.raises(RuntimeError, match="out of memory"):
        stopped(train)
    report = lineage.leaks(lineage.runs()[0].id, near=False)

    assert (report.trained[0].rows_read, report.way("row").rows, report.way("row").unread_rows) == (None, 2, 0)


def test_roles_are_chosen(here: Path, train: str) -> None:
    """Every role but ``train`` is evaluated unless some are named; wrong names are refused with those that exist."""
    run = recorded("a", [("train", train, pick("a0")), ("validation", train, pick("a0")), ("test", train, pick("a8"))])

    assert lineage.leaks(run.id, near=False).verdict.value == "leaks"
    assert lineage.leaks(run.id, near=False, roles=["test"]).verdict.value == "clean"
    with pytest.raises(UsageError, match="'holdout'") as refused:
        lineage.leaks(run.id, roles=["holdout"])
    assert "test, train, validation" in str(refused.value.hint)
    with pytest.raises(UsageError, match="compared with"):
        lineage.leaks(run.id, roles=["train"])


# --- what stands in the way ---------------------------------------------------------------------------------------------------


def test_deleted_data_are_compared_by_their_records(here: Path, train: str, tmp_path: Path) -> None:
    """Rows and bytes are found although both datasets are gone; near-duplicates were hashed before, and are found again."""
    test = build(tmp_path / "test", [("copied", "x", scene(3)), ("encoded", "x", jpeg(opened(scene(7)), 50))])
    run = recorded("a", [("train", train, None), ("test", test, None)])
    before = lineage.leaks(run.id)
    shutil.rmtree(tmp_path / "train")
    shutil.rmtree(tmp_path / "test")

    assert counts(before) == {"row": 0, "picture": 1, "near": 1, "sequence": 0}
    assert lineage.leaks(run.id) == before


def test_archived_pictures_are_hashed_from_the_archive(here: Path, train: str, tmp_path: Path) -> None:
    """The run was archived before its data were deleted: near-duplicates are looked for in the kept copy."""
    test = build(tmp_path / "test", [("encoded", "x", jpeg(opened(scene(7)), 50))])
    run = recorded("a", [("train", train, None), ("test", test, None)])
    lineage.archive(run.id)
    shutil.rmtree(tmp_path / "train")
    shutil.rmtree(tmp_path / "test")
    report = lineage.leaks(run.id)

    assert (report.verdict.value, report.way("near").rows) == ("leaks", 1)


def test_pictures_are_hashed_once(here: Path, train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture is decoded at the first search only, and only once however many inputs hold it."""
    decoded = []
    whole = ImageHashPictures.hashes
    monkeypatch.setattr(ImageHashPictures, "hashes", lambda self, content: decoded.append(content) or whole(self, content))
    run = recorded("a", [("train", train, None), ("test", train, pick("a3", "a4"))])
    first = lineage.leaks(run.id)

    assert sorted(decoded) == sorted(content for _, _, content in TRAIN)
    assert lineage.leaks(run.id) == first
    assert len(decoded) == len(TRAIN)


def test_damaged_pictures_are_counted(here: Path, train: str, tmp_path: Path) -> None:
    """A stored picture that is no longer the recorded one is not compared under its name: not checked, and no clean verdict."""
    test = build(tmp_path / "test", [("t0", "x", scene(100)), ("t1", "x", scene(101))])
    run = recorded("a", [("train", train, None), ("test", test, None)])
    marked = scene(101)
    for file in (tmp_path / "test").rglob("*"):
        if file.is_file() and marked in (content := file.read_bytes()):
            at = content.index(marked) + len(marked) // 2
            file.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
    report = lineage.leaks(run.id)

    assert report.verdict.value == "inconclusive"
    assert "near-duplicates of 1 pictures" in report.not_checked[0]
    assert "row 1" in report.not_checked[0]


def test_pictures_that_are_gone_make_it_inconclusive(here: Path, train: str, tmp_path: Path) -> None:
    """Nothing was found, but near-duplicates could not be looked for: 3, with the reason; leaving them out is clean."""
    test = build(tmp_path / "test", [("t0", "x", scene(100))])
    run = recorded("a", [("train", train, None), ("test", test, None)])
    shutil.rmtree(tmp_path / "train")
    report = lineage.leaks(run.id)

    assert report.verdict.value == "inconclusive"
    assert "12 pictures that could not be looked at" in report.not_checked[0]
    assert lineage.leaks(run.id, near=False).verdict.value == "clean"
    command("leaks", run.id[:8], expect=3)
    command("leaks", run.id[:8], "--no-near", expect=0)


def test_a_picture_that_cannot_be_decoded_hides_no_other(here: Path, train: str, tmp_path: Path) -> None:
    """A torn file among others: counted as not checked, the re-encoded one beside it is found."""
    rows = [
        ("torn", "x", scene(100)[:700]),
        ("encoded", "x", jpeg(opened(scene(7)), 50)),
        ("blank", "x", jpeg(Image.new("RGB", (64, 64), "olive"), 90)),
    ]
    run = recorded("a", [("train", train, None), ("test", build(tmp_path / "test", rows), None)])
    report = lineage.leaks(run.id)

    assert [match.evaluated.sample_id for match in report.way("near").examples] == ["encoded"]
    assert any("1 pictures that could not be looked at" in line and "row 0" in line for line in report.not_checked)
    assert any("1 pictures of one colour" in line for line in report.not_checked)


def test_a_column_that_is_absent_is_said(here: Path, train: str, tmp_path: Path) -> None:
    """Without sequences on one side that way cannot be used; asked for strictly, the answer is not a clean one."""
    test = build(tmp_path / "test", [("t0", "x", scene(100))], leave_out="sequence")
    run = recorded("a", [("train", train, None), ("test", test, None)])
    report = lineage.leaks(run.id)

    assert (report.verdict.value, report.way("sequence").checked) == ("clean", False)
    assert "no column 'sequence'" in str(report.way("sequence").reason)
    assert lineage.leaks(run.id, strict=True).verdict.value == "inconclusive"


def test_without_the_package_near_duplicates_are_not_checked(here: Path, train: str) -> None:
    """It is an extra: everything else is answered, and the report says how to get it."""

    def absent() -> Pictures:
        raise MissingExtra("imagehash", "pictures")

    run = recorded("a", [("train", train, pick("a0")), ("test", train, pick("a8"))])
    report = find_leaks(replace(process.ports_of_process(), pictures=absent), run)

    assert (report.verdict.value, report.way("near").checked) == ("inconclusive", False)
    assert "dataset-lineage[pictures]" in str(report.way("near").reason)


def test_nothing_to_compare_is_inconclusive(here: Path, train: str) -> None:
    """A run that only trained, and one whose model has no known training: neither is called clean."""
    trained = lineage.leaks(recorded("a", [("train", train, None)]).id)
    tested = lineage.leaks(recorded("b", [("test", train, None)]).id)

    assert (trained.verdict.value, tested.verdict.value) == ("inconclusive", "inconclusive")
    assert "evaluated nothing" in trained.not_checked[0]
    assert "no recorded run trained the model" in tested.not_checked[0]


def test_a_picture_that_is_none_is_refused() -> None:
    """One clear error of ours, whatever the bytes are."""
    for content in (b"", b"no picture", scene(0)[:500]):
        with pytest.raises(InvalidSource, match="cannot be decoded"):
            ImageHashPictures().hashes(content)


# --- the command --------------------------------------------------------------------------------------------------------------


def test_the_command_tells_and_shows(here: Path, train: str, tmp_path: Path) -> None:
    """Exit code 1, the same report as JSON, and the pair side by side as a picture; a full folder is not written into."""
    test = build(tmp_path / "test", [("fresh", "x", scene(100)), ("encoded", "x", jpeg(opened(scene(7)), 50))])
    run = recorded("a", [("train", train, None), ("test", test, None)])
    told = json.loads(command("leaks", run.id[:8], "--json", "--pictures", "pairs", expect=1).stdout)
    text = command("leaks", run.id[:8], expect=1).stdout
    again = command("leaks", run.id[:8], "--pictures", "pairs", expect=6)

    assert told["verdict"] == "leaks"
    assert LeakReport.model_validate({name: value for name, value in told.items() if name != "pictures"}).way("near").rows == 1
    (file,) = Path("pairs").iterdir()
    assert told["pictures"] == [str(file)]
    with Image.open(file) as shown:
        left, right = shown.convert("RGB").crop((0, 18, 576, 498)), shown.convert("RGB").crop((580, 18, 1156, 498))
        assert np.abs(np.asarray(left, int) - np.asarray(right, int)).mean() < 12
    assert "encoded" in text
    assert "a7" in text
    assert "verdict: leaks" in text
    assert "not empty" in again.stderr


def test_a_sequence_alone_is_a_warning(here: Path, train: str, tmp_path: Path) -> None:
    """Frames of a trained video: exit code 0 with a warning, 1 when they are to count."""
    run = recorded("a", [("train", train, pick("a0")), ("validation", train, pick("a1"))])

    done = command("leaks", run.id[:8], "--no-near", expect=0)
    assert "1 evaluated rows are of sequences that were trained on" in done.stderr
    command("leaks", run.id[:8], "--no-near", "--strict", expect=1)
