"""Plain Deep Lake code is recorded: what is read, by whatever means, and what is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deeplake

import lineage
from tests.support.followed import named, only, rows_read

SMALL = "select * where boxes[0,0] < 20"


def test_what_is_read_is_an_input_with_its_rows_and_what_is_only_opened_is_noted(plain_code: Any) -> None:
    plain_code.run(
        """
        with lineage.start_run() as run:
            ds = deeplake.open(TRAIN)
            small = ds.query("select * where boxes[0,0] < 20")
            small[3], small[-1]
            assert len(run.record.inputs) == 1
            unread = deeplake.open_read_only(OTHER)
            len(unread), unread["boxes"].metadata
        """
    )
    run = only()
    assert named(run) == [("train", "scenes-train", 5)]
    item = run.inputs[0]
    assert item.query == SMALL
    assert item.commit_id == deeplake.open_read_only(plain_code.train).version
    assert rows_read(run, 0) == [3, 4]
    with lineage.start_run() as own:  # the same identity as when it is opened through a run
        assert own.use_dataset(plain_code.train, role="train", query=SMALL).record.content_digest == item.content_digest
    assert f"opened, and no row of it was read: {plain_code.other}" in run.notes


WAYS = {
    "by number": ("ds[2]; ds[-1]", [2, 11]),
    "slice": ("ds[1:4]", [1, 2, 3]),
    "list": ("ds[[5, 0]]", [0, 5]),
    "iteration, broken off": ("for n, row in enumerate(ds):\n    if n == 2: break", [0, 1, 2]),
    "column": ("ds['boxes'][3:5]", [3, 4]),
    "batches": ("list(ds.batches(5))", list(range(12))),
    "history": ("h = ds.history; old = h[h[len(h) - 1].id].open(); old[1]", [1]),
    "asked by address": ("""v = deeplake.query(f'select * from "{TRAIN}" where boxes[0,0] < 20'); v[1]""", [1]),
    "view of a view": ("v = ds.query('select * order by fname desc').query('select * limit 2'); v[0]", [9]),
    "projection": ("v = ds.query('select fname where boxes[0,0] > 20'); v[0]", [6]),
    "later": ("f = ds.query_async('select * where boxes[0,0] > 20'); v = f.result(); v[1]", [7]),
    "opened later": ("d = deeplake.open_read_only_async(TRAIN).result(); d[4]", [4]),
}


def test_rows_are_known_by_every_way_of_reading(plain_code: Any) -> None:
    steps = "\n".join(
        f"with lineage.start_run(name={way!r}):\n    ds = deeplake.open_read_only(TRAIN)\n"
        + "\n".join(f"    {line}" for line in code.split("\n"))
        for way, (code, _) in WAYS.items()
    )
    plain_code.run(steps)
    found = {run.name: rows_read(run, 0) for run in lineage.runs()}
    assert found == {way: rows for way, (_, rows) in WAYS.items()}


def test_a_saved_view_is_an_output_where_it_is_made_and_an_input_by_its_name_where_it_is_read(plain_code: Any) -> None:
    plain_code.run(
        """
        with lineage.start_run(name="saves"):
            deeplake.open(TRAIN).query("select * order by fname desc limit 3").tag("best-val", "the best")
        with lineage.start_run(name="reads"):
            for row in deeplake.open_read_only(TRAIN).tags["best-val"].open():
                pass
        """
    )
    runs = {run.name: run for run in lineage.runs()}
    (made,) = runs["saves"].outputs
    (item,) = runs["reads"].inputs
    assert (made.kind, made.name, made.digest) == ("view", "best-val", item.content_digest)
    assert (item.role, item.view_name, item.view_id, item.rows) == ("validation", "best-val", made.details["view_id"], 3)


def test_commits_and_copies_are_outputs_and_what_was_copied_an_input(plain_code: Any, tmp_path: Path) -> None:
    plain_code.run(
        f"""
        with lineage.start_run(job_type="dataset_upload"):
            ds = deeplake.create("file://{tmp_path}/made", schema={{"n": "int32"}})
            for part in range(3):
                ds.append({{"n": [part, part]}})
                ds.commit()
            deeplake.copy(TRAIN, "file://{tmp_path}/copied")
            namesake = deeplake.create("file://{tmp_path}/second/made", schema={{"n": "int32"}})
            for part in range(2):
                namesake.append({{"n": [part]}})
                namesake.commit()
        """
    )
    run = only()
    outputs = {item.name: item for item in run.outputs}
    made = outputs["made"].details
    assert (outputs["made"].path, made["rows"], made["commit_id"]) == (f"file://{tmp_path}/made", 6, made["commits"][-1])
    assert len(set(made["commits"])) == 3
    assert sorted(outputs) == ["copied", "made", "made-2"]
    assert outputs["made-2"].details["rows"] == 2
    assert outputs["made"].size_bytes > 0
    assert named(run) == [("source", "scenes-train", 12)]
    assert outputs["copied"].digest == run.inputs[0].content_digest


def test_rows_that_no_commit_holds_are_reported_and_are_no_input(plain_code: Any) -> None:
    plain_code.run(
        """
        with lineage.start_run():
            ds = deeplake.open(TRAIN)
            ds.append({"boxes": [[[1, 2, 3, 4]]], "fname": ["new.jpg"]})
            ds[12]
        """
    )
    run = only()
    assert run.inputs == ()
    assert [note for note in run.notes if "no commit held" in note]


def test_roles_come_from_what_the_program_says_then_from_plain_names_and_are_else_no_guess(plain_code: Any) -> None:
    plain_code.run(
        """
        lineage.autolog(roles={"three": "holdout"})
        with lineage.start_run():
            ds = deeplake.open_read_only(OTHER)
            test_rows = ds.query("select * limit 1")
            three = ds.query("select * limit 3")
            four = ds.query("select * limit 4")
            five = ds.query("select * limit 5")
            train_or_test = ds.query("select * limit 2")
            for view in (test_rows, three, four, five, train_or_test):
                view[0]
        """
    )
    run = only()
    assert [role for role, _, _ in named(run)] == ["test", "holdout", "data", "data-2", "data-3"]
    assert any("its role: variable 'test_rows'" in note for note in run.notes)


def test_data_read_before_a_run_belong_to_the_run_that_follows_and_to_later_ones_that_read_them(plain_code: Any) -> None:
    plain_code.run(
        """
        ds = deeplake.open_read_only(TRAIN)
        ds[1]
        with lineage.start_run(name="first") as run:
            assert len(run.record.inputs) == 1  # at once: who is killed later has it, too
        with lineage.start_run(name="second"):
            ds[2]
        with lineage.start_run(name="third"):
            pass
        ds[3]
        """
    )
    runs = {run.name: run for run in lineage.runs()}
    assert rows_read(runs["first"], 0) == [1]
    assert rows_read(runs["second"], 0) == [2]
    assert runs["third"].inputs == ()


def test_nothing_is_recorded_while_it_is_switched_off(plain_code: Any) -> None:
    plain_code.run(
        """
        with lineage.start_run():
            lineage.autolog(disable=True)
            deeplake.open_read_only(TRAIN)[0]
            with lineage.autolog():
                deeplake.open_read_only(OTHER)[0]
            deeplake.open_read_only(TRAIN)[0]
        """
    )
    assert [item.uri for item in only().inputs] == [plain_code.other]


def test_what_is_opened_through_the_run_is_recorded_once(plain_code: Any) -> None:
    plain_code.run(
        """
        with lineage.start_run() as run:
            view = run.use_dataset(TRAIN, role="train")
            view[0]
            run.use_dataset(deeplake.open_read_only(OTHER), role="test")[0]
        """
    )
    assert named(only()) == [("train", "scenes-train", 12), ("test", "scenes", 6)]


def test_a_view_that_crosses_by_pickle_is_reported_and_what_it_then_shows_is_recorded(plain_code: Any) -> None:
    plain_code.run(
        """
        import pickle, numpy as np
        with lineage.start_run():
            text = pickle.dumps(deeplake.open_read_only(TRAIN).query("select * where boxes[0,0] < 20"))
            writer = deeplake.open(TRAIN)
            writer.append({"boxes": [np.ones((1, 4), "float32")], "fname": ["new.jpg"]})
            writer.commit()
            train = pickle.loads(text)
            train[5]
        """
    )
    run = only()
    assert any(note.startswith("not pinned: ") and "was pickled: " in note for note in run.notes)
    assert any(note.startswith("not pinned: ") and "it was unpickled" in note for note in run.notes)
    assert sorted((item.rows, item.rows_total) for item in run.inputs) == [(5, 12), (6, 13)]


def test_inside_lineage_run_an_unchanged_script_joins_the_record_of_the_command(plain_code: Any) -> None:
    plain_code.run("deeplake.open_read_only(TRAIN)[0]", "-m", "lineage", "run", "--", "python", "train.py", begin="")
    assert named(only()) == [("train", "scenes-train", 12)]


def test_reading_a_row_costs_microseconds_more(plain_code: Any) -> None:
    told = plain_code.run(
        """
        import time
        def best(ds):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                for _ in range(2000): ds[5]
                times.append((time.perf_counter() - began) / 2000 * 1e6)
            return min(times)
        with lineage.start_run():
            ds = deeplake.open_read_only(TRAIN)
            ds[5]
            followed = best(ds)
            lineage.autolog(disable=True)
            print("COST", followed - best(ds))
        """
    )
    assert float(told.rpartition("COST")[2]) < 20  # 1 to 2 where nothing else runs


def test_switching_on_takes_no_time_and_imports_no_framework(plain_code: Any) -> None:
    told = plain_code.run(
        "print('LOADED', [name for name in ('deeplake', 'wandb', 'numpy', 'pydantic') if name in BEFORE], 'TOOK', TOOK)",
        begin="import time\nbegan = time.perf_counter()\nlineage.autolog()\nTOOK = time.perf_counter() - began\nBEFORE = set(sys.modules)",
    )
    assert "LOADED []" in told
    assert float(told.rpartition("TOOK")[2]) < 0.05  # about 1 ms, most of it reading our own modules


def test_other_finders_still_find(plain_code: Any) -> None:
    told = plain_code.run(
        "import wandb_like; print('FOUND', wandb_like.__name__, deeplake.__spec__.loader.exec_module.__name__)",
        begin=(
            "import importlib.machinery, types\n"
            "class Finder:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        return importlib.machinery.ModuleSpec(name, self) if name == 'wandb_like' else None\n"
            "    def create_module(self, spec): return None\n"
            "    def exec_module(self, module): pass\n"
            "sys.meta_path.insert(0, Finder())\nlineage.autolog(); lineage.autolog()"
        ),
    )
    assert "FOUND wandb_like exec_module" in told
