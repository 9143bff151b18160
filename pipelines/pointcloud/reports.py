"""What a training came to, as one HTML page without anything outside it: figures, curves, confusion matrix, clouds."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.pointcloud.evaluate import Evaluation
from pipelines.pointcloud.pictures import plain_style, png

History = Sequence[Mapping[str, float]]
"""Metrics of each epoch, with ``epoch`` counted from 0."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2430; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #d8dde6 }
th:first-child, td:first-child { text-align: left }
img { max-width: 100% }
h1 { font-size: 1.5rem }
h2 { font-size: 1.15rem; margin-top: 2rem }
@media (prefers-color-scheme: dark) {
  body { color: #e6e9ef; background: #14171c }
  td, th { border-color: #333a45 }
  img { background: #fff }
}
"""


def report(
    title: str, config: Mapping[str, Any], found: Evaluation, classes: Sequence[str], history: History, pictures: Mapping[str, bytes]
) -> str:
    """The page.

    Args:
        title: Its heading.
        config: Options to name, in their order.
        found: The last evaluation.
        classes: Names by class index.
        history: Of the training; empty for an evaluation alone.
        pictures: Heading to PNG.
    """
    shown = {"Curves": curves(history), "Confusion matrix": confusion_picture(found, classes)} if len(history) else {}
    shown = shown or {"Confusion matrix": confusion_picture(found, classes)}
    parts = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>',
        f"<style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        _table(["test", "value"], [[name.removeprefix("Test/"), f"{value:.4f}"] for name, value in found.metrics().items()]),
        "<h2>By class</h2>",
        _class_table(found, classes),
    ]
    for heading, content in (shown | dict(pictures)).items():
        data = base64.b64encode(content).decode()
        parts += [f"<h2>{escape(heading)}</h2>", f'<img alt="{escape(heading)}" src="data:image/png;base64,{data}">']
    parts += ["<h2>Options</h2>", _table(["option", "value"], [[name, str(value)] for name, value in config.items()]), "</html>"]
    return "\n".join(parts) + "\n"


def curves(history: History) -> bytes:
    """Losses and accuracy by epoch, as PNG."""
    epochs = [point["epoch"] + 1 for point in history]
    with plain_style():
        figure = Figure(figsize=(9, 3.2), dpi=100, layout="constrained")
        losses, accuracy = figure.subplots(1, 2)
        for name in ("Train/Loss", "Test/Loss"):
            losses.plot(epochs, [point[name] for point in history], marker="o", markersize=3, label=name)
        accuracy.plot(epochs, [point["Test/Accuracy"] for point in history], marker="o", markersize=3, color="C2", label="Test/Accuracy")
        accuracy.set_ylim(0, 1.02)
        losses.set_ylim(bottom=0)
        for axes in (losses, accuracy):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.25)
            axes.legend(fontsize=8, loc="lower right" if axes is accuracy else "upper right")
        return png(figure)


def confusion_picture(found: Evaluation, classes: Sequence[str]) -> bytes:
    """Which class (rows) was taken for which (columns), as PNG; numbers are clouds, colours their share of the row."""
    totals = found.confusion.sum(axis=1, keepdims=True)
    shares = found.confusion / totals.clip(min=1)
    side = 1.6 + 0.45 * len(classes)
    with plain_style():
        figure = Figure(figsize=(side + 0.8, side), dpi=100, layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set(xlabel="taken for", ylabel="is")
        axes.set_xticks(range(len(classes)), classes, rotation=60, ha="right", fontsize=8)
        axes.set_yticks(range(len(classes)), classes, fontsize=8)
        for row, column in zip(*found.confusion.nonzero(), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(found.confusion[row, column]), ha="center", va="center", fontsize=8, color=colour)
        return png(figure)


def _class_table(found: Evaluation, classes: Sequence[str]) -> str:
    rows = []
    for name, accuracy, counts in zip(classes, found.class_accuracies, found.confusion, strict=True):
        rows.append([name, str(int(counts.sum())), "–" if accuracy is None else f"{accuracy:.3f}"])
    return _table(["class", "clouds", "accuracy"], rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"
