"""Checkpoints: a training's whole state, by digest, so that it can go on bit for bit as if it had never stopped."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed

from lineage.errors import IntegrityError, UsageError
from lineage.model.digest import digest_of_json
from lineage.model.run import Artifact
from lineage.record.live import LiveRun
from lineage.record.steps import rank_of_process

_FORMAT = 1


class Position(NamedTuple):
    """Where a training goes on.

    Attributes:
        epoch: The epoch, counted from 0.
        batches: How many of its batches were trained on already; the loader leaves them out by itself.
        step: Optimizer steps done.
    """

    epoch: int
    batches: int
    step: int


class Checkpoints:
    """Saves and restores everything that decides how a training goes on.

    Weights, optimizer, scheduler, scaler, every random state (Python, NumPy, PyTorch, its GPU; of each process), the loader's position,
    and where step log and metrics stood::

        checkpoints = Checkpoints(run, model=model, optimizer=optimizer, scheduler=schedule, loader=loader, every_steps=500)
        position = checkpoints.restore()  # the beginning, unless the run was started with resume=…
        for epoch in range(position.epoch, epochs):
            for batch in loader:
                ...
                optimizer.step()
                checkpoints.step()
            evaluate()
            checkpoints.epoch_done()

    The bytes follow from the state alone: equal states have equal digests. In a distributed training every process calls every method, and
    the first one keeps the file.

    Args:
        run: The live run.
        model: A ``torch.nn.Module``; of a wrapped one (``DistributedDataParallel``) the module inside.
        optimizer: An optimizer, or several.
        scheduler: A scheduler, or several; anything with ``state_dict``.
        loader: A :class:`lineage.training.DataLoader`, or anything with ``state_dict`` and ``load_state_dict``.
        scaler: A gradient scaler.
        every_steps: :meth:`step` saves every so many steps; ``None`` for never.
        every_epochs: :meth:`epoch_done` saves every so many epochs; 0 for never.

    Attributes:
        extra: Plain values of your own (a best score, for example), saved and restored.
    """

    def __init__(
        self,
        run: LiveRun,
        *,
        model: torch.nn.Module,
        optimizer: Any,
        scheduler: Any = None,
        loader: Any = None,
        scaler: Any = None,
        every_steps: int | None = None,
        every_epochs: int = 1,
    ) -> None:
        self._run = run
        self._parts: dict[str, list[Any]] = {
            "model": [getattr(model, "module", model) if type(model).__name__ == "DistributedDataParallel" else model],
            "optimizer": _listed(optimizer),
            "scheduler": _listed(scheduler),
            "scaler": _listed(scaler),
            "loader": _listed(loader),
        }
        self._every_steps, self._every_epochs = every_steps, every_epochs
        self._steps = 0
        self._epoch = 0
        self.extra: dict[str, Any] = {}

    def step(self) -> Artifact | None:
        """An optimizer step was done; saves when one is due."""
        self._steps += 1
        return self.save() if self._every_steps and self._steps % self._every_steps == 0 else None

    def epoch_done(self) -> Artifact | None:
        """An epoch is over, with all that belongs to it (its evaluation, for example); saves when one is due."""
        epoch, _ = self._place()
        self._epoch = epoch + 1
        due = self._every_epochs and self._epoch % self._every_epochs == 0
        return self._save(self._epoch, 0) if due else None

    def save(self) -> Artifact | None:
        """Save now; ``None`` when the file could not be kept, and in processes other than the first."""
        return self._save(*self._place())

    def restore(self) -> Position:
        """Put back the state of the run that is resumed, and take over its record up to there; the beginning when none is.

        Raises:
            IntegrityError: The checkpoint was cut off or altered, or is none of this release.
            UsageError: It is of another training: other inputs, model, loader or number of processes.
        """
        content = self._run.checkpointing.content()
        if content is None:
            return Position(0, 0, 0)
        state = _read(content)
        self._check_identity(state["identity"])
        for name, parts in self._parts.items():
            self._load(name, parts, state[name])
        place = state["place"]
        self._steps, self._epoch = place["step"], place["epoch"]
        self.extra = state["extra"]
        self._run.checkpointing.take_over(
            step=place["step"], metric_points=place["metric_points"], next_metric_step=place["next_metric_step"]
        )
        steps = self._run.steps
        if steps is not None and steps.writer.head != state["heads"][rank_of_process()]:
            raise IntegrityError(
                "the step log of the resumed run", expected=str(state["heads"][rank_of_process()]), found=steps.writer.head
            )
        for loader in self._parts["loader"]:
            loader.load_state_dict(state["loader"][0] | {"epoch": place["epoch"], "batches": place["batches"]})
        _set_random_state(state["random"][rank_of_process()])
        return Position(place["epoch"], place["batches"], place["step"])

    def _place(self) -> tuple[int, int]:
        if not self._parts["loader"]:
            return self._epoch, 0
        state = self._parts["loader"][0].state_dict()
        return int(state["epoch"]), int(state["batches"])

    def _save(self, epoch: int, batches: int) -> Artifact | None:
        steps = self._run.steps
        if steps is not None:
            steps.flush()
        own = (_random_state(), None if steps is None else steps.writer.head)
        of_all = _gathered(own)
        if of_all is None:
            return None
        points, next_metric_step = self._run.checkpointing.metric_position
        state: dict[str, Any] = {
            "format": _FORMAT,
            "identity": self._identity(),
            "place": {
                "epoch": epoch,
                "batches": batches,
                "step": self._steps if steps is None else steps.writer.next_step,
                "metric_points": points,
                "next_metric_step": next_metric_step,
            },
            "random": [states for states, _ in of_all],
            "heads": [head for _, head in of_all],
            "extra": self.extra,
        }
        state |= {name: [part.state_dict() for part in parts] for name, parts in self._parts.items()}
        buffer = io.BytesIO()  # a buffer has no name: torch writes a file's own name into it
        torch.save(_on_cpu(state), buffer)
        step = state["place"]["step"]
        return self._run.checkpointing.keep(buffer.getvalue(), step=step, details={"epoch": epoch, "batches": batches})

    def _identity(self) -> dict[str, Any]:
        # What a checkpoint belongs to: no id of a run, so that repeated runs make equal checkpoints.
        inputs = [[item.role, item.content_digest, item.rows_digest] for item in self._run.record.inputs]
        return {"inputs": digest_of_json(inputs), "torch": str(torch.__version__), "processes": _processes()}

    def _check_identity(self, found: Mapping[str, Any]) -> None:
        own = self._identity()
        if rank_of_process() == 0 and found["inputs"] != own["inputs"]:  # the first process records the inputs
            raise UsageError(
                f"the checkpoint is of a training on other rows: its inputs are {found['inputs'][:19]}, this run's {own['inputs'][:19]}",
                hint="open the same inputs in the same order before restoring",
            )
        if found["processes"] != own["processes"]:
            raise UsageError(
                f"the checkpoint is of {found['processes']} processes, this training has {own['processes']}",
                hint=f"torchrun --nproc-per-node {found['processes']} …",
            )
        if found["torch"] != own["torch"]:
            self._run.note(f"the checkpoint was made with torch {found['torch']}, it goes on with {own['torch']}: other bits may follow")

    def _load(self, name: str, parts: Sequence[Any], states: Sequence[Any]) -> None:
        if name == "loader":
            return
        if len(parts) != len(states):
            raise UsageError(
                f"the checkpoint has {len(states)} {name} states, this training {len(parts)}", hint="give Checkpoints the same parts"
            )
        for part, state in zip(parts, states, strict=True):
            try:
                part.load_state_dict(state)
            except (RuntimeError, ValueError, KeyError) as error:
                reason = " ".join(str(error).split())[:300]
                raise UsageError(f"the checkpoint's {name} does not fit: {reason}", hint="build it as the first run did") from error


def _listed(part: Any) -> list[Any]:
    return [] if part is None else list(part) if isinstance(part, list | tuple) else [part]


def _processes() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_available() and torch.distributed.is_initialized() else 1


def _gathered(own: Any) -> list[Any] | None:
    """What every process has, in the first one; ``None`` in the others."""
    if _processes() == 1:
        return [own]
    found: list[Any] | None = [None] * _processes() if rank_of_process() == 0 else None
    torch.distributed.gather_object(own, found)
    return found


def _random_state() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [str(name), torch.from_numpy(np.array(keys, np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _on_cpu(value: Any) -> Any:
    # Copies: tensors that share storage or are views would be saved with what they are part of.
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: _on_cpu(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_on_cpu(item) for item in value)
    return value


def _read(content: bytes) -> dict[str, Any]:
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # a checkpoint is data, never code
        if state["format"] != _FORMAT:
            raise ValueError(f"format {state['format']}")
    except Exception as error:  # torch raises half a dozen types for a file that is not its own
        raise IntegrityError(
            "the checkpoint",
            expected=f"a state of format {_FORMAT}",
            found=" ".join(str(error).split())[:200],
            hint="it was written by another release, or is no checkpoint",
        ) from error
    made: dict[str, Any] = state
    return made
