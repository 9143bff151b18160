"""Samplers that give the order of a recorded view (:mod:`lineage.record.order`) to PyTorch's loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import BatchSampler, Sampler

from lineage.record.order import epoch_batches, epoch_order, number_of_batches, sample_generator

Key = tuple[int, int]
"""(epoch, position in the view)."""

__all__ = ["EpochBatchSampler", "EpochSampler", "epoch_batches", "epoch_order", "sample_generator"]


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position). The epoch travels with the position, so that worker processes need no word of it.

    Args:
        length: Number of samples.
        seed: Decides the order.
        shuffle: Whether to shuffle; else ascending.
        rank: Number of the process among those that share an epoch.
        world_size: How many there are.

    Attributes:
        epoch: Which epoch the next iteration is of.
        skip: How many batches (without batches: samples) of it are left out at its beginning.
    """

    def __init__(self, length: int, seed: int, *, shuffle: bool, rank: int = 0, world_size: int = 1) -> None:
        self.length = length
        self._seed = seed
        self._shuffle = shuffle
        self._rank, self._world_size = rank, world_size
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        return number_of_batches(self.length, None, drop_last=False, world_size=self._world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return (key for (key,) in self.batches(None, drop_last=False))

    def batches(self, batch_size: int | None, *, drop_last: bool) -> Iterator[list[tuple[int, int]]]:
        """Keys of each batch of the epoch that is set now, whatever is set while it is being read."""
        epoch, made = self.epoch, self._made(batch_size, drop_last=drop_last)
        return ([(epoch, position) for position in batch] for batch in made[self.skip :])

    def before(self, batch_size: int | None, *, drop_last: bool) -> list[int]:
        """Positions in the batches that are left out."""
        return [position for batch in self._made(batch_size, drop_last=drop_last)[: self.skip] for position in batch]

    def _made(self, batch_size: int | None, *, drop_last: bool) -> list[list[int]]:
        return epoch_batches(
            self.length,
            self._seed,
            self.epoch,
            shuffle=self._shuffle,
            batch_size=batch_size,
            drop_last=drop_last,
            rank=self._rank,
            world_size=self._world_size,
        )


class EpochBatchSampler(BatchSampler):
    """Batches of an :class:`EpochSampler`'s keys, of the epoch in which an iteration begins.

    PyTorch's own asks for the keys at the first batch: without workers that is later than with them, and the epoch may be another by then.

    Args:
        sampler: Knows the order.
        batch_size: Rows in a batch of this process.
        drop_last: Whether to leave out a last step that is not full.
        world_size: Number of processes.
        through: What the batches go through on their way to whoever reads them.
    """

    def __init__(
        self,
        sampler: EpochSampler,
        batch_size: int,
        drop_last: bool,
        world_size: int = 1,
        through: Callable[[Iterator[list[Key]]], Iterator[list[Key]]] = iter,
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)  # type: ignore[arg-type]  # annotated for numbers, made for any keys
        self._epochs, self._world_size, self._through = sampler, world_size, through

    def __len__(self) -> int:
        return number_of_batches(self._epochs.length, self.batch_size, drop_last=self.drop_last, world_size=self._world_size)

    def __iter__(self) -> Iterator[list[Any]]:
        return self._through(self._epochs.batches(self.batch_size, drop_last=self.drop_last))
