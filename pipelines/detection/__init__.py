"""Faster R-CNN on filtered views: the training playbook of Deep Lake and Weights & Biases, corrected and recorded.

Read the modules in this order; each is short and does one thing, in the spirit of torchvision's ``references/detection``:

    config.py      what a training can be told: one frozen model, from defaults < YAML < command line
    transforms.py  one dataset row -> one picture tensor with its boxes (Albumentations, class names -> 1..9)
    model.py       torchvision Faster R-CNN by name, base weights, replaced predictor
    train.py       one epoch: loss, backward, clip, step; learning rate as a function of the step
    evaluate.py    the playbook's mean IoU
    job.py         the tracked job: data in through lineage, losses and weights out through lineage
    progress.py    progress bars, or one line per epoch where nobody watches
    __main__.py    python -m pipelines.detection train --train URI --validation URI --view NAME
    configs/       demo, playbook (160x128), playbook-320, scenes-160, scenes-320

What differs from the playbook as published, and why:

* Labels are 1..9 and 0 is background. The playbook feeds 0..8 to a model with nine outputs, which trains ``bicycle`` as background.
* Classes of interest are looked up by name in each view, so a dataset with another order of names cannot shift them silently.
* Pictures are normalised once. The playbook normalises them in Albumentations and torchvision's model does it a second time.
* torchvision's model gets the transform's size. Its default enlarges every picture to 800 pixels, about ten times the work.
* Boxes stay floating point and always have an area. Rounding to integers, as published, makes boxes that torchvision refuses.
* Every coin of the augmentation is tossed on its own. Seeding an Albumentations pipeline gives each of its transforms the same stream, so
  that rotation, flip and contrast would always happen together.
"""

from __future__ import annotations

import os

# On import Albumentations asks the internet for a newer release and warns when it cannot; a training job must do neither.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
