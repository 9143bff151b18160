"""Drawn aerial scenes of parking lots and roads in exact VisDrone format, for demonstrations and tests without any download.

A tour, in the order of the work:

- ``recipes``: picture size, camera, how many things of each class (``parking``: small, quick to learn; ``full``: like the official set)
- ``layout``, ``plan``: where things are: roads, rows of slots, vehicles, people, trees, ignored regions; a function of (seed, index)
- ``geometry``, ``bodies``: projection to pixels, and what each class is built from
- ``annotate``: boxes, truncation and occlusion from the polygons that are drawn
- ``draw``, ``scene``: pixels; one scene with its rows
- ``defects``, ``write``: faults on request; folders with a manifest
- ``statistics``: how close the annotations come to the official ones
"""

from __future__ import annotations

from pipelines.data.scenes.scene import Scene, generate_scene
from pipelines.data.scenes.write import Written, write_scenes

__all__ = ["Scene", "Written", "generate_scene", "write_scenes"]
