"""A command that must not outlive the process that started it, even when that one is killed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

# It waits for a word. When its input ends without one, the process that would have said it is gone, and with it whoever could
# use what the command computes.
_WATCH = """
read -r word && exit 0
kill -s TERM -- "-$1" 2>/dev/null || exit 0
waited=0
while [ "$waited" -lt 100 ] && kill -s 0 -- "-$1" 2>/dev/null; do sleep 0.1; waited=$((waited + 1)); done
kill -s KILL -- "-$1" 2>/dev/null
"""


def end_with_this_process(group: int) -> Callable[[], None]:
    """End a process group when this process ends in any way: asked to first, killed after ten seconds.

    A signal of the kernel (``PR_SET_PDEATHSIG``) would reach the command only, not what it started.

    Args:
        group: Its number.

    Returns:
        What to call when the group is over.
    """
    try:
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "sh", str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:  # a container without a shell: the command then ends when it next prints
        return lambda: None

    def over() -> None:
        try:
            watcher.communicate(b"over\n", timeout=10)
        except subprocess.TimeoutExpired:
            watcher.kill()
            watcher.wait()

    return over
