"""The live run: what training code holds while a record grows."""

from __future__ import annotations

import atexit
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from lineage.errors import LineageError, NotFound
from lineage.model.dataset import check_role
from lineage.model.event import ArtifactMade, ArtifactUsed, Described, Ended, Event, InputUsed, Noted
from lineage.model.plain import plain
from lineage.model.run import Artifact, MetricPoint, Run, RunState, UsedArtifact
from lineage.model.secrets import redact_text, redact_values
from lineage.ports import Ports, Progress, Tracker, no_progress
from lineage.record.captures import captures
from lineage.record.checkpointing import Checkpointing
from lineage.record.exit_status import how_it_ends
from lineage.record.inputs import Inputs
from lineage.record.joining import Group, is_secondary
from lineage.record.media_log import MediaLog
from lineage.record.metrics import MetricBuffer, recordable
from lineage.record.recorded_view import RecordedView
from lineage.record.reproducing import Reproducing
from lineage.record.resuming import Resuming
from lineage.record.signing import sign_at_end
from lineage.record.sinks import Sinks, describe_error
from lineage.record.steps import Steps, optimizers_of
from lineage.record.used import describe_used


class LiveRun(MediaLog):
    """A run in progress. Made by :func:`lineage.start_run`; use it in a ``with`` block, or call :meth:`finish`.

    Attributes:
        summary: Last value of each metric; more may be put in. Written when the run ends.
        inputs: Opens and records datasets.
    """

    def __init__(
        self,
        ports: Ports,
        run: Run,
        trackers: list[Tracker],
        reproducing: Reproducing | None,
        resuming: Resuming | None = None,
        *,
        is_owner: bool,
        processes: Group | None = None,
        loads_here: bool = True,
    ) -> None:
        self._processes = processes
        self._is_secondary = is_secondary()
        self._ports = ports
        self._resuming = resuming
        self._run = run
        self._sinks = Sinks(trackers, self.note, self._append)
        self._reproducing = reproducing
        self._is_owner = is_owner
        self._metrics = MetricBuffer(ports.runs, run.id)
        self.inputs = Inputs(
            ports, self._append, lambda: self._run, self.note, self._recorded, self._handed, is_secondary=self._is_secondary
        )
        self._steps: Steps | None = None
        last = None if reproducing is None else reproducing.end
        self._checkpointing = Checkpointing(
            ports, run.id, resuming, self._metrics, self._append, self.note, self.steps_for, self._taken_over, last
        )
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._open = True
        self.summary: dict[str, Any] = {}
        self._captures = captures(ports, run, self.reproduced, self._append, self.note, keeps=is_owner, loads_here=loads_here)

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return self._run.id

    @property
    def name(self) -> str:
        """A name for people."""
        return self._run.name

    @property
    def seed(self) -> int | None:
        """The seed, or ``None`` when it was not fixed."""
        return self._run.seed

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration as recorded."""
        return self._run.config

    @property
    def record(self) -> Run:
        """The record so far."""
        return self._run

    @property
    def reproduced(self) -> Run | None:
        """The run that this one repeats, when it is a reproduction, or a repetition with another seed."""
        return None if self._reproducing is None else self._reproducing.original

    @property
    def resumed(self) -> Run | None:
        """The run that this one goes on with, when it is resumed."""
        return None if self._resuming is None else self._resuming.original

    @property
    def repeated(self) -> Run | None:
        """The run whose recorded inputs and settings are taken over: the reproduced or the resumed one."""
        return None if self._recorded is None else self._recorded.original

    @property
    def _recorded(self) -> Reproducing | None:
        if self._reproducing is None and self._resuming is not None:
            return Reproducing(self._resuming.original)
        return self._reproducing

    def use_dataset(
        self,
        dataset: Any,
        *,
        role: str,
        view: str | None = None,
        query: str | None = None,
        commit_id: str | None = None,
        branch: str | None = None,
        progress: Progress = no_progress,
    ) -> RecordedView:
        """Open a dataset for reading, pinned, and record exactly which rows it is.

        In a reproduction the recorded rows of the original are opened instead, after every one was checked.

        Args:
            dataset: Address or path, or an open Deep Lake dataset. A plain folder, or data that DVC tracks (the path, or its ``.dvc``
                file), is read as one row for each file.
            role: ``train``, ``validation``, ``test`` or another lower-case word.
            view: Name or id of a saved view; the whole dataset without one.
            query: A query instead of a saved view; for folders and DVC a pattern of paths such as ``images/*.jpg``.
            commit_id: The dataset's commit; the newest without one. For DVC any git revision.
            branch: The dataset's branch; ``main`` without one.
            progress: Told of rows digested.

        Raises:
            NotFound: No such dataset, commit or view.
            UsageError: The role is no lower-case word, or the address cannot be one.
            UncommittedData: An open dataset with changes that no commit holds.
            InvalidQuery: The query cannot be answered or keeps no row.
            IntegrityError: The dataset was changed without a commit; in a reproduction: the data are not what was recorded.
        """
        self._check_open()
        return self.inputs.use(
            dataset, check_role(role), view=view, query=query, commit_id=commit_id, branch=branch, seed=self.seed, progress=progress
        )

    def use_artifact(self, path: str | Path, *, role: str = "base", kind: str = "model") -> UsedArtifact:
        """Record a file that decides the result and came from elsewhere: base weights of a fine-tuning, a tokenizer, an anchor table.

        When a recorded run made it, the new run inherits that run's data in look-ups (``lineage data``, ``models``, ``leaks``).

        Args:
            path: The file. Its content is recorded by digest; it is not copied.
            role: What it is used for, a lower-case word.
            kind: ``model`` or another word.

        Raises:
            NotFound: There is no such file.
            IntegrityError: In a reproduction: it is not the file that was recorded.
        """
        self._check_open()
        used = describe_used(Path(path), check_role(role), kind, self._relative(Path(path)), self.repeated, len(self._run.uses))
        if not self._is_secondary:
            self._append(ArtifactUsed(at=used.used_at, artifact=used))
        return used

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers. Names that begin with ``timing/`` or ``system/`` are kept but never compared in a reproduction.

        In a distributed training those of the first process are kept: which of several came first would be left to chance.

        Args:
            values: Metric name to number (or one-element tensor).
            step: Counted up from 0 with each call unless given.
        """
        self._check_open()
        if self._is_secondary:
            return
        numbers, step = self._metrics.add(values, step)
        self.summary.update(numbers)
        self._sinks.tell("logged", numbers, step)

    def watch(self, model: Any, optimizer: Any = None, *, every: int = 1) -> None:
        """Keep a step log of a training loop: rows, batch, model input, losses, gradients and parameters of each step, as digests.

        Works with any PyTorch loop, without a change to it::

            run.watch(model, optimizer)
            for images, targets in loader:
                loss = model(images, targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        A step is one call of ``optimizer.step()``. Two logs tell where two trainings part (``lineage steps A B``), and one tells what was
        in a batch (``lineage replay RUN --step N``). Rows are known when a view of this run is read in the loop's process, as by
        :class:`lineage.training.DataLoader`.

        Args:
            model: A ``torch.nn.Module``.
            optimizer: Its optimizer, or several.
            every: Digest gradients and parameters every so many steps; what goes in and comes out always. A reproduction and a resumed run
                do as the first run did.

        Raises:
            UsageError: There is no optimizer, ``every`` is below 1, or models are watched at different intervals.
            MissingExtra: PyTorch or xxhash is not installed.
        """
        self._check_open()
        optimizers = optimizers_of(optimizer, every)
        steps = self.steps_for(every)
        if self.repeated is None:
            steps.check_interval(every)
        steps.watch(model, optimizers)

    def log_artifact(
        self, path: str | Path, kind: str = "file", name: str | None = None, details: Mapping[str, Any] | None = None
    ) -> Artifact:
        """Keep a file the run made in the object store, and record its digest.

        Args:
            path: The file.
            kind: ``model``, ``report`` … ; look-ups by model need ``model``.
            name: Unique within the run; the file's name by default. The same name again replaces it.
            details: Free facts.

        Raises:
            NotFound: There is no such file.
        """
        self._check_open()
        file = Path(path)
        if not file.is_file():
            raise NotFound("file", str(path), hint="log_artifact keeps single files; pack a folder first")
        digest, size_bytes = self._ports.objects.put_file(file)
        artifact = Artifact(
            name=name or file.name,
            kind=kind,
            path=self._relative(file),
            digest=digest,
            size_bytes=size_bytes,
            details=redact_values(plain(dict(details or {}), "details")),
        )
        self._append(ArtifactMade(at=datetime.now(UTC), artifact=artifact))
        self._sinks.tell("artifact_made", self._run, artifact, self._ports.objects.path_of(digest) or file)
        return artifact

    @property
    def checkpointing(self) -> Checkpointing:
        """Its checkpoints, as :class:`lineage.training.Checkpoints` makes and restores them."""
        self._check_open()
        return self._checkpointing

    def record_output(self, artifact: Artifact) -> None:
        """Record something made that is no single file, for example a dataset version."""
        self._check_open()
        self._append(ArtifactMade(at=datetime.now(UTC), artifact=artifact))
        self._sinks.tell("artifact_made", self._run, artifact, None)

    def describe(self, *, config: Mapping[str, Any] | None = None, determinism: Mapping[str, Any] | None = None) -> None:
        """Record configuration or determinism settings that became known after the start."""
        self._check_open()
        if self._is_secondary:
            return
        self._append(
            Described(
                at=datetime.now(UTC),
                config=redact_values(plain(dict(config or {}), "config")),
                determinism=plain(dict(determinism or {}), "determinism"),
            )
        )

    def note(self, text: str) -> None:
        """Record a sentence that a reader of the record should know."""
        self._append(Noted(at=datetime.now(UTC), note=redact_text(text)))

    @property
    def steps(self) -> Steps | None:
        """The step log, when something is watched."""
        return self._steps

    def steps_for(self, every: int) -> Steps:
        """The step log, begun unless there is one. The interval of a recorded run that is repeated wins."""
        if self._steps is None:
            recorded = () if self.repeated is None else self.repeated.step_logs
            self._steps = Steps(self._ports, self._run, self._ports.watcher(), recorded[0].every if recorded else every, self.note)
        return self._steps

    def finish(self, state: RunState = RunState.finished, error: str | None = None) -> Run:
        """End the run, once. Waiting metrics are written first."""
        self.inputs.settle()
        for capture in self._captures:
            capture.close()
        with self._lock:
            if not self._open or os.getpid() != self._pid:  # a forked child that ends does not end its parent's run
                return self._run
            self._open = False
            atexit.unregister(self.finish_at_exit)
            try:
                self._metrics.close()
            except LineageError as lost:
                self.note(lost.message)
                warnings.warn(f"lineage: {lost.message}", stacklevel=2)
            self._close_steps()
            self.inputs.close()
            summary = recordable(self._summarised(self.summary), self.note)
            if self._is_secondary:
                if self._processes is not None:
                    self._processes.done()
                return self._run
            if self._is_owner:
                if self._processes is not None and state is RunState.finished and not self._processes.wait():
                    self.note("not every process of the training said that it was done: their step logs may be missing")
                digest, told = self._ports.runs.metrics_digest(self.id), None if error is None else redact_text(error)
                self._append(Ended(at=datetime.now(UTC), state=state, summary=summary, error=told, metrics_digest=digest))
                self._ports.liveness.release(self.id)
            else:
                self._append(Described(at=datetime.now(UTC), summary=summary))
                if error is not None:
                    self.note(f"inside the command: {error}")
            self._sinks.tell("ended", self._run.model_copy(update={"summary": self._run.summary | summary}))
            sign_at_end(self._ports, self._run, self._append, self.note)
            return self._run

    def __enter__(self) -> LiveRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.finish()
        elif isinstance(error, KeyboardInterrupt):
            self.finish(RunState.aborted, "interrupted")
        elif isinstance(error, SystemExit) and not error.code:
            self.finish()
        else:
            self.finish(RunState.failed, describe_error(error))

    def finish_at_exit(self) -> None:
        """End a run that its script left open: failed after an unhandled exception or an exit status other than 0, else finished."""
        if self._open:
            error, told = how_it_ends()
            if told is not None:
                self.note(told)
            if isinstance(error, KeyboardInterrupt):
                self.finish(RunState.aborted, "interrupted")
            else:
                self.finish(RunState.finished if error is None else RunState.failed, None if error is None else describe_error(error))

    def _handed(self, ordinal: int, epoch: int | None, positions: Sequence[int], batch: Any) -> None:
        if self._steps is not None:
            self._steps.read(ordinal, epoch, positions, batch)

    def _taken_over(self, point: MetricPoint) -> None:
        self.summary.update(point.values)
        self._sinks.tell("logged", point.values, point.step)

    def _close_steps(self) -> None:
        if self._steps is None:
            return
        try:
            self._steps.close(self._append)
        except (LineageError, OSError) as error:
            self.note(f"the step log is not part of the record: {describe_error(error)}")
            warnings.warn(f"lineage: {self._run.notes[-1]}", stacklevel=3)

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError(f"run {self.id[:12]} is over; start another one")

    def _append(self, event: Event) -> Run:
        with self._lock:
            run = self._run = self._ports.runs.append(self.id, event)
        if isinstance(event, InputUsed):
            self._sinks.tell("input_used", run, event.input)
        return run

    def _relative(self, file: Path) -> str:
        path = file.parent.resolve() / file.name  # the repository's top folder is named without links, too
        root = None if self._run.code is None else Path(self._run.code.root)
        return str(path.relative_to(root)) if root is not None and path.is_relative_to(root) else str(path)
