"""The playbook's first half: datasets copied inside a W&B run, and the views to train on.

    python upload.py SOURCE_TRAIN SOURCE_VALIDATION TRAIN VALIDATION

Ported to Deep Lake 4: ``deepcopy`` is ``copy``, ``save_view`` is ``tag``. The one new line is ``lineage.autolog()``.
"""

import sys

import deeplake
import wandb

import lineage

lineage.autolog()

WANDB_PROJECT = "deeplake-demos"
QUERY = "select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:,3]<20), labels == 'car'))"

source_train, source_val, uri_train, uri_val = sys.argv[1:]

run = wandb.init(project=WANDB_PROJECT, job_type="dataset_upload")

deeplake.copy(source_train, uri_train)
deeplake.copy(source_val, uri_val)

run.finish()

ds_train = deeplake.open(uri_train)
train_view = ds_train.query(QUERY)
train_view.tag("cars-20px")

ds_val = deeplake.open(uri_val)
val_view = ds_val.query(QUERY)
val_view.tag("cars-20px")
