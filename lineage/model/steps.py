"""What a training run leaves behind step by step: the step log, and how its batches were made.

A *step* is one call of ``optimizer.step()``, counted from 0 over the whole run. Step -1 is the state before the first one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from lineage.model.digest import Digest

Phase = Literal["start", "rows", "batch", "input", "loss", "gradient", "parameters"]
PHASES: tuple[Phase, ...] = ("start", "rows", "batch", "input", "loss", "gradient", "parameters")
"""In the order in which a step goes through them: the first one that differs is where two runs part."""

START = -1


class StepRows(NamedTuple):
    """Rows that were handed to the training loop since the step before.

    Attributes:
        ordinal: Number of the input in the run's record, counted from 0.
        epoch: The loader's epoch; ``None`` for rows read outside one.
        positions: Positions in the view, in the order of the batch.
    """

    ordinal: int
    epoch: int | None
    positions: tuple[int, ...]


class StepRecord(NamedTuple):
    """One line of a step log. Digests are 16 bytes; ``None`` where none was taken.

    Attributes:
        step: Number of the step; -1 for the state before the first.
        rows: What was read for it; empty when it was not observed.
        batch: Digest of what the loader yielded, on the CPU, before the loop changed it.
        input: Digest of the tensors that the model's ``forward`` got.
        losses: For each tensor that ``backward`` was called on: one letter for its type (``f`` float32, ``d`` float64, ``e`` float16,
            ``b`` bfloat16, ``?`` another), then its bits, little-endian.
        gradient: Digest of the gradients as the optimizer saw them.
        parameters: Digest of parameters and buffers after the step.
    """

    step: int
    rows: tuple[StepRows, ...] = ()
    batch: bytes | None = None
    input: bytes | None = None
    losses: tuple[bytes, ...] = ()
    gradient: bytes | None = None
    parameters: bytes | None = None


class StepLogRecord(BaseModel):
    """A step log as a run's record names it.

    Attributes:
        rank: Which process of a distributed training wrote it.
        steps: Number of logged steps, the state before the first not counted.
        every: Gradients and parameters were digested every so many steps.
        head: Chain digest of the last line, hexadecimal: equal heads mean equal logs.
        object: The log's file.
        torn: What was cut off at the end of a killed process's file, if anything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = 0
    steps: int
    every: int = 1
    head: str
    object: Digest
    torn: str | None = None


class LoaderRecord(BaseModel):
    """How batches of one input were made: with the input's rows, everything that a batch follows from.

    Attributes:
        ordinal: Number of the input in the run's record.
        rows: Number of rows of the view.
        seed: Decides order and augmentation.
        batch_size: Samples in a batch of one process; ``None`` for single samples.
        shuffle: Whether each epoch is shuffled.
        drop_last: Whether a last batch that is not full is left out.
        rank: Which share of each epoch: the process's number.
        world_size: Number of processes that share an epoch.
        on_error: What happens with a row that cannot be turned into a sample.
        code_object: Pickled ``(transform, collate_fn)``, functions by name; ``None`` when they cannot be pickled.
        code_missing: Why they could not.
        main: Where names of ``__main__`` are found: ``module:NAME`` or ``path:FILE`` relative to the repository; ``None`` when not needed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ordinal: int
    rows: int
    seed: int
    batch_size: int | None
    shuffle: bool
    drop_last: bool
    rank: int = 0
    world_size: int = 1
    on_error: Literal["fail", "skip"] = "fail"
    code_object: Digest | None = None
    code_missing: str | None = None
    main: str | None = None


class StepRowsShown(BaseModel):
    """Rows of a step, for people.

    Attributes:
        role: Of the input they are from.
        epoch: The loader's epoch.
        positions: Positions in the view.
        rows: Source positions of the first of them.
        sample_ids: Their names, ``None`` where a row has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    epoch: int | None
    positions: tuple[int, ...]
    rows: tuple[int, ...] = ()
    sample_ids: tuple[str | None, ...] = ()


class StepDifference(BaseModel):
    """Where two trainings part.

    Attributes:
        step: The first step that differs; -1 for the state before the first.
        phase: The first thing in it that differs.
        since: With a cadence above 1: parameters were last compared, and equal, after this step; they may have parted since.
        rows_a: What the first run read for that step.
        rows_b: What the second read.
        losses_a: Losses of the first.
        losses_b: Losses of the second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    step: int
    phase: Phase
    since: int | None = None
    rows_a: tuple[StepRowsShown, ...] = ()
    rows_b: tuple[StepRowsShown, ...] = ()
    losses_a: tuple[float, ...] = ()
    losses_b: tuple[float, ...] = ()

    @property
    def sentence(self) -> str:
        """For people."""
        if self.step == START:
            return "the parameters differ before the first step"
        told = f"first difference at step {self.step}, phase {self.phase}"
        return told if self.since is None else f"{told} (parameters were last equal after step {self.since})"


class StepsCompared(BaseModel):
    """Two step logs, compared.

    Attributes:
        compared: Steps that both have.
        first: Where they part; ``None`` when they do not as far as both go.
        torn_a: What was cut off at the end of the first log.
        torn_b: Likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: str
    b: str
    rank: int
    steps_a: int
    steps_b: int
    compared: int
    every: int
    first: StepDifference | None
    torn_a: str | None = None
    torn_b: str | None = None

    @property
    def is_same(self) -> bool:
        """Whether both logs are equal to the end."""
        return self.first is None and self.steps_a == self.steps_b
