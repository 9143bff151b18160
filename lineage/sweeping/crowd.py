"""Several agents at once, each a process of its own: on this machine, or on nodes of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lineage.errors import ExecutionFailed
from lineage.ports.executor import Ending, Execution, Executor, Task

_LOOK_S = 0.3
_END_S = 60.0


@dataclass
class _Member:
    """One agent.

    Attributes:
        number: Counted from 1.
        execution: Its process, wherever that is.
        log: What it prints.
        read: Bytes of the log that were shown.
        ending: How it ended.
    """

    number: int
    execution: Execution
    log: Path
    read: int = 0
    ending: Ending | None = None


def send_agents(
    executor: Executor,
    command: Sequence[str],
    folder: Path,
    logs: Path,
    variables: Mapping[str, str],
    agents: int,
    on_line: Callable[[int, str], None],
    say: Callable[[str, str], None],
) -> list[Ending]:
    """Start agents and wait for all of them; how each ended.

    When this process is interrupted they are asked to end, and hand their trials back. When it is killed, whoever executes them ends them.

    Args:
        executor: Where they run.
        command: What starts one.
        folder: Where the program is.
        logs: New folder for what they print; nodes of a cluster must see it.
        variables: Their environment.
        agents: How many.
        on_line: Told of each line: number of the agent, and text.
        say: Told of agents that ended otherwise than by themselves.

    Raises:
        ExecutionFailed: They cannot be started.
    """
    logs.mkdir(parents=True, exist_ok=True)
    members: list[_Member] = []
    try:
        for number in range(1, agents + 1):
            log = logs / f"agent-{number}.log"
            log.touch()
            task = Task(f"lineage-agent-{number}", command, folder, log, variables, has_network=True)
            members.append(_Member(number, executor.start(task), log))
        _wait(members, on_line, say, float("inf"))
    except BaseException:
        for member in members:
            member.execution.stop()
        _wait(members, on_line, say, time.monotonic() + _END_S)
        raise
    return [member.ending for member in members if member.ending is not None]


def check_endings(command: Sequence[str], endings: Sequence[Ending]) -> None:
    """Whether all that came to an end by themselves did so well; a node that is gone takes an agent with it, and others go on.

    Raises:
        ExecutionFailed: One did not, or none came so far.
    """
    status = next((ending.status for ending in endings if ending.why == "exited" and ending.status), None)
    if status is None and endings and all(ending.why != "exited" for ending in endings):
        status = 1
    if status is not None:
        raise ExecutionFailed(" ".join(command), status, hint="what the agents said is above")


def _wait(members: Sequence[_Member], on_line: Callable[[int, str], None], say: Callable[[str, str], None], until: float) -> None:
    while any(member.ending is None for member in members) and time.monotonic() < until:
        for member in members:
            if member.ending is None:
                member.ending = member.execution.poll()
                _show(member, on_line)
                if member.ending is not None and member.ending.why != "exited":
                    say("warning", f"agent {member.number}: {member.ending.why}; its trial is handed on")
        time.sleep(_LOOK_S)


def _show(member: _Member, on_line: Callable[[int, str], None]) -> None:
    with member.log.open("rb") as stream:
        stream.seek(member.read)
        new = stream.read()
    whole = new if member.ending is not None else new[: new.rfind(b"\n") + 1]
    member.read += len(whole)
    for line in whole.decode(errors="replace").splitlines():
        on_line(member.number, line)
