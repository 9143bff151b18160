"""Tables and curves of several runs or groups: mean ± standard deviation (min, max), as Markdown or as one HTML file."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lineage
from lineage.errors import NotFound, UsageError
from pipelines.classification.results import METRICS

_AXES = ("epoch", "trained_steps")
_TITLES = {
    "train_loss": "training loss",
    "train_accuracy": "training accuracy",
    "validation_loss": "validation loss",
    "validation_accuracy": "validation accuracy",
}
_NOT_SETTINGS = ("seed", "name", "group", "output", "workers", "wandb")

Curve = dict[int, float]
"""Epoch or step to value."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: one run, or the runs of one group.

    Attributes:
        label: What it is called.
        run_ids: Its runs.
        config: What the configurations of its runs have in common.
        curves: Metric to one curve for each run.
    """

    label: str
    run_ids: tuple[str, ...]
    config: Mapping[str, Any]
    curves: Mapping[str, tuple[Curve, ...]]

    def last(self, metric: str) -> list[float]:
        """The last value of each run that has any."""
        return [curve[max(curve)] for curve in self.curves[metric] if curve]


@dataclass(frozen=True, slots=True)
class Spread:
    """Statistics of the runs of a group at one point; the deviation is the sample's (divided by n - 1), 0 for one run."""

    mean: float
    deviation: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        mean = math.fsum(values) / len(values)
        squares = math.fsum((value - mean) ** 2 for value in values)
        return cls(mean, math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else 0.0, min(values), max(values), len(values))

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.mean:.4f}"
        return f"{self.mean:.4f} ± {self.deviation:.4f} ({self.least:.4f}, {self.most:.4f})"


def line_of(label: str, run_ids: Sequence[str], metrics: Sequence[str] = METRICS) -> Line:
    """What is shown of some runs.

    Raises:
        NotFound: There is no such run.
    """
    runs = [lineage.get(run_id) for run_id in run_ids]
    common = {name: value for name, value in runs[0].config.items() if all(run.config.get(name) == value for run in runs)}
    points = [lineage.metrics(run_id) for run_id in run_ids]
    curves = {metric: tuple(_curve(found, metric) for found in points) for metric in metrics}
    return Line(label, tuple(run.id for run in runs), common, curves)


def named_lines(names: Sequence[str], *, project: str | None = None, metrics: Sequence[str] = METRICS) -> list[Line]:
    """Lines of groups and of single runs.

    Args:
        names: Names of groups, or ids of runs.
        project: Only groups of this project.
        metrics: Which metrics.

    Raises:
        NotFound: A name is neither.
    """
    lines = []
    for name in names:
        members = [run for run in lineage.runs(project=project, group=name, state="finished") if run.reproduces is None]
        if members:
            lines.append(line_of(name, [run.id for run in reversed(members)], metrics))
            continue
        try:
            found = lineage.get(name)
        except (NotFound, UsageError) as error:
            raise NotFound("group or run", name, detail="no finished run is in such a group", hint="lineage runs") from error
        lines.append(line_of(found.name or found.id[:8], [found.id], metrics))
    return lines


def settings_that_differ(lines: Sequence[Line]) -> list[str]:
    """Names of configuration fields that are not the same in all lines: what is compared."""
    names = sorted({name for line in lines for name in line.config} - set(_NOT_SETTINGS))
    return [name for name in names if any(line.config.get(name) != lines[0].config.get(name) for line in lines)]


def table(lines: Sequence[Line], metrics: Sequence[str] = METRICS) -> list[list[str]]:
    """Header and rows: what differs in the configuration, and each metric at the end of training."""
    differing = settings_that_differ(lines)
    shown = [metric for metric in metrics if any(line.last(metric) for line in lines)]
    rows = [["", *differing, "runs", *(_TITLES.get(metric, metric) for metric in shown)]]
    for line in lines:
        values = [str(Spread.of(line.last(metric))) if line.last(metric) else "–" for metric in shown]
        rows.append([line.label, *(_word(line.config.get(name)) for name in differing), str(len(line.run_ids)), *values])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    header, *others = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *others))


def plot(lines: Sequence[Line], metrics: Sequence[str] = METRICS) -> bytes:
    """All curves as PNG: the mean of each line, with a band from the least to the greatest where there are several runs."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    shown = [metric for metric in metrics if any(line.last(metric) for line in lines)] or list(metrics[:1])
    columns = min(2, len(shown))
    height = -(-len(shown) // columns)
    figure, panels = pyplot.subplots(height, columns, figsize=(5.4 * columns, 3.6 * height), squeeze=False, constrained_layout=True)
    for panel in panels.flat[len(shown) :]:
        panel.set_axis_off()
    for panel, metric in zip(panels.flat, shown, strict=False):
        drawn = {place for line in lines for curve in line.curves[metric] for place in curve}
        if len(drawn) == 1:  # or the axis goes from -0.05 to 0.05
            panel.set_xlim(min(drawn) - 1, max(drawn) + 1)
        for number, line in enumerate(lines):
            spreads = _spreads(line.curves[metric])
            places = list(spreads)
            means = [spread.mean for spread in spreads.values()]
            panel.plot(places, means, marker="o", markersize=3, label=line.label, color=f"C{number}")
            if len(line.run_ids) > 1:
                low, high = [spread.least for spread in spreads.values()], [spread.most for spread in spreads.values()]
                panel.fill_between(places, low, high, color=f"C{number}", alpha=0.15, linewidth=0)
        panel.set_title(_TITLES.get(metric, metric), fontsize=10)
        panel.set_xlabel("epoch or step")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.25)
    panels.flat[0].legend(fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return out.getvalue()


def write(lines: Sequence[Line], path: Path, title: str, metrics: Sequence[str] = METRICS) -> list[Path]:
    """Write ``path``: one HTML file with everything in it, or Markdown with a picture beside it; by its ending.

    Returns:
        The files written.
    """
    rows, picture = table(lines, metrics), plot(lines, metrics)
    legend = "mean ± standard deviation (least, greatest) over the runs of a group, at the end of training; bands go from least to greatest"
    runs = [f"{line.label}: {', '.join(run_id[:12] for run_id in line.run_ids)}" for line in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        path.write_text(_page(title, rows, picture, legend, runs), encoding="utf-8")
        return [path]
    image = path.with_suffix(".png")
    image.write_bytes(picture)
    listed = "".join(f"- {item}\n" for item in runs)
    text = f"# {title}\n\n{markdown(rows)}\n{legend[0].upper()}{legend[1:]}.\n\n![Curves]({image.name})\n\nRuns:\n\n{listed}"
    path.write_text(text, encoding="utf-8")
    return [path, image]


def _page(title: str, rows: Sequence[Sequence[str]], picture: bytes, legend: str, runs: Sequence[str]) -> str:
    header, *others = [[html.escape(cell) for cell in row] for row in rows]
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in others)
    head = "".join(f"<th>{cell}</th>" for cell in header)
    listed = "".join(f"<li>{html.escape(item)}</li>" for item in runs)
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1a1d23}"
        "table{border-collapse:collapse;display:block;overflow-x:auto}td,th{padding:.35rem .8rem;border-bottom:1px solid #d9dce2;"
        "text-align:left;white-space:nowrap;font-variant-numeric:tabular-nums}img{max-width:100%}p,li{color:#555b66}"
    )
    image = base64.b64encode(picture).decode()
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{style}</style></head>'
        f"<body><h1>{html.escape(title)}</h1><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
        f'<p>{html.escape(legend)}.</p><img alt="Curves" src="data:image/png;base64,{image}"><ul>{listed}</ul></body></html>\n'
    )


def _curve(points: Sequence[Any], metric: str) -> Curve:
    curve: Curve = {}
    for number, point in enumerate(points):
        if metric in point.values:
            place = next((point.values[axis] for axis in _AXES if axis in point.values), number)
            curve[int(place)] = point.values[metric]
    return curve


def _spreads(curves: Sequence[Curve]) -> dict[int, Spread]:
    places = sorted({place for curve in curves for place in curve})
    return {place: Spread.of([curve[place] for curve in curves if place in curve]) for place in places}


def _word(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
