"""Point clouds for people: a sheet of clouds with what they are and what they were taken for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

RIGHT, WRONG = "#1a7f4b", "#c2410c"
_COLUMNS = 4
_SIDE_INCHES = 2.4
_DPI = 100


@dataclass(frozen=True, slots=True)
class ShownCloud:
    """A cloud and what the model says of it.

    Attributes:
        points: float32 (n, 3).
        truth: Name of its class.
        prediction: Name of the class it was taken for.
        confidence: Probability that the model gives that class.
        name: What the cloud is called.
    """

    points: np.ndarray[Any, Any]
    truth: str
    prediction: str
    confidence: float
    name: str


def chosen_places(count: int, clouds: int) -> list[int]:
    """Places of the clouds to draw, spread evenly: the same in every epoch and in every run over the same view."""
    return sorted({round(place) for place in np.linspace(0, clouds - 1, min(count, clouds))}) if clouds and count else []


def clouds_figure(clouds: Sequence[ShownCloud], title: str, *, up: int = 2) -> Figure:
    """One cloud beside the other; green captions are right, orange ones wrong.

    Args:
        clouds: One or more.
        title: Above everything.
        up: Axis that is drawn upwards.
    """
    order = [(up + 1) % 3, (up + 2) % 3, up]
    rows = -(-len(clouds) // _COLUMNS)
    columns = min(_COLUMNS, len(clouds))
    figure = Figure(figsize=(columns * _SIDE_INCHES, rows * (_SIDE_INCHES + 0.35) + 0.5), dpi=_DPI)
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    for number, cloud in enumerate(clouds):
        axes: Any = figure.add_subplot(rows, columns, number + 1, projection="3d")
        x, y, z = np.asarray(cloud.points, np.float64)[:, order].T
        # The nearer, the darker: with equal dots a cloud has no depth.
        axes.scatter(x, y, z, c=x - y, cmap="viridis", s=min(12.0, max(2.0, 3000 / len(x))), linewidths=0)
        axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
        axes.set_box_aspect((1, 1, 1), zoom=1.5)
        axes.set_axis_off()
        is_right = cloud.truth == cloud.prediction
        told = cloud.truth if is_right else f"{cloud.truth}, taken for {cloud.prediction}"
        axes.set_title(f"{told} ({cloud.confidence:.2f})\n{cloud.name}", fontsize=8, color=RIGHT if is_right else WRONG, pad=0)
    top = 1 - 0.55 / figure.get_figheight()
    figure.subplots_adjust(left=0.0, right=1.0, bottom=0.0, top=top - 0.2 / figure.get_figheight(), wspace=0.0, hspace=0.25)
    return figure


def clouds_sheet(clouds: Sequence[ShownCloud], title: str, *, up: int = 2) -> bytes:
    """:func:`clouds_figure` as PNG."""
    with plain_style():
        return png(clouds_figure(clouds, title, up=up))


def pixels_of(content: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A PNG as uint8 (h, w, 3), RGB."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def plain_style() -> Any:
    """Matplotlib's own defaults, whatever the user's settings are: the same picture everywhere. Wraps making and saving."""
    return matplotlib.style.context("default")


def png(figure: Figure) -> bytes:
    """A figure as PNG; the same bytes for the same figure."""
    out = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
