"""torchvision's Faster R-CNN by name, with base weights from a local file and a predictor for our classes.

Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", arXiv 1506.01497; the builders, their
frozen stages and frozen batch norm follow ``torchvision.models.detection``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import WeightsEnum, detection, resnet18, resnet50
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, mobilenet_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops.misc import FrozenBatchNorm2d

from lineage.errors import IntegrityError, NotFound, UsageError
from pipelines.detection.config import ModelConfig

TORCHVISION_CACHE = "torchvision-cache"

_COCO_WEIGHTS: dict[str, WeightsEnum] = {
    "fasterrcnn_resnet50_fpn": detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
    "fasterrcnn_resnet50_fpn_v2": detection.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
    "fasterrcnn_mobilenet_v3_large_fpn": detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1,
    "fasterrcnn_mobilenet_v3_large_320_fpn": detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1,
}
_MOBILENET_ANCHOR_SIZES_PX = (32, 64, 128, 256, 512)
_MOBILENET_320 = {"rpn_pre_nms_top_n_test": 150, "rpn_post_nms_top_n_test": 150, "rpn_score_thresh": 0.05}
_RESNET_STAGES = ("layer4", "layer3", "layer2", "layer1", "conv1")


def build_model(config: ModelConfig, *, width: int, height: int, classes: int) -> FasterRCNN:
    """Build a Faster R-CNN for tensors of one size.

    Weights that do not come from ``config.base_weights`` are drawn from torch's global generator.

    Args:
        config: Architecture, base weights and options.
        width: Width of the input tensors in pixels.
        height: Height of the input tensors in pixels.
        classes: Number of classes of interest; the model has one output more, 0, for background.

    Raises:
        NotFound: The base weights are not there.
        IntegrityError: A file in torchvision's cache does not have the digest in its name.
        UsageError: The base weights do not fit the model.
    """
    weights = None if config.base_weights is None else base_weights_file(config)
    # Batch norm as in torchvision: statistics of tiny detection batches are poor, so good ones from base weights are kept frozen.
    norm_layer = nn.BatchNorm2d if weights is None else FrozenBatchNorm2d
    options = _options(config, width, height, classes + 1)
    if config.architecture == "fasterrcnn_resnet50_fpn_v2":
        model = detection.fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **options)
        _freeze_resnet(model, _trainable_layers(config, stages=5))
        if config.anchor_sizes_px is not None:
            model.rpn.anchor_generator = _anchors([(size,) for size in config.anchor_sizes_px])
    elif config.architecture.startswith("fasterrcnn_mobilenet"):
        model = _mobilenet_model(config, norm_layer, options)
    else:
        model = _resnet_model(config, norm_layer, options)

    if config.representation_size is not None:
        box_head_inputs = model.roi_heads.box_head.fc6.in_features
        model.roi_heads.box_head = TwoMLPHead(box_head_inputs, config.representation_size)
        model.roi_heads.box_predictor = FastRCNNPredictor(config.representation_size, classes + 1)
    if weights is not None:
        _load_base_weights(model, weights)
    return model


def base_weights_file(config: ModelConfig) -> Path:
    """Find the file that ``config.base_weights`` names.

    Raises:
        UsageError: The architecture has no published weights, or no base weights are configured.
        NotFound: There is no such file; nothing is downloaded.
        IntegrityError: A file in torchvision's cache does not begin with the SHA-256 digits in its name.
    """
    if config.base_weights is None:
        raise UsageError("no base weights are configured")
    if config.base_weights != TORCHVISION_CACHE:
        path = Path(config.base_weights).expanduser()
        if not path.is_file():
            raise NotFound("weights file", str(path), hint="base_weights takes the path of a state_dict, or torchvision-cache")
        return path
    if config.architecture not in _COCO_WEIGHTS:
        raise UsageError(f"torchvision publishes no weights for {config.architecture}", hint=f"choose one of {', '.join(_COCO_WEIGHTS)}")
    url: str = _COCO_WEIGHTS[config.architecture].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.is_file():
        hint = f"nothing is downloaded silently: fetch {url} into that folder, or set base_weights to a file or null"
        raise NotFound("weights file", str(path), detail="not in torchvision's cache", hint=hint)
    digits = path.stem.rsplit("-", 1)[-1]
    if not file_digest(path).removeprefix("sha256:").startswith(digits):
        raise IntegrityError(str(path), expected=f"sha256:{digits}…", found=file_digest(path), hint="delete the file and fetch it again")
    return path


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as ``sha256:`` and 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def _options(config: ModelConfig, width: int, height: int, outputs: int) -> dict[str, Any]:
    options: dict[str, Any] = dict(_MOBILENET_320) if config.architecture == "fasterrcnn_mobilenet_v3_large_320_fpn" else {}
    options |= {
        "num_classes": outputs,
        # torchvision enlarges every picture to min_size = 800 unless told its real size.
        "min_size": min(width, height),
        "max_size": max(width, height),
        # Pictures arrive normalised; torchvision would do it a second time.
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
    }
    passed_on = {name for name in ModelConfig.model_fields if name.startswith(("rpn_", "box_"))}
    return options | config.model_dump(include=passed_on, exclude_none=True)


def _resnet_model(config: ModelConfig, norm_layer: type[nn.Module], options: dict[str, Any]) -> FasterRCNN:
    builder = {"fasterrcnn_resnet18_fpn": resnet18, "fasterrcnn_resnet50_fpn": resnet50}[config.architecture]
    body = builder(weights=None, norm_layer=norm_layer)
    # As torchvision's resnet_fpn_backbone, which fixes the pyramid at 256 channels.
    levels = range(config.backbone_stages)
    channels = [body.inplanes // 8 * 2**level for level in levels]
    returned = {f"layer{level + 1}": str(level) for level in levels}
    backbone = BackboneWithFPN(body, returned, channels, config.fpn_channels or 256)
    sizes = config.anchor_sizes_px or tuple(32 * 2**level for level in range(config.backbone_stages + 1))
    model = FasterRCNN(backbone, rpn_anchor_generator=_anchors([(size,) for size in sizes]), **options)
    _freeze_resnet(model, _trainable_layers(config, stages=5))
    return model


def _mobilenet_model(config: ModelConfig, norm_layer: type[nn.Module], options: dict[str, Any]) -> FasterRCNN:
    backbone = mobilenet_backbone(
        backbone_name="mobilenet_v3_large",
        weights=None,
        fpn=True,
        norm_layer=norm_layer,
        trainable_layers=_trainable_layers(config, stages=6),
    )
    sizes = config.anchor_sizes_px or _MOBILENET_ANCHOR_SIZES_PX
    return FasterRCNN(backbone, rpn_anchor_generator=_anchors([sizes] * 3), **options)


def _trainable_layers(config: ModelConfig, *, stages: int) -> int:
    if config.trainable_layers is not None:
        return min(config.trainable_layers, stages)
    return stages if config.base_weights is None else 3


def _freeze_resnet(model: FasterRCNN, trainable_layers: int) -> None:
    trained = (*_RESNET_STAGES[:trainable_layers], *(("bn1",) if trainable_layers == len(_RESNET_STAGES) else ()))
    for name, parameter in model.backbone.body.named_parameters():
        parameter.requires_grad_(name.startswith(trained))


def _anchors(sizes_px: list[tuple[int, ...]]) -> AnchorGenerator:
    return AnchorGenerator(tuple(sizes_px), ((0.5, 1.0, 2.0),) * len(sizes_px))


def _load_base_weights(model: FasterRCNN, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a file that is not its own
        raise UsageError(f"base weights {path}: not a weights file of torch: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UsageError(f"base weights {path}: expected a state_dict (names and tensors), found {type(state).__name__}")

    # Frozen batch norm has no step counters, and the predictor of other classes is what we replace.
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    misfits = {name for name in own.keys() | given.keys() if name not in own or name not in given or own[name].shape != given[name].shape}
    replaced = {name for name in own if name.startswith("roi_heads.box_predictor.")}
    if problems := sorted(misfits - replaced):
        raise UsageError(
            f"base weights {path}: {len(problems)} tensors do not fit the model, the first is '{problems[0]}'",
            hint="use the architecture and the model options that the weights were trained with",
        )
    used = given if misfits.isdisjoint(replaced) else {name: tensor for name, tensor in given.items() if name not in replaced}
    model.load_state_dict(used, strict=False)
    if path.name == _COCO_WEIGHTS["fasterrcnn_resnet50_fpn"].url.rsplit("/", 1)[-1]:
        _set_frozen_epsilon(model, 0.0)


def _set_frozen_epsilon(model: nn.Module, epsilon: float) -> None:
    """torchvision's oldest detection weights were trained without an epsilon in frozen batch norm (its ``overwrite_eps``)."""
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = epsilon
