"""How this process ends, for a run that its script left open.

Python tells nobody of ``sys.exit(3)`` at the top of a program: no hook is called, and when functions registered for the end run, the
exception is gone. So ``sys.exit`` is watched: the exception that it raised last is kept, and its traceback tells at the end whether
anything caught it on the way.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn

_NOT_KNOWN = "it was not finished by the script itself: an exit status that was given otherwise than by sys.exit() is not known here"
_last: list[SystemExit] = []
_python_exit: list[Any] = []


def watch_exit() -> None:
    """Remember from now on what ``sys.exit`` is called with; once for each process."""
    if not _python_exit:
        _python_exit.append(sys.exit)
        setattr(sys, "exit", _exit)  # noqa: B010 - type checkers would take it for a mistake


def _exit(status: Any = None, /) -> NoReturn:
    """Exit the interpreter by raising SystemExit(status)."""
    error = SystemExit() if status is None else SystemExit(*status) if isinstance(status, tuple) else SystemExit(status)
    if threading.current_thread() is threading.main_thread():  # in another thread it ends that thread only
        _last[:] = [error]
    with suppress(SystemExit):  # whoever watched before this wants to be told, too: W&B does
        _python_exit[0](status)
    raise error


def how_it_ends() -> tuple[BaseException | None, str | None]:
    """What ends this process, ``None`` when it simply comes to its end; and what a record has to say of it.

    Called when functions registered with ``atexit`` are.
    """
    error: BaseException | None = getattr(sys, "last_value", None)
    if error is not None:
        return error, None
    if _last and _left_the_program(_last[0].__traceback__):
        return (_last[0] if _last[0].code else None), None
    return None, _NOT_KNOWN


def _left_the_program(outermost: TracebackType | None) -> bool:
    if outermost is None:  # Python 3.11 makes the traceback known to the exception when something handles it, and nothing did
        return True
    # Whoever caught it went on and stands at another instruction now, a return mostly; else it was handed on.
    frame, place = outermost.tb_frame, outermost.tb_frame.f_lasti
    if place == outermost.tb_lasti:
        return True
    from opcode import opname  # at the end of such a process only

    name, argument = opname[frame.f_code.co_code[place]], frame.f_code.co_code[place + 1]
    return name == "RERAISE" or (name == "RAISE_VARARGS" and argument == 0)
