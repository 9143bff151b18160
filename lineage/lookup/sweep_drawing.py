"""A sweep as parallel coordinates: one axis for each parameter, then the metric; one line for each trial. SVG, every recorded text escaped.

Needs :data:`lineage.lookup.sweep_style.STYLE`, and no script: a line is lifted when the pointer is on it, and its title says what it is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from lineage.lookup.drawn_axis import axis, named_places, thinned_labels
from lineage.lookup.sweeps import as_number, text_of
from lineage.model.sweep_findings import SweepParameter, SweepTrialView, SweepView

Href = Callable[[str], str | None]
"""Run id to the address of its page, if there is one."""

MOST_AXES = 12
COLOURS = 9
"""Steps of the colours, worst first."""

_WIDTH, _HEIGHT, _APART = 1180, 460, 118
_LEFT, _TOP, _BOTTOM, _SLOT = 70, 68, 388, 426
_STRIP = 9
_FEW = 10  # values so few that many lines would lie on one another are given room side by side
_WIDE = 1000.0  # the metric's greatest value is so many times its least: drawn on a logarithmic axis
_MOST_IN_TITLE = 30


@dataclass(frozen=True, slots=True)
class _Column:
    """One axis, drawn.

    Attributes:
        title: What it shows.
        places: Number of a trial to its place.
        labels: (place, text).
        slot: Text under the axis for trials that have no value there; empty when all have one.
        is_log: Whether it is logarithmic.
    """

    title: str
    places: dict[int, float]
    labels: list[tuple[float, str]]
    slot: str
    is_log: bool


def shown_parameters(view: SweepView, order: Sequence[str] = ()) -> list[SweepParameter]:
    """Those that get an axis: that have more than one value, those in ``order`` first when they are too many; in the sweep's order."""
    varying = list(view.varying)
    if len(varying) <= MOST_AXES:
        return varying
    rank = {name: number for number, name in enumerate(order)}
    kept = {item.name for item in sorted(varying, key=lambda item: rank.get(item.name, len(rank)))[:MOST_AXES]}
    return [item for item in varying if item.name in kept]


def colour_of(view: SweepView) -> Callable[[SweepTrialView], int | None]:
    """Trial to the step of its colour, ``COLOURS - 1`` for the best; ``None`` for a trial without a finite value."""
    finite = [item.finite for item in view.trials if item.finite is not None]
    if not finite:
        return lambda _: None
    scale = axis(finite, 0.0, float(COLOURS), is_log=is_wide(finite))
    is_single = min(finite) == max(finite)

    def step(item: SweepTrialView) -> int | None:
        if item.finite is None:
            return None
        place = COLOURS - 1 if is_single else min(COLOURS - 1, int(scale.place(item.finite)))
        return place if view.goal == "maximize" or is_single else COLOURS - 1 - place

    return step


def draw_parallel(view: SweepView, href: Href, order: Sequence[str] = ()) -> str | None:
    """The drawing as an ``svg`` element of its natural size; ``None`` without trials or without a parameter that varies.

    Args:
        view: The sweep.
        href: Where a line leads.
        order: Names of parameters, the most important first: of more than ``MOST_AXES`` these are drawn.
    """
    parameters = shown_parameters(view, order)
    if not view.trials or not parameters:
        return None
    width = max(_WIDTH, _LEFT * 2 + _APART * len(parameters))
    columns = [_parameter(view, item) for item in parameters] + ([_metric(view)] if view.metric is not None else [])
    apart = (width - 2 * _LEFT - 30) / max(1, len(columns) - 1)
    across = [round(_LEFT + 10 + apart * number, 1) for number in range(len(columns))]
    colour = colour_of(view)
    best = view.best_trial
    said = f"Parallel coordinates of {len(view.trials)} trials: {', '.join(column.title for column in columns)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="parallel" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}"'
        f' role="group" aria-label="{escape(said, quote=True)}">'
    ]
    # The best last: what is drawn later lies on top.
    for item in reversed(view.ranked()):
        if best is None or item.run_id != best.run_id:
            parts.append(_line(view, item, columns, across, colour(item), href(item.run_id)))
    if best is not None:
        parts.append(_line(view, best, columns, across, colour(best), href(best.run_id), is_best=True))
    for number, (column, at) in enumerate(zip(columns, across, strict=True)):
        is_metric = view.metric is not None and number == len(columns) - 1
        parts += _axis(column, at, number, apart, is_metric=is_metric)
        if is_metric:
            parts += _strip(view, at)
    return "\n".join([*parts, "</svg>"])


def is_wide(values: Sequence[float]) -> bool:
    """Whether values are better drawn on a logarithmic axis."""
    return min(values) > 0 and max(values) / min(values) >= _WIDE


def _parameter(view: SweepView, item: SweepParameter) -> _Column:
    values = {trial.number: trial.parameters[item.name] for trial in view.trials if item.name in trial.parameters}
    slot = "not set" if len(values) < len(view.trials) else ""
    labels: list[tuple[float, str]]
    if item.kind == "number":
        numbers = {number: found for number, value in values.items() if (found := as_number(value)) is not None}
        scale = axis(list(numbers.values()), _BOTTOM, _TOP, is_log=item.scale == "log")
        places = {number: scale.place(value) for number, value in numbers.items()}
        if len(set(numbers.values())) <= min(_FEW, len(numbers) - 1):  # the values that there are, instead of round ones
            labels = _apart([(scale.place(value), f"{value:.4g}") for value in sorted(set(numbers.values()))])
        else:
            labels = scale.ticks()
        return _Column(item.name, _side_by_side(view, places), labels, slot, scale.is_log)
    names = sorted({text_of(value) for value in values.values()}, reverse=True)
    at = named_places(names, _BOTTOM, _TOP)
    places = {number: at[text_of(value)] for number, value in values.items()}
    return _Column(item.name, _side_by_side(view, places), thinned_labels([(place, name) for name, place in at.items()]), slot, False)


def _apart(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    kept: list[tuple[float, str]] = []
    for place, text in labels:
        if not kept or abs(kept[-1][0] - place) >= 12:
            kept.append((place, text))
    return kept


def _metric(view: SweepView) -> _Column:
    numbers = {item.number: item.finite for item in view.trials if item.finite is not None}
    slot = "no value" if len(numbers) < len(view.trials) else ""
    if not numbers:
        return _Column(view.metric or "", {}, [], slot, False)
    scale = axis(list(numbers.values()), _BOTTOM, _TOP, is_log=is_wide(list(numbers.values())))
    return _Column(view.metric or "", {number: scale.place(value) for number, value in numbers.items()}, scale.ticks(), slot, scale.is_log)


def _side_by_side(view: SweepView, places: dict[int, float]) -> dict[int, float]:
    """Lines through one place beside one another, in the order of the metric, where there is room between the places."""
    distinct = sorted(set(places.values()))
    if len(distinct) > _FEW or len(places) <= len(distinct):
        return places
    gap = min((b - a for a, b in pairwise(distinct)), default=_BOTTOM - _TOP)
    half = min(16.0, 0.3 * gap)
    best_first = {item.number: number for number, item in enumerate(view.ranked())}
    meeting: dict[float, list[int]] = defaultdict(list)
    for number, place in places.items():
        meeting[place].append(number)
    moved: dict[int, float] = {}
    for place, numbers in meeting.items():
        for rank, number in enumerate(sorted(numbers, key=best_first.__getitem__)):
            share = 0.0 if len(numbers) == 1 else 2 * rank / (len(numbers) - 1) - 1
            moved[number] = round(place + half * share, 1)
    return moved


def _line(
    view: SweepView,
    item: SweepTrialView,
    columns: Sequence[_Column],
    across: Sequence[float],
    colour: int | None,
    address: str | None,
    *,
    is_best: bool = False,
) -> str:
    points = [(x, column.places.get(item.number, _SLOT)) for column, x in zip(columns, across, strict=True)]
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (x1 + x2) / 2
        path += f"C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"
    if len(points) == 1:
        path += "h12"
    kind = "none" if colour is None else f"v{colour}"
    words = f"trial {kind} {item.state}{' best' if is_best else ''}"
    title = f"<title>{escape(sentence_of(view, item))}</title>"
    # The wide line that is not seen makes the thin one easy to point at.
    drawn = title + "".join(f'<path class="{name}" d="{path}"/>' for name in (("near", "halo", "way") if is_best else ("near", "way")))
    if address is None:
        return f'<g class="{words}">{drawn}</g>'
    # Not a stop of the keyboard: the table of trials has the same links, in an order.
    return f'<a class="{words}" href="{escape(address, quote=True)}" tabindex="-1">{drawn}</a>'


def sentence_of(view: SweepView, item: SweepTrialView) -> str:
    """A trial in words: number, state, value, parameters."""
    state = {"stopped": "stopped early", "complete": ""}.get(item.state, item.state)
    value = "" if view.metric is None or item.value is None else f"{view.metric} = {said(item.value)}"
    head = ", ".join(filter(None, [f"trial {item.number}", state, value]))
    shown = [f"{name} = {said(value)}" for name, value in list(item.parameters.items())[:_MOST_IN_TITLE]]
    more = [] if len(item.parameters) <= _MOST_IN_TITLE else [f"and {len(item.parameters) - _MOST_IN_TITLE} more"]
    return "\n".join([head, *shown, *more])


def said(value: object) -> str:
    """A value in words, at most 80 signs."""
    text = "–" if value is None else f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else text_of(value)
    return shortened(text, 80)


def shortened(text: str, letters: int) -> str:
    """A text, cut where there is no room."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _axis(column: _Column, x: float, number: int, apart: float, *, is_metric: bool) -> list[str]:
    # Titles in two rows, so that neighbours may be twice as long.
    row = 18 if number % 2 else 36
    letters = max(8, int(2 * apart / 7.2) - 2)
    anchor = "start" if number == 0 else "end" if is_metric else "middle"
    at = x - 40 if number == 0 else x + 60 if is_metric else x
    title = shortened(column.title, letters) + (" (log)" if column.is_log else "")
    parts = [
        f'<text class="title{" metric" if is_metric else ""}" x="{at:g}" y="{row}" text-anchor="{anchor}">'
        f"<title>{escape(column.title)}</title>{escape(title)}</text>",
        f'<line class="axis" x1="{x:g}" x2="{x:g}" y1="{_TOP - 14}" y2="{_BOTTOM + 14}"/>',
    ]
    for place, label in column.labels:
        text = escape(shortened(label, max(6, int(apart / 7))))
        parts.append(f'<line class="axis" x1="{x - 4:g}" x2="{x:g}" y1="{place:g}" y2="{place:g}"/>')
        if is_metric:
            parts.append(f'<text class="label" x="{x + _STRIP + 8:g}" y="{place + 4:g}">{text}</text>')
        else:
            parts.append(f'<text class="label" x="{x - 7:g}" y="{place + 4:g}" text-anchor="end">{text}</text>')
    if column.slot:
        parts.append(f'<circle class="slot" cx="{x:g}" cy="{_SLOT}" r="3"/>')
        parts.append(f'<text class="label" x="{x:g}" y="{_SLOT + 20}" text-anchor="middle">{column.slot}</text>')
    return parts


def _strip(view: SweepView, x: float) -> list[str]:
    """The colours along the axis of the metric: their legend."""
    height = (_BOTTOM - _TOP) / COLOURS
    steps = range(COLOURS) if view.goal == "maximize" else range(COLOURS - 1, -1, -1)
    return [
        f'<rect class="swatch s{step}" x="{x + 1:g}" y="{_BOTTOM - height * (number + 1):.2f}" width="{_STRIP}" height="{height:.2f}"/>'
        for number, step in enumerate(steps)
    ]
