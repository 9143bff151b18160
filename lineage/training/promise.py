"""What can be promised before a training begins: the same bits, a tolerance, or nothing; and because of what."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch

Level = Literal["bitwise", "tolerance", "none"]

_OPERATION = re.compile(r"(\S+) does not have a deterministic implementation")


def operations_without_deterministic_form(step: Callable[[], Any]) -> tuple[str, ...]:
    """Names of the operations in a step for which PyTorch has no deterministic implementation on the device they run on.

    The step is executed once with ``warn_only``; random states are put back afterwards, gradients and weights are the caller's business.

    Args:
        step: One forward and backward pass.
    """
    was_on, was_warning = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=was_warning)
    return tuple(sorted({found[1] for item in caught if (found := _OPERATION.search(str(item.message)))}))


def promise(
    *, seeded: bool, device: str, threads: int, capability: str, precision: str, world_size: int, operations: tuple[str, ...] | None
) -> tuple[str, Level, list[str]]:
    """A sentence, its level, and what limits it.

    Args:
        seeded: Whether the run has a seed.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of one operation.
        capability: Class of CPU instructions.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        world_size: Number of processes.
        operations: Those without a deterministic form, ``None`` when they were not looked for.
    """
    if not seeded:
        return "none: the seed is not fixed", "none", ["the seed is not fixed"]
    because = [f"{name} has no deterministic form on {device}" for name in operations or ()]
    shared = f", {world_size} processes" if world_size > 1 else ""
    rounded = "" if precision == "float32" else f", computed in {precision}"
    if because:
        return f"tolerance on {device.upper()} because of {', '.join(operations or ())}{shared}{rounded}", "tolerance", because
    if device == "cpu":
        count = f"{threads} thread{'' if threads == 1 else 's'}"
        return f"bitwise on CPUs with {capability} and the same thread count ({count}{shared}{rounded})", "bitwise", []
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "the same GPU"
    looked = "" if operations is not None else "; operations were not looked at beforehand, one without a deterministic form stops the run"
    return f"bitwise on {name} with the same driver and libraries{shared}{rounded}{looked}", "bitwise", []
