"""Wide residual networks of four widths on CIFAR-10, as the Trax notebook trains them: a train task, an eval task, a loop of 5,000 steps.

    python wide_resnet.py                                  all four, one after the other
    python wide_resnet.py --widen-factor 2 --steps 5000

Trax is replaced by PyTorch, its data streams by a recorded view; what it prints is what Trax prints.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import lineage
import lineage.training
from pipelines.classification.models import WideResNet
from pipelines.classification.transforms import make_transform

NAMES = {1: "thin_model", 2: "wide_model", 3: "wider_model", 4: "widest_model"}
DEPTH = 22  # Trax's WideResnet: three blocks in a stage

parser = argparse.ArgumentParser()
parser.add_argument("--data", default=os.environ.get("CIFAR10", "cifar10"), help="dataset with the views train and test")
parser.add_argument("--widen-factor", type=int, nargs="+", choices=NAMES, default=list(NAMES))
parser.add_argument("--steps", type=int, default=5000)
parser.add_argument("--steps-per-checkpoint", type=int, default=1000)
parser.add_argument("--eval-batches", type=int, default=20)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--depth", type=int, default=DEPTH, help="6 n + 4; less is quicker")
parser.add_argument("--dropout", type=float, default=0.0, help="between the convolutions of a block, as the paper proposes it")
parser.add_argument("--output-dir", type=Path, default=Path("."))
parser.add_argument("--seed", type=int, default=7)
parser.add_argument("--resume", metavar="RUN", help="go on from the last checkpoint of a run that was broken off")


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, labels)


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (logits.argmax(1) == labels).float().mean()


@dataclass
class TrainTask:
    """What is trained on, how, and how often it is looked at."""

    labeled_data: lineage.training.DataLoader
    loss_layer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    optimizer: torch.optim.Optimizer
    n_steps_per_checkpoint: int


@dataclass
class EvalTask:
    """What is evaluated on: the first batches of the view, always the same."""

    labeled_data: lineage.training.DataLoader
    metrics: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]
    n_eval_batches: int


class Loop:
    """Trains, evaluates, prints and keeps checkpoints; goes on from the last one where the run is resumed."""

    def __init__(self, run, model: nn.Module, train_task: TrainTask, eval_task: EvalTask, output_dir: Path) -> None:
        self.run_, self.model, self.train_task, self.eval_task, self.output_dir = run, model, train_task, eval_task, output_dir
        run.watch(model, train_task.optimizer)
        self.checkpoints = lineage.training.Checkpoints(
            run,
            model=model,
            optimizer=train_task.optimizer,
            loader=train_task.labeled_data,
            every_steps=train_task.n_steps_per_checkpoint,
            every_epochs=0,
        )

    def run(self, n_steps: int) -> None:
        position = self.checkpoints.restore()
        losses, since, began = [], position.step, time.perf_counter()
        for step, (pictures, labels, _) in enumerate(self.batches(position.epoch), position.step + 1):
            self.model.train()
            loss = self.train_task.loss_layer(self.model(pictures), labels)
            self.train_task.optimizer.zero_grad()
            loss.backward()
            self.train_task.optimizer.step()
            losses.append(loss.item())
            self.run_.log({"loss": losses[-1]})
            if step in (1, n_steps) or step % self.train_task.n_steps_per_checkpoint == 0:
                print(f"Step {step}: Ran {step - since} train steps in {time.perf_counter() - began:.2f} secs")
                self.report(step, {"train CrossEntropyLoss": sum(losses) / len(losses)} | self.evaluated())
                losses, since, began = [], step, time.perf_counter()
            self.checkpoints.step()
            if step >= n_steps:
                break
        self.output_dir.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), self.output_dir / "model.pth")
        self.run_.log_artifact(self.output_dir / "model.pth", kind="model")

    def batches(self, epoch: int) -> Iterator:
        """Epoch after epoch, without an end, as a Trax stream."""
        for number in itertools.count(epoch):
            self.train_task.labeled_data.set_epoch(number)
            yield from self.train_task.labeled_data
            self.checkpoints.epoch_done()

    def evaluated(self) -> dict[str, float]:
        self.model.eval()
        self.eval_task.labeled_data.set_epoch(0)
        found = {name: [] for name in self.eval_task.metrics}
        for pictures, labels, _ in itertools.islice(self.eval_task.labeled_data, self.eval_task.n_eval_batches):
            with torch.no_grad():
                logits = self.model(pictures)
            for name, metric in self.eval_task.metrics.items():
                found[name].append(metric(logits, labels).item())
        return {f"eval {name}": float(np.mean(values)) for name, values in found.items()}

    def report(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            print(f"Step {step}: {name} | {value:.8f}")
        self.run_.log({"trained_steps": step} | {name.replace(" ", "/"): value for name, value in values.items()})


def train(args: argparse.Namespace, widen_factor: int) -> None:
    config = {name: value for name, value in vars(args).items() if name not in ("output_dir", "resume")} | {"widen_factor": widen_factor}
    named = {"project": "wide-resnet", "job_type": "train", "name": NAMES[widen_factor]}
    with lineage.start_run(**named, config=config, seed=args.seed, resume=args.resume) as run:
        lineage.training.make_deterministic(run, threads=1)
        train_rows = run.use_dataset(args.data, view="train", role="train")
        eval_rows = run.use_dataset(args.data, view="test", role="validation")
        transform = make_transform(32, train_rows.class_names["labels"], augment=False)

        train_batches_stream = lineage.training.DataLoader(train_rows, args.batch_size, shuffle=True, transform=transform)
        eval_batches_stream = lineage.training.DataLoader(eval_rows, args.batch_size, transform=transform)

        # Cross-entropy in PyTorch begins with the LogSoftmax that the notebook adds to the model.
        model = WideResNet(depth=args.depth, widen_factor=widen_factor, dropout=args.dropout)

        train_task = TrainTask(
            labeled_data=train_batches_stream,
            loss_layer=cross_entropy,
            optimizer=torch.optim.Adam(model.parameters(), lr=0.01),
            n_steps_per_checkpoint=args.steps_per_checkpoint,
        )
        eval_task = EvalTask(
            labeled_data=eval_batches_stream,
            metrics={"CrossEntropyLoss": cross_entropy, "Accuracy": accuracy},
            n_eval_batches=args.eval_batches,
        )
        training_loop = Loop(run, model, train_task, eval_task, output_dir=args.output_dir / NAMES[widen_factor])
        training_loop.run(args.steps)


if __name__ == "__main__":
    args = parser.parse_args()
    for widen_factor in args.widen_factor:
        train(args, widen_factor)
