"""What an agent does with programs that are stopped early, fail, know other parameters, log something else, or are called off."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lineage.errors import ExecutionFailed, InvalidSource, NotFound, Unavailable, UsageError
from lineage.model.comparison import Verdict
from lineage.model.run import RunState
from lineage.ports.sweeps import Trial
from lineage.record.start import start_run
from lineage.reproduce.bundle_file import BundleFile
from lineage.reproduce.bundle_import import import_bundle
from lineage.reproduce.execute import reproduce
from lineage.settings import load_settings
from lineage.sweeping.agent import work
from lineage.wiring import wire
from tests.support.commands import looked
from tests.support.sweeping import TRAIN, Agents, agents, is_over, write

GRID = """
    program: train.py
    method: grid
    metric: {name: loss}
    parameters: {lr: {values: [0.5, 0.1, 1e-3, 0.3]}}
"""


@pytest.fixture
def made(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agents]:
    """Agents in a repository with a program and a grid of four trials."""
    write(repository, train=TRAIN, sweep=GRID)
    monkeypatch.chdir(repository)
    with agents() as found:
        yield found


def again(crew_run: tuple[Agents, str], run_id: str) -> tuple[Verdict | None, str | None]:
    found, sweep_id = crew_run
    ports = found.crew(sweep_id).ports
    report = reproduce(ports, ports.runs.get(run_id), variables=os.environ | {"LINEAGE_STORE": str(ports.folder)}, environment="current")
    return report.verdict, report.stopped


def test_trials_are_stopped_early_and_reproduce_as_such(made: Agents, repository: Path) -> None:
    """The value that decided is the result, whatever came after it; the same seed stops the same trials; a repetition ends there, too."""
    program = """
        import argparse, time
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float)
        lr = parser.parse_args().lr
        for epoch in range(4):
            print(f"epoch {epoch} loss={lr + 1 / (epoch + 1)!r}", flush=True)
        if lr > 6:
            time.sleep(300)
    """
    definition = """
        program: train.py
        method: grid
        metric: {name: loss}
        parameters: {lr: {values: [1, 2, 3, 4, 5, 6, 7]}}
        early_terminate: {type: hyperband, min_iter: 2, eta: 2}
    """
    write(repository, train=program, sweep=definition)
    first, second = made.make(), made.make()
    for sweep_id in (first, second):
        made.work(sweep_id)
    trials, others = (made.crew(first).engine.trials(sweep_id) for sweep_id in (first, second))
    stopped = [item for item in trials if item.state == "stopped"]
    held = next(item for item in stopped if item.parameters["lr"] == 7)
    assert held.run_id is not None
    run = made.crew(first).ports.runs.get(held.run_id)

    assert [(item.state, item.value) for item in trials] == [(item.state, item.value) for item in others]
    assert [item.number for item in stopped] == [5, 6], "those that had others to be compared with, and were worse"
    assert held.value == 7.5
    assert run.stopped_early is not None
    assert (run.state, run.error, run.summary) == (RunState.finished, None, {"loss": 7.5})
    assert (run.stopped_early.step, run.stopped_early.iteration, run.stopped_early.points) == (1, 2, 2)
    assert [note[:13] for note in run.notes] == ["stopped early"]
    assert again((made, first), held.run_id) == (Verdict.identical, "stopped early, as recorded")
    quick = next(item.run_id for item in stopped if item.parameters["lr"] == 6)
    assert quick is not None
    assert again((made, first), quick)[0] is Verdict.identical, "its program was done before anybody could end it"


def test_a_program_that_always_fails_ends_the_agent(made: Agents, repository: Path) -> None:
    """After three failures, with the program's last lines; each is recorded as failed. Told to go on, it goes on."""
    write(repository, train="import sys\nprint('no such picture', file=sys.stderr)\nsys.exit(3)")
    lines: list[tuple[str, ...]] = []
    sweep_id = made.make()
    with pytest.raises(ExecutionFailed, match=r"status 3: python train\.py --lr=") as failed:
        made.work(sweep_id, on_end=lambda outcome: lines.append(outcome.last_lines))
    assert failed.value.hint is not None
    assert "none of 3 trials succeeded" in failed.value.hint
    assert lines == [("no such picture",)] * 3
    assert {(run.state, run.error) for run in made.runs(sweep_id)} == {(RunState.failed, "the command ended with status 3")}
    assert len(made.work(sweep_id, failures=0).outcomes) == 1
    assert [item.state for item in made.crew(sweep_id).engine.trials(sweep_id)] == ["failed"] * 4


def test_a_parameter_that_the_program_does_not_know(made: Agents, repository: Path) -> None:
    """The program's own message, and what to do."""
    write(repository, sweep=GRID.replace("{lr:", "{learning_rate:"))
    with pytest.raises(ExecutionFailed) as failed:
        made.work(made.make(), failures=1)
    assert failed.value.hint is not None
    assert "error: unrecognized arguments: --learning_rate=0.5" in failed.value.hint
    assert "must know every parameter" in failed.value.hint


def test_a_metric_that_no_trial_logs(made: Agents, repository: Path) -> None:
    """Said once, with what was logged and the nearest name; a search that learns from it ends."""
    write(repository, sweep=GRID.replace("loss", "Test/Loss"))
    sweep_id = made.make()
    assert [outcome.end for outcome in made.work(sweep_id).outcomes] == ["complete"] * 4
    assert [text for text in made.said if "logged no" in text] == ["warning: trial 0: it logged no 'Test/Loss', but loss; is 'loss' meant?"]
    write(repository, sweep=GRID.replace("loss", "Test/Loss").replace("grid", "bayes"))
    with pytest.raises(UsageError, match="no trial logged 'Test/Loss', which the sweep is about"):
        made.work(made.make(), failures=1)


def test_a_cancelled_sweep_ends_its_trials(made: Agents, repository: Path, tmp_path: Path) -> None:
    """The program ends, its run is no failure, and nobody begins another trial; a stopped sweep can go on."""
    write(repository, train="import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(300)")
    sweep_id = made.make()
    programs: list[int] = []

    def heard(line: str) -> None:
        programs.append(int(line))
        looked(repository, "sweep", "--cancel", sweep_id)

    worked = work(replace(made.crew(sweep_id), show=heard, lease_s=2.0))
    (run,) = made.runs(sweep_id)
    assert (worked.why, [outcome.end for outcome in worked.outcomes]) == ("the sweep was cancelled", ["cancelled"])
    assert (run.state, run.error) == (RunState.aborted, "the sweep was cancelled")
    assert is_over(programs[0])
    assert made.work(sweep_id).why == "the sweep was cancelled"
    other = made.make()
    looked(repository, "sweep", "--stop", other)
    assert (made.work(other).outcomes, made.work(other).why) == ((), "the sweep was stopped")
    assert "running" in looked(repository, "sweep", "--resume", other).stderr


def test_an_interrupted_agent_hands_its_trial_back_at_once(made: Agents) -> None:
    """The next agent gets it without waiting for a lease, as a second attempt; the record of the first says what happened."""

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    sweep_id = made.make()
    with pytest.raises(KeyboardInterrupt):
        work(replace(made.crew(sweep_id), show=interrupt))
    made.work(sweep_id, count=1)
    attempts = [(run.sweep.number, run.sweep.attempt, run.state, run.error) for run in made.runs(sweep_id) if run.sweep is not None]
    assert attempts == [(0, 1, RunState.aborted, "interrupted"), (0, 2, RunState.finished, None)]


def test_a_trial_that_another_agent_took_over(made: Agents) -> None:
    """Its first agent, slow or cut off, may not end it: only the other one's run is finished."""
    sweep_id = made.make()
    crew = made.crew(sweep_id)
    begun: list[Trial] = []
    taken: list[object] = []

    def lose(_: str) -> None:
        if not taken:
            crew.engine.release(begun[0])
            taken.append(crew.engine.claim(sweep_id, "another", 20))

    (outcome,) = work(replace(crew, show=lose), count=1, on_begin=begun.append).outcomes
    (run,) = made.runs(sweep_id)
    (other,) = taken
    assert isinstance(other, Trial)
    assert (other.number, other.attempt) == (0, 2)
    assert (outcome.end, run.state, run.error) == ("lost", RunState.aborted, "its lease ran out: the trial is another agent's")
    assert [item.state for item in crew.engine.trials(sweep_id)] == ["running"]


def test_storage_that_is_gone(made: Agents, repository: Path) -> None:
    """Nobody can say whose the trial is: the agent ends with the reason, and the run is not recorded as finished."""
    sweep_id = made.make()
    with pytest.raises(Unavailable, match="sweep"):
        work(replace(made.crew(sweep_id), show=lambda _: (repository / ".lineage" / "sweeps.sqlite").unlink(missing_ok=True)))
    (run,) = made.runs(sweep_id)
    assert run.state is RunState.aborted


def test_a_trial_that_was_recorded_and_not_told_counts(made: Agents) -> None:
    """Its agent died in between: the next one takes the finished run over, and does not make a second one."""
    sweep_id = made.make()
    crew = made.crew(sweep_id)
    claimed = crew.engine.claim(sweep_id, "gone", 20)
    assert isinstance(claimed, Trial)
    live = start_run(crew.ports, command=("python", "train.py"), trial=crew.record_of(claimed))
    live.log({"loss": 0.25})
    live.finish()
    crew.engine.release(claimed)
    (outcome,) = made.work(sweep_id, count=1).outcomes
    assert (outcome.run_id, outcome.value, outcome.end, outcome.trial.attempt) == (live.id, 0.25, "complete", 2)
    assert [run.id for run in made.runs(sweep_id)] == [live.id]


def test_changed_code_is_said_and_noted(made: Agents, repository: Path) -> None:
    """Said once, with the file, and noted in each run; what trials write is no change."""
    sweep_id = made.make()
    (repository / "train.py").write_text((repository / "train.py").read_text() + "\nopen('model.pt', 'w').write('1')\n")
    (repository / "history.log").write_text("1")
    made.work(sweep_id, count=1)
    (repository / "history.log").write_text("2")
    made.work(sweep_id, count=1)
    assert not [text for text in made.said if "first trial" in text]
    (repository / "train.py").write_text((repository / "train.py").read_text() + "\nprint('more')\n")
    made.work(sweep_id)
    (warned,) = [text for text in made.said if "first trial" in text]
    assert warned.endswith("results cannot be compared: train.py")
    assert [len(run.notes) for run in made.runs(sweep_id)] == [0, 0, 1, 1]


def test_parameters_in_a_file_and_nested_come_back_in_another_store(made: Agents, repository: Path, tmp_path: Path) -> None:
    """A program that reads ``${args_json_file}`` and one that asks its run; the trial's values win; a bundle has all that it takes."""
    program = """
        import json, sys, lineage
        told = json.load(open(sys.argv[1]))
        with lineage.start_run(config={"lr": 9, "optimizer": {"name": "none", "decay": 0.5}}, group="mine", job_type="fit") as run:
            run.describe(config={"lr": 8})
            assert told == {"lr": run.config["lr"], "optimizer": {"name": run.config["optimizer"]["name"]}}
            run.log({"loss": run.config["lr"] * run.config["optimizer"]["decay"]})
    """
    definition = """
        program: train.py
        command: ["${env}", "${interpreter}", "${program}", "${args_json_file}"]
        method: grid
        metric: {name: loss}
        parameters:
          lr: {value: 1e-5}
          optimizer: {parameters: {name: {values: [adam]}}}
    """
    write(repository, train=program, sweep=definition)
    sweep_id = made.make()
    made.work(sweep_id)
    (run,) = made.runs(sweep_id)
    assert run.config == {"lr": 1e-5, "optimizer": {"name": "adam", "decay": 0.5}}
    assert (run.group, run.job_type, run.summary, run.state) == (sweep_id, "fit", {"loss": 5e-6}, RunState.finished)
    assert run.command[:2] == ("python", "train.py")
    bundle = tmp_path / "trial.lineage"
    looked(repository, "bundle", run.id, bundle)
    shutil.rmtree(repository / ".lineage" / "trials")
    ports = wire(load_settings(store=str(tmp_path / "store")))
    with BundleFile(bundle) as opened:
        copy = import_bundle(ports, opened).run
    assert copy.sweep is not None
    assert json.loads(ports.objects.get_bytes(copy.sweep.definition))["method"] == "grid"
    variables = os.environ | {"LINEAGE_STORE": str(tmp_path / "store")}
    assert reproduce(ports, copy, variables=variables, environment="current", is_vouched=True).verdict is Verdict.identical
    ports.runs.close()


def test_what_cannot_be_worked_on(made: Agents, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished sweep, one that nobody made, a program that is not there, a file that is no sweep, a secret, a torn trial."""
    sweep_id = made.make()
    made.work(sweep_id)
    assert "the sweep is finished" in looked(repository, "agent", sweep_id).stderr
    monkeypatch.chdir(repository.parent)
    with pytest.raises(NotFound, match=r"no program 'train\.py': looked for in"):
        work(replace(made.crew(sweep_id), folder=repository.parent))
    monkeypatch.chdir(repository)
    unknown = looked(repository, "agent", f"me/project/{sweep_id[:-1]}?", status=5).stderr
    assert f"is {sweep_id} meant?" in unknown
    both = GRID.replace("program: train.py", "program: train.py\n    program: other.py")
    for text, told in {
        "method: grid\na: [1": "sweep.yaml, line 2: expected",
        both: "sweep.yaml, line 3: key 'program' stands twice",
        GRID.replace("{lr:", "{api_key:"): "parameters.api_key is a secret",
    }.items():
        write(repository, sweep=text)
        with pytest.raises((InvalidSource, UsageError), match=told):
            made.make()
    torn = repository / "trial.json"
    torn.write_text(json.dumps({"sweep": "x"}))
    monkeypatch.setenv("LINEAGE_TRIAL", str(torn))
    with pytest.raises(UsageError, match=r"trial\.json, which LINEAGE_TRIAL names: sweep: "):
        start_run(made.crew(sweep_id).ports)
