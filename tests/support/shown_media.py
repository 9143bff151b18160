"""A run that shows something of everything: pictures with boxes and masks, a table, histograms, what its machine did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lineage.model.run import MetricPoint, Run
from lineage.ports import BoxedPicture, Ports, ShownBox
from lineage.record.start import start_run

STEPS = 6


def drives(ports: Ports, folder: Path, *, words: str = "") -> Run:
    """Record it, as a car that drives to the right.

    Args:
        ports: The store.
        folder: Where its command is said to be started.
        words: Put into captions, names and cells.
    """
    run = start_run(ports, folder=folder, project="media", job_type="train", name="drives", command=["python", "drive.py"])
    classes = {0: "background", 1: "car", 2: f"road{words}"}
    random = np.random.default_rng(3)
    with run:
        run.define_metric("loss", step_metric="epoch")
        for step in range(STEPS):
            run.log({"loss": 1 / (1 + step), "epoch": step / 2})
            picture, mask = _scene(step)
            left = 20 + 40 * step
            boxes = {
                "truth": [ShownBox((left, 84, left + 70, 128), 1)],
                "predictions": [ShownBox((left + 6, 80, left + 74, 130), 1, 0.93), ShownBox((2, 92, 318, 178), 2, 0.5)],
            }
            pictures = [
                BoxedPicture(picture, boxes, f"step {step}{words}", {"segmentation": mask}),
                BoxedPicture(picture[:, ::-1], {"truth": [ShownBox((250 - left, 84, 320 - left, 128), 1)]}, "mirrored"),
            ]
            run.log_pictures("predictions", pictures, classes)
            run.log_histogram("weights", random.normal(step / 3, 1 + step / 4, 4000))
        rows = [[f"row {number}", number / 7, words.strip() if number == 1 else None] for number in range(150)]
        run.log_table("errors", ["name", "score", words.strip() or "said"], rows)
        at = run.record.started_at.timestamp()
        for number in range(STEPS):
            values = {
                "system/cpu": 20.0 + 5 * number,
                "system/memory": 40.0 + number,
                "system/process/cpu": 90.0 + 3 * number,
                "system/process/memory_mib": 800.0 + 60 * number,
            }
            ports.runs.add_metrics(run.id, [MetricPoint(step=15 * number, values=values, at=at + 15 * number)])
    return ports.runs.get(run.id)


def _scene(step: int) -> tuple[Any, Any]:
    """(a picture, its mask)."""
    picture = np.full((180, 320, 3), (196, 214, 224), np.uint8)
    picture[90:] = (96, 100, 104)
    picture[132:136, ::24] = 240
    left = 20 + 40 * step
    picture[96:128, left : left + 70] = (178, 44, 40)
    picture[84:100, left + 14 : left + 56] = (178, 44, 40)
    mask = np.zeros((180, 320), np.uint8)
    mask[90:] = 2
    mask[84:128, left : left + 70] = 1
    return picture, mask
