"""ResNet-18 or -50 on CIFAR-10 with Adam, with W&B: the tutorial's training, once for each learning rate.

    for rate in 0.01 0.001 0.0001; do python train.py --architecture resnet18 --learning-rate $rate; done
    for rate in 0.01 0.001 0.0001; do python train.py --architecture resnet50 --learning-rate $rate; done

Plain W&B and Deep Lake but for ``lineage.autolog()``, which keeps a record of every run, and the seeds.
"""

import argparse
import os
import random

import deeplake
import numpy as np
import torch
import wandb
from torch import nn

import lineage
from pipelines.classification.models import resnet18, resnet50

lineage.autolog()  # new

PROJECT = "resnets"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

parser = argparse.ArgumentParser()
parser.add_argument("--data", default=os.environ.get("CIFAR10", "cifar10"), help="dataset with the views train and test")
parser.add_argument("--architecture", choices=("resnet18", "resnet50"), default="resnet18")
parser.add_argument("--learning-rate", type=float, default=0.001)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--width", type=int, default=64, help="channels of the first stage; less is quicker")
parser.add_argument("--limit", type=int, default=0, help="only so many pictures; 0 for all")
parser.add_argument("--seed", type=int, default=7)


def load(data, view, limit):
    """Pictures float32 (n, 3, 32, 32), normalised, and labels int64 (n,), of a saved view."""
    rows = deeplake.open_read_only(data).tags[view].open()
    stop = limit or len(rows)
    images = np.stack(rows["images"][:stop]).astype(np.float32) / 255
    labels = np.concatenate([np.asarray(label).reshape(-1) for label in rows["labels"][:stop]]).astype(np.int64)
    normalised = (images - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(normalised.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)


def accuracy(model, images, labels, batch_size):
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True))
    return 100 * right / len(images)


def fit(settings, data, limit, width, seed):
    """Train inside the active run; logs the training loss and the test accuracy of each epoch."""
    random.seed(seed)  # new, down to the threads: everything random follows one seed, and operations add in one order
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)

    images, labels = load(data, "train", limit)
    test_images, test_labels = load(data, "test", limit)
    model = (resnet18 if settings["architecture"] == "resnet18" else resnet50)(classes=10, width=width)
    if settings["optimizer"] == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"])
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=settings["learning_rate"], momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    wandb.watch(model, log="all")
    for epoch in range(settings["epochs"]):
        model.train()
        losses = []
        for batch in torch.randperm(len(images)).split(settings["batch_size"]):
            optimizer.zero_grad()
            loss = criterion(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        test_accuracy = accuracy(model, test_images, test_labels, settings["batch_size"])
        wandb.log({"epoch": epoch, "train_loss": sum(losses) / len(losses), "test_accuracy": test_accuracy})
        print(f"epoch {epoch}: train_loss {losses[-1]:.3f}, test_accuracy {test_accuracy:.2f} %")


if __name__ == "__main__":
    args = parser.parse_args()
    config = {
        "architecture": args.architecture,
        "optimizer": "adam",
        "learning_rate": args.learning_rate,
        "epochs": args.epochs,
        "batch_size": args.batch_size,
    }
    name = f"{args.architecture}-{args.learning_rate}"
    with wandb.init(project=PROJECT, group=args.architecture, name=name, config=config) as run:
        fit(run.config, args.data, args.limit, args.width, args.seed)
