"""A script that uses plain W&B and plain Deep Lake is recorded, whichever is imported or begun first."""

from __future__ import annotations

import itertools
import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.adapters.trackers.wandb_log import read_log
from lineage.model.run import Run, RunState
from tests.support.followed import only


def run(plain_code: Any, body: str, *arguments: str, status: int = 0, **variables: str) -> str:
    """Run a script that is exactly this, but for ``TRAIN``, the dataset's address."""
    (plain_code.repository / "train.py").write_text(f"TRAIN = {plain_code.train!r}\n{textwrap.dedent(body)}")
    found, told = plain_code.python(*(arguments or ("train.py",)), **variables)
    assert found == status, told
    return str(told)


def points(found: Run) -> list[tuple[int, dict[str, float]]]:
    return [(point.step, point.values) for point in lineage.metrics(found.id)]


def logged_to_wandb(plain_code: Any) -> list[dict[str, Any]]:
    """Records of the only W&B run's own log."""
    (folder,) = (plain_code.folder.parent / "wandb" / "wandb").glob("offline-run-*")
    done = subprocess.run(["wandb", "leet", "inspect", "--json", str(folder)], capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


ORDERS = {
    "lineage": "import lineage\nlineage.autolog()",
    "deeplake": "import deeplake",
    "wandb": "import wandb",
}


@pytest.mark.parametrize("order", list(itertools.permutations(ORDERS)), ids="-".join)
def test_any_order_of_imports(plain_code: Any, order: tuple[str, ...]) -> None:
    run(
        plain_code,
        "\n".join(ORDERS[name] for name in order)
        + """
ds = deeplake.open_read_only(TRAIN)
run = wandb.init(project="parking")
ds[3]
wandb.log({"loss": 0.5})
run.finish()
""",
    )
    found = only()
    assert [(item.role, item.rows) for item in found.inputs] == [("train", 12)]
    assert points(found) == [(0, {"loss": 0.5})]
    assert (found.project, found.state) == ("parking", RunState.finished)


def test_names_imported_and_runs_and_datasets_opened_before_it_is_switched_on(plain_code: Any) -> None:
    run(
        plain_code,
        """
        from deeplake import open_read_only
        import wandb
        ds = open_read_only(TRAIN)
        wandb.init(project="parking")
        import lineage
        lineage.autolog()
        ds[0]
        open_read_only(TRAIN).query("select * limit 2")[1]
        wandb.log({"loss": 0.5})
        """,
    )
    found = only()
    assert sorted(item.rows for item in found.inputs) == [2, 12]
    assert points(found) == [(0, {"loss": 0.5})]


def test_two_wandb_runs_in_a_process_are_two_records_each_with_its_own(plain_code: Any) -> None:
    run(
        plain_code,
        """
        import lineage
        lineage.autolog()
        import deeplake, wandb
        before = deeplake.open_read_only(TRAIN)
        for number in range(2):
            with wandb.init(project="parking", name=f"number {number}") as run:
                before[number]
                deeplake.open_read_only(TRAIN).query(f"select * limit {number + 2}")[0]
                wandb.log({"number": number})
        wandb.init(project="parking", name="a third").log({"number": 3})
        """,
    )
    found = {item.name: item for item in lineage.runs()}
    assert sorted(found) == ["a third", "number 0", "number 1"]
    for number in range(2):
        assert sorted(item.rows for item in found[f"number {number}"].inputs) == [number + 2, 12]
        assert [values for _, values in points(found[f"number {number}"])] == [{"number": number}]
    assert found["a third"].inputs == ()
    assert {item.state for item in found.values()} == {RunState.finished}
    assert len({item.trackers["wandb"]["id"] for item in found.values()}) == 3


def test_a_run_of_ours_that_a_wandb_run_begins_in_is_one_record(plain_code: Any) -> None:
    run(
        plain_code,
        """
        import lineage
        lineage.autolog()
        import wandb
        with lineage.start_run(project="ours", config={"a": 1}) as run:
            with wandb.init(project="theirs", config={"b": 2}) as theirs:
                theirs.log({"loss": 1.0})
                run.log({"more": 2.0})
            run.log({"after": 3.0})
        """,
    )
    found = only()
    assert (found.project, found.config, found.state) == ("ours", {"a": 1, "b": 2}, RunState.finished)
    assert [values for _, values in points(found)] == [{"loss": 1.0}, {"more": 2.0}, {"after": 3.0}]
    assert sum("history" in record for record in logged_to_wandb(plain_code)) == 2


@pytest.mark.parametrize(
    ("end", "status", "state", "error"),
    [
        ("raise ValueError('too dark')", 1, RunState.failed, "ValueError: too dark"),
        ("import sys; sys.exit(3)", 3, RunState.failed, "SystemExit: 3"),
        ("run.finish(exit_code=2)", 0, RunState.failed, "exit status 2"),
        ("pass", 0, RunState.finished, None),
    ],
    ids=["exception", "exit", "told to W&B", "left open"],
)
def test_how_a_wandb_run_ended(plain_code: Any, end: str, status: int, state: RunState, error: str | None) -> None:
    run(plain_code, f"import lineage\nlineage.autolog()\nimport wandb\nrun = wandb.init()\nwandb.log({{'a': 1}})\n{end}\n", status=status)
    found = only()
    assert found.state is state
    assert (found.error is None) if error is None else (error in str(found.error))
    assert points(found) == [(0, {"a": 1.0})]
    if "sys.exit" in end:  # of the other ways W&B knows by itself
        (path,) = Path(found.trackers["wandb"]["directory"]).glob("*.wandb")
        assert read_log(path).exit_code == status


def test_wandb_that_is_disabled_leaves_our_record_whole(plain_code: Any) -> None:
    run(
        plain_code,
        """
        import lineage
        lineage.autolog()
        import deeplake, wandb
        with wandb.init(project="parking", config={"a": 1}) as run:
            deeplake.open_read_only(TRAIN)[0]
            run.log({"loss": 1.0})
            run.log({"loss": 2.0})
        """,
        WANDB_MODE="disabled",
    )
    found = only()
    assert (found.config, found.trackers, len(found.inputs)) == ({"a": 1}, {}, 1)
    assert [values for _, values in points(found)] == [{"loss": 1.0}, {"loss": 2.0}]


def test_inside_lineage_run_the_first_wandb_run_is_the_commands_and_further_ones_are_their_own(plain_code: Any) -> None:
    run(
        plain_code,
        """
        import lineage
        lineage.autolog()
        import deeplake, wandb
        deeplake.open_read_only(TRAIN)[0]
        for number in range(2):
            with wandb.init(name=f"number {number}") as run:
                run.log({"number": number})
        """,
        *("-m", "lineage", "run", "--", "python", "train.py"),
    )
    found = {item.name: item for item in lineage.runs()}
    assert sorted(found) == ["number 0", "number 1"]
    assert len(found["number 0"].inputs) == 1
    assert found["number 1"].inputs == ()
    assert [values for _, values in points(found["number 0"])] == [{"number": 0.0}]


def test_files_given_to_wandb_are_kept_under_their_digests(plain_code: Any) -> None:
    run(
        plain_code,
        """
        import lineage
        lineage.autolog()
        import pathlib, wandb
        for name in ("a.txt", "b.txt", "c.txt"):
            pathlib.Path(name).write_text(name)
        with wandb.init() as run:
            run.save("a.txt")
            two = wandb.Artifact("two", "report")
            two.add_file("b.txt")
            two.add_file("c.txt", name="deep/a.txt")
            two.add_reference("http://example.invalid/x", checksum=False)
            run.log_artifact(two)
            run.log_artifact("c.txt", type="model")
        """,
    )
    found = only()
    assert sorted((item.name, item.kind, item.size_bytes) for item in found.outputs) == [
        ("a.txt", "file", 5),
        ("b.txt", "report", 5),
        ("c.txt", "model", 5),
        ("deep/a.txt", "report", 5),
    ]
    assert any("1 entries of W&B artifact 'two' are references" in note for note in found.notes)


def test_a_record_that_cannot_be_written_is_said_and_does_not_stop_the_script(plain_code: Any) -> None:
    told = run(
        plain_code,
        "import lineage\nlineage.autolog()\nimport wandb\nwith wandb.init() as run:\n    run.log({'a': 1})\nprint('DONE')\n",
        LINEAGE_STORE="/proc/no/such",
        LINEAGE_FOLDER="/proc/no/such",
    )
    assert "DONE" in told
    assert "this W&B run is not recorded" in told


def test_a_run_stays_open_from_cell_to_cell_where_there_is_no_script(plain_code: Any) -> None:
    cells = [
        "import lineage\nlineage.autolog()\nimport deeplake, wandb",
        f"train_view = deeplake.open_read_only({plain_code.train!r}).query('select * limit 4')",
        "run = wandb.init(project='parking')",
        "for row in train_view:\n    wandb.log({'first': float(row['boxes'][0, 0])})",
        "raise ValueError('a cell that fails ends no run')",
        "wandb.log({'after': 1.0})\nrun.finish()",
    ]
    notebook = (
        "import code, sys\nnotebook = code.InteractiveInterpreter({'__name__': '__main__'})\n"
        f"for cell in {cells!r}:\n    notebook.runcode(compile(cell, '<cell>', 'exec'))\n"
    )
    status, told = plain_code.python("-c", notebook)
    assert status == 0, told
    found = only()
    assert [(item.role, item.rows) for item in found.inputs] == [("train", 4)]
    assert [values for _, values in points(found)] == [{"first": 10.0}, {"first": 12.0}, {"first": 14.0}, {"first": 16.0}, {"after": 1.0}]
    assert found.state is RunState.finished
