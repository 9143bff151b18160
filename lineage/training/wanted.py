"""What :func:`lineage.training.make_deterministic` is asked for, looked at before anything is set: PyTorch's errors name no argument."""

from __future__ import annotations

import operator
from typing import Any

import torch

from lineage.errors import Unavailable, UsageError

_MOST_THREADS = 4096


def wanted_threads(threads: Any) -> int | None:
    """CPU threads for one operation, 1 to 4,096; ``None`` when they are PyTorch's choice.

    Raises:
        UsageError: It is something else.
    """
    if threads is None:
        return None
    try:
        number = None if isinstance(threads, bool) else operator.index(threads)
    except TypeError:
        number = None
    if number is None or not 1 <= number <= _MOST_THREADS:
        raise UsageError(
            f"make_deterministic: threads: expected a whole number from 1 to {_MOST_THREADS}, found {threads!r}",
            hint="leave it out to take PyTorch's own choice; it is recorded",
        )
    return number


def wanted_device(device: Any) -> torch.device:
    """The device that will compute, one that this machine has.

    Raises:
        UsageError: There is no such kind of device, or it computes nothing.
        Unavailable: This machine, or this build of PyTorch, has none.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UsageError(
            f"make_deterministic: device: expected cpu, cuda or another device of PyTorch's, found {device!r}",
            hint='for example device="cuda:0"; leave it out to compute on the CPU',
        ) from error
    if found.type == "meta":
        raise UsageError(
            "make_deterministic: device: expected one that computes, found 'meta'", hint="it holds shapes only; name a real one"
        )
    count = _count(found.type)
    if (found.index or 0) >= count:
        there = "none" if count == 0 else f"{count}, numbered from 0"
        raise Unavailable(
            f"make_deterministic: device: expected one that this machine has, found '{found}'; of the kind {found.type} there is {there}",
            hint="give a device that is there, or leave it out to compute on the CPU",
        )
    return found


def _count(kind: str) -> int:
    if kind == "cpu":
        return 1
    try:
        module = torch.get_device_module(kind)
        return int(module.device_count()) if module.is_available() else 0
    except (RuntimeError, AttributeError, AssertionError):  # this build has nothing for it
        return 0
