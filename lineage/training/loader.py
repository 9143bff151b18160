"""A ``torch.utils.data.DataLoader`` over a recorded view."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch.distributed
import torch.utils.data
from torch.utils.data import default_collate, default_convert

from lineage.errors import InvalidSource, UsageError
from lineage.model.steps import LoaderRecord
from lineage.record.recorded_view import RecordedView
from lineage.record.steps import whole_number
from lineage.training.fetching import Collated, Failure, Made, PinnedDataset, Transform
from lineage.training.memory import WorkerStart
from lineage.training.order import EpochBatchSampler, EpochSampler
from lineage.training.pickled_code import pickled_code

_STATE = ("seed", "rows", "batch_size", "shuffle", "drop_last", "world_size")


class DataLoader(torch.utils.data.DataLoader[Any]):
    """Batches of a recorded view: identical for any number of workers and any start method, also when resumed inside an epoch.

    Each iteration is an epoch; epochs count up by themselves, or say which with :meth:`set_epoch`. In a distributed training each process
    gets its share of every step; :func:`lineage.training.order.epoch_batches` defines it.

    Args:
        view: What ``run.use_dataset`` returned.
        batch_size: Samples in a batch of this process; ``None`` for single samples.
        seed: Decides order and augmentation. The default is the seed of the run the view belongs to; when that is not fixed, a random one.
        shuffle: Whether to shuffle each epoch.
        drop_last: Whether to leave out a last batch that is not full.
        transform: Called with (sample, random generator) in the process that reads. The sample maps columns to values (encoded bytes for
            pictures, read-only arrays, texts), ``row`` to the source position and ``index`` to the position in the view.
        num_workers: Processes that read.
        rank: Number of this process among those that share an epoch; from ``torch.distributed``, else from the variable ``RANK``.
        world_size: How many there are; likewise, ``WORLD_SIZE``.
        on_error: What happens with a row whose transform fails, as it does with a picture that cannot be decoded: ``fail`` raises, ``skip``
            leaves it out of its batch, and the record says so. A row that cannot be read, or differs from its digest, always raises.
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
        rank: int | None = None,
        world_size: int | None = None,
        on_error: Literal["fail", "skip"] = "fail",
        **options: Any,
    ) -> None:
        if "sampler" in options or "batch_sampler" in options:
            raise TypeError("the order of a recorded view follows from its seed: pass shuffle, not a sampler")
        if options.get("in_order") is False:
            raise TypeError("batches of a recorded view come in the order of its seed: leave in_order as it is")
        if seed is None:
            seed = view.seed if view.seed is not None else secrets.randbits(63)
        known_rank, known_size = _place_among_processes()
        self._view = view
        self._record = LoaderRecord(
            ordinal=0 if view.reads is None else view.reads.ordinal,
            rows=len(view),
            seed=seed,
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            rank=known_rank if rank is None else rank,
            world_size=known_size if world_size is None else world_size,
            on_error=on_error,
        )
        if not 0 <= self._record.rank < self._record.world_size:
            raise UsageError(f"rank {self._record.rank} of a world of {self._record.world_size}: expected a number from 0, below the size")
        self._collate = options.pop("collate_fn", None) or (default_convert if batch_size is None else default_collate)
        self._epochs = EpochSampler(len(view), seed, shuffle=shuffle, rank=self._record.rank, world_size=self._record.world_size)
        self._started = False
        self._handed = (0, 0)
        self._is_described = False
        # As they are now: a transform may change while it is used.
        root = None if view.reads is None else view.reads.listener.root
        self._code, missing, main = pickled_code((transform, self._collate), root)
        self._record = self._record.model_copy(update={"code_missing": missing, "main": main})
        # PyTorch draws a base seed for its workers from the default generator: with one of its own, using a loader does not change
        # what the model draws next.
        generator = torch.Generator().manual_seed(seed % 2**63)
        rows = PinnedDataset(view, seed, transform)
        order: dict[str, Any] = {"batch_size": None, "sampler": self._epochs}
        if batch_size is not None:
            # Without worker processes a thread reads ahead.
            through = iter if num_workers else rows.read_ahead
            order = {"batch_sampler": EpochBatchSampler(self._epochs, batch_size, drop_last, self._record.world_size, through)}
        if num_workers:
            options["worker_init_fn"] = WorkerStart(options.get("worker_init_fn"))
        super().__init__(
            rows,
            num_workers=num_workers,
            generator=generator,
            collate_fn=Collated(self._collate, single=batch_size is None),
            **order,
            **options,
        )

    @property
    def epoch(self) -> int:
        """The epoch of the iteration that was begun last, or else of the next one; counted from 0."""
        return self._epochs.epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration this epoch, counted from 0. The epoch that :meth:`load_state_dict` set goes on where it was left."""
        if self._started or epoch != self._epochs.epoch:
            self._epochs.skip = 0
        self._epochs.epoch = epoch
        self._started = False

    def state_dict(self) -> dict[str, Any]:
        """Where the training loop stands: ``epoch``, and ``batches`` that it was handed of it; and what the order follows from."""
        epoch, batches = self._handed
        if not self._started:
            epoch, batches = self._epochs.epoch, self._epochs.skip
        return {"epoch": epoch, "batches": batches} | {name: getattr(self._record, name) for name in _STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration go on where another loader over the same rows stood; nothing before that is read.

        Raises:
            UsageError: The other loader had other rows, another seed, batch size or number of processes.
        """
        for name in _STATE:
            if state[name] != getattr(self._record, name):
                raise UsageError(
                    f"the loader's {name} is {getattr(self._record, name)!r}, the checkpoint's {state[name]!r}",
                    hint="a training can only go on as it began",
                )
        self._epochs.epoch, self._epochs.skip = int(state["epoch"]), int(state["batches"])
        self._handed = (self._epochs.epoch, self._epochs.skip)
        self._started = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # PyTorch's annotation names its private iterator class
        if self._started:
            self._epochs.epoch += 1
            self._epochs.skip = 0
        self._started = True
        if not self._is_described and self._view.reads is not None:
            self._view.reads.describe_loader(self._record, self._code)
            self._is_described = True
        epoch, batches = self._epochs.epoch, self._epochs.skip
        self._handed = (epoch, batches)
        return self._hand_out(super().__iter__(), epoch, batches)

    def _hand_out(self, made: Iterator[Made], epoch: int, batches: int) -> Iterator[Any]:
        # What the training loop is handed, not what workers fetch ahead of it.
        reads = self._view.reads
        if reads is not None and batches:  # the run that is resumed had them, but no time to say so
            reads.note(epoch, self._epochs.before(self._record.batch_size, drop_last=self._record.drop_last))
        begin, handed = batches, 0
        failures: list[Failure] = []
        try:
            for batch in made:
                for failure in batch.failures:
                    self._judge(failure)
                failures = failures or list(batch.failures)
                batches += 1
                self._handed = (epoch, batches)
                if batch.positions:
                    handed += 1
                    if reads is not None:
                        reads.handed(epoch, batch.positions, batch.values)
                    yield batch.values
            if failures and not begin + handed:
                raise InvalidSource(f"no row is left of epoch {epoch}; the first: {failures[0].error}") from failures[0].error
        finally:  # also when the loop leaves early: an epoch that is broken off is over
            if reads is not None:
                reads.close(epoch)

    def _judge(self, failure: Failure) -> None:
        if self._record.on_error == "fail" or not failure.is_its_own:
            failure.raise_it()
        if self._view.reads is not None:
            self._view.reads.left_out(failure.position, f"left out of its batch: {failure.error}")


def _place_among_processes() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return whole_number("RANK", 0), whole_number("WORLD_SIZE", 1)
