"""Child processes that are never started while another thread forks.

A child that is forked meanwhile (a worker of a data loader) inherits the pipes by which a starting command is told apart from one that
failed, and keeps them open: whoever started the command then waits until that worker ends, which may be for ever.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any


class _Starting:
    """Held by whoever starts a command, or forks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        os.register_at_fork(before=self._close, after_in_parent=self._open, after_in_child=self._renew)

    def _close(self) -> None:
        self.lock.acquire()

    def _open(self) -> None:
        self.lock.release()

    def _renew(self) -> None:
        self.lock = threading.Lock()


_STARTING = _Starting()


class Child(subprocess.Popen[Any]):
    """A :class:`subprocess.Popen` of which no forked process inherits more than this one keeps.

    The writing end of a pipe to the command is such a thing: give none where the command waits for the end of its input.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        with _STARTING.lock:
            super().__init__(*args, **options)


def completed(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    given: bytes | None = None,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Execute a command and wait for its end.

    Args:
        command: Program and arguments.
        env: Its variables.
        given: What it reads; by way of a file, since the end of a pipe might never come.
        stdin: A file that it reads instead; nothing without either.
        stdout: A file that it writes to; without it the output is in the answer. So are the errors.

    Raises:
        OSError: It cannot be started.
    """
    with tempfile.TemporaryFile() if given else Path(os.devnull).open("rb") as source:
        if given:
            source.write(given)
            source.seek(0)
        with Child(
            command,
            env=env,
            stdin=source if stdin is None else stdin,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
        ) as child:
            try:
                out, errors = child.communicate()
            except BaseException:
                child.kill()
                raise
    return subprocess.CompletedProcess(command, child.returncode, out or b"", errors)
