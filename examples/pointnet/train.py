"""PointNet as in "Brief Introduction to Logging with Weights & Biases", written as its train.py is; ``python train.py --help``.

The tutorial shows how W&B is called and leaves the rest out ("bla bla bla"); that is filled in here, with PointNet from this project.
New are ``lineage.autolog()``, the data (a Deep Lake dataset with the views ``train`` and ``test``), and the seed, without which no two
trainings are alike. Lines with ``wandb``, and the options, are the tutorial's.
"""

import argparse
import itertools
import math
from pathlib import Path

import deeplake
import matplotlib
import numpy as np
import torch
import wandb
from matplotlib import pyplot as plt
from torch import optim
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from tqdm import tqdm

import lineage
from pipelines.pointcloud.model import PointNet, orthogonality

lineage.autolog()  # new
matplotlib.use("Agg")

parser = argparse.ArgumentParser(description="Parsing argument")
parser.add_argument("--beta1", type=float, default=0.9, help="Beta 1 of Adam optimizer")
parser.add_argument("--beta2", type=float, default=0.999, help="Beta 2 of Adam optimizer")
parser.add_argument("--lr", type=float, default=1e-3, help="Learning rate for optimizer")
parser.add_argument("--step_size", type=int, default=100, help="Step size of StepLR")
parser.add_argument("--gamma", type=float, default=0.99, help="Gamma of StepLR")
parser.add_argument("--num_epoch", type=int, default=100, help="Number of epochs")
parser.add_argument("--num_iter", type=int, default=100, help="Number of iteration in one epoch")
parser.add_argument("--batch_size", type=int, default=64, help="Size of a batch")
parser.add_argument("--num_worker", type=int, default=8, help="Number of workers for data loader")
parser.add_argument("--out_dir", type=str, default="out", help="Name of the output directory")
parser.add_argument("--save_period", type=int, default=100, help="Number of epochs between checkpoints")
parser.add_argument("--data", type=str, default="modelnet", help="Deep Lake dataset with the views train and test")  # new
parser.add_argument("--num_point", type=int, default=1024, help="Number of points of each cloud")  # new
parser.add_argument("--seed", type=int, default=0, help="Seed of everything random")  # new
args = parser.parse_args()


def load(row, is_training):
    """A row of the dataset to what the network takes: some of its points, in training turned about the up axis and shaken a little."""
    points = torch.from_numpy(np.array(row["points"]))
    if not is_training:
        return points[: args.num_point], int(row["labels"][0])
    points = points[torch.randperm(len(points))[: args.num_point]]
    angle = 2 * math.pi * torch.rand(()).item()
    turn = torch.tensor([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    return points @ turn + (0.01 * torch.randn(points.shape)).clamp(-0.05, 0.05), int(row["labels"][0])


def load_train(row):
    return load(row, True)


def load_test(row):
    return load(row, False)


def train_one_epoch(network, optimizer, scheduler, device, train_loader, epoch):
    network.train()
    losses = []
    # An epoch is num_iter iterations, however often they go through the data.
    batches = itertools.chain.from_iterable(itertools.repeat(train_loader))
    for points, labels in itertools.islice(batches, wandb.config["num_iter"]):
        # forward propagation
        scores, matrices = network(points.to(device))
        loss = cross_entropy(scores, labels.to(device)) + 0.001 * orthogonality(matrices)

        # back propagation
        optimizer.zero_grad()
        loss.backward()

        # update
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    avg_loss = sum(losses) / len(losses)

    # log data
    wandb.log({"Train/Loss": avg_loss}, step=epoch)
    return avg_loss


@torch.no_grad()
def run_test(network, device, test_loader, epoch, class_names):
    network.eval()

    # forward propagation
    batches = [(points, labels, network(points.to(device))[0].cpu()) for points, labels in test_loader]
    points, labels, scores = (torch.cat(parts) for parts in zip(*batches, strict=True))

    # compute metrics used for testing
    loss = cross_entropy(scores, labels).item()
    predictions = scores.argmax(dim=1)
    accuracy = (predictions == labels).float().mean().item()

    fig = plt.figure(figsize=(9, 2.6))
    for place, number in enumerate(torch.linspace(0, len(points) - 1, 4).long().tolist(), 1):
        axes = fig.add_subplot(1, 4, place, projection="3d")
        axes.scatter(*points[number].T.numpy(), s=2)
        axes.set_title(f"{class_names[labels[number]]}, taken for {class_names[predictions[number]]}", fontsize=8)
        axes.set_axis_off()

    # log data
    wandb.log({"Test/Loss": loss, "Test/Accuracy": accuracy, "Test/Result": wandb.Image(fig)}, step=epoch)
    plt.close(fig)
    return accuracy


def main():
    config = wandb.config

    # New: everything random follows one seed, and operations add in one order.
    torch.manual_seed(config["seed"])
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)

    # check GPU
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")

    dataset = deeplake.open_read_only(config["data"])
    train_view, test_view = dataset.tags["train"].open(), dataset.tags["test"].open()
    class_names = list(dataset["labels"].metadata["class_names"])
    train_data, test_data = train_view.pytorch(transform=load_train), test_view.pytorch(transform=load_test)

    # model & optimizer, schedulers
    network = PointNet(len(class_names)).to(device)

    # make W&B track model's gradient and topology
    wandb.watch(network, log_freq=100, log_graph=True)

    optimizer = optim.Adam(network.parameters(), betas=(config["beta1"], config["beta2"]), lr=config["lr"])
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=config["step_size"], gamma=config["gamma"])

    # drop_last is new: batch normalisation cannot train on a last batch of one. Nothing to shuffle in the test: its clouds are drawn.
    train_loader = DataLoader(
        train_data,
        batch_size=config["batch_size"],
        shuffle=True,
        num_workers=config["num_worker"],
        drop_last=len(train_data) >= config["batch_size"],
    )
    test_loader = DataLoader(test_data, batch_size=config["batch_size"], num_workers=0)

    # Trials of a sweep share the directory; a name by what is swept, not by chance, is the same when a trial is made again.
    out_dir = Path(config["out_dir"]) / f"lr-{config['lr']}-batch-{config['batch_size']}"
    out_dir.mkdir(parents=True, exist_ok=True)
    for epoch in tqdm(range(config["num_epoch"]), leave=False):
        avg_loss = train_one_epoch(network, optimizer, scheduler, device, train_loader, epoch)
        accuracy = run_test(network, device, test_loader, epoch, class_names)
        tqdm.write(f"epoch {epoch}: loss {avg_loss:.4f}, accuracy {accuracy:.3f}")
        if (epoch + 1) % config["save_period"] == 0 or epoch + 1 == config["num_epoch"]:
            torch.save(network.state_dict(), out_dir / "pointnet.pth")

    artifact = wandb.Artifact("pointnet", "model")
    artifact.add_file(str(out_dir / "pointnet.pth"))
    wandb.log_artifact(artifact)


if __name__ == "__main__":
    # initialize W&B
    wandb.init(project="torch-pointnet", config=args)

    # run main function
    main()
