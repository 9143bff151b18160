"""Everything that decides the bits of a training run: set in one call, and recorded."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch

from lineage.errors import Unavailable, UsageError
from lineage.record.live import LiveRun
from lineage.record.steps import whole_number
from lineage.training.cpu import check_cpu_capability, pin_cpu_capability
from lineage.training.promise import operations_without_deterministic_form, promise
from lineage.training.wanted import wanted_device, wanted_threads

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
Precision = Literal["float32", "bfloat16", "float16"]


def make_deterministic(
    run: LiveRun,
    *,
    threads: int | None = None,
    cpu_capability: str | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
    strict: bool = True,
) -> dict[str, Any]:
    """Seed Python, NumPy and PyTorch from the run's seed, choose deterministic algorithms, fix thread counts; record all of it.

    Sums of floats depend on how they are split between threads and vector lanes, so the thread count and the class of CPU instructions
    belong to the record. In a reproduction and in a resumed run the recorded settings are taken over, whatever the arguments say. Call
    it before anything is computed. Augmentation is not seeded here: it gets a generator for each sample (:func:`sample_generator`).

    Args:
        run: The live run. Without a seed nothing is seeded, and the record says that the result will differ.
        threads: CPU threads for one operation; PyTorch's choice without one.
        cpu_capability: ``avx2`` keeps every library within instructions that other CPUs have, too, so that they can give the same bits; a
            little slower on a CPU with more. All that the CPU has without it.
        device: Where will be computed: decides what is promised.
        precision: Type in which will be computed (``torch.autocast``): goes into the promise.
        strict: Whether an operation without a deterministic form is an error, as PyTorch has it, or only noted.

    Returns:
        The settings, read back and recorded. ``promise`` says what they allow, ``level`` is ``bitwise``, ``tolerance`` or ``none``.

    Raises:
        Unavailable: There is no such device. In a reproduction: there are fewer GPUs, or fewer processes, than were recorded.
        UsageError: An argument has a value that nothing can be set to; it is named.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision '{precision}' is not known", hint=f"known: {', '.join(get_args(Precision))}")
    if cpu_capability is not None:
        check_cpu_capability(cpu_capability)
    threads = wanted_threads(threads)
    recorded = {} if run.repeated is None else run.repeated.determinism
    world_size = whole_number("WORLD_SIZE", 1)
    if recorded:
        _check_machine(recorded, str(device).partition(":")[0], world_size)
    device = wanted_device(device)
    kind = device.type
    wanted = recorded.get("threads", threads)
    pinned = recorded.get("cpu_pinned", cpu_capability)
    not_pinned = None if pinned is None else pin_cpu_capability(str(pinned))
    if not_pinned is not None:
        run.note(f"CPU instructions are not kept within {pinned}: {not_pinned}")
    if wanted is not None:
        torch.set_num_threads(int(wanted))
    if run.seed is not None:
        random.seed(run.seed)
        np.random.seed(run.seed % 2**32)
        torch.manual_seed(run.seed % 2**64)
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    settings: dict[str, Any] = {
        "seeded": ["python", "numpy", "torch"] if run.seed is not None else [],
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "strict": strict,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_pinned": pinned if not_pinned is None else None,
        "allow_tf32": bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cublas_workspace": os.environ[_WORKSPACE],
        "matmul_precision": torch.get_float32_matmul_precision(),
        "precision": precision,
        "device": kind,
        "world_size": world_size,
        "gpus": _gpus_in_use(device) if kind == "cuda" else [],
    }
    _tell(run, settings, None)
    return settings


def check_operations(run: LiveRun, step: Callable[[], Any]) -> dict[str, Any]:
    """Execute one forward and backward pass, and say in the record which operations have no deterministic form on this device.

    Give it the real model and a real batch, before training; random states are put back. Clear the gradients afterwards.

    Args:
        run: The live run, after :func:`make_deterministic`.
        step: The pass.

    Returns:
        What is recorded of determinism now.
    """
    settings = dict(run.record.determinism)
    _tell(run, settings, operations_without_deterministic_form(step))
    return settings


def _tell(run: LiveRun, settings: dict[str, Any], operations: tuple[str, ...] | None) -> None:
    text, level, because = promise(
        seeded=bool(settings["seeded"]),
        device=settings["device"],
        threads=settings["threads"],
        capability=settings["cpu_capability"],
        precision=settings["precision"],
        world_size=settings["world_size"],
        operations=operations,
    )
    settings |= {"promise": text, "level": level, "because": because}
    run.describe(determinism=settings)


def _gpus_in_use(device: str | torch.device) -> list[str]:
    """Names of the GPUs that this host's processes compute on: one for each."""
    processes = whole_number("LOCAL_WORLD_SIZE", 1)
    if processes == 1:
        return [torch.cuda.get_device_name(device)]
    return [torch.cuda.get_device_name(number) for number in range(min(processes, torch.cuda.device_count()))]


def _check_machine(recorded: dict[str, Any], kind: str, world_size: int) -> None:
    gpus = recorded.get("gpus") or []
    if kind == "cuda" and torch.cuda.device_count() < len(gpus):
        raise Unavailable(
            f"the record was made with {len(gpus)} GPUs ({gpus[0]}), found {torch.cuda.device_count()}",
            hint="use a machine with as many; other splits of a batch give other sums",
        )
    if recorded.get("world_size", 1) != world_size:
        raise Unavailable(
            f"the record was made with {recorded.get('world_size', 1)} processes, found {world_size}",
            hint=f"torchrun --nproc-per-node {recorded.get('world_size', 1)} …",
        )
