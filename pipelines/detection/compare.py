"""The same training at several settings: trained where a run is missing, then tables, curves and what differs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lineage
from lineage.errors import ExecutionFailed
from pipelines.configuration import finished_training
from pipelines.detection.config import Config

SHOWN = ("validation_iou", "validation_corrected_iou", "validation_AP50", "loss")
_TITLES = {
    "validation_iou": "mean IoU (the playbook's)",
    "validation_corrected_iou": "corrected mean IoU",
    "validation_AP50": "COCO AP at IoU 0.50",
    "loss": "training loss, mean of the epoch",
}

Series = dict[str, list[tuple[int, float]]]
"""Metric name to (epoch counted from 1, value)."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One training of a comparison.

    Attributes:
        name: What it is called.
        run_id: Its run.
        was_there: Whether a finished run with the same configuration was taken.
        series: Its metrics by epoch.
    """

    name: str
    run_id: str
    was_there: bool
    series: Series


@dataclass(frozen=True, slots=True)
class Wanted:
    """A training to compare.

    Attributes:
        name: What to call it.
        config: Its configuration.
        options: The same as options of ``python -m pipelines.detection train``.
    """

    name: str
    config: Config
    options: tuple[str, ...]


def compare(wanted: Sequence[Wanted], *, again: bool = False) -> list[Compared]:
    """Train what is missing, one after the other, each in a process of its own, so that each can be reproduced by itself.

    A finished run of the same project whose configuration differs in nothing that decides the result is taken in place of a new one.

    Args:
        wanted: The trainings.
        again: Train all of them anew.

    Raises:
        ExecutionFailed: A training ended with an error; it has told which.
    """
    found = []
    for item in wanted:
        known = None if again else finished_training(item.config)
        run_id = _train(item) if known is None else known
        found.append(Compared(item.name, run_id, known is not None, series_of(run_id)))
    return found


def _train(item: Wanted) -> str:
    command = [sys.executable, "-m", "pipelines.detection", "train", *item.options, "--json"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        raise ExecutionFailed(" ".join(command[1:]), ended.returncode)
    return str(json.loads(ended.stdout.splitlines()[-1])["run_id"])


def series_of(run_id: str) -> Series:
    """Metrics of a run by epoch; of the loss the mean over the epoch's steps."""
    series: Series = {name: [] for name in SHOWN}
    losses: list[float] = []
    for point in lineage.metrics(run_id):
        if "loss" in point.values:
            losses.append(point.values["loss"])
        if "epoch" in point.values:
            epoch = int(point.values["epoch"]) + 1
            values = dict(point.values) | ({"loss": sum(losses) / len(losses)} if losses else {})
            losses = []
            for name in SHOWN:
                if name in values:
                    series[name].append((epoch, values[name]))
    return series


def table(compared: Sequence[Compared]) -> str:
    """Markdown: last and best value of each metric."""
    lines = ["| | " + " | ".join(item.name for item in compared) + " |", "|---|" + "---|" * len(compared)]
    for name in SHOWN:
        best = min if name == "loss" else max
        cells = [
            "–" if not item.series[name] else f"{item.series[name][-1][1]:.3f} (best {best(value for _, value in item.series[name]):.3f})"
            for item in compared
        ]
        lines.append(f"| {_TITLES[name]} | " + " | ".join(cells) + " |")
    lines.append("| run | " + " | ".join(item.run_id[:12] for item in compared) + " |")
    return "\n".join(lines) + "\n"


def curves(compared: Sequence[Compared]) -> bytes:
    """All metrics by epoch, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    figure, panels = pyplot.subplots(1, len(SHOWN), figsize=(4.2 * len(SHOWN), 3.6), constrained_layout=True)
    for panel, name in zip(panels, SHOWN, strict=True):
        for number, item in enumerate(compared):
            epochs, values = zip(*item.series[name], strict=True) if item.series[name] else ((), ())
            panel.plot(epochs, values, marker="o", markersize=3.5, label=item.name, color=f"C{number}")
        panel.set_title(_TITLES[name], fontsize=10)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.25)
        panel.set_ylim(bottom=0)
    panels[0].legend()
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return out.getvalue()


def write(compared: Sequence[Compared], folder: Path) -> list[Path]:
    """Write ``comparison.md``, ``comparison.png`` and ``comparison.json``; what differs between the first two runs is in the text."""
    folder.mkdir(parents=True, exist_ok=True)
    text = ["# Comparison", "", table(compared), "![Curves](comparison.png)", ""]
    if len(compared) > 1:
        difference = lineage.diff(compared[0].run_id, compared[1].run_id)
        text += [f"What differs between {compared[0].name} and {compared[1].name}, likeliest cause of other results first:", ""]
        text += [f"{number}. {cause.sentence}" for number, cause in enumerate(difference.causes, 1)] or ["nothing recorded differs"]
    values: dict[str, Any] = {item.name: {"run_id": item.run_id, "series": item.series} for item in compared}
    contents = {
        "comparison.md": ("\n".join(text) + "\n").encode(),
        "comparison.png": curves(compared),
        "comparison.json": (json.dumps(values, indent=2) + "\n").encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]
