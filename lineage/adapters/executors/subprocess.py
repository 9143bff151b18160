"""Commands as child processes of this one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

from lineage.errors import ExecutionFailed
from lineage.model.secrets import redact_command
from lineage.ports import Step

_GRACE_S = 10.0


class SubprocessExecutor:
    """Executes a command in its own process group, so that Ctrl-C ends all of it."""

    def execute(self, step: Step, on_line: Callable[[str], None] | None = None) -> int:
        """Run to the end and return the exit status (128 + signal number for a killed child).

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
        try:
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
        return status if status >= 0 else 128 - status


def _end(child: subprocess.Popen[str], *, whole_group: bool) -> None:
    for kind, grace_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
        if child.poll() is not None:
            return
        if whole_group:
            os.killpg(child.pid, kind)
        else:
            child.send_signal(kind)
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue
