"""Workers that die, are ended, are called off or run out of what they may use: a job ends exactly once, and leaves one result at most."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lineage.model.materialisation import JobState
from lineage.ports import RunQuery
from lineage.ports.executor import Limits
from lineage.reproduce.jobs import folders
from tests.support.jobs import Team, team_in

# A worker that is killed at a chosen point of its work, by the kernel.
DIES = """
import os, signal, sys
from lineage.adapters.queues.sql import SqlJobQueue
from lineage.cli import main
from lineage.reproduce.jobs import rerun

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

point = sys.argv.pop(1)
if point == "before the record is taken over":
    rerun._copy = die
elif point == "before the verdict":
    rerun.judge = die
elif point == "before the end":
    SqlJobQueue.finish = die
main()
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team_in(tmp_path_factory.mktemp("team")) as made:
        yield made


@pytest.fixture(scope="module")
def slow(team: Team) -> str:
    """A run of about a second and a half."""
    return team.record("train.py", "0.2", "0")


def results(team: Team, run_id: str) -> list[str]:
    return [run.id for run in team.ports.runs.find(RunQuery(reproduces=run_id))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_killed_at_random_it_ends_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """However often its worker is killed, the job is taken over, one run comes of it, with one verdict, and nothing of it is left over."""
    with team_in(tmp_path, request.getfixturevalue("postgres_url") if kind == "postgres" else None) as team:
        _kill_at_random(team, team.record("train.py", "0.1", "0"))


def _kill_at_random(team: Team, slow: str) -> None:
    before, verdicts = results(team, slow), len(team.ports.runs.get(slow).reproductions)
    job = team.ask(slow)
    with team.queue._database.writing() as execute:
        execute("UPDATE materialisations SET attempts_allowed = 50 WHERE id = ?", (job.id,))
    moments = random.Random(11)
    kills = 0
    while kills < 3 and not team.queue.get(job.id).state.is_end:
        seen = team.queue.get(job.id).attempt
        # Without --once: it waits until the lease of the one before has run out.
        with team.process("--lease", "1") as worker:
            try:
                team.until(job.id, lambda now, seen=seen: now.attempt > seen or now.state.is_end)  # type: ignore[misc]
                time.sleep(moments.uniform(0.0, 3.5))
            finally:
                worker.kill()
                worker.communicate(timeout=30)
        kills += 1
    team.worker(lease_s=1.0).work(once=True)
    deadline = time.monotonic() + 40
    while not team.queue.get(job.id).state.is_end and time.monotonic() < deadline:
        team.worker(lease_s=1.0).work(once=True)  # the last one's lease may have to run out first
        time.sleep(0.1)

    done = team.queue.get(job.id)
    assert (done.state, done.verdict, done.error) == (JobState.succeeded, "identical", None), team.log(job.id)
    assert kills >= 1
    (new,) = set(results(team, slow)) - set(before)
    assert done.result_run_id == new
    assert [item.run_id for item in team.ports.runs.get(slow).reproductions[verdicts:]] == [new]
    assert team.ports.runs.get(new).state == "finished"
    assert not (team.ports.folder / "jobs" / job.id).exists()


def test_killed_at_the_last_steps_it_is_not_run_again(team: Team, slow: str) -> None:
    """Once the recorded code has ended, its run is the result: workers that die while they take it over hand on what there is."""
    before = results(team, slow)
    job = team.ask(slow)
    with team.queue._database.writing() as execute:
        execute("UPDATE materialisations SET attempts_allowed = 50 WHERE id = ?", (job.id,))
    for point in ("before the record is taken over", "before the verdict", "before the end"):
        # Without --once: it waits until the lease of the one before has run out.
        command = [sys.executable, "-c", DIES, point, "worker", "--lease", "1"]
        died = subprocess.run(command, env=team.variables, timeout=60, check=False)
        assert died.returncode == -signal.SIGKILL, point
    with team.working(lease_s=1.0):
        done = team.until(job.id, lambda now: now.state.is_end)

    assert (done.state, done.verdict) == (JobState.succeeded, "identical")
    assert set(results(team, slow)) - set(before) == {done.result_run_id}
    assert [item.run_id for item in team.ports.runs.get(slow).reproductions].count(done.result_run_id or "") == 1
    assert team.log(job.id).count("step 7") == 1


def test_called_off_in_the_middle_and_tried_again(team: Team) -> None:
    """The recorded code is ended, nothing of it is kept, and the same job can be queued again."""
    slow = team.record("train.py", "0.6", "0")  # a worker asks once a second whether to go on
    before = results(team, slow)
    job = team.ask(slow)
    with team.working():
        team.until(job.id, lambda _: "step 1" in team.log(job.id))
        team.queue.cancel(job.id)
        stopped = team.until(job.id, lambda now: now.state.is_end)
        assert (stopped.state, stopped.verdict, stopped.result_run_id) == (JobState.cancelled, None, None)
        assert results(team, slow) == before
        team.queue.retry(job.id)
        done = team.until(job.id, lambda now: now.state.is_end)
    assert (done.state, done.verdict, done.attempt) == (JobState.succeeded, "identical", 2)


def test_a_worker_that_is_told_to_end_hands_its_job_back(team: Team, slow: str) -> None:
    """It ends with status 0 within seconds; the job waits as if nobody had begun it."""
    job = team.ask(slow)
    worker = team.process("--lease", "30")
    team.until(job.id, lambda _: "step 1" in team.log(job.id))
    worker.send_signal(signal.SIGTERM)
    told = worker.communicate(timeout=30)[1]

    assert worker.returncode == 0, told
    assert "is handed back" in told
    now = team.queue.get(job.id)
    assert (now.state, now.attempt, now.worker is not None) == (JobState.queued, 0, True)
    team.queue.cancel(job.id)


@pytest.mark.parametrize(("options", "code"), [({"seconds": 2}, "time"), ({"disk_bytes": 8 << 20}, "disk")])
def test_limits_hold(team: Team, options: dict[str, int], code: str) -> None:
    """A job that takes more than was asked for, or than its worker allows, fails and says which limit it was."""
    run_id = team.record("train.py", "0.0", "40")
    before = results(team, run_id)
    job = team.ask(run_id, **options)
    generous = Limits(seconds=600.0, memory_bytes=8 << 30, disk_bytes=8 << 30)
    team.worker(limits=generous).work(once=True)

    failed = team.queue.get(job.id)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (JobState.failed, code), failed.error
    assert results(team, run_id) == before
    assert not (team.ports.folder / "jobs" / job.id).exists()

    if code == "time":  # the worker's own limit holds for whoever asks for more
        job = team.ask(run_id, seconds=10**9)
        team.worker(limits=Limits(seconds=2.0)).work(once=True)
        assert (error := team.queue.get(job.id).error) is not None
        assert error.code == code


def test_what_is_left_of_dead_workers_is_tidied(team: Team, slow: str) -> None:
    """Folders of jobs that are over go; what nobody noted as a job's stays."""
    root = team.ports.folder / "jobs"
    job = team.ask(slow)
    team.queue.cancel(job.id)
    (root / job.id / "3").mkdir(parents=True)
    (root / job.id / "job.json").write_text(f'{{"job": "{job.id}"}}')
    (root / "mine").mkdir(exist_ok=True)
    (root / "mine" / "notes.txt").write_text("keep me")
    os.utime(root / "mine", (0, 0))

    assert folders.tidy(root, team.queue, 7.0) == [job.id]
    assert not (root / job.id).exists()
    assert (root / "mine" / "notes.txt").read_text() == "keep me"
