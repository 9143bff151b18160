"""What a training can be told: one frozen, typed model, filled from defaults, then YAML, then the command line.

The defaults are the playbook's values. The whole configuration is saved in the run's record.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.configuration import Section as _Section
from pipelines.configuration import bundled, load

CONFIGS = Path(__file__).parent / "configs"

CLASSES_OF_INTEREST = ("bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor", "others")

Architecture = Literal[
    "fasterrcnn_resnet18_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
]

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class TransformConfig(_Section):
    """How a picture becomes a tensor.

    Attributes:
        width: Width in pixels of the tensors the model sees.
        height: Height in pixels of the tensors the model sees.
        min_area: Boxes below this area, in square pixels of the tensor, are ignored. Unless given it follows the size as in the playbook:
            32 at 160x128, 128 at 320x256.
        min_visibility: A box is ignored when less than this fraction of its area is left after a crop or a rotation.
        erosion_rate: How far the random crop may cut into the hull of all boxes (Albumentations ``RandomSizedBBoxSafeCrop``).
        rotate_limit_deg: Largest rotation in degrees, either way; half of the pictures are rotated.
        brightness_limit: Largest relative change of brightness.
        contrast_limit: Largest relative change of contrast.
    """

    width: Annotated[int, Field(ge=32, le=4096)] = 160
    height: Annotated[int, Field(ge=32, le=4096)] = 128
    min_area: float = Field(ge=0, default_factory=lambda sides: sides["width"] * sides["height"] / 640)
    min_visibility: Fraction = 0.6
    erosion_rate: Fraction = 0.2
    rotate_limit_deg: Annotated[float, Field(ge=0, le=180)] = 20.0
    brightness_limit: Fraction = 0.1
    contrast_limit: Fraction = 0.1


class ModelConfig(_Section):
    """Which Faster R-CNN. ``None`` means torchvision's own value for the architecture.

    Attributes:
        architecture: torchvision's builder name; ``fasterrcnn_resnet18_fpn`` is the same with a ResNet-18.
        base_weights: ``None`` (from scratch), the path of a weights file, or ``torchvision-cache`` for the COCO weights in torchvision's
            cache folder. Nothing is ever downloaded.
        trainable_layers: How many backbone stages are trained, counted from the last. ``None``: 3 with base weights, all without.
        backbone_stages: How many ResNet stages are used; 3 leaves out the last, which is most of a ResNet-18's weights and sees objects
            of 32 pixels and more.
        fpn_channels: Channels of the feature pyramid of the plain ResNets, 256 in torchvision; the cost of the rest follows them.
        anchor_sizes_px: Anchor side in pixels of the tensor for each feature map, finest first; the MobileNets use all on every map.
            torchvision's 32 to 512 suit pictures of 800 pixels.
        representation_size: Width of the two fully connected layers of the detection head.
        rpn_pre_nms_top_n_train: Proposals kept before non-maximum suppression in training.
        rpn_post_nms_top_n_train: Proposals kept after it in training.
        rpn_pre_nms_top_n_test: Proposals kept before non-maximum suppression in evaluation.
        rpn_post_nms_top_n_test: Proposals kept after it in evaluation.
        rpn_batch_size_per_image: Anchors sampled per picture for the proposal loss.
        box_batch_size_per_image: Proposals sampled per picture for the detection loss.
        box_detections_per_img: Most detections per picture.
    """

    architecture: Architecture = "fasterrcnn_resnet50_fpn"
    base_weights: str | None = None
    trainable_layers: Annotated[int, Field(ge=0, le=6)] | None = None
    backbone_stages: Annotated[int, Field(ge=1, le=4)] = 4
    fpn_channels: Count | None = None
    anchor_sizes_px: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    representation_size: Count | None = None
    rpn_pre_nms_top_n_train: Count | None = None
    rpn_post_nms_top_n_train: Count | None = None
    rpn_pre_nms_top_n_test: Count | None = None
    rpn_post_nms_top_n_test: Count | None = None
    rpn_batch_size_per_image: Count | None = None
    box_batch_size_per_image: Count | None = None
    box_detections_per_img: Count | None = None

    @model_validator(mode="after")
    def _options_fit_the_architecture(self) -> ModelConfig:
        plain_resnet = self.architecture in ("fasterrcnn_resnet18_fpn", "fasterrcnn_resnet50_fpn")
        if not plain_resnet and (self.backbone_stages != 4 or self.fpn_channels is not None):
            raise ValueError(f"backbone_stages and fpn_channels are options of the plain ResNets, not of {self.architecture}")
        if self.representation_size is not None and self.architecture == "fasterrcnn_resnet50_fpn_v2":
            raise ValueError("fasterrcnn_resnet50_fpn_v2 has a convolutional head without representation_size")
        if self.anchor_sizes_px is not None and len(self.anchor_sizes_px) != self.backbone_stages + 1:
            raise ValueError(f"anchor_sizes_px needs {self.backbone_stages + 1} sizes for this model, found {len(self.anchor_sizes_px)}")
        return self


class OptimizerConfig(_Section):
    """Stochastic gradient descent with a stepwise learning rate.

    Attributes:
        learning_rate: Learning rate after the warm-up.
        momentum: Momentum.
        weight_decay: L2 penalty.
        warmup_steps: The learning rate rises linearly over this many steps; 0 for none.
        clip_norm: Gradients are scaled down to this total L2 norm; ``None`` for no clipping.
        step_size_epochs: The learning rate is multiplied by ``gamma`` every this many epochs.
        gamma: See ``step_size_epochs``.
    """

    learning_rate: Annotated[float, Field(gt=0)] = 0.005
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0005
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    step_size_epochs: Count = 4
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1


class CheckpointConfig(_Section):
    """When the state of a training is kept, to go on from.

    Attributes:
        every_epochs: After every so many epochs; 0 for never.
        every_steps: Also after every so many steps.
    """

    every_epochs: Annotated[int, Field(ge=0)] = 1
    every_steps: Count | None = None


class PicturesConfig(_Section):
    """Predictions drawn on validation pictures.

    Attributes:
        each_epoch: How many of them, the same in every epoch; 0 for none.
        worst: How many pictures the sheet of the worst ones shows at the end; 0 for none.
    """

    each_epoch: Annotated[int, Field(ge=0, le=64)] = 8
    worst: Annotated[int, Field(ge=0, le=64)] = 12


class Config(_Section):
    """One training.

    Attributes:
        train: URI of the training dataset.
        validation: URI of the validation dataset.
        view: Name of the saved view to train on; ``None`` for the whole dataset.
        validation_view: Name of the saved view to evaluate on; ``None`` for the same name as ``view``.
        project: Project the run belongs to.
        group: Group of runs that belong together, for example one training with several seeds.
        name: Name of the run.
        classes: Names of the classes to detect; they become labels 1, 2, … in this order, everything else is background.
        epochs: How often the training view is gone through; 0 evaluates the model as it starts.
        batch_size: Pictures per step.
        seed: Seed of everything random; ``None`` leaves it to chance, and no two runs are the same.
        workers: Processes that read and augment pictures; 0 does it in the training process.
        threads: CPU threads of the arithmetic; ``None`` for one per core. Another number gives other bits.
        device: ``auto`` takes CUDA when there is one.
        score_threshold: Detections at or below this score do not count in the evaluation.
        wandb: W&B mode, unless the variable ``WANDB_MODE`` names another; ``offline`` needs no account.
        output: Folder that gets ``model.pth``; ``None`` keeps the weights only in the run's record, and so does a reproduction.
        precision: ``bfloat16`` or ``float16`` computes under ``torch.autocast``: faster on GPUs, and other bits.
        cpu_capability: ``avx2`` keeps CPU arithmetic within instructions that other CPUs have, too; ``None`` uses all there are.
        ignored_regions: ``mask`` paints VisDrone's ignored regions over with the mean colour, and detections in them do not count; ``keep``
            leaves pictures as they are, as the playbook does.
        on_error: What happens with a picture that cannot be read: ``fail``, or ``skip`` it and say so in the record.
        transform: See :class:`TransformConfig`.
        model: See :class:`ModelConfig`.
        optimizer: See :class:`OptimizerConfig`.
        checkpoints: See :class:`CheckpointConfig`.
        pictures: See :class:`PicturesConfig`.
    """

    train: Annotated[str, Field(min_length=1)]
    validation: Annotated[str, Field(min_length=1)]
    view: str | None = None
    validation_view: str | None = None
    project: Annotated[str, Field(min_length=1)] = "parking"
    group: str | None = None
    name: str | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=1)] = CLASSES_OF_INTEREST
    epochs: Annotated[int, Field(ge=0)] = 8
    batch_size: Count = 16
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = 0
    workers: Annotated[int, Field(ge=0)] = 0
    threads: Count | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    score_threshold: Fraction = 0.5
    wandb: Literal["offline", "online", "disabled"] = "offline"
    output: Path | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    cpu_capability: Literal["avx2"] | None = None
    ignored_regions: Literal["keep", "mask"] = "keep"
    on_error: Literal["fail", "skip"] = "fail"
    transform: TransformConfig = TransformConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    pictures: PicturesConfig = PicturesConfig()

    @model_validator(mode="after")
    def _class_names_are_unique(self) -> Config:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes names a class twice: {', '.join(self.classes)}")
        return self


def bundled_configs() -> tuple[str, ...]:
    """Names of the configurations that come with the package."""
    return bundled(CONFIGS)


def load_config(source: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a configuration; see :func:`pipelines.configuration.load`."""
    return load(Config, CONFIGS, source, overrides)
