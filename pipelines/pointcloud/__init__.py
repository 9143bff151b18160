"""PointNet on point clouds: classification as published in 2017, with the options of a much-read W&B tutorial, recorded.

Read the modules in this order; each is short and does one thing:

    config.py      what a training can be told: the tutorial's options and ours
    transforms.py  one dataset row -> one cloud of points: choice of points, rotation about the up axis, jitter
    model.py       PointNet with both transform nets, and the regulariser
    data.py        the recorded views and their loaders
    train.py       one epoch of ``num_iter`` steps
    evaluate.py    loss, accuracy, accuracy by class, confusion matrix
    pictures.py    point clouds with prediction and truth
    reports.py     curves, confusion matrix and the worst clouds as one HTML page
    job.py         the tracked jobs: train, evaluate
    __main__.py    python -m pipelines.pointcloud train --data URI
    configs/       shapes, modelnet, arrays; sweep-grid

Sources: Qi, Su, Mo, Guibas, "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation" (CVPR 2017), figure 2 and
appendix C, and the authors' program (github.com/charlesq34/pointnet, models/pointnet_cls.py). What differs from it:

* the regulariser is the paper's squared Frobenius norm, averaged over the batch; their program takes half of its sum over the batch;
* of more points than are wanted, training takes others in each epoch and evaluation the same, spread evenly; theirs takes the first ones;
* batch normalisation and Adam have PyTorch's constants, and the learning rate follows ``StepLR``, as in the tutorial.
"""
