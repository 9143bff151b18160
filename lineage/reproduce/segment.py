"""Spot checks: a long run is checked from one of its checkpoints to the next, bit for bit, in a fraction of its time.

Segment 0 leads from the beginning to the first checkpoint, segment k from checkpoint k to the next, the last one to the end of the run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lineage.errors import LineageError, NotFound, UsageError
from lineage.model.comparison import Change, Comparison
from lineage.model.plan import Ingredient
from lineage.model.run import Artifact, Run
from lineage.ports import Ports
from lineage.record.resuming import checkpoints_of
from lineage.reproduce.not_checked import rest_of


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a run between two checkpoints.

    Attributes:
        number: Counted from 0.
        begin: The checkpoint it goes on from; ``None`` for the beginning of the run.
        end: The checkpoint it ends with; ``None`` for the end of the run.
        first_step: Number of its first optimizer step.
        last_step: Number of its last one; ``None`` when none is known to follow the last checkpoint.
        steps: Optimizer steps of the whole run; ``None`` without a step log.
    """

    number: int
    begin: Artifact | None
    end: Artifact | None
    first_step: int
    last_step: int | None
    steps: int | None

    @property
    def share(self) -> float | None:
        """Which part of the run's steps it holds, from 0 to 1; ``None`` when that is not known."""
        if not self.steps:
            return None
        return 0.0 if self.last_step is None else (self.last_step - self.first_step + 1) / self.steps

    @property
    def scope(self) -> str:
        """What a verdict about it is about."""
        if self.last_step is None:
            return f"segment {self.number} (what follows the last checkpoint)"
        of = "" if self.share is None else f" of {self.steps}: {self.share:.1%}"
        return f"segment {self.number} (steps {self.first_step} to {self.last_step}{of})"


def segments_of(run: Run) -> list[Segment]:
    """The parts of a run.

    Raises:
        UsageError: It made no checkpoint.
    """
    marks = [item for item in checkpoints_of(run) if isinstance(item.details.get("step"), int)]
    if not marks:
        raise UsageError(
            f"run {run.id[:12]} made no checkpoint, so it has no segments", hint="lineage.training.Checkpoints(run, …) makes them"
        )
    steps = max((log.steps for log in run.step_logs), default=None)
    found = []
    begins: Sequence[Artifact | None] = (None, *marks)
    for number, (begin, end) in enumerate(zip(begins, (*marks, None), strict=True)):
        first = 0 if begin is None else int(begin.details["step"])
        behind = steps if end is None else int(end.details["step"])
        found.append(Segment(number, begin, end, first, None if behind is None or behind <= first else behind - 1, steps))
    return found


def chosen_segments(run: Run, numbers: Sequence[int], count: int = 0, seed: int = 0) -> list[Segment]:
    """Segments by number, or ``count`` of them drawn without repetition by ``seed``; in their order.

    Raises:
        UsageError: The run has no such segment, or fewer than were asked for.
    """
    known = segments_of(run)
    for number in numbers:
        if not 0 <= number < len(known):
            raise UsageError(f"--segment {number}: run {run.id[:12]} has the segments 0 to {len(known) - 1}")
    worth = [item for item in known if item.last_step is not None]
    if count > len(worth):
        raise UsageError(f"--random-segments {count}: run {run.id[:12]} has {len(worth)} segments with steps in them")
    drawn = random.Random(seed).sample(worth, count) if count else []
    wanted = [*(known[number] for number in numbers), *drawn]
    return [item for item in known if item in wanted]


def needs(ports: Ports, segment: Segment) -> list[Ingredient]:
    """The checkpoint that a segment begins from, for a plan."""
    if segment.begin is None:
        return []
    try:
        ports.objects.check(segment.begin.digest)
    except LineageError as error:
        return [
            Ingredient(
                name="checkpoint",
                status="missing" if isinstance(error, NotFound) else "changed",
                severity="blocker",
                recorded=segment.begin.name,
                found="nothing to begin from",
                detail=(f"{segment.begin.name}: {error.message}",),
            )
        ]
    return [Ingredient(name="checkpoint", status="ready", recorded=segment.begin.name, found=f"{segment.begin.name}, {segment.scope}")]


def with_checkpoints(comparison: Comparison, segment: Segment, run: Run, replica: Run) -> Comparison:
    """The comparison of a segment: with the checkpoint at its end, and with what it is about."""
    changes = comparison.changes
    if segment.end is not None and comparison.first is None:
        made = next((item for item in replica.outputs if item.name == segment.end.name), None)
        is_same = made is not None and made.digest == segment.end.digest
        changes += (
            Change(
                subject=f"output {segment.end.name}",
                same=is_same,
                original=segment.end.digest[:19],
                replica="not made" if made is None else made.digest[:19],
                detail=None
                if is_same
                else f"the program ended without making {segment.end.name}, with which the segment ends"
                if made is None
                else "the state at the end of the segment is another one",
            ),
        )
    stopped = None if comparison.checked is None else rest_of(run, comparison.checked)
    left = tuple(line for line in comparison.not_checked if line != stopped)
    others = f"everything but {segment.scope}: {len(segments_of(run)) - 1} other segments"
    return comparison.model_copy(update={"changes": changes, "checked": segment.scope, "not_checked": (others, *left)})


def not_restored(segment: Segment, replica: Run) -> str | None:
    """Why a replica did not go on from the segment's checkpoint; ``None`` when it did."""
    if segment.begin is None or (replica.resumes is not None and replica.resumes.checkpoint == segment.begin.digest):
        return None
    return f"the program did not restore checkpoint {segment.begin.name}: it began at the beginning"
