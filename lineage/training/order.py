"""Order of samples and randomness of augmentation, as functions of (seed, epoch) and (seed, epoch, sample).

Both come from Philox, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the stream is
named by its key, so no state has to be passed between processes or saved with a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, Sampler

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


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position). The epoch travels with the position, so that worker processes need no word of it.

    Args:
        length: Number of samples.
        seed: Decides the order.
        shuffle: Whether to shuffle; else ascending.
    """

    def __init__(self, length: int, seed: int, *, shuffle: bool) -> None:
        self._length = length
        self._seed = seed
        self._shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = epoch_order(self._length, self._seed, self.epoch) if self._shuffle else np.arange(self._length)
        epoch = self.epoch  # the one that is asked for now, whatever is set while it is being read
        return ((epoch, int(position)) for position in order)


class EpochBatchSampler(BatchSampler):
    """Batches of an :class:`EpochSampler`'s keys, of the epoch in which an iteration begins.

    PyTorch's own asks for the keys at the first batch: without workers that is later than with them, and the epoch may be another by then.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, drop_last: bool) -> None:
        super().__init__(sampler, batch_size, drop_last)  # type: ignore[arg-type]  # annotated for numbers, made for any keys

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(BatchSampler(list(self.sampler), self.batch_size, self.drop_last))
