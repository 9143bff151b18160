"""What is found out about a model on the way: an evaluation now and then, pictures of it, and tables at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from lineage.ports import BoxedPicture
from pipelines.classification.config import Config
from pipelines.classification.data import Data
from pipelines.classification.evaluate import Evaluation, class_table, confusion_table, evaluate
from pipelines.classification.pictures import caption, chosen, confusion_picture, predictions_sheet
from pipelines.classification.transforms import pixels_of

METRICS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


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
        self.axis = "epoch" if config.steps is None else "trained_steps"
        for name in METRICS:
            run.define_metric(name, step_metric=self.axis)

    def evaluate(self, model: torch.nn.Module, at: int, trained: dict[str, float]) -> Evaluation:
        """Evaluate after an epoch or a step, log the figures, keep a sheet of predictions.

        Args:
            model: The model.
            at: Epochs or steps done.
            trained: Means over the training pictures since the last evaluation.
        """
        began = time.perf_counter()
        found = self._evaluate(model)
        speed = {"timing/validation_pictures_per_s": found.pictures / (time.perf_counter() - began)}
        self._run.log({self.axis: at} | trained | found.metrics() | speed)
        self._show(found, at)
        return found

    def finish(self, model: torch.nn.Module) -> Evaluation:
        """Keep tables by class and the confusion matrix; evaluates first when nothing did."""
        found = self._last
        if found is None:
            found = self._evaluate(model)
            self._run.log({self.axis: 0} | found.metrics())
        classes = self._data.classes
        title = f"{self._config.project}: accuracy {found.accuracy:.3f} over {found.pictures} pictures"
        self._keep("per-class.csv", class_table(found, classes).encode())
        self._keep("confusion.csv", confusion_table(found, classes).encode())
        self._keep("confusion.png", confusion_picture(found.confusion, classes, title))
        self._run.summary.update(found.metrics())
        return found

    def _evaluate(self, model: torch.nn.Module) -> Evaluation:
        loader = self._data.validation_loader
        loader.set_epoch(0)
        classes = len(self._data.classes)
        self._last = evaluate(model, loader, classes, device=self._device, most_batches=self._config.n_eval_batches)
        return self._last

    def _show(self, found: Evaluation, at: int) -> None:
        places = chosen(self._config.pictures, found.pictures)
        if not places:
            return
        loader = self._data.validation_loader
        pixels = [pixels_of(loader.dataset[(0, self._places[int(found.rows[place])])][1][0]) for place in places]
        unit = "epoch" if self.axis == "epoch" else "step"
        title = f"{self._config.project}: after {unit} {at}, accuracy {found.accuracy:.3f}"
        sheet = predictions_sheet(pixels, found, places, self._data.classes, title)
        self._keep(f"predictions-{unit}-{at:0{2 if unit == 'epoch' else 6}d}.png", sheet)
        shown = [
            BoxedPicture(picture, {}, caption(found, place, self._data.classes)) for place, picture in zip(places, pixels, strict=True)
        ]
        self._run.log_pictures("predictions", shown, dict(enumerate(self._data.classes)))

    def _keep(self, name: str, content: bytes) -> None:
        (self._folder / name).write_bytes(content)
        self._run.log_artifact(self._folder / name, kind="report")
