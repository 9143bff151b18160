"""Order of samples and randomness of augmentation, as functions of (seed, epoch) and (seed, epoch, sample).

Both come from Philox, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the stream is
named by its key, so no state has to be passed between processes or saved with a checkpoint.
"""

from __future__ import annotations

import numpy as np

_ORDER, _SAMPLE = 0, 1


def _generator(seed: int, stream: int, epoch: int, item: int) -> np.random.Generator:
    # The key names the seed, the counter's upper words the stream: none of them overlaps for fewer than 2**64 draws.
    # As arrays of 64-bit words: NumPy would turn a list that holds a number of 2**63 or more into floats, and seeds would collide.
    key = np.array([seed & (2**64 - 1), stream], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, epoch, item], np.uint64)))


def epoch_order(length: int, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Positions 0 … length-1 in the order of this epoch, int64, shape (length,)."""
    return _generator(seed, _ORDER, epoch, 0).permutation(length)


def sample_generator(seed: int, epoch: int, position: int) -> np.random.Generator:
    """Random numbers for one sample in one epoch; independent of every other sample's."""
    return _generator(seed, _SAMPLE, epoch, position)


def epoch_batches(
    length: int,
    seed: int,
    epoch: int,
    *,
    shuffle: bool,
    batch_size: int | None,
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> list[list[int]]:
    """Positions in each batch of one process in this epoch.

    An epoch has one order for all processes together. Step k takes the next ``batch_size * world_size`` positions of it, and process
    ``rank`` the rank-th run of ``batch_size`` of those: what a step sees does not depend on how it is shared, and a single process with
    the whole batch sees the same. When fewer are left for the last step, they are shared out in equal runs, and the epoch's first
    positions fill up the last run: processes that wait for one another must have equally many batches. ``drop_last`` leaves such a
    step out.

    Args:
        length: Rows of the view.
        seed: Decides the order.
        epoch: Counted from 0.
        shuffle: Whether to shuffle; else ascending.
        batch_size: Rows in a batch of one process; ``None`` for single rows, as batches of one.
        drop_last: Whether to leave out a last step that is not full.
        rank: Number of the process.
        world_size: Number of processes.
    """
    order = epoch_order(length, seed, epoch) if shuffle else np.arange(length, dtype=np.int64)
    size = batch_size or 1
    batches = []
    for begin in range(0, length, size * world_size):
        shared = order[begin : begin + size * world_size]
        if len(shared) < size * world_size:
            if drop_last:
                break
            size = -(-len(shared) // world_size)
            shared = np.concatenate([shared, np.resize(order, size * world_size - len(shared))])
        batches.append(shared[rank * size : (rank + 1) * size].tolist())
    return batches


def number_of_batches(length: int, batch_size: int | None, *, drop_last: bool, world_size: int) -> int:
    """How many batches each process has in an epoch."""
    whole, rest = divmod(length, (batch_size or 1) * world_size)
    return whole + (0 if drop_last or not rest else 1)
