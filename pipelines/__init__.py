"""Pipelines that record themselves through the lineage layer.

``data`` makes and imports data sets; ``detection``, ``classification`` and ``pointcloud`` train models on them.
"""
