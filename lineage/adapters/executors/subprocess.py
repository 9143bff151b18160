"""Commands as child processes of this one."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lineage.adapters.executors.orphans import end_with_this_process
from lineage.errors import ExecutionFailed
from lineage.model.secrets import redact_command
from lineage.ports import Step

_GRACE_S = 10.0
_ASK_S = 0.1


class SubprocessExecutor:
    """Executes a command in its own process group, so that Ctrl-C ends all of it."""

    def execute(self, step: Step, on_line: Callable[[str], None] | None = None, should_stop: Callable[[], bool] | None = None) -> int:
        """Run to the end and return the exit status (128 + signal number for a killed child). Once ``should_stop`` says yes it is ended.

        Raises:
            ExecutionFailed: The program cannot be started.
        """
        try:
            child = subprocess.Popen(
                step.command,
                cwd=step.folder,
                env=dict(step.variables),
                stdin=None if on_line is None else subprocess.DEVNULL,
                stdout=None if on_line is None else subprocess.PIPE,
                stderr=None if on_line is None else subprocess.STDOUT,
                text=True,
                errors="replace",
                # Attached to a terminal it stays in the foreground group, or it could not read what is typed.
                start_new_session=on_line is not None,
            )
        except OSError as error:
            raise ExecutionFailed(" ".join(redact_command(step.command)), 127, hint=f"{step.command[0]}: {error.strerror}") from error
        over = end_with_this_process(child.pid) if on_line is not None else None
        try:
            with _asking(child, should_stop, whole_group=on_line is not None):
                if child.stdout is not None and on_line is not None:
                    for line in child.stdout:
                        on_line(line.rstrip("\n"))
                status = child.wait()
        except BaseException:
            _end(child, whole_group=on_line is not None)
            raise
        finally:
            if child.stdout is not None:
                child.stdout.close()
            if over is not None:
                over()
        return status if status >= 0 else 128 - status


@contextmanager
def _asking(child: subprocess.Popen[str], should_stop: Callable[[], bool] | None, *, whole_group: bool) -> Iterator[None]:
    """Ask in a thread of its own, while this one waits for lines."""
    if should_stop is None:
        yield
        return
    over = threading.Event()

    def ask() -> None:
        while not over.wait(_ASK_S):
            if should_stop():
                _end(child, whole_group=whole_group)
                return

    asking = threading.Thread(target=ask, name="lineage-stop", daemon=True)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()


def _end(child: subprocess.Popen[str], *, whole_group: bool) -> None:
    for kind, grace_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
        if child.poll() is not None:
            break
        if whole_group:
            _signal_group(child.pid, kind)
        else:
            child.send_signal(kind)
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue
    if whole_group:
        _signal_group(child.pid, signal.SIGKILL)  # what it started and left behind: it would hold the output open


def _signal_group(group: int, kind: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it ended by itself
        os.killpg(group, kind)
