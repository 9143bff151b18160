"""Boxes and segmentation maps of the same pictures for each checkpoint: drag W&B's slider, or look at the record's page.

    python media.py --epochs 12

The report uses Mask R-CNN and COCO. So that it runs here, a small network segments drawn shapes; a box is the extent of what it found.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
import wandb
from torch import nn
from torch.nn import functional

import lineage

lineage.autolog()  # new

PROJECT = "My Reproducibility Project"
CLASSES = {0: "background", 1: "disc", 2: "square"}
SIDE = 48

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--pictures", type=int, default=64)
parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
parser.add_argument("--seed", type=int, default=0)


def draw(count, rng):
    """Pictures uint8 (n, SIDE, SIDE, 3) with a disc and a square each, and their masks uint8 (n, SIDE, SIDE)."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    pictures, masks = rng.integers(0, 90, (count, SIDE, SIDE, 3)), np.zeros((count, SIDE, SIDE), np.uint8)
    for number in range(count):
        for label in (1, 2):
            left, top = rng.integers(10, SIDE - 10, 2)
            size = rng.integers(5, 9)
            distance = np.maximum(abs(x - left), abs(y - top)) if label == 2 else np.hypot(x - left, y - top)
            masks[number][distance <= size] = label
            pictures[number][distance <= size] = rng.integers(120, 255, 3)
    return pictures.astype(np.uint8), masks


def build():
    """A few convolutions: logits (n, 3, h, w)."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 5, padding=4, dilation=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 5, padding=8, dilation=4), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, len(CLASSES), 1),
    )  # fmt: skip


def as_input(pictures):
    return torch.from_numpy(pictures.astype(np.float32).transpose(0, 3, 1, 2) / 255)


def train(args, folder):
    """Keep the weights of each epoch in ``folder``."""
    pictures, masks = draw(args.pictures, np.random.default_rng(args.seed))
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(args.epochs):
        for batch in torch.randperm(len(pictures)).split(8):
            optimizer.zero_grad()
            target = torch.from_numpy(masks[batch.numpy()].astype(np.int64))
            functional.cross_entropy(model(as_input(pictures[batch.numpy()])), target).backward()
            optimizer.step()
        torch.save(model.state_dict(), folder / f"epoch_{epoch + 1:02d}.pth")


def boxes_of(mask, scores):
    """For each class that was found, the extent of its pixels, as W&B wants it."""
    found = []
    for label in (1, 2):
        rows, columns = np.nonzero(mask == label)
        if len(rows):
            found.append(
                {
                    "position": {
                        "minX": int(columns.min()),
                        "minY": int(rows.min()),
                        "maxX": int(columns.max()) + 1,
                        "maxY": int(rows.max()) + 1,
                    },
                    "domain": "pixel",
                    "class_id": label,
                    "box_caption": CLASSES[label],
                    "scores": {"score": float(scores[mask == label].mean())},
                }
            )
    return {"predictions": {"box_data": found, "class_labels": CLASSES}}


if __name__ == "__main__":
    args = parser.parse_args()
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    args.checkpoints.mkdir(exist_ok=True)

    wandb.init(project=PROJECT, job_type="inference", config={"epochs": args.epochs, "pictures": args.pictures, "seed": args.seed})
    train(args, args.checkpoints)

    img_list, truth = draw(4, np.random.default_rng(args.seed + 1))
    checkpts = sorted(args.checkpoints.glob("epoch_*.pth"))[: args.epochs]
    for checkpoints in checkpts:  # checkpts is the list of each epoch's weights
        log_img = []
        model = build()
        model.load_state_dict(torch.load(checkpoints, weights_only=True))
        model.eval()
        for img, true in zip(img_list, truth, strict=True):
            with torch.no_grad():
                result = functional.softmax(model(as_input(img[None]))[0], dim=0)  # inference pass of the model for the image
            scores, mask = (part.numpy() for part in result.max(dim=0))
            log_img.append(
                wandb.Image(
                    img,
                    boxes=boxes_of(mask, scores),
                    masks={
                        "predictions": {"mask_data": mask.astype(np.uint8), "class_labels": CLASSES},
                        "ground_truth": {"mask_data": true, "class_labels": CLASSES},
                    },
                )
            )
        wandb.log({"Segmentation and BBox Results": log_img})
    wandb.finish()
