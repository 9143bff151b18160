"""What a training can be told. The first eleven options and their defaults are the tutorial's; the rest is ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.configuration import Section, bundled, load

CONFIGS = Path(__file__).parent / "configs"

Count = Annotated[int, Field(ge=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Length = Annotated[float, Field(ge=0, le=1)]


class Config(Section):
    """One training.

    Attributes:
        beta1: Beta 1 of Adam optimizer
        beta2: Beta 2 of Adam optimizer
        lr: Learning rate for optimizer
        step_size: Step size of StepLR, in iterations
        gamma: Gamma of StepLR
        num_epoch: Number of epochs
        num_iter: Number of iterations in one epoch
        batch_size: Size of a batch
        num_worker: Number of workers for data loader
        out_dir: Name of the output directory; trials of a sweep leave it alone
        save_period: Number of epochs between checkpoints
        data: Dataset with the columns points and labels
        test_data: Dataset to test on; else that of --data
        train_view: Saved view to train on; 'none' for the whole dataset
        test_view: Saved view to test on; 'none' for the whole dataset
        points: Points of each cloud that the model sees
        up_axis: The axis that training clouds are turned about
        rotate: Whether they are
        jitter_sigma: Standard deviation of the noise on training points, in radii of the unit sphere
        jitter_clip: Largest noise
        pictures: Test clouds drawn after each epoch; 0 for none
        seed: Seed of everything random
        device: Where to compute
        threads: CPU threads; another number gives other bits
        project: Project of the run
        group: Group of runs that belong together
        name: Name of the run
        wandb: W&B mode, unless the variable WANDB_MODE names another; offline needs no account
    """

    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    lr: Annotated[float, Field(gt=0)] = 1e-3
    step_size: Count = 100
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    num_epoch: Annotated[int, Field(ge=0)] = 100
    num_iter: Count = 100
    batch_size: Annotated[int, Field(ge=2)] = 64
    num_worker: Annotated[int, Field(ge=0)] = 8
    out_dir: Annotated[str, Field(min_length=1)] = "out"
    save_period: Count = 100
    data: Annotated[str, Field(min_length=1)]
    test_data: str | None = None
    train_view: Annotated[str, Field(min_length=1)] = "train"
    test_view: Annotated[str, Field(min_length=1)] = "test"
    points: Count = 1024
    up_axis: Literal["x", "y", "z"] = "z"
    rotate: bool = True
    jitter_sigma: Length = 0.01
    jitter_clip: Length = 0.05
    pictures: Annotated[int, Field(ge=0, le=64)] = 8
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count | None = None
    project: Annotated[str, Field(min_length=1)] = "torch-pointnet"
    group: str | None = None
    name: str | None = None
    wandb: Literal["offline", "online", "disabled"] = "offline"

    def view_of(self, role: str) -> tuple[str, str | None]:
        """Address and saved view of ``train`` or ``test``."""
        uri, view = (self.data, self.train_view) if role == "train" else (self.test_data or self.data, self.test_view)
        return uri, None if view == "none" else view


FREE_TO_CHANGE = ("out_dir", "num_worker", "save_period", "wandb", "name", "group")
"""Fields that decide nothing of the result: a resumed training may have others."""


def descriptions() -> dict[str, str]:
    """What each field is, for ``--help``: one source for both."""
    text = (Config.__doc__ or "").partition("Attributes:")[2]
    return {name.strip(): said.strip() for name, _, said in (line.partition(":") for line in text.splitlines()) if said}


def load_config(source: str | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Defaults, then a bundled or any YAML file, then ``overrides``.

    Raises:
        UsageError: The file is missing or not YAML, or a field is unknown, missing or has a value it cannot have.
    """
    return load(Config, CONFIGS, source, overrides)


def bundled_configs() -> tuple[str, ...]:
    """Names of the configurations that come with the package."""
    return bundled(CONFIGS)
