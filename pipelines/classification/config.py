"""What a training can be told: one frozen, typed model, filled from defaults, then YAML, then the command line.

It is flat: a sweep's parameters are fields of it, under their own names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.configuration import Section, bundled, load

CONFIGS = Path(__file__).parent / "configs"

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Config(Section):
    """One training.

    Attributes:
        train: URI of the training dataset.
        validation: URI of the validation dataset; ``None`` for the same.
        view: Name of the saved view to train on; ``None`` for the whole dataset.
        validation_view: Name of the saved view to evaluate on.
        project: Project the run belongs to.
        group: Group of runs that belong together, for example one training with several seeds.
        name: Name of the run.
        architecture: ``resnet18``, ``resnet50`` or ``wrn`` (a wide residual network).
        attention: In every block of a ResNet.
        width: Channels of a ResNet's first stage; 64 as published.
        depth: Layers of a wide residual network: 6 n + 4.
        widen_factor: Its widening factor.
        dropout: In a wide residual network inside each block, in a ResNet before the last layer.
        epochs: How often the training view is gone through; 0 evaluates the model as it starts.
        steps: Train so many steps in place of epochs.
        checkpoint_every: Epochs between two checkpoints, or steps where ``steps`` is given (1 epoch, 1,000 steps); 0 for never. Trainings
            by steps are evaluated then, too, as Trax does it: after the first step, at each checkpoint, and at the end.
        n_eval_batches: How many batches an evaluation takes, always the first ones; ``None`` for the whole view.
        batch_size: Pictures per step.
        optimizer: ``adam`` or ``sgd``.
        learning_rate: After the warm-up.
        momentum: Of SGD.
        nesterov: Whether SGD's momentum is Nesterov's.
        weight_decay: L2 penalty.
        schedule: ``constant``, or ``cosine`` down to 0 at the last step.
        warmup_steps: The learning rate rises linearly over this many steps; 0 for none.
        clip_norm: Gradients are scaled down to this total L2 norm; ``None`` for no clipping.
        size: Side of the model's input in pixels; pictures of another size are resized.
        augment: ``crop-flip`` pads by an eighth of the side, crops at random and flips half of the pictures; ``none`` leaves them.
        seed: Seed of everything random; ``None`` leaves it to chance, and no two runs are the same.
        workers: Processes that read and augment pictures; 0 does it in the training process.
        threads: CPU threads of the arithmetic; ``None`` for one per core. Another number gives other bits.
        device: ``auto`` takes CUDA when there is one.
        precision: ``bfloat16`` or ``float16`` computes under ``torch.autocast``: faster on GPUs, and other bits.
        cpu_capability: ``avx2`` keeps CPU arithmetic within instructions that other CPUs have, too; ``None`` uses all there are.
        wandb: W&B mode, unless the variable ``WANDB_MODE`` names another; ``offline`` needs no account.
        output: Folder that gets ``model.pth``; ``None`` keeps the weights only in the run's record, and so does a reproduction.
        pictures: How many validation pictures are shown with their predictions at each evaluation; 0 for none.
        on_error: What happens with a picture that cannot be read: ``fail``, or ``skip`` it and say so in the record.
    """

    train: Annotated[str, Field(min_length=1)]
    validation: str | None = None
    view: str | None = None
    validation_view: str | None = None
    project: Annotated[str, Field(min_length=1)] = "cifar10"
    group: str | None = None
    name: str | None = None
    architecture: Literal["resnet18", "resnet50", "wrn"] = "resnet18"
    attention: Literal["none", "ECA", "CBAM", "SE", "Triplet"] = "none"
    width: Annotated[int, Field(ge=1, le=1024)] = 64
    depth: Annotated[int, Field(ge=10)] = 28
    widen_factor: Annotated[int, Field(ge=1, le=16)] = 1
    dropout: Share = 0.0
    epochs: Annotated[int, Field(ge=0)] = 10
    steps: Count | None = None
    checkpoint_every: Annotated[int, Field(ge=0)] | None = None
    n_eval_batches: Count | None = None
    batch_size: Count = 128
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    size: Annotated[int, Field(ge=8, le=1024)] = 32
    augment: Literal["none", "crop-flip"] = "crop-flip"
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = 0
    workers: Annotated[int, Field(ge=0)] = 0
    threads: Count | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    cpu_capability: Literal["avx2"] | None = None
    wandb: Literal["offline", "online", "disabled"] = "offline"
    output: Path | None = None
    pictures: Annotated[int, Field(ge=0, le=64)] = 16
    on_error: Literal["fail", "skip"] = "fail"

    @model_validator(mode="after")
    def _parts_fit(self) -> Config:
        if self.architecture == "wrn" and (self.depth - 4) % 6:
            raise ValueError(f"depth must be 6 n + 4 (16, 22, 28, 40), found {self.depth}")
        if self.architecture == "wrn" and self.attention != "none":
            raise ValueError("attention is an option of the ResNets, not of wrn")
        if self.nesterov and self.optimizer != "sgd":
            raise ValueError("nesterov is an option of the optimizer sgd")
        if (self.validation or self.train) == self.train and self.validation_view == self.view:
            raise ValueError(
                "training and validation are the same rows; give another dataset (validation) or another view (validation_view)"
            )
        return self

    @property
    def validated_on(self) -> str:
        """URI of the validation dataset."""
        return self.validation or self.train

    @property
    def kept_every(self) -> int:
        """Epochs or steps between two checkpoints; 0 for never."""
        default = 1 if self.steps is None else 1000
        return default if self.checkpoint_every is None else self.checkpoint_every


def bundled_configs() -> tuple[str, ...]:
    """Names of the configurations that come with the package; sweeps are not among them."""
    return bundled(CONFIGS)


def load_config(source: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a configuration; see :func:`pipelines.configuration.load`."""
    return load(Config, CONFIGS, source, overrides)
