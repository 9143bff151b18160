"""A ``torch.utils.data.DataLoader`` over a recorded view."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch.utils.data

from lineage.record.reads import ReadLog
from lineage.record.recorded_view import RecordedView
from lineage.training.order import EpochBatchSampler, EpochSampler, sample_generator

Transform = Callable[[dict[str, Any], np.random.Generator], Any]


class PinnedDataset(torch.utils.data.Dataset[Any]):
    """A recorded view as a map-style dataset whose keys are (epoch, position)."""

    def __init__(self, view: RecordedView, seed: int, transform: Transform | None) -> None:
        self._view = view
        self._seed = seed
        self._transform = transform

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, position = key
        sample = self._view.sample(position)
        return sample if self._transform is None else self._transform(sample, sample_generator(self._seed, epoch, position))


class DataLoader(torch.utils.data.DataLoader[Any]):
    """Batches of a recorded view: identical for any number of workers and any start method.

    Each iteration is an epoch; epochs count up by themselves, or say which with :meth:`set_epoch`.

    Args:
        view: What ``run.use_dataset`` returned.
        batch_size: Samples in a batch; ``None`` for single samples.
        seed: Decides order and augmentation. The default is the seed of the run the view belongs to; when that is not fixed, a random one.
        shuffle: Whether to shuffle each epoch.
        drop_last: Whether to leave out a last batch that is not full.
        transform: Called with (sample, random generator) in the process that reads. The sample maps columns to values (encoded bytes for
            pictures, read-only arrays, texts), ``row`` to the source position and ``index`` to the position in the view.
        num_workers: Processes that read.
        options: Anything else that PyTorch's loader takes, except ``sampler`` and ``batch_sampler``.
    """

    def __init__(
        self,
        view: RecordedView,
        batch_size: int | None = 1,
        *,
        seed: int | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        transform: Transform | None = None,
        num_workers: int = 0,
        **options: Any,
    ) -> None:
        if "sampler" in options or "batch_sampler" in options:
            raise TypeError("the order of a recorded view follows from its seed: pass shuffle, not a sampler")
        if options.get("in_order") is False:
            raise TypeError("batches of a recorded view come in the order of its seed: leave in_order as it is")
        if seed is None:
            seed = view.seed if view.seed is not None else secrets.randbits(63)
        self._view = view
        self._epochs = EpochSampler(len(view), seed, shuffle=shuffle)
        self._started = False
        # PyTorch draws a base seed for its workers from the default generator: with one of its own, using a loader does not change
        # what the model draws next.
        generator = torch.Generator().manual_seed(seed % 2**63)
        order: dict[str, Any] = (
            {"batch_size": None, "sampler": self._epochs}
            if batch_size is None
            else {"batch_sampler": EpochBatchSampler(self._epochs, batch_size, drop_last)}
        )
        super().__init__(PinnedDataset(view, seed, transform), num_workers=num_workers, generator=generator, **order, **options)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration this epoch, counted from 0."""
        self._epochs.epoch = epoch
        self._started = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # PyTorch's annotation names its private iterator class
        if self._started:
            self._epochs.epoch += 1
        self._started = True
        if self._view.reads is None:
            return super().__iter__()
        keys: Iterator[Any] = iter(self.batch_sampler) if self.batch_sampler is not None else ([key] for key in list(self._epochs))
        return _noted(super().__iter__(), keys, self._view.reads)


def _noted(batches: Iterator[Any], keys: Iterator[list[tuple[int, int]]], reads: ReadLog) -> Iterator[Any]:
    # What the training loop was handed, not what workers fetched ahead of it.
    epoch: int | None = None
    try:
        for batch, chosen in zip(batches, keys, strict=True):
            epoch = chosen[0][0]
            reads.note(epoch, (position for _, position in chosen))
            yield batch
    finally:  # also when the loop leaves early: an epoch that is broken off is over
        if epoch is not None:
            reads.close(epoch)
