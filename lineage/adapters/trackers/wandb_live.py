"""Sends a W&B run to the server while it is still being written: a program of its own, so that no server can hold the training up.

``python wandb_live.py FOLDER GRACE_S``: runs W&B's own sync in live mode at low priority. When standard input closes, because the training
said so or was killed, the sync has GRACE_S seconds to finish; then it is ended, and the rest is left for ``lineage sync``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main(folder: str, grace_s: float) -> int:
    """Exit status of the sync; 124 when it was ended."""
    os.nice(10)
    command = [sys.executable, "-m", "wandb", "beta", "sync", "--live", "--yes", folder]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_watch, args=(child, grace_s), daemon=True).start()
    status = child.wait()
    return 124 if status < 0 else status


def _watch(child: subprocess.Popen[bytes], grace_s: float) -> None:
    sys.stdin.buffer.read()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # with W&B's service process, which is of the same session


if __name__ == "__main__":
    # Ctrl-C in the terminal is meant for the training; it ends this one through standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
