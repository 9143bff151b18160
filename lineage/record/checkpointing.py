"""A live run's checkpoints: kept as its artifacts, and what is taken over from the run that is resumed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lineage.errors import LineageError
from lineage.model.event import ArtifactMade, Event
from lineage.model.plain import plain
from lineage.model.run import Artifact, MetricPoint, Run
from lineage.ports import Ports
from lineage.record.metrics import MetricBuffer
from lineage.record.resuming import CHECKPOINT, Resuming, steps_before, take_over
from lineage.record.sinks import describe_error
from lineage.record.steps import Steps, rank_of_process


class Checkpointing:
    """Keeps the states that :class:`lineage.training.Checkpoints` makes, and gives the one to go on from.

    Args:
        ports: The outside world.
        run_id: The run.
        resuming: What it goes on with, if it does.
        metrics: What it logs.
        append: Adds an event to the record.
        note: Adds a sentence to it.
        steps_for: Its step log, by interval.
        logged: Told of metric points that are taken over.
        last: Name of the checkpoint with which the program ends, when only a part of a run is repeated.
    """

    def __init__(
        self,
        ports: Ports,
        run_id: str,
        resuming: Resuming | None,
        metrics: MetricBuffer,
        append: Callable[[Event], Run],
        note: Callable[[str], None],
        steps_for: Callable[[int], Steps],
        logged: Callable[[MetricPoint], None],
        last: str | None = None,
    ) -> None:
        self._ports = ports
        self._run_id = run_id
        self._resuming = resuming
        self._metrics = metrics
        self._append = append
        self._note = note
        self._steps_for = steps_for
        self._logged = logged
        self._last = last

    def keep(self, content: bytes, *, step: int, details: Mapping[str, Any]) -> Artifact | None:
        """Keep the state of a training. One that cannot be kept is said so, and training goes on.

        Args:
            content: The state.
            step: Optimizer steps done.
            details: Free facts.

        Raises:
            SystemExit: It was the last that is wanted of a run of which a part is repeated.
        """
        try:
            digest = self._ports.objects.put_bytes(content)
        except (OSError, LineageError) as error:
            message = f"the checkpoint of step {step} was not kept: {describe_error(error)}"
            self._note(message)
            warnings.warn(f"lineage: {message}; training goes on", stacklevel=3)
            return None
        name = f"{CHECKPOINT}-{step:08d}"
        made = Artifact(
            name=name,
            kind=CHECKPOINT,
            path=name,
            digest=digest,
            size_bytes=len(content),
            details={"step": step} | plain(dict(details), "details"),
        )
        self._append(ArtifactMade(at=datetime.now(UTC), artifact=made))
        if name == self._last:
            raise SystemExit(0)  # what follows was not asked for
        return made

    def content(self) -> bytes | None:
        """The state to go on from; ``None`` when nothing is resumed.

        Raises:
            NotFound: It is not kept any more.
            IntegrityError: It was cut off or altered.
        """
        return None if self._resuming is None else self._ports.objects.get_bytes(self._resuming.checkpoint.digest)

    @property
    def metric_position(self) -> tuple[int, int]:
        """Points logged so far, all of them written now, and the number of the next step."""
        self._metrics.flush()
        return self._metrics.position

    def take_over(self, *, step: int, metric_points: int, next_metric_step: int) -> None:
        """Make what the resumed run did before its checkpoint part of this record; once, before the first step.

        Args:
            step: Optimizer steps done.
            metric_points: Points it had logged.
            next_metric_step: Number of the next one.
        """
        resuming = self._resuming
        if resuming is None:
            raise RuntimeError(f"run {self._run_id[:12]} does not resume another one")
        rank = rank_of_process()
        records = steps_before(self._ports, resuming.original, rank, step)
        if records:
            self._steps_for(resuming.original.step_logs[0].every).writer.take_over(records)
        if rank:
            return  # one process of several tells the rest
        points = take_over(self._ports, self._run_id, resuming, step=step, metric_points=metric_points, append=self._append)
        for point in points:
            self._logged(point)
        self._metrics.go_on(len(points), next_metric_step)
        self._note(f"resumed from step {step} of run {resuming.original.id}")
