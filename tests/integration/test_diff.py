"""What differs between two real runs: over Deep Lake datasets, git repositories and stores as people have them."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from PIL import Image

import lineage
from lineage.api import process
from lineage.errors import NotFound
from lineage.lookup.diff import diff_runs
from lineage.model.difference import Difference, ObjectChange, RowChange, ValueChange
from lineage.model.environment import Package
from lineage.model.run import Run

CLASSES = ["person", "car", "van"]
Rows = list[dict[str, Any]]


@pytest.fixture
def here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository as the working folder; its records go to ``.lineage`` in it."""
    monkeypatch.chdir(repository)
    (repository / ".gitignore").write_text(".lineage/\ndata/\n")
    yield repository
    process.wired.cache_clear()


def picture(number: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def row(number: int) -> dict[str, Any]:
    """Three boxes, far from one another."""
    return {
        "images": picture(number),
        "boxes": np.array([[100 * i, 10, 20 + number, 30] for i in range(3)], "float32"),
        "labels": np.array([0, 1, 2], "uint32"),
        "occlusion": np.array([0, 0, 1], "int32"),
        "weather": "sun",
        "sample_id": f"s{number}",
    }


def store(folder: Path, rows: Rows, *, classes: list[str] = CLASSES, columns: list[str] | None = None) -> Path:
    schema = {
        "images": types.Image(sample_compression="jpeg"),
        "boxes": types.Array("float32", 2),
        "labels": types.ClassLabel(types.Array("uint32", 1)),
        "occlusion": types.Array("int32", 1),
        "weather": types.Text(),
        "sample_id": types.Text(),
    }
    chosen = columns or list(schema)
    made = deeplake.create(str(folder), schema={name: schema[name] for name in chosen})
    if "labels" in chosen:
        made["labels"].metadata["class_names"] = classes
    made.append({name: [item[name] for item in rows] for name in chosen})
    made.commit("all")
    return folder


def train(
    data: Path | None = None,
    *,
    query: str | None = None,
    losses: tuple[float, ...] = (),
    config: dict[str, Any] | None = None,
    seed: int | None = 7,
    model: Path | None = None,
    base: Path | None = None,
) -> Run:
    with lineage.start_run(config=config, seed=seed) as run:
        if data is not None:
            run.use_dataset(data, role="train", query=query)
        if base is not None:
            run.use_artifact(base)
        for loss in losses:
            run.log({"loss": loss})
        if model is not None:
            run.log_artifact(model, kind="model")
    return run.record


def command(*words: str, expect: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "lineage", *words], capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def by_name(found: Difference) -> dict[str | None, RowChange]:
    return {change.sample_id: change for item in found.data for change in item.rows}


# --- data ---------------------------------------------------------------------------------------------------------------------


def test_equal_runs_do_not_differ(here: Path) -> None:
    data = store(here / "data" / "d", [row(i) for i in range(3)])
    a, b = (train(data, losses=(1.0, 0.5), config={"lr": 0.1}) for _ in range(2))
    found = lineage.diff(a.id, b.id)

    assert (found.is_same, found.causes, found.results.is_same) == (True, (), True)
    assert [(item.role, item.is_same, item.matched_by, item.same) for item in found.data] == [("train", True, "content", 3)]
    assert "nothing recorded differs" in command("diff", a.id, b.id, "--exit-code")


def edited() -> tuple[Rows, Rows]:
    """Ten rows; and what becomes of them: one edit of each kind."""
    before = [row(i) for i in range(10)]
    after = [row(i) for i in range(10)]
    after[1]["labels"][1] = 2
    after[2]["boxes"][0] = [2, 10, 22, 30]
    for name, value in (("boxes", [[500, 500, 9, 9]]), ("labels", [0]), ("occlusion", [2])):
        after[3][name] = np.concatenate([after[3][name], np.array(value, after[3][name].dtype)])
    for name in ("boxes", "labels", "occlusion"):
        after[4][name] = after[4][name][:2]
        after[8][name] = after[8][name][::-1].copy()
    after[5]["occlusion"][2] = 0
    after[6]["weather"] = "rain"
    after[7]["images"] = picture(77)
    return before, [*after[:9], row(10)]


def test_every_kind_of_edit_is_told_down_to_the_box(here: Path) -> None:
    """A changed class, a moved, an added and a removed box, an attribute, a text, a picture, an order of boxes; a row more, a row less."""
    before, after = edited()
    a = train(store(here / "data" / "a", before))
    b = train(store(here / "data" / "b", after))
    found = lineage.diff(a.id, b.id)

    (data,) = found.data
    assert (data.matched_by, data.same, data.added, data.removed, data.moved) == ("sample id", 1, 1, 1, 0)
    assert (data.relabelled, data.replaced, data.renamed, data.not_compared) == (7, 1, 0, ())
    told = by_name(found)
    assert {name: change.kind for name, change in told.items()} == (
        {f"s{i}": "relabelled" for i in (1, 2, 3, 4, 5, 6, 8)} | {"s7": "replaced", "s9": "removed", "s10": "added"}
    )
    (relabelled,) = told["s1"].objects
    assert (relabelled.kind, relabelled.class_a, relabelled.class_b) == ("changed", "car", "van")
    assert relabelled.values == (ValueChange(name="labels", a="car", b="van"),)
    (moved,) = told["s2"].objects
    assert (moved.kind, moved.box_a, moved.box_b) == ("moved", (0, 10, 22, 30), (2, 10, 22, 30))
    assert moved.iou == pytest.approx(20 / 24, abs=1e-3)
    assert told["s3"].objects == (ObjectChange(kind="added", box_b=(500, 500, 9, 9), class_b="person"),)
    assert told["s4"].objects == (ObjectChange(kind="removed", box_a=(200, 10, 24, 30), class_a="van"),)
    (attribute,) = told["s5"].objects
    assert (attribute.kind, attribute.values) == ("changed", (ValueChange(name="occlusion", a=1, b=0),))
    assert told["s6"].objects == ()
    assert told["s6"].columns == (ValueChange(name="weather", a="sun", b="rain"),)
    assert [change.name for change in told["s7"].columns] == ["images"]
    assert "another order" in str(told["s8"].columns[0].b)
    assert (told["s9"].row_a, told["s9"].row_b, told["s10"].row_b) == (9, None, 9)
    assert found.causes[0].sentence == (
        "data train: 7 rows relabelled, 1 row with another picture, 1 row added, 1 row removed; first 's1' relabelled (labels car → van)"
    )


def test_rows_that_are_not_described_are_counted(here: Path) -> None:
    before, after = edited()
    a, b = train(store(here / "data" / "a", before)), train(store(here / "data" / "b", after))

    few = lineage.diff(a.id, b.id, rows=2)
    text = command("diff", a.id, b.id, "--rows", "2")

    assert [change.kind for change in few.data[0].rows] == ["relabelled", "relabelled", "replaced", "removed", "added"]
    assert few.data[0].relabelled == 7
    assert "and 5 more relabelled" in text
    assert lineage.diff(a.id, b.id, rows=0).data[0].rows == ()


def test_an_edit_in_place_is_found_in_the_next_commit(here: Path) -> None:
    """The same dataset, one commit later: the commit names differ, and one class."""
    folder = store(here / "data" / "d", [row(i) for i in range(5)])
    a = train(folder)
    dataset = deeplake.open(str(folder))
    dataset[3]["labels"] = np.array([2, 1, 2], "uint32")
    dataset.commit("relabelled")
    b = train(folder)
    found = lineage.diff(a.id, b.id)

    assert [change.name for change in found.data[0].names] == ["commit id"]
    assert {name: change.objects[0].values for name, change in by_name(found).items()} == {
        "s3": (ValueChange(name="labels", a="person", b="van"),)
    }


def test_views_of_one_dataset_are_compared_by_their_rows(here: Path) -> None:
    """Another query keeps other rows in another order: nothing is relabelled, and no dataset has to be there."""
    folder = store(here / "data" / "d", [row(i) for i in range(6)])
    a = train(folder, query="select * where row_number() < 4")
    b = train(folder, query="select * where row_number() > 1 order by row_number() desc")
    shutil.rmtree(folder)
    found = lineage.diff(a.id, b.id)

    (data,) = found.data
    assert (data.matched_by, data.same, data.moved) == ("row", 2, 1)
    assert {change.sample_id: change.kind for change in data.rows} == {"s0": "removed", "s1": "removed", "s4": "added", "s5": "added"}
    assert [change.name for change in data.names] == ["query"]
    assert data.not_compared == ()


def test_changed_class_names_are_told_although_no_row_changed(here: Path) -> None:
    rows = [row(i) for i in range(3)]
    a = train(store(here / "data" / "a", rows))
    b = train(store(here / "data" / "b", rows, classes=["person", "van", "car"]))
    found = lineage.diff(a.id, b.id)

    (data,) = found.data
    assert (data.is_same, data.same, data.rows) == (False, 3, ())
    assert data.class_names == (
        ValueChange(name="class 1 of 'labels'", a="car", b="van"),
        ValueChange(name="class 2 of 'labels'", a="van", b="car"),
    )
    assert found.causes[0].sentence == "data train: 2 class names changed; first class 1 of 'labels': car → van"


def test_classes_are_compared_by_name(here: Path) -> None:
    """Another order of the class names, and indices to match: the boxes say the same, so only the table differs, and the row's index."""
    rows, again = [row(0)], [row(0)]
    again[0]["labels"] = np.array([0, 2, 1], "uint32")
    a = train(store(here / "data" / "a", rows))
    b = train(store(here / "data" / "b", again, classes=["person", "van", "car"]))
    (change,) = lineage.diff(a.id, b.id).data[0].rows

    assert change.kind == "relabelled"
    assert change.objects == ()
    assert [(item.name, item.b) for item in change.columns] == [("labels", "[1] 2, [2] 1")]
    assert "the same class names" in str(change.columns[0].a)


def test_a_dataset_without_names_is_matched_by_its_pictures(here: Path) -> None:
    columns = ["images", "boxes", "labels"]
    before, after = edited()
    a = train(store(here / "data" / "a", before[:5], columns=columns))
    b = train(store(here / "data" / "b", after[:5], columns=columns))
    (data,) = lineage.diff(a.id, b.id).data

    assert (data.matched_by, data.relabelled, data.same) == ("picture", 4, 1)
    assert [change.objects[0].kind for change in data.rows] == ["changed", "moved", "added", "removed"]


@pytest.mark.parametrize("kept", [False, True], ids=["gone", "archived"])
def test_without_the_source_digests_are_compared(here: Path, kept: bool) -> None:
    """Deleted data: which rows differ is still known; how, only from an archive, and what could not be compared is said."""
    before, after = edited()
    a, b = train(store(here / "data" / "a", before)), train(store(here / "data" / "b", after))
    if kept:
        command("archive", b.id)
    shutil.rmtree(here / "data" / "b")
    found = lineage.diff(a.id, b.id)

    (data,) = found.data
    assert (data.relabelled, data.replaced, data.added, data.removed) == (7, 1, 1, 1)
    if kept:
        assert by_name(found)["s1"].objects[0].class_b == "van"
        assert data.not_compared == ()
    else:
        assert by_name(found)["s1"].objects == ()
        assert "only digests could be compared" in str(by_name(found)["s1"].not_compared)
        assert data.not_compared[0].startswith("b: only digests could be compared")
        assert "only digests could be compared" in command("diff", a.id, b.id)


def test_inputs_of_one_run_only_and_several_of_one_role(here: Path) -> None:
    """Inputs of one role are paired by content wherever they stand; the one without a partner is all added."""
    one, copy = (store(here / "data" / name, [row(0), row(10)]) for name in ("one", "copy"))
    with lineage.start_run(seed=7) as first:
        first.use_dataset(one, role="train")
    dataset = deeplake.open(str(one))
    dataset.append({name: [value] for name, value in row(20).items()})
    dataset.commit("one more")
    with lineage.start_run(seed=7) as second:
        for folder, role in ((one, "train"), (copy, "train"), (copy, "validation")):
            second.use_dataset(folder, role=role)
    found = lineage.diff(first.id, second.id)

    assert [(item.role, item.ordinal, item.is_same, item.same, item.added) for item in found.data] == [
        ("train", 0, True, 2, 0),
        ("train", 1, False, 0, 3),
        ("validation", 0, False, 0, 2),
    ]
    assert [item.role for item in lineage.diff(first.id, second.id, role="validation").data] == ["validation"]
    assert "data of other roles than 'validation'" in lineage.diff(first.id, second.id, role="validation").not_compared


# --- code, configuration, weights, environment ----------------------------------------------------------------------------------


def test_changed_files_are_named_with_their_lines(here: Path) -> None:
    """Uncommitted changes count; so do a new, a deleted, a renamed and a binary file."""
    (here / "long.py").write_text("".join(f"line_{i} = {i}\n" for i in range(50)))
    (here / "gone.py").write_text("x = 1\n")
    a = train()
    (here / "train.py").write_text("print('trained')\nprint('twice')\n")
    (here / "long.py").rename(here / "naïve longer.py")
    (here / "gone.py").unlink()
    (here / "weights.bin").write_bytes(bytes(range(256)))
    b = train()
    found = lineage.diff(a.id, b.id).code

    assert not found.is_same
    assert [(file.status, file.path, file.old_path, file.lines_added, file.lines_deleted) for file in found.files or ()] == [
        ("deleted", "gone.py", None, 0, 1),
        ("renamed", "naïve longer.py", "long.py", 0, 0),
        ("modified", "train.py", None, 1, 0),
        ("added", "weights.bin", None, None, None),
    ]


def test_code_of_two_repositories_is_compared(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in a clone that later got its own changes, over one store: both repositories stay as they are."""
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
    a = train()
    clone = tmp_path / "a clone: with odd name"
    subprocess.run(["git", "clone", "--quiet", str(here), str(clone)], check=True)
    monkeypatch.chdir(clone)
    (clone / "train.py").write_text("print('cloned')\n")
    b = train()
    monkeypatch.chdir(here)
    listed = [sorted(str(path) for path in folder.rglob("*")) for folder in (here, clone)]

    assert [(file.status, file.path) for file in lineage.diff(a.id, b.id).code.files or ()] == [
        ("modified", ".gitignore"),
        ("modified", "train.py"),
    ]
    assert [(file.status, file.lines_added) for file in lineage.diff(b.id, a.id).code.files or ()][1] == ("modified", 1)
    assert [sorted(str(path) for path in folder.rglob("*")) for folder in (here, clone)] == listed


def test_a_lost_snapshot_is_said(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
    a = train()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(here), str(clone)], check=True)
    monkeypatch.chdir(clone)
    (clone / "train.py").write_text("print('cloned')\n")
    b = train()
    monkeypatch.chdir(here)
    shutil.rmtree(clone)
    found = lineage.diff(a.id, b.id)

    assert (found.code.is_same, found.code.files) == (False, None)
    assert str(clone) in str(found.code.reason)
    assert any(line.startswith("code, file by file: ") for line in found.not_compared)
    assert not found.is_same


def test_causes_come_likeliest_first(here: Path) -> None:
    """Data, code, configuration, seed, base weights, environment with the frameworks first, machine: each with its first example."""
    base_a, base_b = here / "base-a.pth", here / "base-b.pth"
    base_a.write_bytes(b"a")
    base_b.write_bytes(b"b")
    a = train(store(here / "data" / "a", [row(0)]), config={"optimizer": {"lr": 0.1, "name": "sgd"}, "gone": 1}, seed=1, base=base_a)
    (here / "train.py").write_text("print('other')\n")
    b = train(store(here / "data" / "b", [row(0), row(1)]), config={"optimizer": {"lr": 1, "name": "sgd"}}, seed=2, base=base_b)
    assert b.environment is not None
    packages = b.environment.packages | {"aaa": Package(version="1"), "torch": Package(version="0.1")}
    changes = {"packages": packages, "cpu": "another", "variables": b.environment.variables | {"AAA_THREADS": "9"}}
    b = b.model_copy(update={"environment": b.environment.model_copy(update=changes)})
    found = diff_runs(process.ports_of_process(), a, b)

    assert [cause.subject for cause in found.causes] == [
        "data",
        "code",
        "configuration",
        "seed",
        "base weights",
        "environment",
        "machine",
    ]
    sentences = [cause.sentence for cause in found.causes]
    assert sentences[0] == "data train: 1 row added; first 's1' added"
    assert sentences[1] == "code: 1 file changed; first train.py modified"
    assert sentences[2] == "configuration: 2 values changed; first config.gone: 1 → absent"
    assert sentences[3] == "seed: 1 → 2"
    assert sentences[4].startswith("base weights: 'base' is sha256:")
    assert "2 packages; first torch" in sentences[5]
    assert "variable AAA_THREADS: absent → 9" in sentences[5]
    assert sentences[6].endswith("→ another")
    assert found.configuration[1] == ValueChange(name="config.optimizer.lr", a=0.1, b=1)
    assert [package.name for package in found.environment.packages] == ["torch", "aaa"]
    assert found.base_weights == (ValueChange(name="base", a=f"sha256:{hash_of(b'a')}", b=f"sha256:{hash_of(b'b')}"),)


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_machine_alone_does_not_decide(here: Path) -> None:
    """Another processor is told, but nothing that should decide the result differs; a result that differs all the same is named so."""
    a, b = train(losses=(1.0,)), train(losses=(0.5,))
    assert b.environment is not None
    b = b.model_copy(update={"environment": b.environment.model_copy(update={"cpu": "another"})})
    found = diff_runs(process.ports_of_process(), a, b)

    assert found.is_same
    assert [cause.subject for cause in found.causes] == ["machine", "nondeterminism"]


# --- results --------------------------------------------------------------------------------------------------------------------


def test_metrics_part_at_a_step(here: Path, tmp_path: Path) -> None:
    """Last and best values, the first step that differs, other files; with equal inputs that is nondeterminism."""
    models = [tmp_path / "one" / "model.pth", tmp_path / "two" / "model.pth"]
    for number, model in enumerate(models):
        model.parent.mkdir()
        model.write_bytes(bytes([number]))
    a = train(losses=(3.0, 1.0, 2.0), model=models[0])
    b = train(losses=(3.0, float("nan"), 2.5), model=models[1])
    found = lineage.diff(a.id, b.id)

    (loss,) = found.results.metrics
    assert (loss.is_same, loss.first_step, loss.at_first_step_a, loss.at_first_step_b) == (False, 1, 1.0, "nan")
    assert (loss.last_a, loss.last_b, loss.best_is, loss.best_a, loss.best_b) == (2.0, 2.5, "lowest", 1.0, 2.5)
    assert found.results.first_difference == "first difference at step 1: loss = 1.0, then nan"
    assert [change.name for change in found.results.outputs] == ["model.pth"]
    assert [cause.sentence for cause in found.causes] == ["nondeterminism: nothing recorded differs, and the results do"]
    assert found.is_same
    command("diff", str(models[0]), str(models[1]), "--exit-code")


def test_series_of_other_steps_have_no_first_step(here: Path) -> None:
    (loss,) = lineage.diff(train(losses=(1.0, 2.0)).id, train(losses=(1.0,)).id).results.metrics

    assert (loss.is_same, loss.first_step, loss.values_a, loss.values_b) == (False, None, 2, 1)


def test_speed_is_not_compared(here: Path) -> None:
    runs = []
    for value in (1.0, 2.0):
        with lineage.start_run(seed=1) as run:
            run.log({"timing/step_s": value, "accuracy": 0.5})
        runs.append(run.id)
    found = lineage.diff(*runs)

    assert [metric.name for metric in found.results.metrics] == ["accuracy"]
    assert found.results.is_same
    assert "metrics that depend on speed: timing/step_s" in found.not_compared


@pytest.mark.parametrize(("a", "b"), [(1, 1.0), (1, True), ([1], [1.0]), ({}, None), ("1", 1)])
def test_values_of_another_type_are_other_values(here: Path, a: Any, b: Any) -> None:
    """1, 1.0 and True are equal in Python, and do other things in a program."""
    found = lineage.diff(train(config={"x": a}).id, train(config={"x": b}).id)

    assert [change.name for change in found.configuration] == ["config.x"]


# --- the command ----------------------------------------------------------------------------------------------------------------


def test_the_command_prints_json_of_a_stable_form(here: Path) -> None:
    before, after = edited()
    a, b = train(store(here / "data" / "a", before)), train(store(here / "data" / "b", after))

    printed = json.loads(command("diff", a.id[:8], b.id[:8], "--json"))

    assert Difference.model_validate(printed) == lineage.diff(a.id, b.id)
    assert printed["data"][0]["rows"][0]["objects"][0]["class_b"] == "van"


def test_the_command_tells_people(here: Path) -> None:
    before, after = edited()
    (here / "train.py").write_text("print('1')\n")
    a = train(store(here / "data" / "a", before), config={"lr": 0.1})
    (here / "train.py").write_text("print('2')\n")
    b = train(store(here / "data" / "b", after), config={"lr": 0.2})

    text = command("diff", a.id, b.id)

    for line in (
        "1. data train: 7 rows relabelled",
        "2. code: 1 file changed; first train.py modified",
        "3. configuration: config.lr: 0.1 → 0.2",
        "data train  different  7 rows relabelled",
        "~ relabelled 's1' (row 1 → 1)",
        "~ van [100, 10, 21, 30]  labels car → van",
        "~ person [0, 10, 22, 30] → [2, 10, 22, 30]",
        "+ person [500, 500, 9, 9]",
        "- van [200, 10, 24, 30]",
        "weather: sun → rain",
        "modified  train.py  +1 -1",
        "environment  same",
    ):
        assert line in text


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--exit-code",), 1)])
def test_the_status_tells_only_when_asked(here: Path, options: tuple[str, ...], status: int) -> None:
    a, b = train(config={"lr": 0.1}), train(config={"lr": 0.2})

    command("diff", a.id, b.id, *options, expect=status)


def test_an_unknown_run_is_an_error(here: Path) -> None:
    a = train()
    command("diff", a.id, "0" * 32, expect=5)
    with pytest.raises(NotFound):
        lineage.diff("no such file.pth", a.id)


def test_a_lost_object_is_an_error_not_a_difference(here: Path) -> None:
    """Rows that cannot be loaded are never taken for rows that differ."""
    a, b = (train(store(here / "data" / name, [row(i) for i in range(n)])) for name, n in (("a", 2), ("b", 3)))
    process.ports_of_process().objects.delete(str(a.inputs[0].ledger_object))

    with pytest.raises(NotFound):
        lineage.diff(a.id, b.id)
    command("diff", a.id, b.id, expect=5)


def test_the_page_shows_changed_rows_with_their_boxes(here: Path, tmp_path: Path) -> None:
    """Pictures of the rows that changed, were added or removed, both where the picture did; old and new boxes; curves."""
    before, after = edited()
    a, b = (train(store(here / "data" / name, rows), losses=(2.0, end)) for name, rows, end in (("a", before, 1.0), ("b", after, 0.5)))
    file = tmp_path / "page.html"
    command("diff", a.id, b.id, "--html", str(file))
    page = file.read_text(encoding="utf-8")

    assert page.count("data:image/jpeg;base64,") == 11
    for number in (1, 7, 77, 9, 10):
        assert page.count(base64.b64encode(picture(number)).decode()) == 1
    assert '<rect class="old" x="0" y="10" width="22" height="30">' in page
    assert '<rect class="new" x="2" y="10" width="22" height="30">' in page
    assert page.count("<polyline") == 2
    assert "--html" in command_error("diff", a.id, b.id, "--html", str(tmp_path / "gone" / "page.html"))


def command_error(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "lineage", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr
