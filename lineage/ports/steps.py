"""Between a training framework and the step log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from lineage.model.steps import StepRecord, StepRows


class StepSink(Protocol):
    """Takes what a watcher saw. Fulfilled by the writer of a run's step log."""

    @property
    def next_step(self) -> int:
        """Number of the step that comes next, counted over the whole run (a resumed one goes on from its checkpoint)."""

    def take_batch(self) -> tuple[tuple[StepRows, ...], bytes | None]:
        """Rows handed to the training loop since the last call, and the digest of their batch where the loader gave one."""

    def add(self, record: StepRecord) -> None:
        """Write one line. Steps come in order; the state before the first step has number -1."""

    def fail(self, reason: str) -> None:
        """Nothing more will come, for this reason."""


class Watch(Protocol):
    """A model that is being watched."""

    def flush(self) -> None:
        """Hand over what is still on its way from a device."""

    def close(self) -> None:
        """Hand over the rest and take every hook away."""


class Watcher(Protocol):
    """Sees the steps of a training loop of one framework, whatever the loop looks like."""

    def digest(self, values: Any) -> bytes:
        """16 bytes over every tensor, array and plain value inside nested containers, in order: types, shapes and bits, and how they nest.

        Computed on the CPU; lists and tuples are the same, and the order of a mapping's keys does not count.
        """

    def watch(self, model: Any, optimizers: Sequence[Any], sink: StepSink, every: int) -> Watch:
        """Hook into a model and its optimizers.

        Args:
            model: The model.
            optimizers: Each ``step()`` of each is a step.
            sink: Told of each step.
            every: Digest gradients and parameters every so many steps; input and losses always.
        """
