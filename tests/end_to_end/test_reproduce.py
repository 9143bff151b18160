"""The promise of the product through its commands: record, look up, reproduce, and say what differs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lineage.record.start import start_run
from lineage.settings import Settings
from lineage.wiring import wire
from tests.support.commands import looked, looked_up

QUERY = "select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:,3]<20), labels == 'car'))"

# No framework: the point is the record and its repetition, and a process without torch starts in a second.
TRAIN = """
import sys
import numpy as np
import lineage
from helper import FACTOR

seed = None if sys.argv[1] == "none" else int(sys.argv[1])
with lineage.start_run(project="parking", job_type="train", config={"rate": 0.1}, seed=seed) as run:
    train = run.use_dataset("ds", view="cars-20px", role="train")
    random = np.random.default_rng(seed)
    weights = np.zeros(4)
    for epoch in range(3):
        for position in random.permutation(len(train)):
            boxes = train[int(position)]["boxes"]
            weights += FACTOR * boxes.mean(axis=0) * random.normal()
            run.log({"loss": float(weights.sum()), "timing/steps_per_s": float(np.random.rand())})
    with open("weights.npy", "wb") as stream:
        np.save(stream, weights)
    run.log_artifact("weights.npy", kind="model")
print(run.id)
"""


@dataclass(frozen=True)
class Place:
    """A user's repository with a dataset, a view and a training script."""

    folder: Path

    def lineage(self, *arguments: str | Path, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = self._run([sys.executable, "-m", "lineage", *map(str, arguments)])
        if expect is not None:
            assert done.returncode == expect, done.stdout + done.stderr
        return done

    def train(self, seed: str = "7") -> str:
        done = self._run([sys.executable, "train.py", seed])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, run_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = looked_up(self.folder, "show", run_id)
        return shown

    def runs(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = looked_up(self.folder, "runs", *arguments)
        return found

    def record_nothing(self) -> str:
        ports = wire(Settings(str(self.folder / ".lineage"), self.folder / ".lineage"))
        with start_run(ports, folder=self.folder, command=["python", "-c", "pass"]) as run:
            pass
        ports.runs.close()
        return run.id

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=True).stdout

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, env={**os.environ, "WANDB_MODE": "disabled"}
        )


def make_source(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(8):
        buffer = BytesIO()
        Image.fromarray(np.full((48, 64, 3), number * 20, np.uint8)).save(buffer, "JPEG")
        stem = f"0000001_{number:05d}_d_{number:07d}"
        (folder / "images" / f"{stem}.jpg").write_bytes(buffer.getvalue())
        side = 10 if number % 4 == 3 else 21 + number
        people = "5,5,6,9,1,1,0,0\n" * (number % 2)  # not every picture has the same number of boxes
        (folder / "annotations" / f"{stem}.txt").write_text(f"1,2,{side},{side},1,4,0,0\n{people}")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Made once; a test that changes anything gets a copy of it."""
    folder = tmp_path_factory.mktemp("prepared") / "repository"
    folder.mkdir()
    place = Place(folder)
    (folder / ".gitignore").write_text("__pycache__/\n.lineage/\nsource*/\nds*/\n*.npy\n")
    (folder / "train.py").write_text(TRAIN)
    (folder / "helper.py").write_text("FACTOR = 0.5\n")
    place.git("init", "--quiet")
    place.git("add", "--all")
    place.git("commit", "--quiet", "--message", "training")
    make_source(folder / "source")
    place.lineage("upload", "visdrone", "source", "ds")
    place.lineage("view", "create", "ds", QUERY, "--name", "cars-20px")
    return place


@pytest.fixture
def place(prepared: Place, tmp_path: Path) -> Place:
    return Place(shutil.copytree(prepared.folder, tmp_path / "repository"))


def test_a_seeded_run_is_recorded_whole_and_reproduces_identical(place: Place) -> None:
    """The record names data, code, environment and outputs; look-ups work both ways; the reproduction is identical and linked."""
    run_id = place.train()

    shown = place.show(run_id[:8])
    used = shown["inputs"][0]
    assert (used["role"], used["rows"], used["rows_total"], used["query"]) == ("train", 6, 8, QUERY)
    assert used["uri"] == f"file://{place.folder / 'ds'}"
    assert all(used[key] for key in ("dataset_id", "branch", "commit_id", "view_id", "rows_digest", "content_digest"))
    assert shown["code"]["git_sha"] == place.git("rev-parse", "HEAD").strip()
    assert shown["code"]["is_dirty"] is False
    assert shown["environment"]["packages"]["numpy"]["version"] == np.__version__
    assert (shown["seed"], shown["config"], shown["state"]) == (7, {"rate": 0.1}, "finished")
    assert shown["command"] == ["python", "train.py", "7"]
    by_file = looked_up(place.folder, "data", "weights.npy")
    assert [item["run_id"] for item in by_file["runs"]] == [run_id]
    models = looked_up(place.folder, "models", "ds")
    assert [item["model"]["digest"] for item in models] == [shown["outputs"][0]["digest"]]

    report = json.loads(place.lineage("reproduce", run_id, "--json").stdout)

    assert report["verdict"] == "identical"
    assert {change["subject"] for change in report["comparison"]["changes"]} == {"data train", "metrics", "output weights.npy"}
    assert any("timing/steps_per_s" in line for line in report["comparison"]["not_checked"])
    again = place.show(report["replica_id"])
    assert again["reproduces"] == run_id
    assert again["fingerprint"] == shown["fingerprint"]
    assert [item["verdict"] for item in place.show(run_id)["reproductions"]] == ["identical"]
    assert report["workspace"] is None
    assert list((place.folder / ".lineage" / "workspaces").iterdir()) == []
    assert place.git("status", "--porcelain") == ""


def test_what_happened_since_does_not_matter(place: Place) -> None:
    """Newer code, newer data under the same name and a deleted script: the reproduction uses what was recorded."""
    import deeplake

    run_id = place.train()
    (place.folder / "helper.py").write_text("FACTOR = 99\n")
    (place.folder / "train.py").unlink()
    place.git("commit", "--quiet", "--all", "--message", "rewrite")
    dataset = deeplake.open(str(place.folder / "ds"))
    dataset.append(
        {
            name: dataset[name].get_bytes([0]) if name == "images" else dataset[name][[0]]
            for name in [c.name for c in dataset.schema.columns]
        }
    )
    dataset.commit("more rows")

    done = place.lineage("reproduce", run_id)

    assert done.stdout.splitlines()[-1] == "verdict: identical"


def test_uncommitted_work_is_reproduced_too(place: Place) -> None:
    """A dirty tree with an untracked module is captured as it was, and the user's index and files stay untouched."""
    (place.folder / "helper.py").write_text("from constants import FACTOR\n")
    (place.folder / "constants.py").write_text("FACTOR = 0.25\n")
    before = place.git("status", "--porcelain=v2")
    run_id = place.train()
    assert place.git("status", "--porcelain=v2") == before
    place.git("stash", "--include-untracked", "--quiet")

    done = place.lineage("reproduce", run_id)

    assert place.show(run_id)["code"]["changed"] == ["constants.py", "helper.py"]
    assert done.stdout.splitlines()[-1] == "verdict: identical"


def test_an_unseeded_run_diverges_and_the_first_step_is_named(place: Place) -> None:
    """Without a fixed seed the verdict is diverged, exit code 1, with the first differing step and the missing seed as likeliest cause."""
    run_id = place.train("none")

    done = place.lineage("reproduce", run_id, expect=1)

    assert "first difference at step 0: loss = " in done.stdout
    assert "seed: random numbers will differ" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("verdict: diverged")


def test_a_changed_label_in_a_copy_blocks_before_anything_runs(place: Place) -> None:
    """Data that differ in one label are named by row and sample, exit code 4, and no run is started; a true copy is accepted."""
    run_id = place.train()
    shutil.copytree(place.folder / "ds", place.folder / "ds-copy")
    shutil.copytree(place.folder / "source", place.folder / "source-relabelled")
    changed = place.folder / "source-relabelled" / "annotations" / "0000001_00002_d_0000002.txt"
    changed.write_text(changed.read_text().replace(",1,4,", ",1,5,"))
    place.lineage("upload", "visdrone", "source-relabelled", "ds-relabelled")
    known = len(place.runs())

    blocked = place.lineage("reproduce", run_id, "--data", "train=ds-relabelled", expect=4)
    copied = place.lineage("reproduce", run_id, "--data", "train=ds-copy", "--plan")

    assert "data differ in 1 of 6 rows: row 2 (0000001_00002_d_0000002: annotations)" in blocked.stdout
    assert blocked.stdout.splitlines()[-1].startswith("verdict: blocked")
    assert len(place.runs()) == known
    assert copied.stdout.splitlines()[-1] == "nothing stands in the way"


def test_all_blockers_are_named_at_once(place: Place) -> None:
    """Missing data and an altered record are both in the plan; nothing is run."""
    import sqlite3

    run_id = place.train()
    shutil.rmtree(place.folder / "ds")
    with sqlite3.connect(place.folder / ".lineage" / "lineage.sqlite") as database:
        database.execute("UPDATE events SET payload = replace(payload, '\"seed\":7', '\"seed\":8') WHERE run_id = ?", (run_id,))
    database.close()

    report = json.loads(place.lineage("reproduce", run_id, "--json", expect=4).stdout)

    assert report["verdict"] == "blocked"
    assert len(report["plan"]["blockers"]) == 2
    assert report["plan"]["blockers"][0].startswith("record changed: record")
    assert report["plan"]["blockers"][1].startswith("data: train missing: no dataset")


def test_a_command_that_fails_is_inconclusive(place: Place) -> None:
    """A recorded command that ends with an error when repeated gives no verdict about the result: exit code 3, and why."""
    (place.folder / "outside.txt").write_text("0.5")
    (place.folder / ".gitignore").write_text("__pycache__/\n.lineage/\nsource*/\nds*/\n*.npy\noutside.txt\n")
    (place.folder / "helper.py").write_text("FACTOR = float(open('outside.txt').read())\n")
    run_id = place.train()

    done = place.lineage("reproduce", run_id, expect=3)

    assert "the command ended with status 1" in done.stdout.splitlines()[-1]
    assert "outside.txt" in done.stderr


def test_any_command_is_recorded_and_reproduced(place: Place) -> None:
    """lineage run wraps a command; a program that starts a run inside adds to the same record."""
    done = place.lineage("run", "--name", "wrapped", "--", sys.executable, "train.py", "7")
    inner = done.stdout.strip()

    shown = place.show(inner)
    assert (shown["name"], shown["project"], shown["seed"], shown["state"]) == ("wrapped", "parking", 7, "finished")
    assert len(place.runs("--job-type", "train")) == 1
    assert shown["summary"]["loss"] != 0
    assert place.lineage("reproduce", inner).stdout.splitlines()[-1] == "verdict: identical"
    assert place.lineage("run", "--", sys.executable, "-c", "raise SystemExit(5)", expect=5).returncode == 5


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "ffffffff"], 5, "no run 'ffffffff'"),
        (["show", "not-an-id!"], 2, "is no run id"),
        (["reproduce", "ffffffff"], 5, "no run 'ffffffff'"),
        (["data", "no-such-file.pth"], 5, "neither a file, nor a digest, nor a run id"),
        (["data", "helper.py"], 5, "no recorded run made sha256:"),
        (["view", "create", "ds", "select * where", "--name", "v"], 7, "syntax error"),
        (["view", "create", "ds", "select * where colour == 1", "--name", "v"], 7, '"colour" does not exist'),
        (["view", "create", "ds", "select * where any(labels == 'cat')", "--name", "v"], 7, "'cat' is not valid value"),
        (["view", "create", "ds", "select * where any(boxes[:,2] > 4000)", "--name", "v"], 7, "it keeps none of 8 rows"),
        (["view", "create", "ds", "select *", "--name", "cars-20px"], 6, "exists with other rows"),
        (["view", "create", "nowhere", "select *", "--name", "v"], 5, "no dataset"),
        (["upload", "kitti", "source", "ds2"], 2, "no importer 'kitti'"),
        (["upload", "visdrone", "nowhere", "ds2"], 7, "found nothing"),
        (["serve", "--host", "0.0.0.0"], 2, "there is no valid access token"),
    ],
)
def test_bad_input_is_one_clear_error_with_its_exit_code(prepared: Place, arguments: list[str], code: int, says: str) -> None:
    """Each kind of mistake is one sentence on stderr with a hint, nothing on stdout, no traceback."""
    done = prepared.lineage(*arguments, expect=code)

    assert says in done.stderr
    assert done.stdout == ""
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr


def test_an_ambiguous_prefix_lists_the_candidates(place: Place) -> None:
    """A prefix that fits several runs is an error that names them."""
    ids = [item["id"] for item in place.runs()]
    while not any(a[0] == b[0] for i, a in enumerate(ids) for b in ids[:i]):
        ids.append(place.record_nothing())
    shared = next(a[0] for i, a in enumerate(ids) for b in ids[:i] if a[0] == b[0])

    done = looked(place.folder, "show", shared, status=2)

    assert f"'{shared}' fits" in done.stderr
    assert all(run_id[:12] in done.stderr for run_id in ids if run_id.startswith(shared))


def test_views_warn_about_filters_that_do_nothing(place: Place) -> None:
    """A query that keeps everything, or almost nothing, is saved with a warning."""
    everything = place.lineage("view", "create", "ds", "select * where any(boxes[:,2] > 0)", "--name", "all")
    one = place.lineage("view", "create", "ds", "select * where any(boxes[:,2] == 22)", "--name", "one")

    assert "keeps every one of 8 rows" in everything.stderr
    assert "keeps almost nothing: 1 of 8 rows" in one.stderr


def test_a_script_named_by_its_whole_path_brings_the_recorded_code(place: Place) -> None:
    """Absolute script paths and PYTHONPATH entries inside the repository lead to the snapshot, not to today's files."""
    (place.folder / "library").mkdir()
    (place.folder / "library" / "extra.py").write_text("TERM = 1.0\n")
    script = place.folder / "train.py"
    script.write_text(script.read_text().replace("from helper import FACTOR", "from extra import TERM\nfrom helper import FACTOR"))
    script.write_text(script.read_text().replace("weights = np.zeros(4)", "weights = np.zeros(4) + TERM"))
    place.git("add", "--all")
    place.git("commit", "--quiet", "--message", "library")
    variables = {**os.environ, "WANDB_MODE": "disabled", "PYTHONPATH": str(place.folder / "library")}
    command = [sys.executable, str(script), "7"]
    run_id = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=True, env=variables).stdout.strip()
    (place.folder / "helper.py").write_text("FACTOR = 99\n")
    (place.folder / "library" / "extra.py").write_text("TERM = 99.0\n")

    again = [sys.executable, "-m", "lineage", "reproduce", run_id]
    done = subprocess.run(again, cwd=place.folder, capture_output=True, text=True, check=False, env=variables)

    assert done.stdout.splitlines()[-1] == "verdict: identical", done.stdout + done.stderr


def test_results_that_are_only_in_the_summary_are_compared(place: Place) -> None:
    """A value put into the summary that differs makes the verdict diverged and is named."""
    (place.folder / "train.py").write_text(
        "import time, lineage\n"
        "with lineage.start_run(seed=1) as run:\n"
        "    run.log({'a': 1})\n"
        "    run.summary['accuracy'] = time.time()\n"
        "print(run.id)\n"
    )

    done = place.lineage("reproduce", place.train(), expect=1)

    assert "summary: accuracy = " in done.stdout.splitlines()[-1]


def test_a_program_from_standard_input_is_blocked_not_guessed(place: Place) -> None:
    """It is blocked with the reason; nothing is run."""
    given = "import lineage\nwith lineage.start_run() as run: run.log({'a': 1})\nprint(run.id)\n"
    done = subprocess.run([sys.executable, "-"], cwd=place.folder, input=given, capture_output=True, text=True, check=True)

    blocked = place.lineage("reproduce", done.stdout.strip(), expect=4)

    assert "standard input" in blocked.stdout


def test_any_run_of_a_process_is_repeated_and_no_other_is_recorded(place: Place) -> None:
    """Those before it draw the random numbers that they drew, but leave no record; those after it are not run."""
    (place.folder / "loop.py").write_text(
        "import pathlib, random, lineage\n"
        "numbers = random.Random(3)\n"
        "for turn in range(4):\n"
        "    with lineage.start_run(project='loop', group='five', seed=turn) as run:\n"
        "        run.log({'drawn': numbers.random(), 'turn': turn})\n"
        "    print(run.id)\n"
    )
    done = subprocess.run([sys.executable, "loop.py"], cwd=place.folder, capture_output=True, text=True, check=True)
    first, _, third, _ = done.stdout.split()
    known = {run["id"] for run in place.runs("--project", "loop")}

    told = place.lineage("reproduce", third, expect=0)
    assert "it was run number 3 of its process: the 2 before it are executed again, unrecorded" in told.stderr
    (again,) = {run["id"] for run in place.runs("--project", "loop")} - known
    assert place.lineage("reproduce", again, expect=0).stdout.splitlines()[-1] == "verdict: identical"
    place.lineage("reproduce", first, expect=0)
    new = [run for run in place.runs("--project", "loop") if run["id"] not in known]
    assert sorted(run["reproduces"] for run in new) == sorted([first, third, again])


def test_an_upload_is_not_repeated_onto_its_target(place: Place) -> None:
    """Reproducing an upload is blocked: it would write to the user's dataset."""
    uploads = place.runs("--job-type", "dataset_upload")

    done = place.lineage("reproduce", uploads[0]["id"], expect=4)

    assert "an upload writes to its target" in done.stdout


def test_a_secret_on_a_command_line_is_nowhere(place: Place) -> None:
    """Not in the record, not in the error of a program that cannot be started, and a reproduction says what is missing."""
    done = place.lineage("run", "--", "no-such-program", "--token", "hush-1234-hush", expect=10)
    store = b"".join(path.read_bytes() for path in (place.folder / ".lineage").glob("lineage.sqlite*"))
    run = place.runs("--job-type", "command")[0]

    assert "hush-1234-hush" not in done.stdout + done.stderr
    assert b"hush-1234-hush" not in store
    assert "needs argument --token (a secret, not recorded)" in place.lineage("reproduce", run["id"], expect=4).stdout


def test_termination_ends_the_command_and_closes_the_record(place: Place) -> None:
    """SIGTERM of lineage run ends its child too, and the run is aborted."""
    import signal
    import time

    mark = place.folder / "started"
    program = f"import pathlib, time; pathlib.Path({str(mark)!r}).write_text(str(__import__('os').getpid())); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-m", "lineage", "run", "--", sys.executable, "-c", program], cwd=place.folder)
    limit = time.monotonic() + 20
    while not (mark.exists() and mark.read_text()) and time.monotonic() < limit:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)

    assert child.wait(20) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    assert place.runs("--job-type", "command")[0]["state"] == "aborted"


def test_a_store_in_a_folder_of_the_user_hides_none_of_its_files(place: Place) -> None:
    """LINEAGE_STORE may name a folder with files in it: no ignore file is put there."""
    subprocess.run(
        [sys.executable, "-m", "lineage", "runs"],
        cwd=place.folder,
        check=True,
        capture_output=True,
        env={**os.environ, "LINEAGE_STORE": "."},
    )

    assert (place.folder / ".gitignore").read_text().startswith("__pycache__/")
