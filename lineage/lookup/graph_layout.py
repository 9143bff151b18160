"""Places for the nodes of a lineage graph: columns in the direction of time, few crossings.

Layers by longest ways, rows by means of neighbours (Sugiyama's method), without a library: grandalf, which does the same, is under GPL 2 or
EPL 1, networkx puts nodes into layers but does not order them, and Graphviz is a program of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from lineage.lookup.cycles import edges_in_cycles
from lineage.model.graph import Graph

COLUMN, ROW = 276, 64
"""Distance from one column to the next, and from one row to the next, in the drawing's units."""
_SWEEPS = 6
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is; x grows in the direction of time, y downwards.

    Attributes:
        places: Node id to (x, y) of its middle, from (0, 0).
        ways: For each edge of the graph, the points that it goes through, its ends included.
        width: Largest x.
        height: Largest y.
    """

    places: Mapping[str, Point]
    ways: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def lay_out(graph: Graph) -> Layout:
    """Where the nodes and edges of a graph go. The same graph always looks the same."""
    names = [node.id for node in graph.nodes]
    pairs = [(edge.source, edge.target) for edge in graph.edges]
    forward = _without_cycles(names, pairs)
    column = _columns(names, forward)
    # An edge over several columns gets a place in each of them, so that it goes around what is there.
    bends = [_bends(number, source, target, column) for number, (source, target) in enumerate(pairs)]
    lines = [(source, *inner, target) for (source, target), inner in zip(pairs, bends, strict=True)]
    for inner in bends:
        column |= inner
    row = _rows(column, lines)
    places = {name: (float(column[name] * COLUMN), round(row[name] * ROW, 1)) for name in column}
    return Layout(
        places={name: places[name] for name in names},
        ways=tuple(tuple(places[name] for name in line) for line in lines),
        width=max(x for x, _ in places.values()),
        height=max(y for _, y in places.values()),
    )


def _without_cycles(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges, without as many as close a cycle: those that lead back to a node that was reached before."""
    looped = edges_in_cycles(pairs)
    if not looped:
        return list(dict.fromkeys(pairs))
    order = {name: number for number, name in enumerate(names)}
    return [pair for pair in dict.fromkeys(pairs) if pair not in looped or order[pair[0]] < order[pair[1]]]


def _columns(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    before: dict[str, list[str]] = {name: [] for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    for source, target in pairs:
        before[target].append(source)
        after[source].append(target)
    column = dict.fromkeys(names, 0)
    waiting = {name: len(before[name]) for name in names}
    ready = [name for name in names if not waiting[name]]
    order: list[str] = []
    while ready:
        name = ready.pop()
        order.append(name)
        for target in after[name]:
            column[target] = max(column[target], column[name] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for name in reversed(order):  # what nothing leads to stands close to what it leads to
        if after[name] and not before[name]:
            column[name] = min(column[target] for target in after[name]) - 1
    first = min(column.values())
    return {name: at - first for name, at in column.items()}


def _bends(number: int, source: str, target: str, column: Mapping[str, int]) -> dict[str, int]:
    start, end = column[source], column[target]
    return {f"bend:{number}:{at}": at for at in range(start + 1, end)} or {f"bend:{number}:{at}": at for at in range(start - 1, end, -1)}


def _rows(column: Mapping[str, int], lines: Sequence[Sequence[str]]) -> dict[str, float]:
    """The row of everything in a column, at least one apart; each line joins neighbours from column to column."""
    beside: dict[str, list[str]] = {name: [] for name in column}
    for line in lines:
        for one, other in pairwise(line):
            beside[one].append(other)
            beside[other].append(one)
    layers: list[list[str]] = [[] for _ in range(max(column.values()) + 1)]
    for name, at in column.items():
        layers[at].append(name)
    row = {name: float(number) for layer in layers for number, name in enumerate(layer)}
    for sweep in range(_SWEEPS):
        step = 1 if sweep % 2 == 0 else -1
        for at in range(len(layers))[::step]:
            wanted = {name: _middle([row[other] for other in beside[name] if column[other] == at - step], row[name]) for name in layers[at]}
            layers[at].sort(key=wanted.__getitem__)
            row |= {name: float(number) for number, name in enumerate(layers[at])}
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            wanted = {name: _middle([row[other] for other in beside[name] if column[other] != column[name]], row[name]) for name in layer}
            row |= zip(layer, _apart([wanted[name] for name in layer]), strict=True)
    first = min(row.values())
    return {name: at - first for name, at in row.items()}


def _middle(values: Sequence[float], otherwise: float) -> float:
    return fmean(values) if values else otherwise


def _apart(wanted: Sequence[float]) -> list[float]:
    """Numbers in this order, each at least one more than the one before, as near to what is wanted as can be (least squares)."""
    groups: list[list[float]] = []  # [sum, count] of neighbours that are pushed together
    for number, value in enumerate(wanted):
        groups.append([value - number, 1.0])
        while len(groups) > 1 and groups[-2][0] * groups[-1][1] >= groups[-1][0] * groups[-2][1]:
            last = groups.pop()
            groups[-1] = [groups[-1][0] + last[0], groups[-1][1] + last[1]]
    means = [total / count for total, count in groups for _ in range(int(count))]
    return [mean + number for number, mean in enumerate(means)]
