"""Processes of this machine."""

from __future__ import annotations

import os


def is_running(process: int) -> bool:
    """Whether a process of this number runs on this machine, whoever's it is.

    Args:
        process: Its number, as read from a name or a file; one that no process can have runs nowhere.
    """
    if process <= 0:  # to the system call these mean groups of processes
        return False
    try:
        os.kill(process, 0)
    except PermissionError:  # another account's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
