"""What every queue of jobs promises: the same tests over SQLite and PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lineage.adapters.queues import sql
from lineage.adapters.queues.sql import SqlJobQueue
from lineage.errors import Conflict, KeyReused, LeaseLost, NotFound, UsageError
from lineage.model.materialisation import JobError, JobProgress, JobState, Materialisation, MaterialisationRequest, What
from lineage.ports.jobs import JobQuery
from lineage.settings import Settings
from lineage.wiring_jobs import job_queue

KINDS: tuple[What, ...] = ("data", "workspace", "rerun")
RERUN = MaterialisationRequest(what="rerun")
RUN = "4f0c2a" + "0" * 26

# A worker in a process of its own: takes jobs until none is left and prints their ids.
WORKER = """
import sys, time
from pathlib import Path
from lineage.model.materialisation import JobState
from lineage.settings import Settings
from lineage.wiring_jobs import job_queue

queue = job_queue(Settings(sys.argv[1], Path(sys.argv[2])))
print("ready", flush=True)
sys.stdin.readline()
while (claim := queue.claim("child", ("data", "workspace", "rerun"), 30.0)) is not None:
    print(claim.job.id, flush=True)
    queue.finish(claim, JobState.succeeded)
queue.close()
"""


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "postgres":
        return Settings(request.getfixturevalue("postgres_url"), tmp_path / "folder")
    return Settings(str(tmp_path / "store"), tmp_path / "store")


@pytest.fixture
def open_queue(settings: Settings) -> Iterator[Callable[[], SqlJobQueue]]:
    """Opens the queue again, as another process would."""
    opened: list[SqlJobQueue] = []

    def open_it() -> SqlJobQueue:
        opened.append(job_queue(settings))
        return opened[-1]

    yield open_it
    for item in opened:
        item.close()


@pytest.fixture
def queue(open_queue: Callable[[], SqlJobQueue]) -> SqlJobQueue:
    return open_queue()


def ask(queue: SqlJobQueue, count: int = 1) -> list[Materialisation]:
    return [queue.enqueue(RUN, RERUN, by="ada") for _ in range(count)]


def test_a_job_is_what_was_asked_for(queue: SqlJobQueue) -> None:
    """It waits under its id, with who asked for what, and is listed newest first, a page at a time, by run and state."""
    request = MaterialisationRequest(what="data", format="coco", role="train", seconds=60)
    first = queue.enqueue(RUN, request, by="ada")
    others = [queue.enqueue("0" * 32, RERUN, by="bob") for _ in range(3)]

    assert (first.state, first.attempt, first.requested_by, first.options, first.worker) == (JobState.queued, 0, "ada", request, None)
    assert queue.get(first.id) == first
    assert abs(first.requested_at.timestamp() - time.time()) < 60
    page = queue.find(JobQuery(limit=3))
    assert [job.id for job in page.jobs] == [job.id for job in reversed(others)]
    assert [job.id for job in queue.find(JobQuery(limit=3, after=page.next_cursor)).jobs] == [first.id]
    assert queue.find(JobQuery(run_id=RUN)).jobs == (first,)
    assert queue.find(JobQuery(state=JobState.running)).jobs == ()
    assert queue.ids_with_prefix(first.id[:10], 2) == [first.id]
    with pytest.raises(NotFound, match="no job 'ffff'"):
        queue.get("ffff")
    with pytest.raises(UsageError, match="cursor"):
        queue.find(JobQuery(after="ffff"))


def test_a_key_stands_for_one_request(open_queue: Callable[[], SqlJobQueue]) -> None:
    """The same request again, also at the same moment, is the same job; another one under the key is refused; keys are their owner's."""
    queues = [open_queue() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda queue: queue.enqueue(RUN, RERUN, by="ada", key="monday").id, queues))

    assert len(ids) == 1
    with pytest.raises(KeyReused, match="'monday' was used for another request"):
        queues[0].enqueue(RUN, MaterialisationRequest(what="workspace"), by="ada", key="monday")
    with pytest.raises(KeyReused):
        queues[0].enqueue("0" * 32, RERUN, by="ada", key="monday")
    assert queues[0].enqueue(RUN, RERUN, by="bob", key="monday").id not in ids
    assert len(queues[0].find(JobQuery()).jobs) == 2


def test_a_job_is_taken_once(settings: Settings, open_queue: Callable[[], SqlJobQueue]) -> None:
    """Two processes and two threads that take jobs at the same time never take one twice, and leave none."""
    asked = {job.id for job in ask(open_queue(), 40)}
    command = [sys.executable, "-c", WORKER, settings.store, str(settings.folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, env=os.environ, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for child in children:
        assert child.stdout.readline() == "ready\n"

    def work(queue: SqlJobQueue) -> list[str]:
        taken = []
        while (claim := queue.claim("thread", KINDS, 30.0)) is not None:
            taken.append(claim.job.id)
            queue.finish(claim, JobState.succeeded)
        return taken

    queues = [open_queue() for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        here = [pool.submit(work, queue) for queue in queues]
        there = [pool.submit(child.communicate, "go\n", 60) for child in children]
        taken = [job_id for future in here for job_id in future.result(60)]
        taken += [job_id for future in there for job_id in future.result(60)[0].split()]

    assert sorted(taken) == sorted(asked)


def test_the_oldest_that_the_worker_can_do_comes_first(queue: SqlJobQueue) -> None:
    """Jobs are taken in the order in which they were asked for, and only those of the kinds that a worker does."""
    first, data, last = (queue.enqueue(RUN, MaterialisationRequest(what=what), by="ada") for what in ("rerun", "data", "rerun"))

    claims = [queue.claim("w", kinds, 30.0) for kinds in (("data",), ("data",), KINDS, KINDS, KINDS)]

    assert [None if claim is None else claim.job.id for claim in claims] == [data.id, None, first.id, last.id, None]


def test_a_worker_that_is_silent_loses_its_job(open_queue: Callable[[], SqlJobQueue]) -> None:
    """Its lease runs out, another worker takes over with the next attempt, and nothing that the first one says counts any more."""
    queue, other = open_queue(), open_queue()
    (job,) = ask(queue)
    slow = queue.claim("slow", KINDS, 0.3)
    assert slow is not None
    assert other.claim("quick", KINDS, 30.0) is None
    assert queue.heartbeat(slow, 0.3) is False
    until(lambda: other.claim("quick", KINDS, 30.0))

    now = queue.get(job.id)
    assert (now.worker, now.attempt, now.state) == ("quick", 2, JobState.running)
    for say in (
        lambda: queue.heartbeat(slow, 30.0),
        lambda: queue.add_log(slow, "late\n"),
        lambda: queue.note(slow, result_run_id="late"),
        lambda: queue.hand_back(slow),
        lambda: queue.finish(slow, JobState.succeeded, verdict="late"),
    ):
        with pytest.raises(LeaseLost, match="not this worker's any more"):
            say()
    assert queue.get(job.id) == now
    assert [item.text for item in queue.happened(job.id, 0) if item.text] == []


def until(look: Callable[[], object], seconds: float = 20.0) -> object:
    """What ``look`` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")


def test_a_heartbeat_keeps_a_job(open_queue: Callable[[], SqlJobQueue]) -> None:
    """Nobody takes a job over while its worker speaks in time; a worker's own clock decides nothing."""
    queue, other = open_queue(), open_queue()
    ask(queue)
    claim = queue.claim("w", KINDS, 1.0)
    assert claim is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: 10.0**10)
        for _ in range(15):
            assert queue.heartbeat(claim, 1.0, JobProgress(what="rows", done=1, total=2)) is False
            assert other.claim("other", KINDS, 30.0) is None
            time.sleep(0.1)
    assert queue.get(claim.job.id).progress == JobProgress(what="rows", done=1, total=2)


def test_a_job_that_kills_its_workers_ends(queue: SqlJobQueue) -> None:
    """After the attempts that are allowed it fails, and says so; retried it has as many again."""
    (job,) = ask(queue)
    for attempt in range(1, 4):
        claim = until(lambda: queue.claim("w", KINDS, 0.05))
        assert getattr(claim, "job").attempt == attempt  # noqa: B009
    until(lambda: queue.claim("w", KINDS, 0.05) is None and queue.get(job.id).state is JobState.failed)

    failed = queue.get(job.id)
    assert failed.error is not None
    assert (failed.error.code, failed.attempt, failed.attempts_allowed) == ("attempts", 3, 3)
    again = queue.retry(job.id)
    assert (again.state, again.error, again.attempts_allowed, again.ended_at) == (JobState.queued, None, 6, None)
    claim = queue.claim("w", KINDS, 30.0)
    assert claim is not None
    assert claim.job.attempt == 4


def test_it_ends_once(queue: SqlJobQueue) -> None:
    """What a worker found is kept; a second end, or another state afterwards, is refused."""
    (job,) = ask(queue)
    claim = queue.claim("w", KINDS, 30.0)
    assert claim is not None
    queue.note(claim, isolation=["network off"], result_run_id="a" * 32)
    done = queue.finish(claim, JobState.succeeded, verdict="identical")

    assert (done.state, done.verdict, done.result_run_id, done.isolation) == (JobState.succeeded, "identical", "a" * 32, ("network off",))
    assert done.ended_at is not None
    with pytest.raises(LeaseLost):
        queue.finish(claim, JobState.failed, error=JobError(code="x", message="y"))
    with pytest.raises(Conflict, match="is succeeded"):
        queue.retry(job.id)
    assert queue.cancel(job.id) == done
    assert queue.claim("w", KINDS, 30.0) is None


def test_calling_off(queue: SqlJobQueue) -> None:
    """A job that waits is cancelled at once; a running one when its worker hears of it, or when its worker is gone."""
    waiting, running, orphan, returned = ask(queue, 4)
    assert queue.cancel(waiting.id).state is JobState.cancelled
    claim = queue.claim("w", KINDS, 30.0)
    assert claim is not None
    assert claim.job.id == running.id
    told = queue.cancel(running.id)
    assert (told.state, told.cancel_requested) == (JobState.running, True)
    assert queue.heartbeat(claim, 30.0) is True
    assert queue.finish(claim, JobState.cancelled).state is JobState.cancelled

    dead = queue.claim("dead", KINDS, 0.1)
    assert dead is not None
    queue.cancel(orphan.id)
    until(lambda: queue.cancel(orphan.id).state is JobState.cancelled)

    ending = queue.claim("w", KINDS, 30.0)
    assert ending is not None
    assert ending.job.id == returned.id
    queue.cancel(returned.id)
    queue.hand_back(ending)
    assert queue.get(returned.id).state is JobState.cancelled
    assert queue.claim("w", KINDS, 30.0) is None


def test_handing_back_is_no_attempt(queue: SqlJobQueue) -> None:
    """A worker that is told to end gives its job back: the next one begins it as if nobody had."""
    (job,) = ask(queue)
    for _ in range(5):
        claim = queue.claim("w", KINDS, 30.0)
        assert claim is not None
        assert claim.job.attempt == 1
        queue.hand_back(claim)
    assert (queue.get(job.id).state, queue.get(job.id).attempt) == (JobState.queued, 0)


def test_following(queue: SqlJobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log comes in order, once, from where one had got to, with the job at its end; it is cut when it becomes too long."""
    (job,) = ask(queue)
    claim = queue.claim("w", KINDS, 30.0)
    assert claim is not None
    for number in range(5):
        queue.add_log(claim, f"line {number}\0\n")
    told = queue.happened(job.id, 0)
    assert [item.text for item in told[:-1]] == [f"line {number}\ufffd\n" for number in range(5)]
    assert told[-1].job == queue.get(job.id)
    assert [item.number for item in told] == sorted(item.number for item in told)
    assert [item.text for item in queue.happened(job.id, told[2].number)] == [told[3].text, told[4].text, None]
    assert queue.happened(job.id, told[-1].number) == []
    assert [item.text for item in queue.happened(job.id, 0, limit=2)] == [told[0].text, told[1].text]

    monkeypatch.setattr(sql, "_LOG_BYTES", 100)
    for _ in range(3):
        queue.add_log(claim, "x" * 60)
    last = [item.text for item in queue.happened(job.id, told[-1].number) if item.text is not None]
    assert len(last) == 1
    assert last[0].endswith("what follows is not kept)\n")
    with pytest.raises(NotFound):
        queue.happened("ffff", 0)


def test_waiting_ends_when_there_is_something_to_do(open_queue: Callable[[], SqlJobQueue]) -> None:
    """A worker that waits hears of a new job within a moment, and stops waiting when it is told to."""
    queue, other = open_queue(), open_queue()
    job: list[Materialisation] = []

    def ask_later() -> None:
        time.sleep(0.5)
        job.extend(ask(other))

    asking = threading.Thread(target=ask_later)
    asking.start()
    began = time.monotonic()
    while (claim := queue.claim("w", KINDS, 30.0)) is None and time.monotonic() - began < 20:
        queue.wait(20.0, lambda: False)
    took = time.monotonic() - began
    asking.join()
    assert claim is not None
    assert claim.job.id == job[0].id
    assert took < 5

    began = time.monotonic()
    queue.wait(20.0, lambda: True)
    assert time.monotonic() - began < 5


def test_word_is_left_with_the_job_or_not_at_all(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL the queue's own row is part of our transaction: when ours fails nobody is woken, and nothing is left behind."""
    import psycopg

    queue = job_queue(Settings(postgres_url, tmp_path))
    count = "SELECT COUNT(*) FROM lineage_procrastinate_3_10.procrastinate_jobs"
    with psycopg.connect(postgres_url) as connection:
        ask(queue)
        assert connection.execute(count).fetchone() == (1,)
        with monkeypatch.context() as patch:
            patch.setattr(sql, "_job", lambda row: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                ask(queue)
        assert connection.execute(count).fetchone() == (1,)
        assert len(queue.find(JobQuery()).jobs) == 1
        # Procrastinate's tables stay out of the schema of the records.
        tables = "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'procrastinate%%'"
        assert connection.execute(tables).fetchone() == (0,)
    queue.close()
