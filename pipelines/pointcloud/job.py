"""The jobs: data comes in through lineage; losses, pictures, checkpoints, report and weights go out through lineage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import lineage
import lineage.training
from lineage.errors import InvalidSource, NotFound
from lineage.ports import BoxedPicture
from pipelines.pointcloud.config import FREE_TO_CHANGE, Config
from pipelines.pointcloud.data import classes_of, endless, evaluation_loader, open_data, open_view
from pipelines.pointcloud.evaluate import Evaluation, evaluate
from pipelines.pointcloud.model import PointNet, parameter_count
from pipelines.pointcloud.pictures import ShownCloud, chosen_places, clouds_sheet, pixels_of
from pipelines.pointcloud.reports import report
from pipelines.pointcloud.train import make_optimizer, train_one_epoch
from pipelines.pointcloud.transforms import AXES
from pipelines.progress import bar, console
from pipelines.tracked import find_resumable, recorded_job, save_weights

_METRICS = ("Train/Loss", "Test/Loss", "Test/Accuracy", "Test/ClassAccuracy", "Test/Result")
_REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class Done:
    """What a job left behind.

    Attributes:
        run_id: Id of the recorded run.
        evaluation: The last one.
        files: What it wrote into the output directory; nothing in a sweep.
    """

    run_id: str
    evaluation: Evaluation
    files: tuple[Path, ...]


def train_classifier(config: Config, *, resume: str | None = None, allow_changed: Sequence[str] = ()) -> Done:
    """Train PointNet on a view, evaluate it on another after each epoch, and record all of it as one run.

    Args:
        config: The training.
        resume: Run to go on with from its last checkpoint: an id, a unique prefix, or ``last`` for the project's newest that was broken
            off.
        allow_changed: Configuration fields that may differ from that run's.

    Raises:
        LineageError: Any error of the tree; the run is then recorded as failed.
    """
    chosen = find_resumable(config.project) if resume == "last" else resume
    with recorded_job(config, "train", resume=chosen, allow_changed=(*FREE_TO_CHANGE, *allow_changed)) as (run, device, folder):
        data = open_data(run, config)
        model = PointNet(len(data.classes)).to(device)
        console.print(f"{parameter_count(model):,} parameters, {len(data.train)} training and {len(data.test)} test clouds")
        optimizer, schedule = make_optimizer(model, config)
        run.watch(model, optimizer)
        for name in _METRICS:
            run.define_metric(name, step_metric="epoch")
        checkpoints = lineage.training.Checkpoints(run, model=model, optimizer=optimizer, scheduler=schedule, loader=data.train_loader)
        checkpoints.extra["history"] = []
        position = checkpoints.restore()
        if position.step:
            console.print(f"resumed after epoch {position.step // config.num_iter}")
        history: list[dict[str, float]] = checkpoints.extra["history"]
        shown = Shown(config, data.test, data.test_loader, data.classes)
        found = None
        # A pass over the data and an epoch of num_iter steps end at different times: batches come from one iteration to the end.
        with closing(endless(data.train_loader)) as batches:
            for epoch in range(position.step // config.num_iter, config.num_epoch):
                title = f"epoch {epoch + 1}/{config.num_epoch}"
                with bar(title, config.num_iter) as advance:
                    loss = train_one_epoch(
                        model, optimizer, schedule, batches, steps=config.num_iter, device=device, on_step=_after(checkpoints, advance)
                    )
                found = evaluate(model, data.test_loader, classes=len(data.classes), device=device)
                history.append({"epoch": epoch, "Train/Loss": loss} | found.metrics())
                run.log(history[-1], step=epoch)
                sheet = shown.sheet(found, f"after epoch {epoch + 1}")
                if sheet is not None:
                    run.log_pictures("Test/Result", [BoxedPicture(pixels_of(sheet))])
                console.print(f"{title}  loss {loss:.4f}  test loss {found.loss:.4f}  accuracy {found.accuracy:.3f}")
                if (epoch + 1) % config.save_period == 0:
                    checkpoints.save()
        if found is None:
            found = evaluate(model, data.test_loader, classes=len(data.classes), device=device)
            run.log({"epoch": max(position.step // config.num_iter - 1, 0)} | found.metrics())
        files = [_write_report(run, config, found, data.classes, history, shown, folder), save_weights(model.state_dict(), folder)]
        return _done(run, config, found, files)


def evaluate_classifier(config: Config, weights: Path) -> Done:
    """Evaluate weights of an earlier training on the test view, as a run that says whose weights they are.

    Raises:
        NotFound: There is no such file.
        InvalidSource: It holds no weights of a PointNet with as many classes as the data.
        LineageError: As above.
    """
    if not weights.is_file():
        raise NotFound("weights file", str(weights))
    with recorded_job(config, "evaluate") as (run, device, folder):
        run.use_artifact(weights, role="base")
        view = open_view(run, config, "test")
        classes = classes_of(view)
        loader = evaluation_loader(view, config)
        model = PointNet(len(classes)).to(device)
        _load(model, weights, device)
        found = evaluate(model, loader, classes=len(classes), device=device)
        run.log(found.metrics())
        shown = Shown(config, view, loader, classes)
        return _done(run, config, found, [_write_report(run, config, found, classes, [], shown, folder)])


class Shown:
    """Draws clouds of a view.

    Args:
        config: Says how many.
        view: The view.
        loader: Its loader, whose transform the model sees through.
        classes: Names by class index.
    """

    def __init__(self, config: Config, view: Any, loader: Any, classes: Sequence[str]) -> None:
        self._config, self._view, self._loader, self._classes = config, view, loader, classes

    def sheet(self, found: Evaluation, title: str) -> bytes | None:
        """The same clouds each time; ``None`` when none are wanted."""
        return self._draw(found, chosen_places(self._config.pictures, len(found.labels)), title)

    def worst(self, found: Evaluation) -> bytes | None:
        """Those with the largest loss."""
        order = (-found.losses).argsort(kind="stable")[: self._config.pictures]
        return self._draw(found, order.tolist(), "largest loss first")

    def _draw(self, found: Evaluation, places: Sequence[int], title: str) -> bytes | None:
        if not places:
            return None
        clouds = []
        for place in places:
            _, (points, _) = self._loader.dataset[(0, place)]
            truth, prediction = self._classes[found.labels[place]], self._classes[found.predictions[place]]
            confidence = float(found.confidences[place])
            clouds.append(ShownCloud(points.numpy(), truth, prediction, confidence, f"row {int(self._view.rows[place])}"))
        return clouds_sheet(clouds, f"{self._config.project}: {title}", up=AXES[self._config.up_axis])


def _after(checkpoints: lineage.training.Checkpoints, advance: Callable[[int, str], None]) -> Callable[[float], None]:
    def after(loss: float) -> None:
        checkpoints.step()
        advance(1, f"loss {loss:.4f}")

    return after


def _write_report(run: Any, config: Config, found: Evaluation, classes: Sequence[str], history: Any, shown: Shown, folder: Path) -> Path:
    sheets = {"Clouds": shown.sheet(found, "the same in each epoch"), "Worst clouds": shown.worst(found)}
    pictures = {heading: sheet for heading, sheet in sheets.items() if sheet is not None}
    deciding = {name: value for name, value in config.model_dump(mode="json").items() if name not in FREE_TO_CHANGE}
    path = folder / _REPORT
    path.write_text(report(f"{config.project}: PointNet", deciding, found, classes, history, pictures), encoding="utf-8")
    run.summary.update(found.metrics())
    return path


def _done(run: Any, config: Config, found: Evaluation, files: Sequence[Path]) -> Done:
    for path in files:
        run.log_artifact(path, kind="report" if path.name == _REPORT else "model")
    out = Path(config.out_dir)
    # The record has the files. Trials of a sweep share the directory, and a reproduction, which repeats the recorded command in a folder of
    # its own, must not replace the files of the run that it is compared with.
    if run.record.sweep is not None or (run.reproduced is not None and out.is_absolute()):
        return Done(run.id, found, ())
    out.mkdir(parents=True, exist_ok=True)
    for path in files:
        (out / path.name).write_bytes(path.read_bytes())
    return Done(run.id, found, tuple(out / path.name for path in files))


def _load(model: PointNet, weights: Path, device: torch.device) -> None:
    try:
        model.load_state_dict(torch.load(weights, map_location=device, weights_only=True))  # weights are data, never code
    except Exception as error:  # torch raises half a dozen types for a file that is not its own
        reason = " ".join(str(error).split())[:200]
        raise InvalidSource(f"{weights}: expected weights of a PointNet for these classes, found: {reason}") from error
