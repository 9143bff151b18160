"""Which models saw this picture: from bytes, sample ids, views and fine-tuning, against brute force."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

import lineage
from lineage.cli import app
from lineage.errors import NotFound, UsageError
from lineage.wiring import wire
from service.app import create_app

ROWS = 40


def picture(number: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "pictures"
    dataset = deeplake.create(
        str(folder),
        schema={"images": types.Image(sample_compression="jpeg"), "x": types.Int32(), "sample_id": types.Text(), "sequence": types.Text()},
    )
    dataset.append(
        {
            "images": [picture(row) for row in range(ROWS)],
            "x": list(range(ROWS)),
            "sample_id": [f"sample {row}" for row in range(ROWS)],
            "sequence": [f"{row // 8:07d}" for row in range(ROWS)],
        }
    )
    dataset.commit("made")
    return folder


@pytest.fixture
def dataset(template: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, repository / "pictures")
    (repository / ".gitignore").write_text(".lineage/\npictures/\n*.pth\n")
    monkeypatch.chdir(repository)
    return repository / "pictures"


Train = Callable[..., str]


@pytest.fixture
def train(dataset: Path) -> Train:
    """Records a run that reads views and makes ``<name>.pth``; returns its id."""

    def do(name: str, query: str, *, role: str = "train", base: str | None = None, also: dict[str, str] | None = None) -> str:
        with lineage.start_run(project="parking", job_type="train", name=name, seed=1) as run:
            run.use_dataset(dataset, role=role, query=query)
            for other, text in (also or {}).items():
                run.use_dataset(dataset, role=other, query=text)
            if base is not None:
                run.use_artifact(f"{base}.pth")
            Path(f"{name}.pth").write_text(f"weights of {name}")
            run.log_artifact(f"{name}.pth", kind="model")
        return run.id

    return do


def names(found: list[Any]) -> list[str]:
    return [item.run_name for item in found]


def invoke(*words: str) -> Any:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if "--json" in words else result.stdout


def test_models_are_found_by_a_pictures_bytes_whatever_it_is_called(dataset: Path, train: Train, tmp_path: Path) -> None:
    """For every row the answer equals brute force over what each run's query keeps; the file's name does not matter."""
    bounds = {"low": range(15), "middle": range(10, 25), "high": range(24, ROWS)}
    for name, rows in bounds.items():
        train(name, f"select * where x >= {rows.start} and x < {rows.stop}")
    for row in range(ROWS):
        file = tmp_path / f"renamed-{row}.bin"
        file.write_bytes(picture(row))

        found = lineage.models_using(image=file)

        assert sorted(names(found)) == sorted(name for name, rows in bounds.items() if row in rows)
        assert all([seen.row for seen in item.occurrences] == [row] for item in found)


def test_a_picture_that_nobody_read_is_not_in_any_model(dataset: Path, train: Train, tmp_path: Path) -> None:
    """One changed byte is another picture; a row that no view kept was seen by nobody, though the dataset holds it."""
    train("low", "select * where x < 5")
    other = tmp_path / "other.jpg"
    other.write_bytes(picture(3)[:-1] + b"\0")

    with pytest.raises(NotFound, match="no recorded dataset holds sha256:"):
        lineage.models_using(image=other)
    with pytest.raises(NotFound, match="no recorded dataset"):
        lineage.models_using(sample="sample 999")
    with pytest.raises(NotFound, match="no file"):
        lineage.models_using(image=tmp_path / "absent.jpg")
    with pytest.raises(UsageError):
        lineage.models_using(image=other, sample="sample 3")


def test_models_are_found_by_sample_id(train: Train) -> None:
    """A sample id leads to the same answer as its picture."""
    train("low", "select * where x < 5")
    train("all", "select * where x < 40")

    assert sorted(names(lineage.models_using(sample="sample 3"))) == ["all", "low"]
    assert names(lineage.models_using(sample="sample 30")) == ["all"]
    digest = f"sha256:{hashlib.sha256(picture(30)).hexdigest()}"
    assert names(lineage.models_using(image=digest)) == ["all"]


def test_the_answer_outlives_the_dataset(dataset: Path, train: Train) -> None:
    """Deleting the data does not delete the knowledge of who saw them."""
    train("low", "select * where x < 5")
    shutil.rmtree(dataset)

    assert names(lineage.models_using(sample="sample 3")) == ["low"]
    rows = list(lineage.rows_of(lineage.runs()[0].id))
    assert [(row["row"], row["sample_id"], row["sequence"]) for row in rows] == [(i, f"sample {i}", "0000000") for i in range(5)]
    assert [row["picture_digest"] for row in rows] == [f"sha256:{hashlib.sha256(picture(i)).hexdigest()}" for i in range(5)]


def test_a_fine_tuned_model_inherits_its_bases_data(train: Train) -> None:
    """A → B → C: all three saw what A read; the way is shown, nearest first; what C alone read is C's alone."""
    a = train("a", "select * where x < 5")
    b = train("b", "select * where x >= 5 and x < 10", base="a")
    c = train("c", "select * where x >= 10 and x < 15", base="b")
    train("unrelated", "select * where x >= 20")

    found = lineage.models_using(sample="sample 2")
    assert [(item.run_id, [hop.to_run_id for hop in item.path]) for item in found] == [(a, []), (b, [b]), (c, [b, c])]
    assert names(lineage.models_using(sample="sample 7")) == ["b", "c"]
    assert names(lineage.models_using(sample="sample 12")) == ["c"]
    assert [item.query for item in lineage.trained_on("c.pth")] == ["select * where x >= 10 and x < 15"]
    assert [item.query for item in lineage.trained_on("c.pth", inherited=True)] == [
        "select * where x >= 10 and x < 15",
        "select * where x >= 5 and x < 10",
        "select * where x < 5",
    ]
    told = invoke("data", "c.pth", "--json")["runs"][0]["inherited"]
    assert [(item["run_id"], [hop["from_run_id"] for hop in item["path"]]) for item in told] == [(b, [b]), (a, [a, b])]


def test_runs_that_start_from_each_other_end(train: Train) -> None:
    """A model that was overwritten with one made from it: the circle is walked once."""
    train("a", "select * where x < 5")
    train("b", "select * where x >= 5 and x < 10", base="a")
    Path("b.pth").write_text("weights of a")  # the same bytes are made again, from themselves
    with lineage.start_run(project="parking", job_type="train", name="again", seed=1) as run:
        run.use_artifact("b.pth")
        run.log_artifact("b.pth", kind="model")

    assert set(names(lineage.models_using(sample="sample 2"))) == {"a", "b", "again"}


def test_models_of_a_dataset_by_commit_and_view(dataset: Path, train: Train) -> None:
    """By address, by the dataset's commit, by view; conditions hold for one and the same input."""
    train("whole", "select *")
    first = lineage.runs()[0].inputs[0].commit_id
    handle = deeplake.open(str(dataset))
    handle.append({"images": [picture(99)], "x": [99], "sample_id": ["sample 99"], "sequence": ["0000099"]})
    handle.commit("more")
    del handle
    invoke("view", "create", str(dataset), "select * where x > 90", "--name", "new")
    with lineage.start_run(project="parking", name="viewed") as run:
        run.use_dataset(dataset, view="new", role="train")
        Path("viewed.pth").write_text("viewed")
        run.log_artifact("viewed.pth", kind="model")

    assert names(lineage.models_using(str(dataset))) == ["viewed", "whole"]
    assert names(lineage.models_using(str(dataset), commit_id=first)) == ["whole"]
    assert names(lineage.models_using(str(dataset), view="new")) == ["viewed"]
    assert [item["run_name"] for item in invoke("models", str(dataset), "--view", "new", "--json")] == ["viewed"]
    assert names(lineage.models_using(sample="sample 99")) == ["viewed"]
    assert names(lineage.models_using(sample="sample 3")) == ["whole"]


def test_rows_tell_the_epochs_in_which_they_were_read(dataset: Path) -> None:
    """Whole epochs, an epoch that was broken off, and rows read outside an epoch."""
    with lineage.start_run(project="parking", name="read", seed=3) as run:
        view = run.use_dataset(dataset, role="train", query="select * where x < 10")
        validation = run.use_dataset(dataset, role="validation", query="select * where x >= 30")
        assert validation[2]["x"] == 32
        loader = lineage.training.DataLoader(view, batch_size=4, shuffle=True, collate_fn=list)
        seen: set[int] = set()
        for epoch in range(4):
            for batch in loader:
                if epoch == 3:
                    seen = {sample["row"] for sample in batch}
                    break

    for row in lineage.rows_of(run.id, "train"):
        assert row["epochs"] == ([[0, 3]] if row["row"] in seen else [[0, 2]])
    assert all(row["epochs"] is None for row in lineage.rows_of(run.id, "validation"))
    lines = invoke("data", run.id, "--rows", "--role", "train").splitlines()
    assert len(lines) == 11
    assert [json.loads(line)["row"] for line in invoke_lines("data", run.id, "--rows", "--json")] == [*range(10), *range(30, 40)]


def invoke_lines(*words: str) -> list[str]:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return list(result.stdout.splitlines())


def test_models_needs_exactly_one_subject(dataset: Path) -> None:
    """None or two subjects are a usage error; so are a commit or view without a dataset."""
    for words in ([], [str(dataset), "--sample", "a"], ["--sample", "a", "--commit", "1"]):
        result = CliRunner().invoke(app, ["models", *words])
        assert isinstance(result.exception, UsageError), words


def test_http_answers_as_the_command_line_does(train: Train) -> None:
    """Rows a page at a time, lineage through fine-tuning, and who saw a picture, a sample or a version."""
    a = train("a", "select * where x < 5", also={"validation": "select * where x >= 38"})
    b = train("b", "select * where x >= 5 and x < 10", base="a")
    client = TestClient(create_app(wire()), base_url="http://127.0.0.1")

    first = client.get(f"/api/v1/runs/{a}/data", params={"rows": True, "limit": 4}).json()
    rest = client.get(f"/api/v1/runs/{a}/data", params={"rows": True, "limit": 4, "cursor": first["next_cursor"]}).json()
    assert [row["row"] for row in first["items"] + rest["items"]] == [0, 1, 2, 3, 4, 38, 39]
    assert rest["next_cursor"] is None
    assert client.get(f"/api/v1/runs/{a}/data", params={"rows": True, "cursor": "x"}).status_code == 400

    for run_id, direction in ((b, "up"), (a, "down")):
        told = client.get(f"/api/v1/runs/{run_id}/lineage", params={"direction": direction}).json()
        assert {item["run_id"] for item in told["nodes"] if item["kind"] == "run"} == {a, b}

    digest = f"sha256:{hashlib.sha256(picture(2)).hexdigest()}"
    for answer in (client.get(f"/api/v1/samples/{digest}/runs"), client.get("/api/v1/samples", params={"id": "sample 2"})):
        assert [item["run_id"] for item in answer.json()["runs"]] == [a]
        assert [item["run_id"] for item in answer.json()["models"]] == [a, b]
    item = lineage.get(a).inputs[0]
    version = client.get(f"/api/v1/datasets/{item.dataset_id}/versions/{item.commit_id}/runs").json()
    assert {item["run_id"] for item in version["runs"]} == {a, b}
    assert client.get(f"/api/v1/samples/{'sha256:' + '0' * 64}/runs").status_code == 404
    assert client.get("/api/v1/samples/sha256:12/runs").status_code == 422


def test_http_tells_differences_and_leaks_without_opening_data(train: Train, dataset: Path) -> None:
    """The same counts as by brute force, with the dataset gone."""
    a = train("a", "select * where x < 5", also={"validation": "select * where x >= 3 and x < 8"})
    b = train("b", "select * where x >= 2 and x < 5", also={"validation": "select * where x >= 20"}, base="a")
    shutil.rmtree(dataset)
    client = TestClient(create_app(wire()), base_url="http://127.0.0.1")

    leaks = {way["way"]: way for way in client.get(f"/api/v1/runs/{a}/leaks").json()["ways"]}
    assert (leaks["row"]["rows"], leaks["picture"]["rows"], leaks["near"]["checked"]) == (2, 2, False)
    diff = client.get("/api/v1/diff", params={"a": a, "b": b}).json()
    counts = {item["role"]: (item["added"], item["removed"]) for item in diff["data"]}
    assert counts == {"train": (0, 2), "validation": (20, 5)}
    assert client.get("/api/v1/diff", params={"a": a, "b": "f" * 32}).status_code == 404
