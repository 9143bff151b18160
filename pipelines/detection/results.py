"""What is found out about a model on the way: an evaluation each epoch, pictures of it, and tables at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from pipelines.detection.config import Config
from pipelines.detection.data import Data
from pipelines.detection.evaluate import Evaluation, PictureResult, evaluate
from pipelines.detection.pictures import boxed_picture, chosen, pictures_sheet
from pipelines.detection.reports import class_table, picture_table
from pipelines.progress import bar

METRICS = ("validation_iou", "validation_corrected_iou", "validation_AP", "validation_AP50", "detections_per_picture")


class Results:
    """Evaluates a model and records what was found.

    Args:
        run: The live run.
        config: The training.
        data: Its data.
        device: Where the model is.
        folder: For files on their way into the record.
    """

    def __init__(self, run: Any, config: Config, data: Data, device: torch.device, folder: Path) -> None:
        self._run, self._config, self._data, self._device, self._folder = run, config, data, device, folder
        self._places = {int(row): place for place, row in enumerate(data.validation.rows.tolist())}
        self._last: Evaluation | None = None
        for name in METRICS:
            run.define_metric(name, step_metric="epoch")

    def evaluate(self, model: torch.nn.Module, epoch: int, title: str) -> str:
        """Evaluate after an epoch, log the figures, keep a sheet of predictions; gives them in one line."""
        began = time.perf_counter()
        found = self._evaluate(model, f"{title} evaluation")
        speed = {"timing/validation_pictures_per_s": found.pictures / (time.perf_counter() - began)}
        self._run.log({"epoch": epoch, "detections_per_picture": found.detections_per_picture} | found.metrics() | speed)
        if self._config.pictures.each_epoch:
            shown = [found.by_picture[place] for place in chosen(self._config.pictures.each_epoch, len(found.by_picture))]
            pictures = self._keep_sheet(shown, f"predictions-epoch-{epoch + 1:02d}.png", f"after epoch {epoch + 1}")
            names = dict(enumerate(self._config.classes, 1))
            self._run.log_pictures("predictions", [boxed_picture(*item) for item in pictures], names)
        average = found.coco.get("AP50")
        return (
            f"validation mean IoU {found.mean_iou:.3f}  corrected {found.corrected_iou:.3f}  "
            f"AP50 {'undefined' if average is None else f'{average:.3f}'}  {found.detections_per_picture:.1f} detections/picture"
        )

    def finish(self, model: torch.nn.Module) -> Evaluation:
        """Keep tables by class and by picture and a sheet of the worst pictures; evaluates first when no epoch did."""
        found = self._last
        if found is None:
            found = self._evaluate(model, "evaluation")
            if not self._config.epochs:
                self._run.log({"epoch": 0, "detections_per_picture": found.detections_per_picture} | found.metrics())
        for name, text in (("per-class.csv", class_table(found, self._config.classes)), ("per-picture.csv", picture_table(found))):
            (self._folder / name).write_text(text, encoding="utf-8")
            self._run.log_artifact(self._folder / name, kind="report")
        worst = found.worst(self._config.pictures.worst)
        if worst:
            self._keep_sheet(worst, "worst-pictures.png", "worst pictures first, by corrected IoU")
        self._run.summary.update(found.metrics() | {"detections_per_picture": found.detections_per_picture})
        return found

    def _evaluate(self, model: torch.nn.Module, title: str) -> Evaluation:
        loader = self._data.validation_loader
        loader.set_epoch(0)
        with bar(title, len(loader)) as advance:
            self._last = evaluate(
                model,
                loader,
                device=self._device,
                labels=range(1, len(self._config.classes) + 1),
                score_threshold=self._config.score_threshold,
                on_batch=lambda pictures: advance(1, ""),
            )
        return self._last

    def _keep_sheet(self, results: Any, name: str, title: str) -> list[tuple[PictureResult, torch.Tensor]]:
        pictures: list[tuple[PictureResult, torch.Tensor]] = []
        for result in results:
            _, (tensor, _) = self._data.validation_loader.dataset[(0, self._places[result.row])]
            pictures.append((result, tensor))
        content = pictures_sheet(pictures, self._config.classes, f"{self._config.project}: {title}")
        (self._folder / name).write_bytes(content)
        self._run.log_artifact(self._folder / name, kind="report")
        return pictures
