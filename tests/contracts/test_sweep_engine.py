"""The engine of sweeps, the same over every storage: who gets which trial, and that a seed decides what is tried."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest

from lineage.adapters.sweeps.optuna import ATTEMPTS, OptunaSweepEngine
from lineage.errors import Conflict, LeaseLost, NotFound, Unavailable, UsageError
from lineage.model.sweep_file import parse_definition
from lineage.ports.sweeps import Over, Sweep, Trial, TrialState, Wait

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "0" * 64
KINDS = ("sqlite", "journal", "postgres")
LEARNING_RATE = {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0}
SPACE = {
    "lr": LEARNING_RATE,
    "layers": {"min": 1, "max": 6},
    "optimizer": {"values": ["adam", "sgd"]},
    "augment": {"parameters": {"noise": {"distribution": "normal"}, "scale": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1}}},
}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return str(tmp_path / f"sweeps.{request.param}")


@pytest.fixture
def engine(place: str) -> Iterator[OptunaSweepEngine]:
    made = OptunaSweepEngine(place)
    yield made
    made.close()


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    agent = subprocess.Popen([sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    assert agent.stdout.readline() == "ready\n"
    return agent


def go(agent: subprocess.Popen[str]) -> None:
    assert agent.stdin is not None
    agent.stdin.write("go\n")
    agent.stdin.flush()


def begin(engine: OptunaSweepEngine, *, seed: int = 1, parallel: int = 4, **keys: Any) -> Sweep:
    definition = {"method": "random", "metric": {"name": "loss"}, "parameters": {"lr": LEARNING_RATE}} | keys
    return engine.create(parse_definition(definition, "sweep.yaml"), DIGEST, seed=seed, parallel=parallel, project="parking")


def owned(found: Trial | Wait | Over) -> Trial:
    assert isinstance(found, Trial), found
    return found


# --- dealing out ----------------------------------------------------------------------------------------------------------------------


def test_a_trial_is_dealt_out_ended_once_and_told(engine: OptunaSweepEngine, place: str) -> None:
    sweep = begin(engine, run_cap=2, parameters=SPACE, name="heads")
    assert (sweep.state, sweep.name, len(sweep.id)) == ("running", "heads", 8)
    first, second = (owned(engine.claim(sweep.id, f"agent {number}", 60)) for number in range(2))
    assert (first.number, second.number, first.attempt) == (0, 1, 1)
    assert list(first.parameters) == ["augment.noise", "augment.scale", "layers", "lr", "optimizer"]
    assert isinstance(engine.claim(sweep.id, "third", 60), Wait), "an agent of the first two may die yet"
    engine.finish(first, "complete", 0.25, "run0")
    engine.finish(first, "complete", 0.25, "run0")  # whoever is not sure that it arrived says it again
    with pytest.raises(LeaseLost):
        engine.finish(first, "failed", None, "run0")
    engine.finish(second, "complete", math.nan, "run1")
    assert engine.get(sweep.id[:5]).state == "finished"
    assert isinstance(engine.claim(sweep.id, "late", 60), Over)

    elsewhere = OptunaSweepEngine(place)  # what another machine sees
    (kept,) = elsewhere.all()
    assert (kept.definition, kept.seed, kept.parallel, kept.digest) == (sweep.definition, 1, 4, DIGEST)
    assert (kept.created_at, kept.project) == (sweep.created_at, "parking")
    assert elsewhere.trials(sweep.id)[0] == TrialState(0, 1, first.parameters, "complete", 0.25, "run0", "agent 0")
    assert math.isnan(elsewhere.trials(sweep.id)[1].value or 0)
    elsewhere.close()


def test_a_dead_agents_trial_is_handed_on_with_the_same_parameters(engine: OptunaSweepEngine) -> None:
    sweep = begin(engine, run_cap=1)
    dead = owned(engine.claim(sweep.id, "dead", 0.0))  # its lease is over at once
    heir = owned(engine.claim(sweep.id, "heir", 60))
    assert (heir.number, heir.attempt, heir.parameters) == (0, 2, dead.parameters)
    assert not engine.beat(dead)
    assert engine.beat(heir)
    engine.release(dead)  # changes nothing: it is the heir's
    with pytest.raises(LeaseLost):
        engine.finish(dead, "complete", 9.0, "ghost")
    assert engine.beat(heir)
    engine.finish(heir, "complete", 1.0, "run")
    with pytest.raises(LeaseLost):
        engine.finish(dead, "complete", 9.0, "ghost")
    assert [(trial.number, trial.attempt, trial.value, trial.agent) for trial in engine.trials(sweep.id)] == [(0, 2, 1.0, "heir")]


def test_a_beat_renews_the_lease_and_a_release_ends_it(engine: OptunaSweepEngine) -> None:
    sweep = begin(engine)
    trial = owned(engine.claim(sweep.id, "slow", 0.0))
    renewed = Trial(trial.sweep_id, trial.number, trial.attempt, trial.parameters, trial.token, lease_s=60)
    assert engine.beat(renewed)
    assert owned(engine.claim(sweep.id, "other", 60)).number == 1
    engine.release(renewed)
    handed_on = owned(engine.claim(sweep.id, "other", 60))
    assert (handed_on.number, handed_on.attempt) == (0, 2)


def test_a_trial_that_kills_every_agent_fails_in_the_end(engine: OptunaSweepEngine) -> None:
    sweep = begin(engine, run_cap=2)
    assert [owned(engine.claim(sweep.id, "dies", 0.0)).number for _ in range(ATTEMPTS)] == [0] * ATTEMPTS
    assert owned(engine.claim(sweep.id, "lives", 60)).number == 1
    assert [(trial.state, trial.run_id) for trial in engine.trials(sweep.id)] == [("failed", None), ("running", None)]


def test_threads_get_each_number_exactly_once(engine: OptunaSweepEngine) -> None:
    sweep = begin(engine, run_cap=16)

    def agent(name: int) -> list[int]:
        numbers = []
        while isinstance(found := engine.claim(sweep.id, str(name), 60), Trial):
            numbers.append(found.number)
            engine.finish(found, "complete", 1.0, f"run{found.number}")
        return numbers

    with ThreadPoolExecutor(4) as pool:
        dealt = [number for numbers in pool.map(agent, range(4)) for number in numbers]
    assert sorted(dealt) == list(range(16))


AGENT = """
import json, sys
from lineage.adapters.sweeps.optuna import OptunaSweepEngine
from lineage.ports.sweeps import Trial
engine = OptunaSweepEngine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
while isinstance(found := engine.claim(sys.argv[2], sys.argv[3], 60), Trial):
    print(json.dumps([found.number, found.parameters]), flush=True)
    engine.finish(found, "complete", 1.0, "run")
engine.close()
"""


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_processes_get_each_number_exactly_once(kind: str, tmp_path: Path) -> None:
    place = str(tmp_path / f"sweeps.{kind}")
    engine = OptunaSweepEngine(place)
    sweep = begin(engine, run_cap=20)
    agents = [start(AGENT, place, sweep.id, str(name)) for name in range(2)]
    for agent in agents:  # all at once, from here
        go(agent)
    dealt = [json.loads(line) for agent in agents for line in agent.communicate(timeout=60)[0].splitlines()]
    assert [agent.returncode for agent in agents] == [0, 0]
    assert sorted(number for number, _ in dealt) == list(range(20))
    assert dict(dealt) == {trial.number: trial.parameters for trial in engine.trials(sweep.id)}
    engine.close()


def test_an_agent_killed_in_a_trial_leaves_it_to_the_next(tmp_path: Path) -> None:
    place = str(tmp_path / "sweeps.sqlite")
    engine = OptunaSweepEngine(place)
    sweep = begin(engine, run_cap=3)
    code = AGENT.replace('"run")', "input())").replace(", 60)", ", 0.0)")
    agent = start(code, place, sweep.id, "killed")
    go(agent)
    assert agent.stdout is not None
    number, parameters = json.loads(agent.stdout.readline())
    agent.send_signal(signal.SIGKILL)
    agent.communicate(timeout=60)
    heir = owned(engine.claim(sweep.id, "heir", 60))
    assert (heir.number, heir.attempt, heir.parameters) == (number, 2, parameters)
    engine.close()


# --- what a seed decides --------------------------------------------------------------------------------------------------------------


def loss_of(parameters: dict[str, Any], iteration: int) -> float:
    return abs(math.log10(parameters["lr"]) + 2) + parameters.get("layers", 0) / 10 + 1.0 / iteration


def simulate(engine: OptunaSweepEngine, sweep: Sweep, agents: int, order: random.Random, iterations: int = 9) -> list[Any]:
    """Agents that take turns at random, some of which die; what came of every trial."""

    def agent(name: int) -> Iterator[None]:
        while True:
            found = engine.claim(sweep.id, f"agent {name}", 3600)
            if isinstance(found, Over):
                return
            yield
            if isinstance(found, Wait):
                continue
            dies_at = order.randint(1, 3 * iterations) if agents > 1 else 0
            ended, value = "complete", 0.0
            for iteration in range(1, iterations + 1):
                yield
                if iteration == dies_at:
                    engine.release(found)
                    break
                value = loss_of(found.parameters, iteration)
                if engine.report(found, iteration, value):
                    ended = "stopped"
                    break
            if iteration == dies_at:
                continue
            engine.finish(found, "stopped" if ended == "stopped" else "complete", value, f"run{found.number}")
            yield

    working = [agent(name) for name in range(agents)]
    while working:
        turn = order.choice(working)
        if next(turn, "over") == "over":
            working.remove(turn)
    return [(trial.number, trial.parameters, trial.state, trial.value) for trial in engine.trials(sweep.id)]


SWEEPS: dict[str, dict[str, Any]] = {
    "grid": {"method": "grid", "parameters": {"lr": {"values": [0.1, 0.01, 0.001]}, "layers": {"min": 1, "max": 4}}},
    "random": {"method": "random", "parameters": SPACE, "run_cap": 12},
    "bayes": {"method": "bayes", "parameters": SPACE, "run_cap": 20},
}


@pytest.mark.parametrize("method", SWEEPS)
def test_the_same_seed_gives_the_same_sweep_whoever_works_on_it(method: str, tmp_path: Path) -> None:
    engine = OptunaSweepEngine(str(tmp_path / "sweeps.journal"))
    keys = SWEEPS[method] | {"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2}}
    found = [
        simulate(engine, begin(engine, seed=seed, parallel=3, **keys), agents, random.Random(agents))
        for seed, agents in ((7, 1), (7, 3), (7, 6), (8, 1))
    ]
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert {state for _, _, state, _ in found[0]} == {"complete", "stopped"}, "the rule has to stop some and let some go on"
    assert (found[3] == found[0]) == (method == "grid"), "a grid has no chance in it"
    engine.close()


def test_postgres_proposes_what_the_files_propose(postgres_url: str, tmp_path: Path) -> None:
    told = []
    for place in (postgres_url, str(tmp_path / "sweeps.journal")):
        engine = OptunaSweepEngine(place)
        told.append(simulate(engine, begin(engine, parallel=2, method="bayes", parameters=SPACE, run_cap=13), 3, random.Random(5)))
        engine.close()
    assert told[0] == told[1]


PROPOSING = """
import json, random, sys
from pathlib import Path
from tests.contracts import test_sweep_engine as these
engine = these.OptunaSweepEngine(sys.argv[1])
sweep = these.begin(engine, seed=7, parallel=3, method="bayes", parameters=these.SPACE, run_cap=30)
print(json.dumps(these.simulate(engine, sweep, 1, random.Random(1), 1)))
engine.close()
"""


def test_other_processors_threads_and_hashes_propose_the_same(tmp_path: Path) -> None:
    engine = OptunaSweepEngine(str(tmp_path / "here.journal"))
    here = simulate(engine, begin(engine, seed=7, parallel=3, method="bayes", parameters=SPACE, run_cap=30), 1, random.Random(1), 1)
    engine.close()
    # NumPy without its vector units is what another processor has; unknown names among them are passed over.
    without = "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR ASIMDHP ASIMDDP SVE"
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": without, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", PROPOSING, str(tmp_path / "there.journal")]
    there = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert there.returncode == 0, there.stderr
    assert [list(trial) for trial in here] == json.loads(there.stdout)


def test_bayes_comes_nearer_than_chance(tmp_path: Path) -> None:
    engine = OptunaSweepEngine(str(tmp_path / "sweeps.journal"))

    def mean_of_the_last_ten(method: str, seed: int) -> float:
        ended = simulate(engine, begin(engine, seed=seed, parallel=2, method=method, parameters=SPACE, run_cap=30), 1, random.Random(1), 1)
        return math.fsum(value for *_, value in ended[-10:]) / 10

    for seed in range(2):
        assert mean_of_the_last_ten("bayes", seed) < mean_of_the_last_ten("random", seed) - 0.3
    engine.close()


def test_a_proposal_waits_for_the_results_it_depends_on_and_for_no_other(tmp_path: Path) -> None:
    engine = OptunaSweepEngine(str(tmp_path / "sweeps.journal"))
    sweep = begin(engine, method="bayes", parallel=3)
    first = [owned(engine.claim(sweep.id, "a", 60)) for _ in range(10)]  # these are random: nothing to wait for
    waiting = engine.claim(sweep.id, "a", 60)
    assert isinstance(waiting, Wait)
    assert "trial 10 depends on the result of trial 0" in waiting.reason
    for trial in first[:8]:
        engine.finish(trial, "complete", 1.0, "run")
    assert owned(engine.claim(sweep.id, "a", 60)).number == 10  # 8 and 9 are under way, as parallel allows
    assert "trial 8" in getattr(engine.claim(sweep.id, "a", 60), "reason", "")
    engine.close()


def test_a_value_that_is_no_number_is_the_worst_and_a_failed_trial_is_compared_with_nobody(tmp_path: Path) -> None:
    engine = OptunaSweepEngine(str(tmp_path / "sweeps.journal"))
    rule = {"type": "hyperband", "min_iter": 2, "eta": 3}
    sweep = begin(engine, parallel=1, early_terminate=rule, metric={"name": "a", "goal": "maximize"})
    failed = owned(engine.claim(sweep.id, "a", 60))
    assert [engine.report(failed, step, 100.0) for step in (1, 2)] == [False, False]
    engine.finish(failed, "failed", None, "run")
    good = owned(engine.claim(sweep.id, "a", 60))
    assert [engine.report(good, step, 5.0) for step in (1, 2, 3)] == [False, False, False], "nobody is left to be compared with"
    engine.finish(good, "complete", 5.0, "run")
    bad = owned(engine.claim(sweep.id, "a", 60))
    assert [engine.report(bad, step, math.nan) for step in (1, 2, 2, 3)] == [False, True, True, True]
    engine.finish(bad, "stopped", math.nan, "run")
    best = owned(engine.claim(sweep.id, "a", 60))
    assert not any(engine.report(best, step, 6.0) for step in (1, 2, 3, 4))
    engine.close()


# --- ends -----------------------------------------------------------------------------------------------------------------------------


def test_a_grid_ends_with_its_last_point_and_a_target_ends_a_sweep(tmp_path: Path) -> None:
    engine = OptunaSweepEngine(str(tmp_path / "sweeps.sqlite"))
    sweep = begin(engine, method="grid", metric=None, parameters={"b": {"values": ["x", {"deep": [1]}]}, "a": {"min": 1, "max": 2}})
    points = []
    while isinstance(found := engine.claim(sweep.id, "a", 60), Trial):
        points.append(found.parameters)
        engine.finish(found, "complete", None, "run")  # no metric: nothing to tell
    assert points == [{"a": a, "b": b} for a in (1, 2) for b in ("x", {"deep": [1]})]
    assert engine.trials(sweep.id)[0].state == "complete"

    sweep = begin(engine, parallel=1, metric={"name": "loss", "target": 0.5})
    for value in (0.9, 0.5):
        engine.finish(owned(engine.claim(sweep.id, "a", 60)), "complete", value, "run")
    assert engine.get(sweep.id).state == "finished"
    engine.close()


def test_a_sweep_is_stopped_resumed_and_cancelled(engine: OptunaSweepEngine) -> None:
    sweep = begin(engine)
    trial = owned(engine.claim(sweep.id, "a", 60))
    assert engine.set_state(sweep.id, "stopped").state == "stopped"
    assert engine.claim(sweep.id, "a", 60) == Over("the sweep was stopped")
    assert engine.beat(trial), "what is under way goes on"
    engine.set_state(sweep.id, "running")
    assert owned(engine.claim(sweep.id, "a", 60)).number == 1
    engine.set_state(sweep.id, "cancelled")
    assert not engine.beat(trial)
    assert isinstance(engine.claim(sweep.id, "a", 60), Over)
    with pytest.raises(Conflict, match="cancelled"):
        engine.set_state(sweep.id, "running")


def test_names_that_fit_no_sweep_or_several(tmp_path: Path) -> None:
    engine = OptunaSweepEngine(str(tmp_path / "sweeps.journal"))
    made = [begin(engine) for _ in range(40)]  # more than there are first letters
    assert [sweep.id for sweep in engine.all()] == [sweep.id for sweep in reversed(made)]
    letters = [sweep.id[0] for sweep in made]
    twice = next(letter for letter in letters if letters.count(letter) > 1)
    with pytest.raises(UsageError, match="fits"):
        engine.get(twice)
    for name in ("", "aaaaaaaa", "!"):
        with pytest.raises(NotFound):
            engine.get(name)
    with pytest.raises(UsageError, match="at least 1"):
        begin(engine, parallel=0)
    with pytest.raises(UsageError, match="seed"):
        begin(engine, seed=-1)
    engine.close()


# --- trouble --------------------------------------------------------------------------------------------------------------------------


def gone(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    path.unlink()
    path.touch()


def moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
@pytest.mark.parametrize("lose", [gone, replaced, moved])
def test_a_file_that_is_gone_is_said_to_be(lose: Callable[[Path], None], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / f"sweeps.{kind}"
    engine = OptunaSweepEngine(str(path))
    sweep = begin(engine)
    trial = owned(engine.claim(sweep.id, "a", 60))
    lose(path)
    attempts: list[Callable[[], object]] = [
        lambda: engine.claim(sweep.id, "a", 60),
        lambda: engine.beat(trial),
        lambda: engine.finish(trial, "complete", 1.0, "run"),
        lambda: engine.trials(sweep.id),
    ]
    for attempt in attempts:
        with pytest.raises(Unavailable, match=rf"sweeps cannot be kept in .*sweeps\.{kind}") as caught:
            attempt()
        assert caught.value.hint is not None
    assert not path.exists() or path.stat().st_size == 0, "nothing was begun anew in its place"
    engine.close()


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_file_that_is_none_of_ours_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"sweeps.{kind}"
    path.write_bytes(b"notes of mine, not of any sweep\n" * 400)
    with pytest.raises(Unavailable, match=r"is damaged|not a database"):
        OptunaSweepEngine(str(path))
    assert path.read_bytes() == b"notes of mine, not of any sweep\n" * 400


def test_a_server_that_is_gone_is_said_to_be_without_the_password(postgres_url: str) -> None:
    with pytest.raises(Unavailable, match="localhost:1/none") as caught:
        OptunaSweepEngine("postgresql://me:s3cret@localhost:1/none")
    assert "s3cret" not in str(caught.value)
    engine = OptunaSweepEngine(postgres_url)
    sweep = begin(engine)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        tables = connection.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'trials'").fetchall()
        assert tables == [("lineage_sweeps",)], "Optuna's tables do not stand among those of the store"
        connection.execute("DROP SCHEMA lineage_sweeps CASCADE")
    with pytest.raises(Unavailable, match="sweeps cannot be kept"):
        engine.claim(sweep.id, "a", 60)
    engine.close()


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_an_end_that_was_half_written_does_not_count(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"sweeps.{kind}"
    engine = OptunaSweepEngine(str(path))
    sweep = begin(engine, run_cap=1)
    dead = owned(engine.claim(sweep.id, "dead", 0.0))
    journal = optuna.storages.journal.JournalFileBackend(str(path)) if kind == "journal" else None
    storage = optuna.storages.JournalStorage(journal) if journal else optuna.storages.RDBStorage(f"sqlite:///{path}")
    end = {"state": "complete", "value": 9.0, "run_id": "ghost", "token": dead.token, "stopped_at": None, "rungs": {}}
    storage.set_trial_user_attr(storage.get_all_trials(storage.get_study_id_from_name(sweep.id))[0]._trial_id, "end", end)
    if journal is not None:
        with path.open("ab") as file:
            file.write(b'{"op_code":6,"worker_id":"dea')  # and its last line was cut off
    assert [(trial.state, trial.value) for trial in engine.trials(sweep.id)] == [("running", None)]
    heir = owned(engine.claim(sweep.id, "heir", 60))
    engine.finish(heir, "complete", 1.0, "run")
    assert [(trial.state, trial.value, trial.run_id) for trial in engine.trials(sweep.id)] == [("complete", 1.0, "run")]
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.engine.dispose()
    engine.close()


def test_optunas_own_lines_and_studies_are_nobodys_business(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "sweeps.sqlite"
    engine = OptunaSweepEngine(str(path))
    engine.set_state(begin(engine, method="bayes", run_cap=1).id, "cancelled")
    assert caplog.messages == []
    theirs = optuna.storages.RDBStorage(f"sqlite:///{path}")
    optuna.create_study(storage=theirs, study_name="somebody's own")
    assert len(caplog.messages) == 1, "what a program does with Optuna itself is logged as ever"
    assert len(engine.all()) == 1
    with pytest.raises(NotFound):
        engine.get("somebody's own")
    theirs.engine.dispose()
    engine.close()
