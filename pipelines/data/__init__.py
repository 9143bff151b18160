"""Data for the pipelines: importers and exporters of foreign layouts, and generators that need no download.

Importers, each beside the format that it reads: ``visdrone``, ``coco``, ``yolo`` and ``cifar10`` for pictures, ``off`` and ``points`` for
point clouds; ``lineage upload`` finds them by their entry points. ``python -m pipelines.data --help`` makes data sets.
"""
