"""From positions to samples, in the process that reads: a batch at a time, each failure with the row it belongs to."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch.utils.data

from lineage.errors import IntegrityError, InvalidSource, LineageError
from lineage.record.recorded_view import RecordedView
from lineage.training.order import Key, sample_generator

Transform = Callable[[dict[str, Any], np.random.Generator], Any]


class Failure(NamedTuple):
    """A row that could not be turned into a sample; it goes to the training process as a value, so that nothing hides what happened.

    Attributes:
        position: Position in the view.
        error: Why.
        is_its_own: Whether the row is what is wrong; else it could not be read, or is not what was recorded.
    """

    position: int
    error: Exception
    is_its_own: bool

    def raise_it(self) -> None:
        """Raise the error."""
        raise self.error


class Made(NamedTuple):
    """A batch on its way to the training loop.

    Attributes:
        values: What the collate function made; ``None`` when no sample was left.
        positions: Positions of its samples in the view.
        failures: Rows that were left out.
    """

    values: Any
    positions: tuple[int, ...]
    failures: tuple[Failure, ...]


class KeysAhead(list[Key]):
    """Keys of a batch whose rows are being read already."""

    def __init__(self, keys: Iterable[Key], samples: Future[list[dict[str, Any]]]) -> None:
        super().__init__(keys)
        self.samples = samples


class PinnedDataset(torch.utils.data.Dataset[Any]):
    """A recorded view as a map-style dataset whose keys are (epoch, position)."""

    def __init__(self, view: RecordedView, seed: int, transform: Transform | None) -> None:
        self._view = view
        self._seed = seed
        self._transform = transform

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, key: Key) -> tuple[int, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[tuple[int, Any]]:
        """(position, sample or failure) for each key; rows of one batch are read together."""
        try:
            samples = keys.samples.result() if isinstance(keys, KeysAhead) else self._read(keys)
        except LineageError as error:
            return [(keys[0][1], Failure(keys[0][1], error, is_its_own=False))]
        return [(position, self._made(sample, epoch, position)) for sample, (epoch, position) in zip(samples, keys, strict=True)]

    def _read(self, keys: Sequence[Key]) -> list[dict[str, Any]]:
        return self._view.samples([position for _, position in keys])

    def read_ahead(self, batches: Iterator[list[Key]]) -> Iterator[list[Key]]:
        """The batches; while one is decoded and trained on, a thread reads the rows of the next and compares them with their digests."""
        thread, is_over = ThreadPoolExecutor(1, "lineage-read-ahead"), False
        try:
            waiting: KeysAhead | None = None
            for keys in batches:
                coming = KeysAhead(keys, thread.submit(self._read, keys))
                if waiting is not None:
                    yield waiting
                waiting = coming
            if waiting is not None:
                yield waiting
            is_over = True
        finally:
            # Of an iterator that was left it is not waited for: the garbage collector may close that while this program forks, and the
            # thread then waits for the fork.
            thread.shutdown(wait=is_over, cancel_futures=True)

    def _made(self, sample: dict[str, Any], epoch: int, position: int) -> Any:
        if self._transform is None:
            return sample
        try:
            return self._transform(sample, sample_generator(self._seed, epoch, position))
        except MemoryError:  # not the row's fault
            raise
        except Exception as error:  # noqa: BLE001 - a transform is the user's: whatever it raises is told with the row it was given
            return Failure(position, self._explained(error, sample, epoch), is_its_own=not isinstance(error, IntegrityError))

    def _explained(self, error: Exception, sample: dict[str, Any], epoch: int) -> Exception:
        if isinstance(error, LineageError) and not isinstance(error, InvalidSource):
            return error
        name = f" ({sample['sample_id']})" if isinstance(sample.get("sample_id"), str) else ""
        where = f"row {sample['row']}{name} of {self._view.record.uri}, epoch {epoch}"
        if isinstance(error, InvalidSource):
            return InvalidSource(f"{where}: {error.message}", problems=error.problems, hint=error.hint)
        told = InvalidSource(
            f"{where}: the transform failed: {type(error).__name__}: {error}", hint="on_error='skip' leaves such rows out and records it"
        )
        told.add_note("".join(traceback.format_exception(error)))
        return told


class Collated:
    """A collate function that leaves failed samples out and says which."""

    def __init__(self, collate: Callable[[Any], Any], *, single: bool) -> None:
        self._collate = collate
        self._single = single

    def __call__(self, samples: Any) -> Made:
        """Collate (position, sample or failure) pairs; a single one without batches."""
        pairs = [samples] if self._single else samples
        failures = tuple(sample for _, sample in pairs if isinstance(sample, Failure))
        good = [(position, sample) for position, sample in pairs if not isinstance(sample, Failure)]
        if not good or not all(failure.is_its_own for failure in failures):
            return Made(None, (), failures)
        values = [sample for _, sample in good]
        return Made(self._collate(values[0] if self._single else values), tuple(position for position, _ in good), failures)
