"""Several processes, as ``torchrun`` starts them: one group, one recorded run; the first process evaluates, draws and saves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lineage.errors import Unavailable


def is_first() -> bool:
    """Whether this process speaks for all of them."""
    return int(os.environ.get("RANK", "0")) == 0


def local_device(name: torch.device) -> torch.device:
    """This process's own GPU of the machine's.

    Raises:
        Unavailable: There are fewer GPUs than processes on this machine.
    """
    if name.type != "cuda":
        return name
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= there:
        raise Unavailable(
            f"device cuda: process {number} of this machine has no GPU of its own, torch finds {there}",
            hint=f"torchrun --nproc-per-node {there} …, or --device cpu",
        )
    return torch.device("cuda", number)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """The group of all processes for the time of the block; nothing when there is one process."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def shared(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with gradients averaged over all processes; the model itself when there is one process."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return model
    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def wait_for_all() -> None:
    """Go on when every process is here."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
