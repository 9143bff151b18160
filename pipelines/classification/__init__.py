"""Classifiers for CIFAR-10 as the W&B tutorials train them, each training recorded as one run.

Read the modules in this order; each is short and does one thing:

    config.py      what a training can be told: one frozen model, from defaults < YAML < command line
    models/        ResNet-18 and -50, attention (ECA, CBAM, SE, Triplet), wide residual networks
    transforms.py  one dataset row -> one picture tensor and its label; padding, cropping, flipping
    data.py        the two recorded views and their loaders
    train.py       one step; optimizer, learning rate
    evaluate.py    cross-entropy, accuracy, confusion matrix
    pictures.py    predictions on pictures, the confusion matrix
    results.py     an evaluation on the way: figures, pictures, tables
    job.py         the tracked job: train task, eval task, checkpoints
    compare.py     several configurations and seeds: trains what is missing
    report.py      tables and curves of runs and groups, as Markdown or one HTML file
    __main__.py    python -m pipelines.classification train|evaluate|compare|report|configs
    configs/       one for each experiment of the tutorials, and sweeps
"""
