"""Each variant five times: groups of W&B runs, for mean and deviation.

python groups.py                                  five variants, five runs each
python groups.py --variants ECA SE --num-runs 3
lineage group ECCIFAR                             mean ± std (min, max)
"""

import argparse

import wandb
from train_cifar import PROJECT, parser, train

GROUPS = {"none": "ResCIFAR", "ECA": "ECCIFAR", "CBAM": "CBAMCIFAR", "SE": "SECIFAR", "Triplet": "TripletCIFAR"}

if __name__ == "__main__":
    loops = argparse.ArgumentParser()
    loops.add_argument("--variants", nargs="+", choices=GROUPS, default=list(GROUPS))
    loops.add_argument("--num-runs", type=int, default=5)
    chosen, rest = loops.parse_known_args()

    num_runs = chosen.num_runs  # number of runs for each group
    for att in chosen.variants:
        # Looping through the group
        for i in range(num_runs):
            args = parser.parse_args([*rest, "--att", att, "--seed", str(i)])
            with wandb.init(project=PROJECT, group=GROUPS[att], config=vars(args)):
                train(args)  # logs Val_Acc and Val_Loss to W&B
