"""The training job: data comes in through lineage; losses, evaluations, pictures, checkpoints and weights go out through lineage."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import lineage
import lineage.training
from lineage.errors import UsageError
from pipelines.configuration import FREE_TO_CHANGE
from pipelines.detection.config import Config
from pipelines.detection.data import open_data
from pipelines.detection.distributed import is_first, local_device, process_group, shared, wait_for_all
from pipelines.detection.evaluate import Evaluation
from pipelines.detection.model import base_weights_file, build_model
from pipelines.detection.progress import counts_table
from pipelines.detection.results import Results
from pipelines.detection.train import StepReport, make_optimizer, make_schedule, train_one_epoch
from pipelines.progress import bar, console
from pipelines.tracked import WEIGHTS_NAME, choose_device, find_resumable, save_weights


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left behind.

    Attributes:
        run_id: Id of the recorded run.
        evaluation: The last evaluation; ``None`` in processes other than the first.
        weights: The weights file, ``None`` where it lives only in the run's record.
    """

    run_id: str
    evaluation: Evaluation | None
    weights: Path | None


def train_detector(config: Config, *, resume: str | None = None, allow_changed: Sequence[str] = ()) -> Trained:
    """Train Faster R-CNN on a view, evaluate it on another after each epoch, and record all of it as one run.

    Args:
        config: The training.
        resume: Run to go on with from its last checkpoint: an id, a unique prefix, or ``last`` for the project's newest that was broken
            off.
        allow_changed: Configuration fields that may differ from that run's.

    Raises:
        LineageError: Any error of the tree: a dataset, view, class or weights file that is not there, a picture that cannot be decoded,
            a loss that is not finite. The run is then recorded as failed.
    """
    device = local_device(choose_device(config.device))
    if config.precision == "float16" and device.type == "cpu":
        raise UsageError("precision float16 needs a GPU: its range is too small for gradients without one", hint="--precision bfloat16")
    console.quiet = not is_first()
    # A reproduction sets WANDB_MODE, so that it never writes into the project of the run it repeats.
    wandb_mode = os.environ.setdefault("WANDB_MODE", config.wandb)
    trackers = () if "disabled" in (config.wandb, wandb_mode) else ("wandb",)
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="detection-")))
        started = lineage.start_run(
            project=config.project,
            job_type="train",
            group=config.group,
            name=config.name,
            config=config.model_dump(mode="json"),
            seed=config.seed,
            trackers=trackers,
            resume=find_resumable(config.project) if resume == "last" else resume,
            allow_changed=(*FREE_TO_CHANGE, *allow_changed),
        )
        run = stack.enter_context(started)
        settings = lineage.training.make_deterministic(
            run, threads=config.threads, cpu_capability=config.cpu_capability, device=device, precision=config.precision
        )
        console.print(f"promise: {settings['promise']}", soft_wrap=True)
        stack.enter_context(process_group(device))
        model, evaluation = _train_and_evaluate(run, config, device, temporary)
        if not is_first():
            return Trained(run_id=run.id, evaluation=None, weights=None)
        # A reproduction repeats the recorded command, --output included: it must not replace the weights of the run it is compared with.
        kept = config.output if run.reproduced is None else None
        weights = save_weights(model.state_dict(), kept or temporary)
        run.log_artifact(weights, kind="model", name=WEIGHTS_NAME)
    return Trained(run_id=run.id, evaluation=evaluation, weights=weights if kept else None)


def _after_step(report: StepReport, checkpoints: lineage.training.Checkpoints, losses: dict[str, float], pictures: int) -> None:
    report(losses, pictures)
    checkpoints.step()


def _train_and_evaluate(run: Any, config: Config, device: torch.device, temporary: Path) -> tuple[torch.nn.Module, Evaluation | None]:
    data = open_data(run, config)
    console.print(counts_table(data.counts, {"train": len(data.train), "validation": len(data.validation)}))
    if config.model.base_weights is not None:
        run.use_artifact(base_weights_file(config.model), role="base")
    size = config.transform
    model = build_model(config.model, width=size.width, height=size.height, classes=len(config.classes)).to(device)
    optimizer = make_optimizer(model, config.optimizer)
    schedule = make_schedule(optimizer, config.optimizer, steps_per_epoch=len(data.train_loader))
    scaler = torch.amp.GradScaler("cuda") if config.precision == "float16" else None
    run.watch(model, optimizer)
    checkpoints = lineage.training.Checkpoints(
        run,
        model=model,
        optimizer=optimizer,
        scheduler=schedule,
        scaler=scaler,
        loader=data.train_loader,
        every_steps=config.checkpoints.every_steps,
        every_epochs=config.checkpoints.every_epochs,
    )
    position = checkpoints.restore()
    if position.step:
        console.print(f"resumed at epoch {position.epoch + 1}, step {position.step}")
    trained = shared(model, device)
    results = Results(run, config, data, device, temporary)
    for epoch in range(position.epoch, config.epochs):
        title = f"epoch {epoch + 1}/{config.epochs}"
        data.train_loader.set_epoch(epoch)
        with bar(title, len(data.train_loader)) as advance:
            steps = StepReport(run, optimizer, advance)
            train_one_epoch(
                trained,
                optimizer,
                schedule,
                data.train_loader,
                device=device,
                precision=config.precision,
                scaler=scaler,
                clip_norm=config.optimizer.clip_norm,
                on_step=partial(_after_step, steps, checkpoints),
            )
        if is_first():
            evaluation = results.evaluate(model, epoch, title)
            console.print(f"{title}  loss {steps.mean_loss:.3f}  {steps.pictures_per_s:.1f} pictures/s  {evaluation}", soft_wrap=True)
        wait_for_all()
        checkpoints.epoch_done()
    if not is_first():
        return model, None
    return model, results.finish(model)
