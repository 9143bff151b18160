"""Running a recorded run again for somebody: prepared here, run in a sandbox, judged here.

The recorded code never sees the team's store. It runs against a store of its own in the job's folder, filled from a bundle, without
credentials and, unless somebody asked and the worker allows it, without a network. What it leaves there is then checked and taken over
like a record from elsewhere, and the verdict is made here, of the team's own record and the new one.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from lineage.errors import ExecutionFailed, IntegrityError, LineageError, Unavailable, UsageError
from lineage.model.comparison import Report, Verdict
from lineage.model.materialisation import JobError
from lineage.model.plan import Plan
from lineage.model.run import Run, RunState
from lineage.ports import Ports
from lineage.ports.executor import Ending, Execution, Limits, Task
from lineage.record.reindex import enter_run
from lineage.reproduce.bundle import bundle_run, record_of
from lineage.reproduce.bundle_file import BundleFile
from lineage.reproduce.bundle_import import check_places, import_bundle
from lineage.reproduce.environment import ChosenEnvironment
from lineage.reproduce.jobs.attempt import Attempt
from lineage.reproduce.jobs.workshop import Outcome, Workshop
from lineage.reproduce.judging import judge
from lineage.reproduce.stopped_trials import STOPPED
from lineage.reproduce.trust import require_trust
from lineage.reproduce.watching import Stop

_LOOK_S = 0.2
_REPORT_BYTES = 64 << 20
_CACHE_BYTES = 256 << 20
_INSIDE, _ENVIRONMENTS = "inside", "environments"
_SCRATCH, _REPORT, _BUNDLE = "store", "report.json", "run.lineage"
_STOPPED = "stopped: "
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_TO_FILE = 'out=$1; shift; exec "$@" > "$out"'
"""The report goes into a file, and only what is said goes into the log."""


def rerun(shop: Workshop, attempt: Attempt) -> Outcome:
    """Run a run again and say whether the result is the same."""
    job = attempt.claim.job
    run = shop.ports.runs.get(job.run_id)
    inside = attempt.folder / _INSIDE  # all that recorded code can write; the log that this process reads lies beside it
    if (found := _earlier(shop, attempt, run)) is not None:
        return found
    if job.options.network and not shop.allows_network:
        raise UsageError("this worker lets no recorded code reach the network", hint="ask without network, or start it with --network")
    require_trust(shop.ports, run)
    attempt.say("the team's store vouches for the record, so its command may be executed")
    attempt.check()
    inside.mkdir()
    _prepare(shop, attempt, run, inside)
    ending = _execute(shop, attempt, inside)
    attempt.check()
    if ending.why != "exited":
        return Outcome(error=_cut_off(ending, attempt.limits))
    report = _read_report(inside / _REPORT, ending)
    if report.verdict is Verdict.blocked:
        return Outcome(error=JobError(code="blocked", message=report.reason or "something it needs is missing", hint="its log names it"))
    if report.replica_id is None or not _RUN_ID.fullmatch(report.replica_id):
        raise ExecutionFailed("lineage reproduce", ending.status or 0, hint="the job's log says more")
    # From here on the run exists: whoever goes on with this job goes on with it, and makes no second one.
    shop.queue.note(attempt.claim, result_run_id=report.replica_id, path=str(inside))
    return _take_over(shop, attempt, run, report.replica_id, inside, report)


def _prepare(shop: Workshop, attempt: Attempt, run: Run, inside: Path) -> None:
    attempt.progress("collecting what the run needs", 0, 1)
    bundle = inside / _BUNDLE
    bundle_run(shop.ports, run, bundle, progress=attempt.progress)
    scratch = inside / _SCRATCH
    scratch.mkdir()
    environments = shop.ports.folder / _ENVIRONMENTS
    environments.mkdir(parents=True, exist_ok=True)
    (scratch / _ENVIRONMENTS).symlink_to(environments)  # built once for all jobs; the sandbox shows them, and lets nobody write
    ports = shop.open_store(scratch)
    try:
        with BundleFile(bundle) as opened:
            copy = import_bundle(ports, opened, attempt.progress).run
        chosen = ChosenEnvironment(ports, copy, attempt.claim.job.options.environment)
        chosen.build(Plan(run_id=copy.id, command=copy.command, ingredients=tuple(chosen.rows())), attempt.progress)
    finally:
        ports.runs.close()


def _execute(shop: Workshop, attempt: Attempt, folder: Path) -> Ending:
    job = attempt.claim.job
    home = folder / "home"
    for made in (home, folder / "tmp"):
        made.mkdir()
    command = [sys.executable, "-P", "-m", "lineage", "reproduce", str(folder / _BUNDLE), "--store", str(folder / _SCRATCH)]
    # Trust was looked at here, in the store that saw the record grow: in the other one every record is from elsewhere.
    command += ["--yes", "--json", "--env", job.options.environment]
    command += [] if job.options.until_step is None else ["--until-step", str(job.options.until_step)]
    limits = attempt.limits
    task = Task(
        name=f"lineage-{job.id[:12]}-{attempt.claim.fence}",
        command=("/bin/sh", "-c", _TO_FILE, "sh", str(folder / _REPORT), *command),
        folder=folder,
        log=attempt.log,
        variables=_variables(shop, folder, home),
        readable=(*shop.readable, (shop.ports.folder / _ENVIRONMENTS).resolve()),
        has_network=job.options.network and shop.allows_network,
        limits=Limits(attempt.seconds_left(), limits.memory_bytes, limits.disk_bytes),
    )
    attempt.progress("running it again", 0, 1)
    try:
        execution = shop.executor.start(task)
    except ExecutionFailed as error:
        raise Unavailable(
            f"recorded code cannot be started here: {error.hint or error.message}", hint="the worker's machine lacks it"
        ) from error
    try:
        told = _tell_isolation(shop, attempt, execution, None)
        while (ending := execution.poll()) is None:
            told = _tell_isolation(shop, attempt, execution, told)  # a cluster knows it when a node has taken it
            attempt.check()
            time.sleep(_LOOK_S)
    except BaseException:
        execution.stop()
        while execution.poll() is None:  # its folder is deleted next
            time.sleep(_LOOK_S)
        raise
    return ending


def _tell_isolation(shop: Workshop, attempt: Attempt, execution: Execution, told: list[str] | None) -> list[str]:
    isolation = list(execution.isolation)
    if isolation != told:
        attempt.say(f"isolation: {', '.join(isolation) or 'none'}")
        shop.queue.note(attempt.claim, isolation=isolation)
    return isolation


def _variables(shop: Workshop, folder: Path, home: Path) -> dict[str, str]:
    cache = folder / "cache"
    if shop.cache is not None and shop.cache.is_dir() and sum(item.stat().st_size for item in shop.cache.glob("*")) < _CACHE_BYTES:
        shutil.copytree(shop.cache, cache, dirs_exist_ok=True)
    cache.mkdir(exist_ok=True)
    own = {
        "HOME": str(home),
        "TMPDIR": str(folder / "tmp"),
        "LINEAGE_STORE": str(folder / _SCRATCH),
        "LINEAGE_CACHE": str(cache),
        "LINEAGE_KEYS": str(home / "keys"),
        "LINEAGE_SIGN": "off",
        "WANDB_MODE": "offline",
    }
    return {**shop.variables, **own}


def _cut_off(ending: Ending, limits: Limits) -> JobError:
    hints = "ask for more, or for a worker that allows more"
    words = {
        "time": f"it took more than {limits.seconds or 0:g} s",
        "memory": f"it used more than {limits.memory_bytes} bytes of memory",
        "disk": f"it wrote more than {limits.disk_bytes} bytes",
        "lost": "whatever executed it is gone",
        "stopped": "it was stopped",
    }
    return JobError(code=ending.why, message=words[ending.why], hint=hints if ending.why in ("time", "memory", "disk") else None)


def _read_report(file: Path, ending: Ending) -> Report:
    hint = "the job's log says more"
    if file.is_symlink() or not file.is_file() or file.stat().st_size > _REPORT_BYTES:
        raise ExecutionFailed("lineage reproduce", ending.status or 0, hint=hint)
    try:
        text = file.read_text(encoding="utf-8")
        report: Report = Report.model_validate_json(_without_computed(text))
    except (ValueError, ValidationError, RecursionError) as error:
        raise ExecutionFailed("lineage reproduce", ending.status or 0, hint=hint) from error
    return report


def _without_computed(text: str) -> str:
    told = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError("no report")
    told.pop("checked", None)
    if isinstance(told.get("plan"), dict):
        told["plan"].pop("blockers", None)
    return json.dumps(told)


def _earlier(shop: Workshop, attempt: Attempt, run: Run) -> Outcome | None:
    """Go on with what an earlier attempt had finished but for the last steps; ``None`` when it had not, or it is out of reach."""
    job = attempt.claim.job
    if job.result_run_id is None:
        return None
    folder = Path(job.path) if job.path is not None else None
    if shop.ports.runs.position(job.result_run_id).events:
        if not (shop.ports.runs.origin(job.result_run_id) or "").startswith(_source(attempt)):
            return None  # recorded code named a run that it had not made
        return _judged(shop, attempt, run, shop.ports.runs.get(job.result_run_id), folder)
    if folder is None or not (folder / _SCRATCH).is_dir():
        return None
    attempt.say("an earlier attempt had run it; its result is taken over")
    return _take_over(shop, attempt, run, job.result_run_id, folder, None)


def _take_over(shop: Workshop, attempt: Attempt, run: Run, replica_id: str, folder: Path, report: Report | None) -> Outcome:
    attempt.progress("taking the result over", 0, 1)
    _check_no_links(folder / _SCRATCH)
    ports = shop.open_store(folder / _SCRATCH)
    try:
        replica = _copy(shop, ports, run, replica_id, _source(attempt))
    finally:
        ports.runs.close()
    return _judged(shop, attempt, run, replica, folder, report)


def _check_no_links(scratch: Path) -> None:
    # A link in place of its database would have this process read another store's records as what recorded code left.
    links = [item for item in (scratch, *scratch.iterdir()) if item.is_symlink() and item.name != _ENVIRONMENTS]
    if links:
        raise IntegrityError("the store that recorded code had", expected="files", found=f"a link: {links[0].name}")


def _source(attempt: Attempt) -> str:
    """Where the store says that the result came from, up to its digest."""
    return f"job {attempt.claim.job.id} "


def _copy(shop: Workshop, scratch: Ports, run: Run, replica_id: str, source: str) -> Run:
    record = record_of(scratch, scratch.runs.get(replica_id))
    what = f"the record that run {run.id[:12]} left"
    if record.run.reproduces != run.id or record.run.state is RunState.running:
        raise IntegrityError(what, expected=f"a reproduction of {run.id} that is over", found=f"one of {record.run.reproduces}")
    check_places(record.run, what)
    known = shop.ports.runs.origin(replica_id)
    if shop.ports.runs.position(replica_id).events and not (known or "").startswith(source):
        raise IntegrityError(what, expected="a new run", found=f"run {replica_id[:12]}, which is here already")
    shop.send_objects(scratch.objects, shop.ports.objects, "".join(payload for payload, _ in record.events))
    # Everything or nothing, and nothing twice.
    shop.ports.runs.adopt(replica_id, record.events, record.environments, record.points, f"{source}({record.events[-1][1]})")
    with suppress(LineageError):  # it is kept; `lineage doctor` names what is not findable
        enter_run(shop.ports, record.run)
    return shop.ports.runs.get(replica_id)


def _judged(shop: Workshop, attempt: Attempt, run: Run, replica: Run, folder: Path | None, report: Report | None = None) -> Outcome:
    attempt.hold()  # nobody else gets the job while its verdict is written
    told = next((item for item in shop.ports.runs.get(run.id).reproductions if item.run_id == replica.id), None)
    if told is not None:
        return Outcome(verdict=told.verdict, result_run_id=replica.id)
    if report is None and folder is not None and (folder / _REPORT).is_file():
        report = _read_report(folder / _REPORT, Ending("exited", 0))
    plan = Plan(run_id=run.id, command=run.command, ingredients=()) if report is None else report.plan
    until = attempt.claim.job.options.until_step
    status = 0 if replica.state is RunState.finished else 1
    stop = _stop_of(replica, until)
    made = judge(shop.ports, run, replica, plan, status=status, last_lines=(), stop=stop, until_step=until)
    verdict = Verdict.inconclusive if made.verdict is None else made.verdict
    attempt.say(f"verdict: {verdict.value}" + (f" ({made.reason})" if made.reason else ""))
    return Outcome(verdict=verdict.value, result_run_id=replica.id)


def _stop_of(replica: Run, until_step: int | None) -> Stop | None:
    if replica.state is not RunState.aborted or not (replica.error or "").startswith(_STOPPED):
        return None
    sentence = (replica.error or "").removeprefix(_STOPPED)
    return Stop("until" if sentence in (f"step {until_step} is done", STOPPED) else "difference", sentence)
