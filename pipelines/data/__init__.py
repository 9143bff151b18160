"""Data for the pipelines: the VisDrone importer (``visdrone``, ``visdrone_format``) and a generator of drawn scenes (``scenes``).

``python -m pipelines.data --help`` makes data sets without any download; ``lineage upload visdrone`` finds the importer by its entry point.
"""
