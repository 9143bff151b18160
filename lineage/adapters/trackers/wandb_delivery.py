"""Bringing to a W&B server what its client wrote into a folder, always from another process: a server may refuse, hang or talk nonsense."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lineage.model.secrets import redact_text
from lineage.ports.children import Child

_PROGRAM = Path(__file__).with_name("wandb_live.py")
_LOG = "lineage-sync.log"
_URL = re.compile(r"View run \S+ at (\S+)")
_TORN = "incomplete record"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How it came out.

    Attributes:
        is_complete: Whether the server has everything.
        url: Where the run is to be seen, when the server got as far as that.
        problem: Why it has not, in one line, without secrets.
        is_torn: The folder's log breaks off: what can be read of it was sent.
    """

    is_complete: bool
    url: str | None = None
    problem: str | None = None
    is_torn: bool = False


class LiveDelivery:
    """A delivery that goes on while the folder is being written.

    Args:
        folder: The W&B run's folder.
        grace_s: How long it may go on after :meth:`finish` gave up, or after this process was killed.
    """

    def __init__(self, folder: Path, grace_s: float) -> None:
        self._folder = folder
        self._log = folder / "logs" / _LOG
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as stream:
            self._process = Child(
                [sys.executable, str(_PROGRAM), str(folder), str(grace_s)],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=_variables(folder),
                start_new_session=True,
            )

    def finish(self, wait_s: float) -> Delivery:
        """After the folder was completed: wait at most so many seconds for the rest to be sent."""
        is_late = False
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            is_late = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        text = self._log.read_text(encoding="utf-8", errors="replace")
        if is_late:
            return Delivery(False, _url(text), _problem(text) or f"the server had not taken everything {wait_s:.0f} s after the run's end")
        return _outcome(self._folder, text)


def deliver(folder: Path, limit_s: float, on_line: Callable[[str], None] | None = None) -> Delivery:
    """Send a folder that is complete, or as much of it as can be read. Sent again, the server has nothing twice.

    Args:
        folder: The W&B run's folder.
        limit_s: Seconds without a word from W&B's own program after which it is ended.
        on_line: Gets its lines.
    """
    command = [sys.executable, "-m", "wandb", "beta", "sync", "--yes", "--no-skip-online", "--no-skip-synced", str(folder)]
    lines: list[str] = []
    with Child(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_variables(folder),
        start_new_session=True,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        heard, is_late = threading.Event(), threading.Event()
        reader = threading.Thread(target=_read, args=(process.stdout, lines, heard, on_line), daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                if not heard.wait(limit_s):
                    is_late.set()
                    break
                heard.clear()
                reader.join(0.05)
        finally:
            if process.poll() is None:
                try:
                    process.wait(0 if is_late.is_set() else 10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
            reader.join(10)
    text = "\n".join(lines)
    if is_late.is_set():
        return Delivery(False, _url(text), _problem(text) or f"the server did not answer for {limit_s:.0f} s")
    return _outcome(folder, text)


def _read(stream: IO[str], lines: list[str], heard: threading.Event, on_line: Callable[[str], None] | None) -> None:
    for line in stream:
        lines.append(line.rstrip())
        heard.set()
        if on_line is not None:
            on_line(redact_text(lines[-1]))
    heard.set()


def _outcome(folder: Path, text: str) -> Delivery:
    problem = _problem(text)
    # W&B's program ends with 0 whatever happened; that it was all taken is said by the mark that it leaves.
    if any(folder.glob("*.wandb.synced")) and problem is None:
        return Delivery(True, _url(text))
    return Delivery(False, _url(text), problem or "W&B's program ended without saying why", is_torn=_TORN in text)


def _problem(text: str) -> str | None:
    found = [line.partition("ERROR ")[2] for line in text.splitlines() if "ERROR " in line]
    if not found and ("Not authenticated" in text or "No API key" in text or "not logged in" in text.lower()):
        found = ["no API key is configured: set WANDB_API_KEY, or call `wandb login`"]
    return redact_text(found[-1]) if found else None


def _url(text: str) -> str | None:
    found = _URL.findall(text)
    return redact_text(found[-1]) if found else None


def _variables(folder: Path) -> dict[str, str]:
    # Its own service process, not that of the training; never the mode of the run that it sends; its own logs not into the working folder.
    left_out = ("WANDB_SERVICE", "WANDB_MODE", "WANDB_RUN_ID", "WANDB_SILENT", "WANDB_QUIET")
    return {name: value for name, value in os.environ.items() if name not in left_out} | {"WANDB_DIR": str(folder.parent.parent)}
