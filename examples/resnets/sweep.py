"""The tutorial's sweep: learning rate and optimizer of a ResNet-50 at random, 10 epochs each.

python sweep.py              lineage.sweep and lineage.agent: offline, seeded, no account
python sweep.py --wandb      wandb.sweep and wandb.agent: W&B's server proposes
"""

import argparse

import wandb
from train import PROJECT, fit
from train import parser as options

import lineage

sweep_config = {
    "method": "random",  # grid, random or bayes
    "metric": {"name": "train_loss", "goal": "minimize"},
    "parameters": {
        "learning_rate": {"values": [0.1, 0.01, 0.001, 0.0001]},
        "optimizer": {"values": ["adam", "sgd"]},
    },
}

more = argparse.ArgumentParser()
more.add_argument("--wandb", action="store_true", help="let W&B's server propose; needs an account")
more.add_argument("--count", type=int, default=6)
more.add_argument("--sweep-seed", type=int, default=1)
chosen, rest = more.parse_known_args()
args = options.parse_args(["--architecture", "resnet50", *rest])


def train():
    # Default values of the hyper-parameters; the sweep's own take their place in each run.
    config_defaults = {
        "architecture": args.architecture,
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "learning_rate": 0.001,
        "optimizer": "adam",
    }
    with wandb.init(config=config_defaults) as run:
        fit(run.config, args.data, args.limit, args.width, args.seed)


if __name__ == "__main__":
    if chosen.wandb:
        sweep_id = wandb.sweep(sweep_config, project=PROJECT)
        wandb.agent(sweep_id, train, count=chosen.count)
    else:
        sweep_id = lineage.sweep(sweep_config, project=PROJECT, seed=chosen.sweep_seed)
        lineage.agent(sweep_id, train, count=chosen.count)
        print(f"lineage importance {sweep_id}")
