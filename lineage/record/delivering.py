"""Bringing to a tracker's server what it has not got: runs recorded offline, and runs whose server failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineage.errors import LineageError, UsageError
from lineage.model.event import TrackerTold
from lineage.model.metrics import logged
from lineage.model.run import Run, RunState
from lineage.ports import Ports, Progress, Sender, no_progress


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one run.

    Attributes:
        run_id: Of the record.
        name: Of the run, for people.
        outcome: ``sent`` now; ``known``: the server has it already; ``partly``: its log breaks off, what can be read was sent;
            ``failed``; ``skipped``: nothing of it is to be sent.
        detail: Why, in one line; where it is to be seen, when it was sent.
        was_rebuilt: The folder was gone, and was written again from the record.
    """

    run_id: str
    name: str
    outcome: str
    detail: str
    was_rebuilt: bool = False


def undelivered(ports: Ports, runs: Sequence[Run], tracker: str) -> list[Run]:
    """Those of some runs, newest first, that were told to a tracker and that its server has not got; oldest first.

    Reproductions and imported runs are not among them, nor runs that the script itself told online: they are sent when they are named.
    """
    return [run for run in reversed(runs) if _is_wanted(run, tracker) and ports.runs.origin(run.id) is None]


def send_runs(
    ports: Ports, sender: Sender, runs: Sequence[Run], *, limit_s: float, again: bool = False, progress: Progress = no_progress
) -> list[Sent]:
    """Send runs, one after the other; each outcome is kept in the run's record. Sent twice, the server has nothing twice.

    Args:
        ports: The store.
        sender: Of the tracker.
        runs: Ended runs.
        limit_s: Seconds without a word from the server after which a run is given up.
        again: Also those that the server has.
        progress: Told of runs done.
    """
    done = []
    for number, run in enumerate(runs, 1):
        done.append(_send(ports, sender, run, limit_s, again=again))
        progress("sending runs", number, len(runs))
    return done


def _is_wanted(run: Run, tracker: str) -> bool:
    called = run.trackers.get(tracker)
    if called is None or run.reproduces is not None or run.imported is not None or called.get("delivered_at"):
        return False
    by_itself = called.get("mode") == "disabled" or (called.get("joined") and called.get("mode") == "online")
    return run.state is not RunState.running and not by_itself


def _send(ports: Ports, sender: Sender, run: Run, limit_s: float, *, again: bool) -> Sent:
    called = run.trackers.get(sender.name)
    if called is None or run.imported is not None:
        return Sent(run.id, run.name, "skipped", f"it was not told to {sender.name}")
    if run.state is RunState.running:
        return Sent(run.id, run.name, "skipped", "it has not ended yet")
    if called.get("delivered_at") and not again:
        return Sent(run.id, run.name, "known", str(called.get("url") or f"delivered {called['delivered_at']}"))
    folder = Path(str(called.get("directory", "")))
    was_rebuilt = not sender.has_log(folder)
    facts: dict[str, Any] = {}
    try:
        if was_rebuilt:
            folder = sender.rebuild(run, logged(ports.runs.metrics(run.id)), ports.objects.path_of)
            facts["directory"] = str(folder)
        told = sender.send(folder, limit_s)
    except LineageError as error:
        return Sent(run.id, run.name, "failed", error.message, was_rebuilt)
    facts |= told
    if any(called.get(key) != value for key, value in facts.items()):
        ports.runs.append(run.id, TrackerTold(at=datetime.now(UTC), tracker=sender.name, facts=facts))
    if facts.get("delivered_at"):
        problem = facts.get("problem")
        return Sent(run.id, run.name, "partly" if problem else "sent", str(problem or facts.get("url") or ""), was_rebuilt)
    return Sent(run.id, run.name, "failed", str(facts.get("problem") or "no reason was given"), was_rebuilt)


def check_own(run: Run, tracker: str) -> None:
    """Only what was told to a tracker can be sent there.

    Raises:
        UsageError: It was not.
    """
    if tracker not in run.trackers:
        raise UsageError(f"run {run.id[:12]} was not told to {tracker}", hint="lineage.start_run(trackers=('wandb',)) tells a run")
