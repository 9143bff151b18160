"""The lineage graph around a node: as far, and with as many nodes, as is asked for. Cycles in it are walked once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from lineage.errors import NotFound, UsageError
from lineage.lookup.cycles import edges_in_cycles
from lineage.model.graph import (
    MOST_DEPTH,
    MOST_NODES,
    Direction,
    Edge,
    FileNode,
    Graph,
    MoreNode,
    Node,
    RunNode,
    Thing,
    VersionNode,
    ViewNode,
    node_id,
    parse_node,
)
from lineage.ports import Link, LinkKind, Ports

Side = Literal["up", "down"]

# What leads from a node of a kind, and to which kind; in this order.
_WAYS: dict[Side, dict[str, tuple[tuple[LinkKind, str], ...]]] = {
    "up": {
        "run": (("reads", "view"), ("starts", "file"), ("repeats", "run")),
        "view": (("holds", "version"),),
        "version": (("uploads", "run"),),
        "file": (("makes", "run"),),
    },
    "down": {
        "run": (("makes", "file"), ("uploads", "version"), ("repeats", "run")),
        "view": (("reads", "run"),),
        "version": (("holds", "view"),),
        "file": (("starts", "run"),),
    },
}
LINKS: tuple[LinkKind, ...] = get_args(LinkKind)
_FAN = 12
"""Neighbours by one kind of link that a node other than the first shows at most."""
_VERDICTS = 50


@dataclass(slots=True)
class _Found:
    """What is known so far, by (kind, thing)."""

    nodes: dict[tuple[str, Thing], Link | None] = field(default_factory=dict)
    edges: dict[tuple[str, str, str, str], Edge] = field(default_factory=dict)
    more: dict[tuple[str, Side, str], MoreNode] = field(default_factory=dict)


def surroundings(
    ports: Ports, start: str, *, direction: Direction = "both", depth: int = 8, limit: int = 60, link: str | None = None, skip: int = 0
) -> Graph:
    """Nodes around one: dataset version, view, run, model, run, and so on; both ways in time or one.

    Answered from the tables beside the records; a record is read for the verdict of a reproduction alone.

    Args:
        ports: Records and index.
        start: Name of a node (``lineage.model.graph.node_id``).
        direction: ``up`` for what it comes from, ``down`` for what came from it, ``both``.
        depth: So many steps away at most, 0 to 100.
        limit: So many nodes at most, 1 to 500, without those that stand for what was left out.
        link: From the first node only follow links of this kind.
        skip: From the first node leave out so many of each kind of link, the newest ones: those that were shown before.

    Raises:
        NotFound: No record knows the node.
        UsageError: An argument is out of range, or names nothing.
    """
    if not 0 <= depth <= MOST_DEPTH or not 1 <= limit <= MOST_NODES or skip < 0:
        raise UsageError(f"expected a depth of 0 to {MOST_DEPTH}, 1 to {MOST_NODES} nodes and nothing below 0 to skip")
    if link is not None and link not in LINKS:
        raise UsageError(f"'{link}' is no kind of link", hint=", ".join(LINKS))
    first = parse_node(start)
    found = _Found({first: _told_of(ports, first)})
    walk = _Walk(ports, found, limit)
    for side in cast("tuple[Side, ...]", ("up", "down") if direction == "both" else (direction,)):
        # Both ways share the places: the first leaves the second half of them.
        walk.places = min(limit - 1, len(found.nodes) - 1 + (limit // 2 if side == "up" and direction == "both" else limit))
        walk.go(first, side, depth, link, skip)
    return _graph(ports, found, first, direction, depth)


@dataclass(slots=True)
class _Walk:
    ports: Ports
    found: _Found
    limit: int
    places: int = 0

    def go(self, first: tuple[str, Thing], side: Side, depth: int, link: str | None, skip: int) -> None:
        frontier, seen = [first], {first}
        for level in range(depth + 1):
            following: list[tuple[str, Thing]] = []
            is_last = level == depth
            for kind, near, links, far_kind in self._steps(frontier, side, first, link, skip):
                skipped = skip if near == first else 0
                following += self._enter(near, kind, far_kind, links, side, skipped, seen, is_last=is_last)
            if is_last or not following:
                return
            frontier = following

    def _steps(
        self, frontier: Sequence[tuple[str, Thing]], side: Side, first: tuple[str, Thing], link: str | None, skip: int
    ) -> Iterator[tuple[LinkKind, tuple[str, Thing], list[Link], str]]:
        """(kind of link, node, its links of this kind, kind of what they lead to) of everything in a frontier."""
        for node_kind, ways in _WAYS[side].items():
            nodes = [thing for kind, thing in frontier if kind == node_kind]
            for way, far_kind in ways if nodes else ():
                is_first = nodes == [first[1]] and node_kind == first[0] and len(frontier) == 1
                if is_first and link is not None and link != way:
                    continue
                most, skipped = (self.limit, skip) if is_first else (_FAN, 0)
                by_node: dict[Thing, list[Link]] = {}
                for item in self.ports.rows.links(way, nodes, forward=side == "down", most=most, skip=skipped):
                    by_node.setdefault(item.near, []).append(item)
                for thing in nodes:
                    if thing in by_node:
                        yield way, (node_kind, thing), by_node[thing], far_kind

    def _enter(
        self,
        near: tuple[str, Thing],
        way: LinkKind,
        far_kind: str,
        links: list[Link],
        side: Side,
        skipped: int,
        seen: set[tuple[str, Thing]],
        *,
        is_last: bool,
    ) -> list[tuple[str, Thing]]:
        entered: list[tuple[str, Thing]] = []
        shown = 0
        for item in links:
            far = (far_kind, item.far)
            if far not in self.found.nodes:
                if is_last or len(self.found.nodes) > self.places:
                    continue
                told = self.found.nodes[near]
                # A view knows its version's names, not where that is: the view's own link does.
                self.found.nodes[far] = item if item.place or told is None else item._replace(place=told.place)
            shown += 1
            self._connect(near, far, way, item.role, side)
            if far not in seen:
                seen.add(far)
                entered.append(far)
        total = links[0].total
        if total > skipped + shown:
            near_id = node_id(*near)
            self.found.more[near_id, side, way] = MoreNode(
                id=f"more:{side}:{way}:{near_id}", of=near_id, direction=side, link=way, count=total - skipped - shown, skip=skipped + shown
            )
        return entered

    def _connect(self, near: tuple[str, Thing], far: tuple[str, Thing], way: LinkKind, label: str, side: Side) -> None:
        ends = (node_id(*near), node_id(*far))
        source, target = ends if side == "down" else ends[::-1]
        self.found.edges.setdefault((source, target, way, label), Edge(source=source, target=target, kind=way, label=label))


def _graph(ports: Ports, found: _Found, first: tuple[str, Thing], direction: Direction, depth: int) -> Graph:
    names = {item.run_id: item for item in ports.rows.run_names([thing[0] for kind, thing in found.nodes if kind == "run"])}
    nodes: list[Node] = []
    for (kind, thing), link in found.nodes.items():
        name, place = (None, None) if link is None else (link.name, link.place or None)
        if kind == "run":
            told = names.get(thing[0])
            facts = {} if told is None else {key: getattr(told, key) for key in RunNode.model_fields if key not in ("kind", "id")}
            nodes.append(RunNode(**{"id": node_id(kind, thing), "run_id": thing[0]} | facts))
        elif kind == "file":
            nodes.append(FileNode(id=node_id(kind, thing), digest=thing[0], name=name, file_kind=place or "file"))
        elif kind == "view":
            nodes.append(
                ViewNode(id=node_id(kind, thing), dataset_id=thing[0], commit_id=thing[1], content_digest=thing[2], name=name, uri=place)
            )
        else:
            nodes.append(VersionNode(id=node_id(kind, thing), dataset_id=thing[0], commit_id=thing[1], uri=place))
    edges = _with_verdicts(ports, list(found.edges.values()), names)
    looped = edges_in_cycles([(edge.source, edge.target) for edge in edges])
    for more in found.more.values():
        source, target = (more.of, more.id) if more.direction == "down" else (more.id, more.of)
        edges.append(Edge(source=source, target=target, kind="more"))
    return Graph(
        start=node_id(*first),
        direction=direction,
        depth=depth,
        nodes=(*nodes, *found.more.values()),
        edges=tuple(edge.model_copy(update={"in_cycle": True}) if (edge.source, edge.target) in looped else edge for edge in edges),
        is_whole=not found.more,
        has_cycle=bool(looped),
    )


def _told_of(ports: Ports, first: tuple[str, Thing]) -> Link | None:
    """A link that tells what the first node is called."""
    kind, thing = first
    if kind == "run":
        if not ports.rows.run_names(thing):
            raise NotFound("run", thing[0], hint="`lineage runs` lists what this store holds")
        return None
    ways: dict[str, tuple[tuple[LinkKind, bool], ...]] = {
        "file": (("makes", False), ("starts", True)),
        "view": (("reads", True),),
        "version": (("holds", True), ("uploads", False)),
    }
    for way, forward in ways[kind]:
        if found := ports.rows.links(way, [thing], forward=forward, most=1):
            return found[0]
    what = {"file": "model or file", "version": "dataset version"}.get(kind, kind)
    raise NotFound(what, " at ".join(thing[:2]), detail="no recorded run made or read it")


def _with_verdicts(ports: Ports, edges: list[Edge], names: Iterable[str]) -> list[Edge]:
    known = set(names)
    verdicts: dict[tuple[str, str], str] = {}
    originals = dict.fromkeys(parse_node(edge.source)[1][0] for edge in edges if edge.kind == "repeats")
    for run_id in [run_id for run_id in originals if run_id in known][:_VERDICTS]:
        told = ports.runs.get(run_id).reproductions
        verdicts |= {(node_id("run", (run_id,)), node_id("run", (item.run_id,))): item.words for item in told}
    return [
        edge.model_copy(update={"label": verdicts[edge.source, edge.target]})
        if edge.kind == "repeats" and (edge.source, edge.target) in verdicts
        else edge
        for edge in edges
    ]
