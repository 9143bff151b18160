"""The playbook's second half: a detector trained on a saved view, with W&B.

    python train.py TRAIN VALIDATION [--width 160 --height 128 --min-area 32] [--epochs 8] [--weights DEFAULT]

Ported to Deep Lake 4 and today's packages with as few changes as possible; each is marked with what it was. The new lines are
``lineage.autolog()`` and the seeds, without which no two trainings are alike.
"""

import argparse
import math
import random
import time

import albumentations as A
import deeplake
import numpy as np
import torch
import torchvision
import wandb
from albumentations.pytorch import ToTensorV2
from torch.utils.data import DataLoader
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

import lineage

lineage.autolog()  # new

parser = argparse.ArgumentParser()  # the playbook edits its constants between two trainings
parser.add_argument("train")
parser.add_argument("validation")
parser.add_argument("--width", type=int, default=160)
parser.add_argument("--height", type=int, default=128)
parser.add_argument("--min-area", type=int, default=32)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--workers", type=int, default=8)
parser.add_argument("--weights", default="DEFAULT", help="of torchvision, pre-trained on COCO; 'none' starts from scratch")
parser.add_argument("--seed", type=int, default=7)
args = parser.parse_args()

WANDB_PROJECT = "deeplake-demos"
WIDTH = args.width
HEIGHT = args.height
MIN_AREA = args.min_area
BATCH_SIZE = args.batch_size

# New: everything random follows one seed, and operations add in one order.
random.seed(args.seed)
np.random.seed(args.seed)
torch.manual_seed(args.seed)
torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)  # several threads add in another order when the machine is busy

ds_train = deeplake.open_read_only(args.train)  # was deeplake.load(…, read_only=True)
ds_val = deeplake.open_read_only(args.validation)

ds_train_view = ds_train.tags["cars-20px"].open()  # was ds_train.load_view(id, optimize=True, num_workers=4)
ds_val_view = ds_val.tags["cars-20px"].open()

# These are the classes we care about. In torchvision 0 is the background, so they become 1 to 9 (the playbook's 0 to 8 lose the bicycles).
CLASSES_OF_INTEREST = ["bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor", "others"]

class_names = list(ds_train["labels"].metadata["class_names"])  # was ds_train.labels.info.class_names
INDS_OF_INTEREST = [class_names.index(item) for item in CLASSES_OF_INTEREST if item in class_names]

bbox_params = A.BboxParams(format="pascal_voc", label_fields=["class_labels", "bbox_ids"], min_area=MIN_AREA, min_visibility=0.6)

tform_train = A.Compose(
    [
        A.RandomSizedBBoxSafeCrop(width=WIDTH, height=HEIGHT, erosion_rate=0.2),
        A.Rotate(limit=20, p=0.5),
        A.HorizontalFlip(p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
        A.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ToTensorV2(),
    ],
    bbox_params=bbox_params,
    seed=args.seed,  # new: Albumentations has a generator of its own
)

tform_val = A.Compose(
    [
        A.Resize(width=WIDTH, height=HEIGHT),
        A.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ToTensorV2(),
    ],
    bbox_params=bbox_params,
)


def transform(sample_in, tform):
    """A row of the dataset to what the model is given; the playbook has it twice, once for each split."""
    image = sample_in["images"]
    shape = image.shape
    if shape[2] == 1:
        image = np.repeat(image, 3, axis=2)

    boxes = coco_2_pascal(sample_in["boxes"], shape)

    labels_all = sample_in["labels"]
    indices = [l for l, label in enumerate(labels_all) if label in INDS_OF_INTEREST]  # noqa: E741 - the playbook's name
    labels_remapped = [1 + INDS_OF_INTEREST.index(label) for label in labels_all[indices]]
    boxes_filtered = boxes[indices, :]
    assert len(labels_remapped) == boxes_filtered.shape[0]

    transformed = tform(
        image=image, bboxes=boxes_filtered, bbox_ids=np.arange(boxes_filtered.shape[0]), class_labels=np.array(labels_remapped)
    )

    labels_torch = torch.tensor(np.array(transformed["class_labels"]), dtype=torch.int64)
    boxes_torch = torch.zeros((len(transformed["bboxes"]), 4), dtype=torch.float32)  # was int64, which losses no longer take
    for b, box in enumerate(transformed["bboxes"]):
        boxes_torch[b, :] = torch.tensor(np.round(box))
    # New: rounding can leave a box without width or height, which the model refuses.
    solid = (boxes_torch[:, 2:] > boxes_torch[:, :2]).all(dim=1)
    return transformed["image"], {"labels": labels_torch[solid], "boxes": boxes_torch[solid]}


def transform_train(sample_in):
    return transform(sample_in, tform_train)


def transform_val(sample_in):
    return transform(sample_in, tform_val)


def coco_2_pascal(boxes, shape):
    """COCO to Pascal VOC, clipped to the picture."""
    return np.stack(
        (
            np.clip(boxes[:, 0], 0, None),
            np.clip(boxes[:, 1], 0, None),
            np.clip(boxes[:, 0] + np.clip(boxes[:, 2], 1, None), 0, shape[1]),
            np.clip(boxes[:, 1] + np.clip(boxes[:, 3], 1, None), 0, shape[0]),
        ),
        axis=1,
    )


def collate_fn(batch):
    return tuple(zip(*batch, strict=True))


def get_model_object_detection(num_classes):
    """Faster R-CNN pre-trained on COCO, with a new head."""
    weights = None if args.weights == "none" else args.weights  # was pretrained=True
    model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=weights,
        weights_backbone=None,
        min_size=HEIGHT,
        max_size=WIDTH,  # was 800 and 1333: each picture was enlarged again
    )
    in_features = model.roi_heads.box_predictor.cls_score.in_features
    model.roi_heads.box_predictor = FastRCNNPredictor(in_features, num_classes)
    return model


def train_one_epoch(model, optimizer, data_loader, device):
    model.train()

    start_time = time.time()
    for i, data in enumerate(data_loader):
        images = [image.to(device) for image in data[0]]
        targets = [{k: v.to(device) for k, v in t.items()} for t in data[1]]

        loss_dict = model(images, targets)
        losses = sum(loss for loss in loss_dict.values())
        loss_value = losses.item()

        wandb.log({"loss": loss_value})

        if i % 10 == 0:
            speed = (i + 1) / (time.time() - start_time)
            print(f"[{i:5d}] loss: {loss_value:.3f}, speed: {speed:.2f}")

        if not math.isfinite(loss_value):
            print(f"Loss is {loss_value}, stopping training")
            print(loss_dict)
            break

        optimizer.zero_grad()
        losses.backward()
        optimizer.step()


def evaluate_iou(model, data_loader, device="cpu", score_thresh=0.5):
    """The playbook's mean IoU: for each label the best overlap of each box, averaged over labels and pictures."""
    model.eval()
    ious_list = []
    for data in data_loader:
        images = [image.to(device) for image in data[0]]
        ground_truths = [{k: v.to(device) for k, v in t.items()} for t in data[1]]

        with torch.no_grad():
            predictions = model(images)
        assert len(ground_truths) == len(predictions)

        for truth, pred in zip(ground_truths, predictions, strict=True):
            thresh_inds = pred["scores"] > score_thresh
            pred_boxes = pred["boxes"][thresh_inds]
            pred_labels = pred["labels"][thresh_inds]

            all_labels = np.union1d(pred_labels.to("cpu"), truth["labels"].to("cpu"))
            ious = np.zeros(len(all_labels))
            for l, label in enumerate(all_labels):  # noqa: E741
                boxes_1 = pred_boxes[pred_labels == label]
                boxes_2 = truth["boxes"][truth["labels"] == label]
                iou = torchvision.ops.box_iou(boxes_1, boxes_2).cpu()
                if 0 not in iou.shape:
                    # The playbook compares shapes as tuples; meant is the axis with more boxes.
                    max_iou, _ = iou.max(dim=0 if len(boxes_1) > len(boxes_2) else 1)
                    ious[l] = np.mean(np.array(max_iou))
            ious_list.append(np.mean(ious) if len(ious) > 0 else 0)
    return sum(ious_list) / len(ious_list)


if __name__ == "__main__":
    device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    print(device)

    model = get_model_object_detection(1 + len(INDS_OF_INTEREST))
    model.to(device)

    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(params, lr=0.005, momentum=0.9, weight_decay=0.0005)

    config = {"width": WIDTH, "height": HEIGHT, "min_area": MIN_AREA, "batch_size": BATCH_SIZE}
    run = wandb.init(project=WANDB_PROJECT, config=config)

    # Was ds_train_view.pytorch(num_workers=8, shuffle=True, tensors=[…], batch_size=…, …): Deep Lake 4 gives a plain Dataset.
    loading = {"batch_size": BATCH_SIZE, "num_workers": args.workers, "collate_fn": collate_fn}
    train_loader = DataLoader(ds_train_view.pytorch(transform=transform_train), shuffle=True, **loading)
    val_loader = DataLoader(ds_val_view.pytorch(transform=transform_val), shuffle=False, **loading)

    lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.1)

    wandb.watch(model, log="all", log_freq=50)
    wandb.define_metric("epoch")
    wandb.define_metric("validation_iou", step_metric="epoch")

    for epoch in range(args.epochs):
        print(f"------------------ Training Epoch {epoch} ------------------")
        train_one_epoch(model, optimizer, train_loader, device)
        lr_scheduler.step()

        print("----------- Evaluating the Model ------------")
        iou = evaluate_iou(model, val_loader, device)
        wandb.log({"epoch": epoch, "validation_iou": iou})

    torch.save(model.state_dict(), "model_weights_wandb.pth")

    model_artifact = wandb.Artifact("object_detection_model", "model")
    model_artifact.add_file("model_weights_wandb.pth")
    run.log_artifact(model_artifact)
    run.finish()

    print("Finished Training")
