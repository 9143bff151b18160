"""Exporters: rows of any dataset with pictures, boxes and classes as folders in the layouts that detectors read.

``visdrone``, ``coco`` and ``yolo`` are one module each; their entry points are in the group ``lineage.exporters``. Shared: which columns to
take (``columns``), file names (``names``), what a picture's header says (``picture``), checked rows (``rows``), numbers as text
(``numbers``) and ``export.json``, which says what a layout could not (``notes``). Boxes are left, top, width, height in pixels.
"""
