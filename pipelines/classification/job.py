"""The training job: data comes in through lineage; losses, evaluations, pictures, checkpoints and weights go out through lineage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import lineage
import lineage.training
from lineage.errors import UsageError
from pipelines.classification.config import Config
from pipelines.classification.data import open_data
from pipelines.classification.evaluate import Evaluation
from pipelines.classification.results import Results
from pipelines.classification.train import Tally, build_model, make_optimizer, make_schedule, train_step
from pipelines.configuration import FREE_TO_CHANGE
from pipelines.progress import bar, console
from pipelines.tracked import WEIGHTS_NAME, find_resumable, recorded_job, save_weights


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training or an evaluation left behind.

    Attributes:
        run_id: Id of the recorded run.
        evaluation: The last one.
        weights: The weights file, ``None`` where it lives only in the run's record.
        parameters: Number of the model's parameters.
    """

    run_id: str
    evaluation: Evaluation
    weights: Path | None
    parameters: int


def train_classifier(config: Config, *, resume: str | None = None, allow_changed: Sequence[str] = ()) -> Trained:
    """Train a classifier on one view, evaluate it on another, and record all of it as one run.

    Args:
        config: The training.
        resume: Run to go on with from its last checkpoint: an id, a unique prefix, or ``last`` for the project's newest that was broken
            off.
        allow_changed: Configuration fields that may differ from that run's.

    Raises:
        LineageError: Any error of the tree: a dataset or view that is not there, a picture that cannot be decoded, a loss that is not
            finite. The run is then recorded as failed.
    """
    chosen = find_resumable(config.project) if resume == "last" else resume
    free = (*FREE_TO_CHANGE, *allow_changed)
    with recorded_job(config, "train", **_arithmetic(config), resume=chosen, allow_changed=free) as (run, device, temporary):
        model, evaluation = _Training(run, config, device, temporary).run()
        # A reproduction repeats the recorded command, --output included: it must not replace the weights of the run it is compared with.
        kept = config.output if run.reproduced is None else None
        weights = save_weights(model.state_dict(), kept or temporary)
        run.log_artifact(weights, kind="model", name=WEIGHTS_NAME)
    return Trained(run.id, evaluation, weights if kept else None, _parameters(model))


def evaluate_weights(config: Config, weights: Path) -> Trained:
    """Evaluate a weights file on the configured view, as a run of its own that names the file as what it was made from.

    Raises:
        UsageError: The file holds no weights, or those of another model.
        LineageError: As in a training.
    """
    with recorded_job(config, "evaluate", **_arithmetic(config)) as (run, device, temporary):
        run.use_artifact(weights, role="base")
        data = open_data(run, config, training=False)
        model = build_model(config, len(data.classes)).to(device)
        load_weights(model, weights)
        evaluation = Results(run, config, data, device, temporary).finish(model)
    return Trained(run.id, evaluation, None, _parameters(model))


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Put the weights of a file into a model of the same shape.

    Raises:
        UsageError: The file holds no weights, or those of another model.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a file that is not its own, and advises to trust it
        raise UsageError(f"weights {path}: expected tensors as torch.save writes them, found something else") from error
    own = model.state_dict()
    given = state if isinstance(state, dict) else {}
    shapes = [getattr(given.get(name), "shape", None) == tensor.shape for name, tensor in own.items()]
    if given.keys() != own.keys() or not all(shapes):
        raise UsageError(
            f"weights {path}: expected {len(own)} tensors of this model, found {len(given)}, of which {sum(shapes)} fit",
            hint="give the configuration that they were trained with",
        )
    model.load_state_dict(given)


def _arithmetic(config: Config) -> dict[str, Any]:
    return {"precision": config.precision, "cpu_capability": config.cpu_capability}


class _Training:
    """The loop: epochs or steps, evaluations and checkpoints between them."""

    def __init__(self, run: Any, config: Config, device: torch.device, temporary: Path) -> None:
        self.run_, self.config, self.device = run, config, device
        data = self.data = open_data(run, config)
        self.model = build_model(config, len(data.classes)).to(device)
        self.optimizer = make_optimizer(self.model, config)
        total = config.epochs * len(data.train_loader) if config.steps is None else config.steps
        self.schedule = make_schedule(self.optimizer, config, total=total)
        self.scaler = torch.amp.GradScaler("cuda") if config.precision == "float16" else None
        run.watch(self.model, self.optimizer)
        by_steps = config.steps is not None
        self.checkpoints = lineage.training.Checkpoints(
            run,
            model=self.model,
            optimizer=self.optimizer,
            scheduler=self.schedule,
            scaler=self.scaler,
            loader=data.train_loader,
            every_steps=(config.kept_every or None) if by_steps else None,
            every_epochs=0 if by_steps else config.kept_every,
        )
        self.results = Results(run, config, data, device, temporary)
        self.tally, self.step = Tally(), 0
        self.began, self.seen = time.perf_counter(), 0

    def run(self) -> tuple[torch.nn.Module, Evaluation]:
        """Train, and keep what was found at the end."""
        rows = ", ".join(f"{part} {sum(counts.values())}" for part, counts in self.data.counts.items())
        console.print(f"{rows} pictures of {len(self.data.classes)} classes; {_parameters(self.model):,} parameters", soft_wrap=True)
        position = self.checkpoints.restore()
        self.step = position.step
        if position.step:
            console.print(f"resumed at epoch {position.epoch + 1}, step {position.step}")
        self.began = time.perf_counter()
        epoch = position.epoch
        while epoch < self.config.epochs if self.config.steps is None else self.step < self.config.steps:
            self._epoch(epoch)
            epoch += 1
        return self.model, self.results.finish(self.model)

    def _epoch(self, epoch: int) -> None:
        """Go through the training view once, or as far as there are steps to do."""
        loader = self.data.train_loader
        loader.set_epoch(epoch)
        self.model.train()
        title = f"epoch {epoch + 1}" + (f"/{self.config.epochs}" if self.config.steps is None else "")
        with bar(title, len(loader)) as advance:
            for batch in loader:
                self._step(batch, advance)
                if self.step == self.config.steps:
                    return
        if self.config.steps is None:
            self._evaluate(epoch + 1)
        self.checkpoints.epoch_done()

    def _step(self, batch: Any, advance: Callable[[int, str], None]) -> None:
        config = self.config
        loss, right = train_step(
            self.model,
            self.optimizer,
            self.schedule,
            batch,
            device=self.device,
            precision=config.precision,
            scaler=self.scaler,
            clip_norm=config.clip_norm,
        )
        self.step += 1
        self.tally.add(loss, right, len(batch[0]))
        self.seen += len(batch[0])
        speed = self.seen / (time.perf_counter() - self.began)
        rate = self.optimizer.param_groups[0]["lr"]
        self.run_.log({"loss": loss, "learning_rate": rate, "timing/train_pictures_per_s": speed})
        advance(1, f"loss {loss:.3f}  lr {rate:.2g}  {speed:.0f} pictures/s")
        if config.steps is not None:
            is_due = bool(config.kept_every) and self.step % config.kept_every == 0
            if is_due or self.step in (1, config.steps):
                self._evaluate(self.step)
            self.checkpoints.step()  # an evaluation came just before each checkpoint: no tally has to be kept

    def _evaluate(self, at: int) -> None:
        found = self.results.evaluate(self.model, at, self.tally.means())
        unit = "epoch" if self.config.steps is None else "step"
        trained = "".join(f"  {name.replace('_', ' ')} {value:.3f}" for name, value in self.tally.means().items())
        console.print(f"{unit} {at}{trained}  validation loss {found.loss:.3f}  validation accuracy {found.accuracy:.3f}", soft_wrap=True)
        self.tally = Tally()


def _parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
