"""Drawn aerial scenes of parking lots and roads, in VisDrone's format: data for demos and tests, learnable, free of any licence.

``scene.generate_scene(seed, index)`` makes one scene: ``plan`` decides where things are, ``annotate`` derives boxes, occlusion and truncation
from what is drawn, ``draw`` paints. ``write.write_scenes`` makes a data set with a manifest, ``defects`` puts chosen flaws into it and
``statistics`` compares the annotations with those of the official release. The same (seed, index) gives the same pixels and rows.
"""
