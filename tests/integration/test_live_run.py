"""Runs as people start them: in scripts, in ``with`` blocks, under ``lineage run``; ended well, badly, or by SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lineage
from lineage.api import process
from lineage.errors import NotFound, Unavailable, UsageError
from lineage.model.event import replay
from lineage.model.run import MetricPoint, Run, RunState

SECRET = "hunter22-very-secret"


@pytest.fixture
def here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository as the working folder; its records go to ``.lineage`` in it."""
    monkeypatch.chdir(repository)
    return repository


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    """Stores that this process opened belong to one test."""
    yield
    process.wired.cache_clear()


def python(folder: Path, script: str, *arguments: str, expect: int | None = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script of this text in ``folder``, in a process of its own."""
    (folder / "script.py").write_text(script)
    return command(folder, sys.executable, "script.py", *arguments, expect=expect, **variables)


def command(folder: Path, *words: str, expect: int | None = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    assert expect is None or done.returncode == expect, done.stdout + done.stderr
    return done


def only_run() -> Run:
    (run,) = lineage.runs()
    return run


def points(run: Run) -> list[MetricPoint]:
    return process.ports_of_process().runs.metrics(run.id)


def database() -> Path:
    return Path(".lineage") / "lineage.sqlite"


# --- how it begins ----------------------------------------------------------------------------------------------------------


def test_the_record_is_there_before_the_first_step(here: Path) -> None:
    """Another process sees a whole record as soon as ``start_run`` returns: code, environment, command, configuration, seed."""
    with lineage.start_run(project="parking", job_type="train", group="g", config={"lr": 0.1}, seed=7, tags=["a"]) as run:
        shown = json.loads(command(here, sys.executable, "-m", "lineage", "show", run.id[:8], "--json").stdout)

    head = command(here, "git", "rev-parse", "HEAD").stdout.strip()
    assert (shown["id"], shown["state"], shown["ended_at"]) == (run.id, "running", None)
    assert (shown["project"], shown["group"], shown["job_type"], shown["tags"]) == ("parking", "g", "train", ["a"])
    assert (shown["config"], shown["seed"]) == ({"lr": 0.1}, 7)
    assert shown["code"]["git_sha"] == head
    assert shown["environment"]["packages"]["numpy"]["version"] == np.__version__
    assert shown["command"][0] == "python"
    assert shown["working_directory"] == "."


def test_the_command_line_and_folder_are_those_of_the_script(here: Path) -> None:
    """``python`` stands for the interpreter; the folder is relative to the repository."""
    (here / "sub").mkdir()
    python(here / "sub", "import lineage\nlineage.start_run().finish()", "--lr", "0.1", "ü x")

    assert only_run().command == ("python", "script.py", "--lr", "0.1", "ü x")
    assert only_run().working_directory == "sub"


def test_a_command_line_that_is_no_text_is_recorded(here: Path) -> None:
    """Bytes that are no UTF-8, as in an old file name, do not stop a run; the record says that they are escaped."""
    (here / "script.py").write_text("import lineage\nlineage.start_run().finish()")
    subprocess.run([sys.executable, "script.py", b"caf\xe9.jpg"], cwd=here, check=True)

    assert only_run().command[-1] == "caf\\xe9.jpg"
    assert any("no UTF-8 text" in note for note in only_run().notes)


def test_without_a_repository_the_run_is_recorded_with_a_note(tmp_path: Path) -> None:
    """Code that is under no version control cannot be recorded: a warning, a note in the record, and the run goes on."""
    done = python(tmp_path, "import lineage\nwith lineage.start_run() as run: run.log({'x': 1})")

    shown = json.loads(command(tmp_path, sys.executable, "-m", "lineage", "runs", "--json").stdout)
    run = shown[0] if isinstance(shown, list) else shown["runs"][0]
    assert "the code is not recorded" in done.stderr
    assert run["state"] == "finished"
    assert run["code"] is None
    assert any("the code is not recorded: git rev-parse" in note for note in run["notes"])


@pytest.mark.parametrize("place", ["file/store", "garbage"])
def test_without_a_store_the_run_does_not_start(here: Path, place: str) -> None:
    """A folder that cannot be made, or a damaged database: one clear error before the first step, never an untracked run."""
    (here / "file").write_text("in the way")
    (here / "garbage").mkdir()
    (here / "garbage" / "lineage.sqlite").write_bytes(b"no database" * 1000)
    script = "import lineage\nrun = lineage.start_run()\nprint('trained')"
    done = python(here, script, expect=1, LINEAGE_STORE=place)

    assert "trained" not in done.stdout
    assert "lineage.errors.Unavailable" in done.stderr
    assert place in done.stderr
    shown = command(here, sys.executable, "-m", "lineage", "runs", expect=Unavailable.exit_code, LINEAGE_STORE=place)
    assert "Traceback" not in shown.stderr


def test_a_store_that_refuses_stops_the_start(here: Path) -> None:
    """A store that opens but cannot take the record (here by its own rule; a full disk is the usual reason): the run does not start."""
    lineage.start_run().finish()
    with sqlite3.connect(database()) as store:
        store.execute("CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    store.close()

    with pytest.raises(Unavailable, match="disk is full"):
        lineage.start_run()
    assert len(lineage.runs()) == 1
    assert [path.name for path in Path(".lineage/locks").iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"config": {"model": {"layers": [1, object()]}}}, r"config\.model\.layers\[1\]"),
        ({"config": {"f": print}}, r"config\.f"),
        ({"seed": 0.5}, "float"),
        ({"seed": "7"}, "str"),
    ],
)
def test_what_cannot_be_recorded_is_named(here: Path, arguments: dict[str, Any], names: str) -> None:
    """A configuration that is not plain, or a seed that is no whole number: a TypeError with the place, and no record."""
    with pytest.raises(TypeError, match=names):
        lineage.start_run(**arguments)
    assert lineage.runs() == []


def test_an_unknown_tracker_is_a_usage_error(here: Path) -> None:
    """The known ones are named."""
    with pytest.raises(UsageError, match="'tensorboard'") as refused:
        lineage.start_run(trackers=("tensorboard",))
    assert "wandb" in str(refused.value.hint)


# --- how it ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [
        (None, RunState.finished, None),
        (RuntimeError("loss is nan"), RunState.failed, "RuntimeError: loss is nan"),
        (ValueError("first line\nsecond"), RunState.failed, "ValueError: first line"),
        (AssertionError(), RunState.failed, "AssertionError"),
        (KeyboardInterrupt(), RunState.aborted, "interrupted"),
        (SystemExit(0), RunState.finished, None),
        (SystemExit(), RunState.finished, None),
        (SystemExit(3), RunState.failed, "SystemExit: 3"),
        (SystemExit("no data"), RunState.failed, "SystemExit: no data"),
    ],
)
def test_a_with_block_ends_its_run(here: Path, error: BaseException | None, state: RunState, text: str | None) -> None:
    """Finished, failed with the error in one line, or aborted by Ctrl-C; the exception goes on its way, the metrics are kept."""
    raised: BaseException | None = None
    try:
        with lineage.start_run() as run:
            run.log({"loss": 0.5})
            if error is not None:
                raise error
    except BaseException as found:  # noqa: BLE001 - any of the list above
        raised = found
    ended = lineage.get(run.id)

    assert raised is error
    assert (ended.state, ended.error) == (state, text)
    assert ended.ended_at is not None
    assert ended.summary == {"loss": 0.5}
    assert [point.values for point in points(ended)] == [{"loss": 0.5}]
    assert list(Path(".lineage/locks").iterdir()) == []


@pytest.mark.parametrize(
    ("rest", "status", "state", "text"),
    [
        ("", 0, "finished", None),
        ("raise RuntimeError('loss is nan')", 1, "failed", "RuntimeError: loss is nan"),
        ("import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)", -signal.SIGINT, "aborted", "interrupted"),
    ],
)
def test_a_script_that_leaves_its_run_open(here: Path, rest: str, status: int, state: str, text: str | None) -> None:
    """Without ``with``, the end of the process ends the run: as what, says how the script ended."""
    python(here, f"import lineage\nrun = lineage.start_run()\nrun.log({{'loss': 0.5}})\n{rest}", expect=status)
    ended = only_run()

    assert (ended.state, ended.error) == (state, text)
    assert [point.values for point in points(ended)] == [{"loss": 0.5}]


def test_a_killed_process_leaves_a_readable_record(here: Path) -> None:
    """After SIGKILL the run is aborted, with every metric but those of the last second, and its last trace as its end."""
    script = """
import time, lineage
run = lineage.start_run()
step = 0
while True:
    run.log({"loss": step / 7}, step=step)
    print(step, time.time(), flush=True)
    step += 1
    time.sleep(0.01)
"""
    (here / "script.py").write_text(script)
    child = subprocess.Popen([sys.executable, "script.py"], cwd=here, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline().split() for _ in range(150)]
    alive = only_run()
    child.send_signal(signal.SIGKILL)
    lines += [line.split() for line in child.stdout.read().splitlines() if len(line.split()) == 2]
    child.wait()
    child.stdout.close()
    killed = lineage.get(alive.id)
    found = points(killed)
    last = float(lines[-1][1])

    assert (alive.state, killed.state) == (RunState.running, RunState.aborted)
    assert "its process ended without a word" in str(killed.error)
    assert [point.step for point in found] == list(range(len(found)))
    assert [point.values["loss"] for point in found] == [step / 7 for step in range(len(found))]
    assert len(found) >= len([line for line in lines if float(line[1]) < last - 1.0])
    assert killed.ended_at is not None
    assert abs(killed.ended_at.timestamp() - found[-1].at) < 1e-3
    assert replay(process.ports_of_process().runs.events(killed.id), killed.id, process.ports_of_process().runs.environment) == killed
    assert lineage.get(alive.id) == killed, "looking again adds nothing"


def test_a_second_end_changes_nothing(here: Path) -> None:
    """``finish`` twice, or inside a ``with`` block: the first end counts."""
    with lineage.start_run() as run:
        first = run.finish(RunState.failed, "stopped early")
    assert run.finish() == first == lineage.get(run.id)
    assert first.error == "stopped early"


def test_nothing_can_be_added_after_the_end(here: Path) -> None:
    """Logging to a run that is over is a mistake in the program: a RuntimeError that names the run, and an unchanged record."""
    with lineage.start_run() as run:
        pass
    ended = lineage.get(run.id)
    for use in (
        lambda: run.log({"x": 1}),
        lambda: run.log_artifact("train.py"),
        lambda: run.use_dataset("ds", role="train"),
        lambda: run.describe(config={"x": 1}),
    ):
        with pytest.raises(RuntimeError, match=rf"{run.id[:12]} is over"):
            use()
    assert lineage.get(run.id) == ended
    assert points(ended) == []


def test_two_runs_in_one_process(here: Path) -> None:
    """One after the other, and one inside the other: each has its own metrics and end, and leaves no thread behind."""
    before = set(threading.enumerate())  # libraries that other tests used keep threads of their own
    with lineage.start_run(name="outer") as outer:
        outer.log({"x": 1.0})
        with lineage.start_run(name="inner") as inner:
            inner.log({"x": 2.0})
            outer.log({"x": 3.0})
        outer.log({"x": 4.0})
    with lineage.start_run(name="later") as later:
        later.log({"x": 5.0})
    values = {run.name: [point.values["x"] for point in points(run)] for run in lineage.runs()}

    assert values == {"outer": [1.0, 3.0, 4.0], "inner": [2.0], "later": [5.0]}
    assert [run.state for run in lineage.runs()] == [RunState.finished] * 3
    assert set(threading.enumerate()) <= before


def test_a_forked_child_does_not_end_the_run(here: Path) -> None:
    """A child that leaves through the interpreter's normal end has the parent's run in its memory, not in its hands."""
    script = """
import os, sys, lineage
run = lineage.start_run()
run.log({"x": 1.0})
if (child := os.fork()) == 0:
    sys.exit(0)
os.waitpid(child, 0)
print(lineage.get(run.id).state.value)
run.log({"x": 2.0})
"""
    assert python(here, script).stdout.strip() == "running"
    assert only_run().state is RunState.finished
    assert [point.values["x"] for point in points(only_run())] == [1.0, 2.0]


def test_a_living_run_of_another_folder_is_left_alone(here: Path, postgres_url: str, tmp_path: Path) -> None:
    """A team shares PostgreSQL, each with a local folder of its own: looking from one folder does not abort a run of another."""
    script = (
        "import lineage, sys\nrun = lineage.start_run()\nprint(run.id, flush=True)\nsys.stdin.readline()\nrun.log({'x': 1})\nrun.finish()"
    )
    (here / "script.py").write_text(script)
    mine = {**os.environ, "LINEAGE_STORE": postgres_url, "LINEAGE_FOLDER": str(tmp_path / "mine")}
    child = subprocess.Popen([sys.executable, "script.py"], cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=mine)
    assert child.stdin is not None
    assert child.stdout is not None
    run_id = child.stdout.readline().strip()
    look = [sys.executable, "-m", "lineage", "show", run_id, "--json"]
    theirs = {"LINEAGE_STORE": postgres_url, "LINEAGE_FOLDER": str(tmp_path / "theirs")}
    shown = json.loads(command(here, *look, **theirs).stdout)
    child.communicate("go on\n")

    assert shown["state"] == "running"
    assert child.returncode == 0
    assert json.loads(command(here, *look, **theirs).stdout)["state"] == "finished"


# --- lineage run --------------------------------------------------------------------------------------------------------------

NESTED = """
import sys, lineage
with lineage.start_run(project="parking", job_type="train", config={"lr": 0.1}, seed=7) as run:
    run.log({"loss": 0.5})
    open("model.pth", "w").write("weights")
    run.log_artifact("model.pth", kind="model")
    run.summary["best"] = 0.25
    if sys.argv[1] == "fail":
        raise RuntimeError("loss is nan")
"""


@pytest.mark.parametrize(("word", "status", "state"), [("work", 0, "finished"), ("fail", 1, "failed")])
def test_a_script_under_lineage_run_is_one_run(here: Path, word: str, status: int, state: str) -> None:
    """``lineage run -- python script``: what the script records goes into the run of the command, whose exit status decides."""
    (here / "script.py").write_text(NESTED)
    done = command(here, sys.executable, "-m", "lineage", "run", "--json", "--", sys.executable, "script.py", word, expect=status)
    run = only_run()

    assert run.command == (sys.executable, "script.py", word)
    assert (run.project, run.job_type, run.config, run.seed) == ("parking", "train", {"lr": 0.1}, 7)
    assert run.summary == {"loss": 0.5, "best": 0.25}
    assert [item.name for item in run.outputs] == ["model.pth"]
    assert [point.values for point in points(run)] == [{"loss": 0.5}]
    assert run.state == state
    assert (word == "fail") == any("RuntimeError: loss is nan" in note for note in run.notes)
    assert json.loads(done.stdout)["id"] == run.id


def test_any_command_is_recorded(here: Path) -> None:
    """A program that knows nothing of lineage: its command line and exit status, which is passed on; an absent one is an error."""
    command(here, sys.executable, "-m", "lineage", "run", "--", "sh", "-c", "exit 7", expect=7)
    command(here, sys.executable, "-m", "lineage", "run", "--", "no-such-program", expect=10)
    absent, failed = lineage.runs()

    assert (failed.state, failed.error, failed.command) == ("failed", "the command ended with status 7", ("sh", "-c", "exit 7"))
    assert absent.state == "failed"
    assert "no-such-program" in str(absent.error)


def test_a_second_run_inside_the_command_is_its_own(here: Path) -> None:
    """The first ``start_run`` of the script continues the command's run; a later one in the same process is another."""
    script = "import lineage\nwith lineage.start_run(name='a'): pass\nwith lineage.start_run(name='b'): pass\n"
    (here / "script.py").write_text(script)
    command(here, sys.executable, "-m", "lineage", "run", "--", sys.executable, "script.py")

    assert sorted(run.name for run in lineage.runs()) == ["a", "b"]
    assert {run.state for run in lineage.runs()} == {RunState.finished}


# --- metrics ------------------------------------------------------------------------------------------------------------------


class OneValue:
    """Tells its one value as tensors and NumPy scalars do."""

    def item(self) -> float:
        return 0.25


def test_numbers_of_every_kind_are_taken(here: Path) -> None:
    """Floats, whole numbers, truth values, NumPy scalars, tensors of one element, not-a-number: as floats, in the order of the calls."""
    with lineage.start_run() as run:
        run.log({"a": 1, "b": True, "c": np.float32(0.5), "d": np.array([2.0]), "e": OneValue(), "f": float("nan"), "g": -0.0})
        run.log({}, step=np.int64(7))
        run.log({"a": 2.0})
    first, second, third = points(lineage.get(run.id))

    assert repr(first.values) == "{'a': 1.0, 'b': 1.0, 'c': 0.5, 'd': 2.0, 'e': 0.25, 'f': nan, 'g': -0.0}"
    assert [first.step, second.step, third.step] == [0, 7, 8]
    assert lineage.get(run.id).summary["f"] == "nan"


@pytest.mark.parametrize(
    ("values", "step", "names"),
    [
        ({"loss": "0.5"}, None, "'loss'"),
        ({"loss": None}, None, "'loss'"),
        ({"loss": np.zeros(2)}, None, "'loss'"),
        ({"loss": 1j}, None, "'loss'"),
        ({"loss": 10**400}, None, "'loss'"),
        ({1: 0.5}, None, "metric 1"),
        ({"loss": 0.5}, 1.5, "step"),
        ({"loss": 0.5}, "3", "step"),
        ({"loss": 0.5}, 2**63, "step"),
    ],
)
def test_what_is_no_number_is_refused_at_once(here: Path, values: Any, step: Any, names: str) -> None:
    """The caller gets a TypeError that names it; the points before and after are kept."""
    with lineage.start_run() as run:
        run.log({"loss": 1.0})
        with pytest.raises(TypeError, match=names):
            run.log(values, step=step)
        run.log({"loss": 2.0})

    assert [(point.step, point.values) for point in points(lineage.get(run.id))] == [(0, {"loss": 1.0}), (1, {"loss": 2.0})]


def test_threads_may_log_together(here: Path) -> None:
    """No point is lost and no step is given twice."""
    with lineage.start_run() as run:
        threads = [threading.Thread(target=lambda: [run.log({"x": 1.0}) for _ in range(500)]) for _ in range(4)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)

    assert [point.step for point in points(lineage.get(run.id))] == list(range(2000))


def refuse_metrics(refused: bool) -> None:
    with sqlite3.connect(database()) as store:
        store.execute(
            "CREATE TRIGGER full BEFORE INSERT ON metrics BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            if refused
            else "DROP TRIGGER full"
        )
    store.close()


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.filterwarnings("ignore:lineage. metrics cannot be written:UserWarning")
def test_metrics_wait_for_a_store_that_comes_back(here: Path) -> None:
    """While the store refuses, training goes on and the points stay in memory; all are there in the end, in order."""
    with lineage.start_run() as run:
        run.log({"x": 0.0})
        wait_for(lambda: len(points(run.record)) == 1)
        refuse_metrics(True)
        for number in range(1, 4):
            run.log({"x": float(number)})
            wait_for(lambda: run._metrics.failure is not None)
        refuse_metrics(False)
        run.log({"x": 4.0})

    assert [point.values["x"] for point in points(lineage.get(run.id))] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [note for note in lineage.get(run.id).notes if "metrics" in note] == []


@pytest.mark.filterwarnings("ignore:lineage. :UserWarning")
def test_lost_metrics_are_said(here: Path) -> None:
    """A store that never comes back: the run ends all the same, and its record says how many points are lost."""
    with lineage.start_run() as run:
        refuse_metrics(True)
        run.log({"x": 1.0})
        run.log({"x": 2.0})
    ended = lineage.get(run.id)

    assert ended.state is RunState.finished
    assert any("2 metric points could not be written" in note for note in ended.notes)


# --- artifacts and summary ------------------------------------------------------------------------------------------------------


def test_artifacts_are_kept_by_content(here: Path) -> None:
    """A file's bytes are in the object store; its path is relative to the repository; the same name again replaces it."""
    (here / "out").mkdir()
    with lineage.start_run() as run:
        for text in ("epoch 1", "epoch 2"):
            (here / "out" / "model.pth").write_text(text)
            made = run.log_artifact(Path("out") / ".." / "out" / "model.pth", kind="model", details={"epoch": text})
        run.log_artifact(str(here / "train.py"), name="code")
    ended = lineage.get(run.id)

    assert [(item.name, item.kind, item.path) for item in ended.outputs] == [
        ("model.pth", "model", "out/model.pth"),
        ("code", "file", "train.py"),
    ]
    assert process.ports_of_process().objects.get_bytes(made.digest) == b"epoch 2"
    assert ended.outputs[0] == made
    assert lineage.trained_on(made.digest) == []


def test_an_artifact_in_a_linked_folder_is_named_by_the_repository(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder reached through a link is the repository all the same."""
    (tmp_path / "link").symlink_to(here)
    monkeypatch.chdir(tmp_path / "link")
    with lineage.start_run() as run:
        made = run.log_artifact(tmp_path / "link" / "train.py")

    assert made.path == "train.py"
    assert lineage.get(run.id).working_directory == "."


@pytest.mark.parametrize("path", ["absent.pth", "."])
def test_what_is_no_file_cannot_be_an_artifact(here: Path, path: str) -> None:
    """An absent file or a folder: one clear error; the run goes on."""
    with lineage.start_run() as run:
        with pytest.raises(NotFound, match="no file"):
            run.log_artifact(path)
        run.log({"x": 1})
    assert lineage.get(run.id).state is RunState.finished


@pytest.mark.filterwarnings("ignore:lineage. not recorded:UserWarning")
def test_a_summary_that_is_not_plain_does_not_lose_the_end(here: Path) -> None:
    """Hours of training are over: the odd value is left out with a note, everything else is recorded."""
    with lineage.start_run() as run:
        run.summary.update({"best": np.float64(0.5), "model": object(), "scores": np.array([1.0, float("inf")])})
    ended = lineage.get(run.id)

    assert ended.state is RunState.finished
    assert ended.summary == {"best": 0.5, "scores": [1.0, "inf"]}
    assert any("summary.model" in note for note in ended.notes)


# --- secrets --------------------------------------------------------------------------------------------------------------------


def kept_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a store: database, write-ahead log, objects, caches."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_secret_reaches_the_store(here: Path) -> None:
    """Not from the command line, the environment, the configuration, an address, a note, an error or an artifact's facts: no byte of it."""
    script = f"""
import os, sys, lineage
database = {{"url": "postgresql://kim:{SECRET}@db/x", "password": "{SECRET}"}}
config = {{"api_key": "{SECRET}", "db": database, "note": os.environ["MY_API_TOKEN"]}}
with lineage.start_run(config=config) as run:
    run.note("called https://kim:{SECRET}@example.org with token={SECRET}")
    run.describe(config={{"late": {{"authToken": "{SECRET}"}}}})
    run.summary["address"] = "s3://key:{SECRET}@bucket"
    run.log_artifact("train.py", details={{"secret": "{SECRET}", "from": "https://x:{SECRET}@example.org"}})
    raise RuntimeError("cannot reach https://kim:{SECRET}@example.org/?api_key={SECRET}")
"""
    (here / ".gitignore").write_text(".lineage/\nscript.py\n")
    command(here, "git", "remote", "add", "origin", f"https://kim:{SECRET}@example.org/repo.git")
    (here / "script.py").write_text(script)
    words = [
        sys.executable,
        "script.py",
        "--api-key",
        SECRET,
        f"--token={SECRET}",
        f"db.password={SECRET}",
        f"postgresql://kim:{SECRET}@db/x",
    ]
    secrets = {"WANDB_API_KEY": SECRET, "MY_API_TOKEN": SECRET, "TORCH_HOME": f"https://kim:{SECRET}@example.org"}
    command(here, sys.executable, "-m", "lineage", "run", "--", *words, expect=1, **secrets)
    command(here, *words, expect=1, **secrets)

    assert len(lineage.runs()) == 2
    assert [name for name, content in kept_bytes(here / ".lineage").items() if SECRET.encode() in content] == []
    assert all("<redacted>" in word for run in lineage.runs() for word in run.command[3:])
    assert all(any("held a secret" in note for note in run.notes) for run in lineage.runs())
    assert lineage.runs()[0].config["db"]["url"] == "postgresql://<redacted>@db/x"
    assert not any(SECRET.encode() in content for name, content in kept_bytes(here / ".git").items() if name != "config")


# --- trackers -------------------------------------------------------------------------------------------------------------------


def test_a_tracker_that_cannot_start_is_a_note(here: Path) -> None:
    """W&B does not know the mode that it is given: one warning, one note, and the run is recorded as if it had not been asked for."""
    script = """
import lineage
with lineage.start_run(trackers=("wandb",)) as run:
    for step in range(3):
        run.log({"x": float(step)})
"""
    done = python(here, script, WANDB_MODE="not-a-mode")
    run = only_run()

    assert done.stderr.count("UserWarning: lineage: wandb could not be started") == 1
    assert run.state is RunState.finished
    assert len(points(run)) == 3
    assert [note for note in run.notes if "wandb could not be started" in note] == list(run.notes)
    assert run.trackers == {}


def test_a_tracker_that_fails_later_warns_once(here: Path) -> None:
    """Somebody ends the W&B run in the middle: training goes on, one warning and one note for all that W&B refuses from then on."""
    script = """
import lineage, wandb
with lineage.start_run(trackers=("wandb",)) as run:
    run.log({"x": 0.0})
    wandb.run.finish()
    for step in range(1, 4):
        run.log({"x": float(step)})
    run.log_artifact("train.py", kind="model")
"""
    done = python(here, script)
    run = only_run()

    assert done.stderr.count("UserWarning: lineage: wandb failed and is not complete for this run") == 1
    assert run.state is RunState.finished
    assert len(points(run)) == 4
    assert len(run.outputs) == 1
    assert len([note for note in run.notes if "wandb failed" in note]) == 1
