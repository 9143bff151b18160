"""``lineage run -- python train.py``: programs that know nothing of this package, as child processes, with what is recorded of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.model.digest import digest_of_bytes, digest_of_file
from lineage.model.run import Run
from lineage.record.observed.file_lists import FILES, read_list
from lineage.record.observed.observation import HOOK
from lineage.wiring import wire

TIMEOUT_S = 120

TRAIN = """
    import json, os, random
    random.seed(SEED)
    rates = json.load(open("rates.json"))
    rows = [float(line) for line in open("data/rows.txt")]
    os.makedirs("out", exist_ok=True)
    weight = 0.0
    for epoch in range(3):
        weight += rates["rate"] * sum(rows) * random.random()
        print(f"epoch {epoch} loss={1 / (1 + weight):.9f} acc: {weight / 9:.4f} time=0.1s")
    with open("out/model.pt.part", "w") as stream:
        stream.write(str(weight))
    os.replace("out/model.pt.part", "out/model.pt")
    with open("out/scratch", "w") as stream:
        stream.write("x")
    os.remove("out/scratch")
"""


@pytest.fixture
def here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a script, data that git ignores, and the store in it."""
    (repository / ".gitignore").write_text("data/\nout/\n.lineage/\n")
    (repository / "rates.json").write_text('{"rate": 0.5}\n')
    (repository / "data").mkdir()
    (repository / "data" / "rows.txt").write_text("1\n2\n3\n")
    write(repository, TRAIN.replace("SEED", "1"))
    monkeypatch.chdir(repository)
    return repository


def write(folder: Path, program: str, name: str = "train.py") -> None:
    (folder / name).write_text(textwrap.dedent(program))


def run(folder: Path, *words: str, expect: int = 0, options: tuple[str, ...] = (), **variables: str) -> Run:
    """Execute a command through ``lineage run`` and return its record."""
    done = subprocess.run(
        ["lineage", "run", *options, "--", *(words or ("python", "train.py"))],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return lineage.get(lineage.runs()[0].id)


def points(found: Run) -> list[tuple[int, dict[str, float]]]:
    return [(point.step, point.values) for point in wire().runs.metrics(found.id)]


def outputs(found: Run) -> dict[str, str]:
    return {item.name: item.kind for item in found.outputs}


def reproduce(folder: Path, found: Run, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        ["lineage", "reproduce", found.id, "--json", *options], cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_an_unchanged_script_is_recorded_with_its_files_and_what_it_prints(here: Path) -> None:
    found = run(here)

    assert outputs(found) == {"out/model.pt": "model"}  # under its last name; what was deleted again is nothing
    assert found.outputs[0].digest == digest_of_file(here / "out/model.pt")
    assert [(item.role, item.path, item.digest) for item in found.uses] == [("read", "data/rows.txt", digest_of_bytes(b"1\n2\n3\n"))]
    assert found.observed is not None
    assert "rates.json" in found.observed.read
    assert [step for step, _ in points(found)] == [0, 1, 2]
    assert all(values.keys() == {"loss", "acc"} for _, values in points(found))
    assert found.summary.keys() == {"loss", "acc"}
    assert found.notes == ()
    assert list(here.glob(".lineage/observed/*")) == []


def test_a_deterministic_script_is_identical_when_it_is_reproduced_and_blocked_without_its_data(here: Path) -> None:
    found = run(here)
    report = reproduce(here, found)

    assert report["verdict"] == "identical", report
    assert {"metrics", "output out/model.pt"} <= {change["subject"] for change in report["comparison"]["changes"]}

    (here / "data" / "rows.txt").write_text("4\n")  # what it read is another now
    report = reproduce(here, found)
    assert report["verdict"] == "blocked"
    assert "data/rows.txt" in json.dumps(report["plan"])


def test_an_unseeded_script_diverges_at_the_first_printed_number_that_differs(here: Path) -> None:
    write(here, TRAIN.replace("SEED", ""))
    report = reproduce(here, run(here), "--keep-going")

    assert report["verdict"] == "diverged"
    assert "step 0: acc" in report["reason"]


def test_a_file_that_differs_each_time_counts_unless_it_is_declared_volatile(here: Path) -> None:
    write(here, TRAIN.replace("SEED", "1") + "    import uuid\n    open('out/train.log', 'w').write(str(uuid.uuid4()))\n")
    strict, lenient = run(here), run(here, options=("--volatile", "*.log"))

    assert reproduce(here, strict)["verdict"] == "diverged"
    report = reproduce(here, lenient)
    assert report["verdict"] == "identical"
    assert any("out/train.log" in line for line in report["comparison"]["not_checked"])


def test_a_folder_that_is_made_aside_and_renamed_counts_under_its_last_name(here: Path) -> None:
    write(
        here,
        """
        import os
        for number in range(2):
            os.makedirs("aside/inner", exist_ok=True)
            open("aside/inner/model.pt", "w").write(str(number))
            os.rename("aside", f"checkpoint-{number}")
        """,
    )

    assert outputs(run(here)) == {"checkpoint-0/inner/model.pt": "model", "checkpoint-1/inner/model.pt": "model"}


def test_a_killed_script_leaves_what_it_had_done(here: Path) -> None:
    write(
        here,
        """
        import os, signal
        open("first.txt", "w").write("1")
        print("epoch 0 loss=0.5")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    found = run(here, expect=137)

    assert found.state.value == "failed"
    assert outputs(found) == {"first.txt": "file"}
    assert points(found) == [(0, {"loss": 0.5})]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_take_part(here: Path, method: str) -> None:
    """What they open counts; what they print does not, as which of several comes first is left to chance."""
    write(
        here,
        """
        import multiprocessing, sys
        def work(number):
            open(f"part-{number}.txt", "w").write(open("data/rows.txt").read())
            print(f"epoch {number} loss=9.0", flush=True)
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            started = [context.Process(target=work, args=(number,)) for number in range(2)]
            for process in started:
                process.start()
            for process in started:
                process.join()
            print("epoch 0 loss=1.0")
        """,
    )
    found = run(here, "python", "train.py", method)

    assert outputs(found) == {"part-0.txt": "file", "part-1.txt": "file"}
    assert [item.path for item in found.uses] == ["data/rows.txt"]
    assert points(found) == [(0, {"loss": 1.0})]


def test_python_that_a_shell_script_starts_is_observed(here: Path) -> None:
    (here / "train.sh").write_text("set -e\necho epoch 7 loss=7\npython train.py\npython -c \"print(open('out/model.pt').read())\"\n")
    found = run(here, "bash", "train.sh")

    assert outputs(found) == {"out/model.pt": "model"}
    assert len(points(found)) == 3  # the shell's own line is not Python's
    assert [item.path for item in found.uses] == ["data/rows.txt"]  # the second process reads what the first one made
    assert found.observed is not None
    assert found.observed.processes == 2


def test_a_command_without_python_says_that_nothing_is_known_of_its_files(here: Path) -> None:
    found = run(here, "sh", "-c", "echo x > made.txt")

    assert found.outputs == ()
    assert any("no Python process" in note for note in found.notes)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another environment: without this package, and without any."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=TIMEOUT_S)
    return folder


def test_an_interpreter_without_this_package_is_observed_and_its_environment_recorded(here: Path, bare: Path) -> None:
    found = run(here, str(bare / "bin" / "python"), "train.py")

    assert outputs(found) == {"out/model.pt": "model"}
    assert len(points(found)) == 3
    assert found.environment is not None
    assert found.environment.executable == str(bare / "bin" / "python")
    assert found.environment.packages == {}
    assert found.notes == ()
    assert reproduce(here, found)["verdict"] == "identical"  # in an environment like that one


def test_another_interpreter_behind_a_script_is_told(here: Path, bare: Path) -> None:
    (here / "train.sh").write_text(f"{bare}/bin/python train.py\n")
    found = run(here, "sh", "train.sh")

    assert any(f"ran in another: {bare}/bin/python" in note for note in found.notes)


def test_a_script_that_records_itself_joins_and_nothing_is_there_twice(here: Path) -> None:
    write(
        here,
        """
        import lineage
        with lineage.start_run(seed=1, config={"rate": 1}) as run:
            for epoch in range(2):
                run.log({"loss": 0.25 * epoch})
                print(f"epoch {epoch} loss={0.25 * epoch} acc={epoch}")
            open("model.pt", "w").write("weights")
            run.log_artifact("model.pt", kind="model")
            open("report.txt", "w").write("fine")
        """,
    )
    found = run(here)

    assert [values["loss"] for _, values in points(found) if "loss" in values] == [0.0, 0.25]
    assert [(step, values["acc"]) for step, values in points(found) if "acc" in values] == [(0, 0.0), (1, 1.0)]
    assert outputs(found) == {"model.pt": "model", "report.txt": "file"}
    assert found.seed == 1
    assert reproduce(here, found)["verdict"] == "identical"


def test_files_of_packages_code_caches_and_the_store_are_left_out(here: Path) -> None:
    (here / "helper.py").write_text("VALUE = 1\n")
    write(
        here,
        """
        import json, os, pathlib, sysconfig, tempfile
        import helper
        open(os.path.join(sysconfig.get_path("stdlib"), "LICENSE.txt"), "rb") if False else open(json.__file__).read()
        cache = pathlib.Path(os.environ["XDG_CACHE_HOME"], "tool")
        cache.mkdir(parents=True)
        (cache / "index").write_text("x")
        (cache / "index").read_text()
        open("/proc/self/status").read()
        with tempfile.NamedTemporaryFile() as stream:
            stream.write(b"x")
        """,
    )
    found = run(here)

    assert found.outputs == ()
    assert found.uses == ()
    assert found.observed is not None
    assert found.observed.read == ()


def test_a_configuration_that_is_executed_is_a_file_that_was_read(here: Path) -> None:
    (here / "data" / "options.py").write_text("RATE = 0.5\n")
    write(here, "exec(open('data/options.py').read())\nprint(f'epoch 1 loss={RATE}')\n")

    assert [item.path for item in run(here).uses] == ["data/options.py"]


def test_a_database_that_is_opened_by_its_address_is_a_file_that_was_read(here: Path) -> None:
    with contextlib.closing(sqlite3.connect(here / "data" / "a b.db")) as database:
        database.execute("create table t (x)")
        database.commit()
    where = (here / "data" / "a b.db").as_uri()
    write(
        here,
        "import sqlite3\nfor at in ('file:data/a%20b.db?mode=ro', WHERE):\n    sqlite3.connect(at, uri=True).close()\n".replace(
            "WHERE", repr(where)
        ),
    )
    found = run(here)

    assert [(item.role, item.path) for item in found.uses] == [("read", "data/a b.db")]
    assert outputs(found) == {}


def test_a_file_that_is_written_through_a_link_is_an_output(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "last.pt").symlink_to("first.pt")
    (here / "out" / "old.pt").write_text("0")
    write(here, "import os\nopen('out/last.pt', 'w').write('1')\nopen('out/x', 'w')\nos.remove('out/x')\nos.symlink('old.pt', 'out/x')\n")
    found = run(here)

    assert outputs(found) == {"out/first.pt": "model"}  # nothing wrote what the other link leads to


def test_a_program_in_a_folder_named_as_a_tracker_s_is_observed(here: Path) -> None:
    inner = here / "wandb" / "examples"
    inner.mkdir(parents=True)
    write(inner, "open('../../data/rows.txt').read()\nopen('model.pt', 'w').write('1')\n")
    found = run(inner)

    assert outputs(found) == {"wandb/examples/model.pt": "model"}
    assert [item.path for item in found.uses] == ["data/rows.txt"]


def test_many_files_in_a_folder_are_one_entry_and_come_back_for_a_reproduction(here: Path) -> None:
    (here / "data" / "rows.txt").unlink()
    for number in range(60):
        (here / "data" / f"{number:02}.txt").write_text(f"{number}\n")
    write(
        here,
        """
        import os, pathlib
        total = sum(int(path.read_text()) for path in sorted(pathlib.Path("data").iterdir()))
        os.makedirs("out", exist_ok=True)
        for number in range(250):
            open(f"out/{number:03}.txt", "w").write(str(total + number))
        """,
    )
    found = run(here)

    assert [(item.kind, item.path) for item in found.uses] == [(FILES, "data")]
    assert len(read_list(wire().objects, found.uses[0].digest)) == 60
    assert outputs(found) == {"out": FILES}
    assert reproduce(here, found)["verdict"] == "identical"
    (here / "data" / "07.txt").write_text("8\n")
    report = reproduce(here, found)
    assert report["verdict"] == "blocked"
    assert "07.txt" in json.dumps(report["plan"])


def test_files_with_secrets_are_named_and_not_even_digested(here: Path) -> None:
    secret = "hush-1234-hush"
    (here / "data" / "options.json").write_text(json.dumps({"api_key": secret}))
    (here / ".gitignore").write_text("data/\n.env\n.lineage/\n")
    (here / ".env").write_text(f"KEY={secret}\n")
    write(here, "print(len(open('.env').read()), len(open('data/options.json').read()))\n")
    found = run(here)

    assert found.uses == ()
    assert any(".env" in note and "options.json" in note for note in found.notes)
    kept = b"".join(path.read_bytes() for path in (here / ".lineage").rglob("*") if path.is_file())
    assert secret.encode() not in kept
    assert digest_of_file(here / ".env").encode() not in kept


def test_a_file_that_is_changed_after_it_was_read_is_said_to_be_unknown(here: Path) -> None:
    write(here, "text = open('data/rows.txt').read()\nopen('data/rows.txt', 'a').write('4\\n')\n")
    found = run(here)

    assert outputs(found) == {"data/rows.txt": "file"}
    assert found.uses == ()
    assert any("data/rows.txt" in note and "what was read is not known" in note for note in found.notes)


def test_the_site_s_own_start_file_still_runs_and_children_find_their_modules(here: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import builtins\nbuiltins.SITE = 'it ran'\n")
    write(here, "import sys\nopen('told.txt', 'w').write(SITE + str([p for p in sys.path if 'observed' in p]))\n")
    found = run(here, PYTHONPATH=os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))

    assert (here / "told.txt").read_text() == "it ran[]"
    assert outputs(found) == {"told.txt": "file"}


def test_a_program_that_closes_every_file_keeps_its_own(here: Path) -> None:
    """The number of the note's file may then belong to a file of the program, which must not get a word of it."""
    write(
        here,
        """
        import os
        mine = os.open("mine.bin", os.O_WRONLY | os.O_CREAT)
        for number in range(200, 220):
            os.dup2(mine, number)
        open("after.txt", "w").write("x")
        print("epoch 1 loss=0.5")
        """,
    )
    found = run(here)

    assert (here / "mine.bin").read_bytes() == b""
    assert outputs(found) == {"mine.bin": "file", "after.txt": "file"}
    assert points(found) == [(1, {"loss": 0.5})]


def test_printed_numbers_and_files_can_be_left_alone(here: Path) -> None:
    silent, blind = run(here, options=("--no-printed",)), run(here, options=("--no-observe",))

    assert points(silent) == []
    assert outputs(silent) == {"out/model.pt": "model"}
    assert (points(blind), blind.outputs, blind.uses, blind.observed) == ([], (), (), None)


def test_ctrl_c_keeps_what_was_seen(here: Path) -> None:
    write(here, "import time\nopen('made.txt', 'w').write('1')\nprint('epoch 0 loss=0.5', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        ["lineage", "run", "--", "python", "train.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert "epoch 0" in process.stdout.readline()
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=TIMEOUT_S)
    found = lineage.get(lineage.runs()[0].id)

    assert found.state.value == "aborted"
    assert outputs(found) == {"made.txt": "file"}
    assert points(found) == [(0, {"loss": 0.5})]


def test_what_a_killed_observer_leaves_is_gone_after_the_next_run(here: Path) -> None:
    write(here, "import time\nprint('epoch 0 loss=0.5', flush=True)\ntime.sleep(60)\n", "sleep.py")
    process = subprocess.Popen(["lineage", "run", "--", "python", "sleep.py"], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert "epoch 0" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_S)
    assert len(list(here.glob(".lineage/observed/*"))) == 1

    run(here)

    assert list(here.glob(".lineage/observed/*")) == []


def test_a_script_that_uses_numpy_is_identical(here: Path) -> None:
    write(
        here,
        """
        import numpy as np
        rng = np.random.default_rng(3)
        rows = np.loadtxt("data/rows.txt")
        weights = np.zeros(3)
        for step in range(4):
            weights += 0.1 * rng.normal(size=3) * rows
            print(f"step {step}/4 | loss {float((weights ** 2).sum()):.12f} | lr 1e-1")
        np.save("weights.npy", weights)
        """,
    )
    found = run(here)

    assert outputs(found) == {"weights.npy": "file"}
    assert [item.path for item in found.uses] == ["data/rows.txt"]
    assert [values["lr"] for _, values in points(found)] == [0.1] * 4
    assert reproduce(here, found)["verdict"] == "identical"


def test_weights_that_torch_writes_without_python_s_knowing_are_outputs(here: Path) -> None:
    write(
        here,
        """
        import torch
        torch.manual_seed(0)
        model = torch.nn.Linear(2, 1)
        torch.save(model.state_dict(), "out.pt")
        print("epoch 0 loss=%.6f" % float(model.weight.sum()))
        """,
    )
    found = run(here)

    assert outputs(found) == {"out.pt": "model"}


@pytest.mark.slow
def test_what_a_script_logs_to_wandb_is_there_once_beside_what_it_prints(here: Path) -> None:
    pytest.importorskip("wandb")
    (here / ".gitignore").write_text("data/\nwandb/\n.lineage/\n")
    write(
        here,
        """
        import wandb
        run = wandb.init(project="parking", config={"rate": 0.1})
        for step in range(3):
            run.log({"loss": 1 / (step + 1)})
            print(f"step {step} loss={1 / (step + 1):.3f} val_acc={step}")
        open("model.pt", "w").write("weights")
        run.finish()
        """,
    )
    found = run(here)

    assert [values["loss"] for _, values in points(found) if "loss" in values] == [1.0, 1 / 2, 1 / 3]
    assert [(step, values["val_acc"]) for step, values in points(found) if "val_acc" in values] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert outputs(found) == {"model.pt": "model"}
    assert (found.uses, found.config) == ((), {"rate": 0.1})
    assert reproduce(here, found)["verdict"] == "identical"


def test_the_hook_s_folder_holds_nothing_that_could_hide_a_module_of_the_program() -> None:
    assert {path.name for path in HOOK.glob("*.py")} == {"__init__.py", "sitecustomize.py"}


def test_a_python_that_cannot_tell_is_named(here: Path) -> None:
    """Started without its environment, or isolated: what it reads and writes is not in the record, and a reproduction says so."""
    other = here.parent / "python-other"  # they are told apart by their names
    other.symlink_to(sys.executable)
    write(here, "import sys\nopen(f'unseen{len(sys.argv)}.txt', 'w').write('x')", "other.py")
    write(
        here,
        f"""
        import subprocess, sys
        print("loss=0.5")
        subprocess.run([sys.executable, "other.py"], env={{"HOME": "/tmp"}}, check=True)
        subprocess.run([{str(other)!r}, "-I", "other.py", "isolated"], check=True)
        """,
    )
    found = run(here)
    assert found.observed is not None
    assert {"python without its environment", "python-other without its environment"} <= set(found.observed.native)
    assert not {"unseen1.txt", "unseen2.txt"} & {item.name for item in found.outputs}
    done = subprocess.run(["lineage", "reproduce", found.id], cwd=here, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert "without its environment" in done.stdout
    assert "what the command printed, beyond the numbers that are metrics" in done.stdout


def test_the_plan_says_what_lies_outside_and_will_be_replaced(here: Path, tmp_path: Path) -> None:
    kept = tmp_path / "model.pt"
    write(here, f"open({str(kept)!r}, 'w').write('weights')\nprint('loss=0.5')\n")
    found = run(here)
    done = subprocess.run(
        ["lineage", "reproduce", found.id, "--plan"], cwd=here, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert f"will again: {kept} is replaced" in done.stderr


def test_a_file_that_was_read_and_differs_is_called_that(here: Path) -> None:
    first = run(here)
    (here / "data" / "rows.txt").write_text("1\n2\n4\n")
    found = lineage.diff(first.id, run(here).id)
    assert [change.name for change in found.files_read] == ["data/rows.txt"]
    assert found.base_weights == ()
    assert any(cause.sentence.startswith("file read: 'data/rows.txt' is sha256:") for cause in found.causes)
