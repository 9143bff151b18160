"""``lineage graph``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from lineage.cli.graph_page import graph_page
from lineage.cli.output import AsJson, print_json, say, table
from lineage.errors import Conflict, UsageError
from lineage.lookup.graph_drawing import details_of, draw_dot, kind_of, title_of
from lineage.lookup.graph_names import node_named
from lineage.lookup.surroundings import surroundings
from lineage.model.graph import MOST_DEPTH, MOST_NODES, Direction, Graph
from lineage.wiring import wire


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("graph")(graph)


def graph(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Run id, path or digest of a model, address of a dataset, or a node's name as --json tells it."
        ),
    ],
    commit: Annotated[str | None, typer.Option("--commit", help="This version of a dataset; else the one that was read last.")] = None,
    direction: Annotated[str, typer.Option(help="up: what it comes from; down: what came from it; both.")] = "both",
    depth: Annotated[int, typer.Option(min=0, max=MOST_DEPTH, help="So many steps away at most.")] = 8,
    limit: Annotated[int, typer.Option(min=1, max=MOST_NODES, help="So many nodes at most; what is left out is counted.")] = 60,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a drawing, as a page that needs nothing else.")] = None,
    dot: Annotated[bool, typer.Option("--dot", help="Print it in the language of Graphviz.")] = False,
    as_json: AsJson = False,
) -> None:
    """From dataset versions over views and runs to models, and on to the runs that started from them; both ways in time.

    Reproductions are steps, too, with their verdicts. Every step is a line; --html draws them.
    """
    if direction not in get_args(Direction):
        raise UsageError(f"expected --direction up, down or both, found '{direction}'")
    if dot and as_json:
        raise UsageError("--dot and --json both print: choose one")
    ports = wire()
    way: Literal["both", "up", "down"] = "up" if direction == "up" else "down" if direction == "down" else "both"
    found = surroundings(ports, node_named(ports, name, commit), direction=way, depth=depth, limit=limit)
    if html is not None:
        try:
            html.write_text(graph_page(found), encoding="utf-8")
        except OSError as error:
            raise Conflict(f"{html} cannot be written: {error.strerror}", hint="name another file") from error
        say("done", f"drawn in {html}")
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif dot:
        typer.echo(draw_dot(found), nl=False)
    elif html is None:
        _print(found)


def _print(found: Graph) -> None:
    nodes = {node.id: node for node in found.nodes}
    said = {name: f"{kind_of(node)} {title_of(node)}" for name, node in nodes.items()}
    rows = [
        [said[edge.source], edge.label or edge.kind, said[edge.target] + (" (in a cycle)" if edge.in_cycle else "")] for edge in found.edges
    ]
    if rows:
        table(["from", "how", "to"], rows)
    else:
        table(["kind", "name", "details"], [[kind_of(node), title_of(node), details_of(node)] for node in found.nodes])
    if not found.is_whole:
        say("done", "some are left out; --limit and --depth show more, and a node's name (--json) can be given for the rest")
