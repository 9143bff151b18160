"""A step's batch, made again from the record: the same tensors, in the recorded code, or a reason why not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
import torch
from deeplake import types
from PIL import Image
from typer.testing import CliRunner

import lineage
from lineage.api import process
from lineage.cli import app
from lineage.errors import Conflict, ExecutionFailed, LineageError, NotFound, Unavailable, UsageError
from lineage.lookup.steps import read_steps
from lineage.reproduce.replay import replay, wanted_step
from lineage.settings import load_settings
from lineage.training import epoch_batches
from lineage.wiring import child_variables, wire

ROWS, BATCH, SEED, EPOCHS = 14, 4, 5, 2
BATCHES = -(-ROWS // BATCH)
BAD_ROW = 6

AUGMENTING = """
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image


class Normalize:
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def augment(sample, random, normalize=Normalize()):
    pixels = np.asarray(Image.open(BytesIO(sample["images"]))).transpose(2, 0, 1) / 255
    values = torch.tensor((pixels - 0.5) / 0.25 + random.normal(), dtype=torch.float32)
    return values, {"boxes": torch.tensor(np.array(sample["boxes"])), "labels": torch.tensor([1])}


def with_file(sample, random, file):
    values, target = augment(sample, random)
    return values * float(Path(file).read_text()), target


def picky(sample, random):
    if sample["row"] == 6:
        raise ValueError("no boxes")
    return augment(sample, random)
"""

TRAINING = """
import functools, json, sys
from pathlib import Path

import torch

import lineage
from augmenting import Normalize, augment, picky, with_file
from lineage.training import DataLoader, make_deterministic


def own(sample, random):
    values, target = augment(sample, random)
    return -values, target


def train(dataset, transform, name, watched=True, loaded=True, other=None, **options):
    with lineage.start_run(seed=5, config={"classes": ["car"]}) as run:
        make_deterministic(run, threads=1)
        view = run.use_dataset(dataset, role="train")
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        if watched:
            run.watch(model, optimizer)
        loader = DataLoader(view, 4, shuffle=True, transform=transform, **options) if loaded else None
        for epoch in range(2):
            for number, (pictures, target) in enumerate(loader if loaded else [(torch.ones(1, 192), view[epoch] if epoch else 0)]):
                torch.save([pictures, target], Path(".lineage") / f"{name}-{epoch}-{number}.pt")
                optimizer.zero_grad()
                model(pictures).sum().backward()
                optimizer.step()
            if other is not None:
                with torch.no_grad():
                    list(DataLoader(view, 4, shuffle=True, transform=other))
    return run.id


if __name__ == "__main__":
    dataset, file = sys.argv[1:]
    Path(".lineage").mkdir(exist_ok=True)
    runs = {
        "plain": train(dataset, functools.partial(augment, normalize=Normalize()), "plain"),
        "main": train(dataset, own, "main"),
        "lambda": train(dataset, lambda sample, random: augment(sample, random), "lambda"),
        "unwatched": train(dataset, augment, "unwatched", watched=False),
        "unloaded": train(dataset, None, "unloaded", loaded=False),
        "file": train(dataset, functools.partial(with_file, file=file), "file"),
        "picky": train(dataset, picky, "picky", on_error="skip"),
        "two": train(dataset, functools.partial(augment, normalize=Normalize()), "two", other=own),
    }
    Path(".lineage/runs.json").write_text(json.dumps(runs))
"""


def picture(row: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(row).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A repository in which eight trainings ran, and whose code was broken since."""
    folder = tmp_path_factory.mktemp("replay")
    schema = {"images": types.Image(sample_compression="jpeg"), "boxes": types.Array("float32", 2), "sample_id": types.Text()}
    made = deeplake.create(str(folder / "ds"), schema=schema)
    boxes = [np.array([[1, 1, 4, 2 + row % 5]], "float32") for row in range(ROWS)]
    made.append({"images": [picture(row) for row in range(ROWS)], "boxes": boxes, "sample_id": [f"s{row}" for row in range(ROWS)]})
    made.commit("all")
    del made
    repository = folder / "repository"
    repository.mkdir()
    for name, text in {".gitignore": ".lineage/\n", "augmenting.py": AUGMENTING, "training.py": TRAINING}.items():
        (repository / name).write_text(text)
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    (folder / "factor").write_text("2.0")
    command = [sys.executable, "-W", "ignore", "training.py", str(folder / "ds"), str(folder / "factor")]
    subprocess.run(command, cwd=repository, check=True, timeout=120)
    for name in ("augmenting.py", "training.py"):
        (repository / name).write_text("raise RuntimeError('the code of today')\n")
    runs: dict[str, Any] = json.loads((repository / ".lineage" / "runs.json").read_text())
    return runs | {"folder": folder, "repository": repository}


@pytest.fixture(autouse=True)
def _there(trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(trained["repository"])
    yield
    process.wired.cache_clear()


def replayed(run: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and what ``--json`` says."""
    result = CliRunner().invoke(app, ["replay", run, "--json", *words])
    if isinstance(result.exception, LineageError):
        raise result.exception
    assert result.stdout, (result.exit_code, result.stderr)
    return result.exit_code, json.loads(result.stdout)


def in_order(epoch: int) -> list[list[int]]:
    return epoch_batches(ROWS, SEED, epoch, shuffle=True, batch_size=BATCH)


def same_bits(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left.view(torch.uint8), right.view(torch.uint8))
    if isinstance(left, dict):
        return bool(left.keys() == right.keys()) and all(same_bits(left[name], right[name]) for name in left)
    return len(left) == len(right) and all(map(same_bits, left, right))


def assert_is_the_loops(made: dict[str, Any], name: str, epoch: int, number: int) -> None:
    """The tensors are bit for bit those the loop got."""
    (step,) = made["steps"]
    found = torch.load(Path(made["folder"]) / step["tensors"], weights_only=True)
    assert same_bits(found, torch.load(Path(".lineage") / f"{name}-{epoch}-{number}.pt", weights_only=True))


def test_a_step_is_made_again(trained: dict[str, Any], tmp_path: Path) -> None:
    """Step 6 is the third batch of the second epoch: its rows, its tensors, its losses, a picture of each sample with its box."""
    code, made = replayed(trained["plain"], "--step", "6", "--output", str(tmp_path / "out"))
    (step,) = made["steps"]

    assert (code, made["verdict"], made["folder"]) == (0, "identical", str(tmp_path / "out"))
    assert step["recorded"] == step["found"] is not None
    assert (step["step"], step["epoch"], step["role"], len(step["losses"])) == (6, 1, "train", 1)
    assert [sample["row"] for sample in step["samples"]] == in_order(1)[2]
    assert [sample["sample_id"] for sample in step["samples"]] == [f"s{row}" for row in in_order(1)[2]]
    assert_is_the_loops(made, "plain", 1, 2)
    assert "normalisation undone" in step["values"]
    for sample in step["samples"]:
        assert sample["boxes"] == 1
        with Image.open(tmp_path / "out" / sample["picture"]) as opened:
            assert min(opened.size) >= 320
            assert opened.convert("RGB").getextrema() != ((0, 0),) * 3
    assert (tmp_path / "out" / "sheet.png").is_file()
    assert json.loads((tmp_path / "out" / "replay.json").read_text())["verdict"] == "identical"
    assert not list((trained["repository"] / ".lineage").glob("workspaces/*"))


@pytest.mark.parametrize("words", [("--step", "5"), ("--row", str(in_order(1)[1][0]))])
def test_with_two_loaders_over_one_input_the_one_of_the_step_is_found(trained: dict[str, Any], words: tuple[str, ...]) -> None:
    """The loader that was made last has another transform; the batch's digest tells that it was not its."""
    _, made = replayed(trained["two"], *words)

    step = made["steps"][-1]
    assert step["step"] == 5
    sample = next(item for item in step["samples"] if item["row"] == in_order(1)[1][0])
    _, plain = replayed(trained["plain"], "--step", "5")
    expected = next(item for item in plain["steps"][0]["samples"] if item["row"] == sample["row"])
    assert (Path(made["folder"]) / sample["picture"]).read_bytes() == (Path(plain["folder"]) / expected["picture"]).read_bytes()


def test_a_replay_is_replaced_and_nothing_else_is(trained: dict[str, Any], tmp_path: Path) -> None:
    """A folder with anything else in it is refused before anything is executed, and stays as it is."""
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(Conflict, match="exists and is no replay"):
        replayed(trained["plain"], "--step", "0", "--output", str(other))
    assert [file.name for file in tmp_path.rglob("*")] == ["mine", "thesis.txt"]

    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "replay.json").write_text("{}")
    (tmp_path / "old" / "stale.png").write_bytes(b"")
    _, made = replayed(trained["main"], "--step", "1", "--output", str(tmp_path / "old"))
    assert made["verdict"] == "identical"
    assert_is_the_loops(made, "main", 0, 1)  # its transform is of the program itself
    assert not (tmp_path / "old" / "stale.png").exists()


def test_a_batch_without_a_step_log_has_nothing_to_compare_with(trained: dict[str, Any]) -> None:
    """By epoch and number, from the loader's order alone: exit code 3, and the tensors are the loop's all the same."""
    code, made = replayed(trained["unwatched"], "--epoch", "1", "--batch", "3")

    assert (code, made["verdict"], made["steps"][0]["recorded"]) == (3, "inconclusive", None)
    assert [sample["row"] for sample in made["steps"][0]["samples"]] == in_order(1)[3]
    assert_is_the_loops(made, "unwatched", 1, 3)
    with pytest.raises(NotFound, match="nothing was watched"):
        replayed(trained["unwatched"], "--step", "0")


def test_every_sighting_of_a_row(trained: dict[str, Any], tmp_path: Path) -> None:
    """By row, by name, by the bytes of its picture: once an epoch, at its place in the batch; the picture differs by its augmentation."""
    (tmp_path / "p.jpg").write_bytes(picture(9))
    expected = [
        {"step": epoch * BATCHES + number, "epoch": epoch, "position": 9, "place_in_batch": batch.index(9)}
        for epoch in range(EPOCHS)
        for number, batch in enumerate(in_order(epoch))
        if 9 in batch
    ]
    for words in (("--row", "9"), ("--sample", "s9"), ("--image", str(tmp_path / "p.jpg"))):
        code, listed = replayed(trained["plain"], *words, "--list")
        assert code == 0
        assert [{name: seen[name] for name in expected[0]} for seen in listed["seen"]] == expected

    code, made = replayed(trained["plain"], "--row", "9", "--output", str(tmp_path / "out"))
    assert code == 0
    assert [(step["step"], [sample["row"] for sample in step["samples"]]) for step in made["steps"]] == [
        (seen["step"], [9]) for seen in expected
    ]
    pictures = [(tmp_path / "out" / step["samples"][0]["picture"]).read_bytes() for step in made["steps"]]
    assert len(set(pictures)) == EPOCHS


def test_what_the_transform_read_outside_the_record_is_found(trained: dict[str, Any]) -> None:
    """A file that no record holds was changed since: the digest says so, exit code 1; put back, it is identical again."""
    file = trained["folder"] / "factor"
    file.write_text("3.0")
    code, made = replayed(trained["file"], "--step", "0")
    assert (code, made["verdict"]) == (1, "diverged")
    assert made["steps"][0]["found"] != made["steps"][0]["recorded"] is not None
    file.write_text("2.0")
    assert replayed(trained["file"], "--step", "0")[1]["verdict"] == "identical"


def test_rows_that_were_left_out_are_left_out_again(trained: dict[str, Any]) -> None:
    """With ``on_error='skip'``, by step and by batch: the loop got a shorter batch."""
    number = next(number for number, batch in enumerate(in_order(0)) if BAD_ROW in batch)
    rows = [row for row in in_order(0)[number] if row != BAD_ROW]
    for words in (("--step", str(number)), ("--epoch", "0", "--batch", str(number))):
        _, made = replayed(trained["picky"], *words)
        assert [sample["row"] for sample in made["steps"][0]["samples"]] == rows
        assert_is_the_loops(made, "picky", 0, number)


def test_data_that_are_gone_are_said(trained: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is left behind then; from a kept copy of the rows the batch is the same."""
    dataset, aside = trained["folder"] / "ds", trained["folder"] / "aside"
    out = tmp_path / "out"
    try:
        dataset.rename(aside)
        with pytest.raises(ExecutionFailed) as caught:
            replayed(trained["plain"], "--step", "2", "--output", str(out))
        assert "input 'train'" in str(caught.value.hint)
        assert list(tmp_path.iterdir()) == []
        aside.rename(dataset)
        lineage.archive(trained["plain"])
        dataset.rename(aside)
        assert replayed(trained["plain"], "--step", "2", "--output", str(out))[1]["verdict"] == "identical"
    finally:
        if aside.exists():
            aside.rename(dataset)


@pytest.mark.parametrize(
    ("run", "words", "error", "message"),
    [
        ("plain", ("--step", "8"), NotFound, "step.*8.*steps 0 to 7 were logged"),
        ("plain", ("--step", "-1"), NotFound, "steps 0 to 7 were logged"),
        ("plain", ("--step", "0", "--rank", "3"), NotFound, "process 3 logged none; those of 0 did"),
        ("plain", ("--epoch", "0", "--batch", "4"), NotFound, "batch.*4.*has batches 0 to 3"),
        ("plain", ("--epoch", "0", "--batch", "-1"), NotFound, "has batches 0 to 3"),
        ("plain", ("--epoch", "-1", "--batch", "0"), NotFound, "epochs count from 0"),
        ("plain", ("--epoch", "0", "--batch", "0", "--role", "test"), NotFound, "test.*roles: train"),
        ("plain", ("--row", "14"), NotFound, "row.*14.*not in the train data"),
        ("plain", ("--sample", "s14"), NotFound, "s14.*not in the train data"),
        ("plain", ("--row", "1", "--role", "test"), NotFound, "roles: train"),
        ("plain", ("--image", "missing.jpg"), NotFound, "missing.jpg"),
        ("plain", (), UsageError, "say what to replay"),
        ("plain", ("--step", "1", "--row", "1"), UsageError, "say what to replay"),
        ("plain", ("--epoch", "1"), UsageError, "say what to replay"),
        ("lambda", ("--step", "0"), UsageError, "its transform was not kept: .*lambda"),
        ("unloaded", ("--step", "0"), UsageError, "the log does not know its rows"),
        ("unloaded", ("--step", "1"), UsageError, "were not made by lineage.training.DataLoader"),
        ("unloaded", ("--epoch", "0", "--batch", "0"), UsageError, "were not made by lineage.training.DataLoader"),
    ],
)
def test_what_cannot_be_made_again_is_said(
    trained: dict[str, Any], run: str, words: tuple[str, ...], error: type[LineageError], message: str
) -> None:
    """And what there is in its place; nothing is executed."""
    with pytest.raises(error, match=message):
        replayed(trained[run], *words)


def test_for_people_it_says_the_same(trained: dict[str, Any], tmp_path: Path) -> None:
    """Rows, files and verdict on stdout; a limit says what it left out."""
    result = CliRunner().invoke(app, ["replay", trained["plain"], "--row", "9", "--limit", "1", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "row 9 (s9)" in result.stdout
    assert "1 more sightings were left out" in result.stderr


def test_a_step_is_made_again_from_a_bundle_alone(trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither dataset nor store are there; with a folder for what is made nothing else stays behind, without one its store does."""
    file, temporary = tmp_path / "run.lineage", tmp_path / "temporary"
    temporary.mkdir()
    # From a copy of the store: rows are kept in it for the bundle, and would stand in for the dataset in other tests.
    shutil.copytree(trained["repository"] / ".lineage", tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
        assert CliRunner().invoke(app, ["bundle", trained["plain"], str(file)]).exit_code == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    away = trained["folder"] / "ds-away"
    (trained["folder"] / "ds").rename(away)
    try:
        with pytest.raises(UsageError, match="nobody whom this account trusts"):
            replayed(str(file), "--step", "6")
        assert list(temporary.iterdir()) == []
        code, made = replayed(str(file), "--step", "6", "--yes", "--output", str(tmp_path / "out"))
        assert list(temporary.iterdir()) == []
        kept = replayed(str(file), "--step", "6", "--yes")[1]
    finally:
        away.rename(trained["folder"] / "ds")

    assert (code, made["verdict"], kept["verdict"]) == (0, "identical", "identical")
    assert (Path(kept["folder"]) / "replay.json").is_file()
    assert Path(kept["folder"]).is_relative_to(temporary)


def test_an_environment_that_cannot_be_had_is_said(trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for, it is an error before anything is executed; else this one is used, and the result says what differs."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    ports = wire()
    run = ports.runs.get(trained["plain"])
    assert run.environment is not None
    old = run.model_copy(update={"environment": run.environment.model_copy(update={"python": "3.9.1", "digest": "sha256:" + "0" * 64})})
    wanted = wanted_step(run, read_steps(ports, run, 0), 6)
    variables = child_variables(load_settings())

    with pytest.raises(Unavailable, match=r"cannot be replayed in its recorded environment: .*3\.9\.1 is not here"):
        replay(ports, old, wanted, rank=0, folder=tmp_path / "one", variables=variables, environment="recorded")
    made = replay(ports, old, wanted, rank=0, folder=tmp_path / "two", variables=variables, environment="auto")

    assert not (tmp_path / "one").exists()
    assert made.verdict == "identical"
    assert any(note.startswith("environment: it cannot be rebuilt, so this one is used") for note in made.notes)
