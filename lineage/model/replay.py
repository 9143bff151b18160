"""A step's batch, made again without training; and the steps in which a picture was seen."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["identical", "diverged", "inconclusive"]


class ReplayedSample(BaseModel):
    """One sample of a batch, made again.

    Attributes:
        position: Position in the view.
        row: Source row.
        picture: File with the picture as the model saw it, boxes drawn; ``None`` when the sample holds no picture.
        boxes: How many boxes were drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    position: int
    row: int
    sample_id: str | None
    picture: str | None
    boxes: int = 0


class ReplayedStep(BaseModel):
    """One step, or one sighting of a row, made again.

    Attributes:
        step: Number of the step; ``None`` when it was named by epoch and batch.
        losses: What the step log has.
        recorded: Digest of the batch in the step log, hexadecimal.
        found: Digest of the batch that was made again; ``None`` when single samples were made.
        tensors: File of the batch (``torch.load``).
        values: How numbers became colours in the pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    step: int | None
    role: str
    epoch: int | None
    samples: tuple[ReplayedSample, ...]
    losses: tuple[float, ...] = ()
    recorded: str | None = None
    found: str | None = None
    tensors: str | None = None
    values: str | None = None


class Replay(BaseModel):
    """What ``lineage replay`` made.

    Attributes:
        verdict: ``identical``: every batch has the digest of the step log. ``inconclusive``: there was none to compare with.
        folder: Where pictures and tensors are; ``None`` when nothing was made.
        left_out: Sightings that were not shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    rank: int
    verdict: Verdict
    steps: tuple[ReplayedStep, ...]
    folder: str | None
    left_out: int = 0
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 identical, 1 diverged, 3 inconclusive."""
        return {"identical": 0, "diverged": 1, "inconclusive": 3}[self.verdict]
