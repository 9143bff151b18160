"""Impact: where a sample, a picture or the rows of a query went, and the plan to retrain without it. Real datasets and runs."""

from __future__ import annotations

import hashlib
import json
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from PIL import Image

import lineage
from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.api import process
from lineage.errors import InvalidQuery, NotFound, UsageError
from lineage.lookup.cleaned_views import without
from lineage.lookup.retraining import bases_first
from lineage.model.findings import AffectedRun, CleanedView, ImpactReport
from lineage.model.run import Run

SCHEMA = {
    "images": types.Image(sample_compression="jpeg"),
    "boxes": types.Array("float32", 2),
    "labels": types.ClassLabel(types.Array("uint32", 1)),
    "sequence": types.Text(),
    "sample_id": types.Text(),
}


def picture(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def columns(ids: Sequence[str], pictures: Sequence[bytes]) -> dict[str, list[Any]]:
    return {
        "images": list(pictures),
        "boxes": [np.full((number % 3, 4), 10 + number, "float32") for number in range(len(ids))],
        "labels": [np.full(number % 3, number % 2, "uint32") for number in range(len(ids))],
        "sequence": [f"video {number // 4}" for number in range(len(ids))],
        "sample_id": list(ids),
    }


def build(folder: Path, ids: Sequence[str], pictures: Sequence[bytes], *, leave_out: str | None = None) -> str:
    dataset = deeplake.create(str(folder), schema={name: kind for name, kind in SCHEMA.items() if name != leave_out})
    dataset["labels"].metadata["class_names"] = ["car", "van"]
    dataset.append({name: values for name, values in columns(ids, pictures).items() if name != leave_out})
    dataset.commit("rows")
    return f"file://{folder}"


IDS = [f"s{number}" for number in range(12)]
PICTURES = [picture(number) for number in range(12)]


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    process.wired.cache_clear()


@pytest.fixture
def here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repository)
    return repository


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Twelve rows of three videos."""
    return build(tmp_path / "data", IDS, PICTURES)


def recorded(name: str, *uses: tuple[str, str, dict[str, Any]], base: str | None = None, **started: Any) -> Run:
    with lineage.start_run(project="parking", job_type="train", name=name, **started) as run:
        if base is not None:
            run.use_artifact(f"{base}.pth")
        for role, address, which in uses:
            run.use_dataset(address, role=role, **which)
        Path(f"{name}.pth").write_text(f"weights of {name}")
        run.log_artifact(f"{name}.pth", kind="model")
    return lineage.get(run.id)


def by_run(report: ImpactReport) -> dict[str, AffectedRun]:
    return {item.run_name: item for item in report.runs}


def reasons(report: ImpactReport) -> dict[str, str]:
    return {item.run_name: item.reason for item in report.runs}


def cleaned(report: ImpactReport) -> CleanedView:
    (view,) = report.plan.views
    return view


def ids_of(address: str, **which: Any) -> list[str]:
    """Sample ids of a view, asked of Deep Lake."""
    view = DeepLakeBackend().resolve(address, **which)
    dataset = deeplake.open_read_only(address.removeprefix("file://"))
    ids = dataset["sample_id"][:]
    return [str(ids[int(row)]) for row in view.rows]


def tags(address: str) -> int:
    dataset = deeplake.open_read_only(address.removeprefix("file://"))
    return len(dataset.tags)


def command(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "lineage", *words], capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


# --- who is affected ----------------------------------------------------------------------------------------------------------


def test_the_chain_of_fine_tuning_is_followed(here: Path, uri: str, tmp_path: Path) -> None:
    """A saw it, B starts from A, C from B: B and C inherit it with the way shown; D, from other rows, is left out,
    and so is F: its base was validated with the row, not trained on it."""
    other = build(tmp_path / "other", ["o0", "o1"], [picture(50), picture(51)])
    recorded("a", ("train", uri, {"query": "select * where sample_id == 's3' or sample_id == 's4'"}))
    recorded("b", ("train", other, {}), base="a")
    recorded("c", ("train", other, {}), base="b")
    recorded("d", ("train", uri, {"query": "select * where sample_id == 's4'"}))
    recorded("e", ("validation", uri, {}), ("train", other, {}))
    recorded("f", ("train", other, {}), base="e")
    report = lineage.impact(sample="s3")

    assert reasons(report) == {"a": "trained", "b": "inherits", "c": "inherits", "e": "evaluated"}
    assert [(step.from_run_name, step.to_run_name) for step in by_run(report)["c"].path] == [("a", "b"), ("b", "c")]
    assert {model.name: model.is_trained_on_it for model in report.models} == {"a.pth": True, "b.pth": True, "c.pth": True, "e.pth": False}
    assert [(item.role, item.rows_held, item.rows) for item in by_run(report)["e"].inputs] == [("validation", 1, 12)]


def test_a_renamed_copy_is_found_by_its_bytes(here: Path, uri: str, tmp_path: Path) -> None:
    """The file has another name, and a second dataset holds the same picture under another id: both runs are found, also by digest."""
    other = build(tmp_path / "other", ["renamed"], [PICTURES[3]])
    recorded("a", ("train", uri, {}))
    recorded("b", ("train", other, {}))
    file = tmp_path / "IMG 0001.jpg"
    file.write_bytes(PICTURES[3])
    report = lineage.impact(image=file)

    assert reasons(report) == {"a": "trained", "b": "trained"}
    assert report.sample_ids == ("renamed", "s3")
    assert reasons(lineage.impact(image=f"sha256:{hashlib.sha256(PICTURES[3]).hexdigest()}")) == reasons(report)
    by_query = lineage.impact(query="select * where sample_id == 's3'", dataset=uri)
    assert reasons(by_query) == reasons(report)
    assert "1 further rows with the same pictures" in by_query.subject


def test_every_affected_run_is_found_as_by_brute_force(here: Path, uri: str) -> None:
    """Random views in random roles: for each sample, exactly the runs whose views hold it, with the counts."""
    chance = random.Random(5)
    views = {}
    for number in range(8):
        chosen = sorted(chance.sample(IDS, chance.randrange(1, 9)))
        role = chance.choice(["train", "validation", "test", "pretrain"])
        views[f"run{number}"] = (role, chosen)
        recorded(f"run{number}", (role, uri, {"query": f"select * where sample_id in ({', '.join(map(repr, chosen))})"}))
    for sample in IDS[:6]:
        expected = {
            name: "trained" if role in ("train", "pretrain") else "evaluated" for name, (role, chosen) in views.items() if sample in chosen
        }
        report = lineage.impact(sample=sample)
        assert reasons(report) == expected
        assert {name: run.inputs[0].rows for name, run in by_run(report).items()} == {name: len(views[name][1]) for name in expected}
        assert sorted(view.rows_left for view in report.plan.views) == sorted(
            {tuple(views[name][1]): len(views[name][1]) - 1 for name in expected}.values()
        )


def test_epochs_are_those_in_which_it_was_read(here: Path, uri: str) -> None:
    """Two whole epochs and the first batch of a third; a sample behind that batch was read in two, one never reached in none."""
    with lineage.start_run(project="parking", job_type="train", name="a", seed=1) as run:
        loader = lineage.training.DataLoader(run.use_dataset(uri, role="train"), batch_size=4, collate_fn=list)
        for _ in range(2):
            list(loader)
        next(iter(loader))
    with lineage.start_run(project="parking", job_type="train", name="b", seed=1) as run:
        next(iter(lineage.training.DataLoader(run.use_dataset(uri, role="train"), batch_size=4, collate_fn=list)))

    assert by_run(lineage.impact(sample="s1"))["a"].inputs[0].epochs == ((0, 2),)
    late = lineage.impact(sample="s9")
    assert by_run(late)["a"].inputs[0].epochs == ((0, 1),)
    assert (by_run(late)["b"].reason, by_run(late)["b"].inputs[0].epochs) == ("never_read", ())
    assert [step.run_name for step in late.plan.steps] == ["a"]
    assert any("never read" in note and "(b)" in note for note in late.plan.notes)


def test_deleted_data_still_have_their_answer(here: Path, uri: str) -> None:
    """The dataset is gone: runs, models and counts come from the records; the plan says that the rows are to be left out by hand."""
    recorded("a", ("train", uri, {}))
    before = lineage.impact(sample="s3")
    shutil.rmtree(uri.removeprefix("file://"))
    after = lineage.impact(sample="s3")

    assert (after.runs, after.models) == (before.runs, before.models)
    assert (cleaned(after).rows_left, cleaned(after).excluded, cleaned(after).excluded_ids) == (11, (3,), ("s3",))
    assert (cleaned(after).query, cleaned(after).command) == (None, None)
    assert "by hand" in str(cleaned(after).reason)


def test_kept_copies_are_pointed_out(here: Path, uri: str) -> None:
    """Who deletes a person's picture must know what the store itself keeps: archived rows, picture bytes, weights."""
    run = recorded("a", ("train", uri, {}))
    before = lineage.impact(sample="s3").plan.notes
    lineage.archive(run.id)
    after = lineage.impact(sample="s3").plan.notes

    assert not any("archived" in note or "bytes of" in note for note in before)
    assert any("weights of 1" in note for note in before)
    assert any("1 of the views are archived" in note for note in after)
    assert any("bytes of 1 of the pictures" in note for note in after)


def test_a_reproduction_is_listed_as_such(here: Path, uri: str) -> None:
    """It is affected as its original is, and has no step of its own in the plan."""
    script = "import lineage\nwith lineage.start_run(project='parking', job_type='train', name='a', seed=1) as run:\n"
    script += f"    run.use_dataset({uri!r}, role='train')\n    open('a.pth', 'w').write('weights')\n"
    script += "    run.log_artifact('a.pth', kind='model')\n"
    (here / "train.py").write_text(script)
    subprocess.run([sys.executable, "train.py"], check=True)
    (original,) = lineage.runs()
    command("reproduce", original.id)
    report = lineage.impact(sample="s3")

    assert sorted(str(item.reproduces) for item in report.runs) == sorted([str(None), original.id])
    assert [step.run_id for step in report.plan.steps] == [original.id]
    assert any(f"reproduced run {original.id[:12]}" in note for note in report.plan.notes)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"sample": "a", "image": "b"}, {"query": "select *"}, {"dataset": "d"}, {"sample": "a", "dataset": "d"}],
)
def test_one_subject_is_asked_for(here: Path, wrong: dict[str, str]) -> None:
    """None, several, or a query without its dataset: a usage error that names the options."""
    with pytest.raises(UsageError, match=r"subject|dataset"):
        lineage.impact(**wrong)


def test_what_nobody_recorded_is_not_found(here: Path, uri: str, tmp_path: Path) -> None:
    """Another sample, a picture changed by a byte, a query that keeps nothing: errors, never an empty answer."""
    recorded("a", ("train", uri, {}))
    (tmp_path / "new.jpg").write_bytes(PICTURES[3] + b"\0")
    with pytest.raises(NotFound, match="'nobody'"):
        lineage.impact(sample="nobody")
    with pytest.raises(NotFound, match=r"new\.jpg"):
        lineage.impact(image=tmp_path / "new.jpg")
    with pytest.raises(InvalidQuery):
        lineage.impact(query="select * where sample_id == 'nobody'", dataset=uri)


# --- cleaned views --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (None, "select * where not (x)"),
        ("select *", "select * where not (x)"),
        ("SELECT * WHERE a == 1 or b == 2", "select * where (a == 1 or b == 2) and not (x)"),
        ("select * where (a == 1) order by a desc limit 3", "select * where ((a == 1)) and not (x) order by a desc limit 3"),
        (
            "select * where name == 'where order by' and any(b[:, limit] < 2) order by a;",
            "select * where (name == 'where order by' and any(b[:, limit] < 2)) and not (x) order by a",
        ),
        ("select * order by a", "select * where not (x) order by a"),
        ("select a where b == 1", None),
        ("select * from (select * where a == 1)", None),
    ],
)
def test_queries_are_narrowed_as_text(query: str | None, expected: str | None) -> None:
    """The condition is bracketed, what follows it stays; other forms are left to people."""
    assert without(query, "x") == expected


@pytest.mark.parametrize("sample", ["s3", "o'brien", 'two "quotes"', "ü x", "a\\b"])
@pytest.mark.parametrize("query", [None, "select * where sequence == 'video 0' or sample_id == 's9'", "select * order by sample_id desc"])
def test_the_cleaned_view_is_exactly_the_rest(here: Path, tmp_path: Path, query: str | None, sample: str) -> None:
    """Whatever the id holds and whatever the query was: the command, executed, makes a view of the other rows in their order."""
    ids = [sample if name == "s3" else name for name in IDS]
    address = build(tmp_path / "data", ids, PICTURES)
    recorded("a", ("train", address, {"query": query}))
    view = cleaned(lineage.impact(sample=sample))
    expected = [name for name in ids_of(address, query=query) if name != sample]

    assert view.command is not None
    assert view.command[0] == "lineage"
    made = json.loads(command(*view.command[1:], "--json").stdout)
    assert made["rows"] == view.rows_left == len(expected)
    assert ids_of(address, view=view.name) == expected


def test_the_subjects_own_condition_is_used(here: Path, uri: str) -> None:
    """For the rows of a query the cleaned view says what the query said, instead of naming every sample."""
    recorded("a", ("train", uri, {"query": "select * where not (sample_id == 's0')"}))
    view = cleaned(lineage.impact(query="select * where sequence == 'video 1'", dataset=uri))

    assert view.query == "select * where (not (sample_id == 's0')) and not (sequence == 'video 1')"
    assert (view.rows, view.rows_left, view.excluded) == (11, 7, (4, 5, 6, 7))


def test_repeated_ids_do_not_cost_innocent_rows(here: Path, tmp_path: Path) -> None:
    """Two rows share an id and only one shows the picture: the id alone would drop both, so rows are named by number."""
    address = build(tmp_path / "data", ["twin", "twin", "s2"], PICTURES[:3])
    recorded("a", ("train", address, {}))
    view = cleaned(lineage.impact(image=f"sha256:{hashlib.sha256(PICTURES[1]).hexdigest()}"))

    assert view.query == "select * where not (row_number() == 1)"
    assert (view.rows_left, view.excluded) == (2, (1,))


def test_without_ids_rows_are_named_by_number(here: Path, tmp_path: Path) -> None:
    """A dataset without the column ``sample_id`` can be narrowed, too."""
    address = build(tmp_path / "data", IDS, PICTURES, leave_out="sample_id")
    recorded("a", ("train", address, {"query": "select * where sequence == 'video 0'"}))
    view = cleaned(lineage.impact(image=f"sha256:{hashlib.sha256(PICTURES[2]).hexdigest()}"))

    assert (view.rows_left, view.excluded_ids) == (3, None)
    assert view.query == "select * where (sequence == 'video 0') and not (row_number() == 2)"


def test_a_limit_that_would_fill_up_is_left_to_people(here: Path, uri: str) -> None:
    """``limit 3`` without one of the three takes a fourth: such a query is never offered."""
    recorded("a", ("train", uri, {"query": "select * where sequence == 'video 0' limit 3"}))
    view = cleaned(lineage.impact(sample="s1"))

    assert (view.query, view.command, view.rows_left) == (None, None, 2)
    assert "by hand" in str(view.reason)


def test_a_dataset_that_went_on_needs_its_commit_named(here: Path, uri: str) -> None:
    """After a later commit that adds rows to the view, the command would give others: the pinned query is given instead."""
    recorded("a", ("train", uri, {"query": "select * where sequence == 'video 0'"}))
    dataset = deeplake.open(uri.removeprefix("file://"))
    commit = dataset.version
    dataset.append(columns(["new"], [picture(90)]))
    dataset.commit("more")
    view = cleaned(lineage.impact(sample="s3"))

    assert (view.command, view.commit_id) == (None, commit)
    assert "went on" in str(view.reason)
    assert view.query is not None
    assert ids_of(uri, query=view.query, commit_id=view.commit_id) == ["s0", "s1", "s2"]


def test_a_view_of_that_row_alone_has_nothing_left(here: Path, uri: str) -> None:
    """Said in so many words, without a command."""
    recorded("a", ("train", uri, {"query": "select * where sample_id == 's3'"}))
    view = cleaned(lineage.impact(sample="s3"))

    assert (view.rows_left, view.query, view.command) == (0, None, None)
    assert "no row is left" in str(view.reason)


# --- the plan -----------------------------------------------------------------------------------------------------------------


def test_base_models_come_first_and_replacements_are_placed(here: Path, uri: str, tmp_path: Path) -> None:
    """Steps in order of dependence, each with its command, what to replace by what, and where the command or configuration says it."""
    DeepLakeBackend().save_view(uri, "select * where sequence == 'video 0'", "night", "for the test")
    other = build(tmp_path / "other", ["o0"], [picture(50)])
    script = (
        "import lineage, sys\nname, view, base, uri = sys.argv[1:5]\n"
        "with lineage.start_run(project='parking', job_type='train', name=name, config={'data': {'view': view}}) as run:\n"
        "    if base != '-': run.use_artifact(base)\n"
        "    run.use_dataset(uri, role='train', view=None if view == '-' else view)\n"
        "    open(name + '.pth', 'w').write('weights of ' + name); run.log_artifact(name + '.pth', kind='model')\n"
    )
    (here / "train.py").write_text(script)
    for arguments in (["a", "night", "-", uri], ["b", "-", "a.pth", other], ["c", "night", "b.pth", uri]):
        subprocess.run([sys.executable, "train.py", *arguments], check=True)
    plan = lineage.impact(sample="s2").plan

    assert [(step.number, step.run_name, step.action) for step in plan.steps] == [(1, "a", "train"), (2, "b", "train"), (3, "c", "train")]
    assert plan.steps[2].command == ("python", "train.py", "c", "night", "b.pth", uri)
    view, base = plan.steps[2].replace
    assert "'night-without-s2' (3 rows)" in view.by
    assert view.where == ("command: night", "config.data.view: night")
    assert base.by == "what step 2 makes in its place"
    assert base.where == ("command: b.pth",)
    assert [item.by for item in plan.steps[1].replace] == ["what step 1 makes in its place"]


def test_a_wrong_clock_does_not_turn_the_plan_round() -> None:
    """The order follows from who needs whom; a circle (a file copied back and forth) still gives every run once."""
    assert bases_first({"a": set(), "b": {"a"}, "c": {"b"}, "d": set()}, ["c", "d", "b", "a"]) == ["d", "a", "b", "c"]
    assert sorted(bases_first({"a": {"b"}, "b": {"a"}, "c": {"a"}}, ["a", "b", "c"])) == ["a", "b", "c"]


def test_the_command_tells_and_writes_the_plan(here: Path, uri: str, tmp_path: Path) -> None:
    """Human text, JSON that is the report, and a Markdown file; a file that exists is not overwritten, nothing else is touched."""
    recorded("a", ("train", uri, {}))
    recorded("b", ("test", uri, {}), base="a")
    runs_before, tags_before = lineage.runs(), tags(uri)
    text = command("impact", "--sample", "s3").stdout
    told = json.loads(
        command("impact", "--query", "select * where sample_id == 's3'", "--dataset", uri, "--json", "--plan", "plan.md").stdout
    )
    plan = Path("plan.md").read_text()
    refused = command("impact", "--sample", "s3", "--plan", "plan.md", expect=6)

    report = ImpactReport.model_validate(told)
    assert reasons(report) == {"a": "trained", "b": "inherits"}
    assert shlex.join(cleaned(report).command or ()) in plan
    assert shlex.join(cleaned(report).command or ()) in text
    assert plan.index("### 1. Train a") < plan.index("### 2. ")
    assert "trained on it" in text
    assert "a made" not in text.splitlines()[0]
    assert "plan.md exists" in refused.stderr
    assert lineage.runs() == runs_before
    assert tags(uri) == tags_before
