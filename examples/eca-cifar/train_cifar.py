"""A ResNet-18 with attention on CIFAR-10, with W&B: one run, or one trial of a sweep.

    python train_cifar.py --att ECA
    lineage sweep config.yaml        (or: wandb sweep config.yaml)
    lineage agent SWEEP_ID           (or: wandb agent SWEEP_ID)

Plain W&B and Deep Lake but for two lines: ``lineage.autolog()`` keeps a record of every run, and the seed makes it repeatable.
"""

import argparse
import os
import random

import deeplake
import numpy as np
import torch
import wandb
from torch.nn import functional

import lineage
from pipelines.classification.models import resnet18

lineage.autolog()  # new

PROJECT = "My Reproducibility Project"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

parser = argparse.ArgumentParser()
parser.add_argument("--data", default=os.environ.get("CIFAR10", "cifar10"), help="dataset with the views train and test")
parser.add_argument("--att", default="none", choices=("none", "ECA", "CBAM", "SE", "Triplet"))
parser.add_argument("--optimizer", default="sgd", choices=("adam", "sgd"))
parser.add_argument("--batch_size", type=int, default=128)
parser.add_argument("--epochs", type=int, default=int(os.environ.get("EPOCHS", "10")))
parser.add_argument("--width", type=int, default=int(os.environ.get("WIDTH", "64")), help="channels of the first stage; less is quicker")
parser.add_argument("--limit", type=int, default=int(os.environ.get("LIMIT", "0")), help="only so many pictures; 0 for all")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--group", help="of runs that belong together")


def load(data, view, limit=0):
    """Pictures float32 (n, 3, 32, 32), normalised, and labels int64 (n,), of a saved view."""
    rows = deeplake.open_read_only(data).tags[view].open()
    stop = limit or len(rows)
    images = np.stack(rows["images"][:stop]).astype(np.float32) / 255
    labels = np.concatenate([np.asarray(label).reshape(-1) for label in rows["labels"][:stop]]).astype(np.int64)
    normalised = (images - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(normalised.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)


def make_repeatable(seed):
    """New: everything random follows one seed, and operations add in one order."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # several threads add in another order when the machine is busy


def train(args):
    """Train inside the W&B run that is active; logs after every epoch."""
    make_repeatable(args.seed)
    images, labels = load(args.data, "train", args.limit)
    val_images, val_labels = load(args.data, "test", args.limit)
    model = resnet18(attention=args.att, width=args.width)
    if args.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    for epoch in range(args.epochs):
        model.train()
        for batch in torch.randperm(len(images)).split(args.batch_size):
            optimizer.zero_grad()
            flipped = torch.where(torch.rand(len(batch), 1, 1, 1) < 0.5, images[batch].flip(3), images[batch])
            functional.cross_entropy(model(flipped), labels[batch]).backward()
            optimizer.step()

        model.eval()
        with torch.no_grad():
            logits = torch.cat([model(part) for part in val_images.split(args.batch_size)])
        loss = functional.cross_entropy(logits, val_labels).item()
        val_acc = 100 * (logits.argmax(1) == val_labels).float().mean().item()
        wandb.log({"epoch": epoch, "Val_Acc": val_acc, "Val_Loss": loss, "loss": loss})
        print(f"epoch {epoch}: Val_Acc {val_acc:.2f} %, Val_Loss {loss:.3f}")


if __name__ == "__main__":
    args = parser.parse_args()
    with wandb.init(project=PROJECT, group=args.group, config=vars(args)):
        train(args)
